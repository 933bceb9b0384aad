"""With the module: everything works, nothing else is possible, and no denial is left in the audit log."""

import json
import os
import stat
import time
import urllib.request

import direct
from host import UNIT, account, active, boolean, check, configured, domain, forget, note, sh, succeeds, until, web

CONFIG = "/etc/tracker-relay/config.ini"
SUBMISSION, CONTROL = "/run/tracker-relay/submission.sock", "/run/tracker-relay/control.sock"
ROOTS_HOME = "/root"
SPOOL, LOG = "/var/lib/tracker-relay/spool", "/var/log/tracker-relay/relay.log"
PROGRAM = "/opt/tracker-relay/bin/tracker-relay-sendmail"
WEB = (("httpd_t", "/wsgi"), ("httpd_sys_script_t", "/cgi/lab.cgi"))
DENIED = ("EACCES", "EPERM")
LABELS = {
    "/opt/tracker-relay/bin/tracker-relay": "exec",
    PROGRAM: "client_exec",
    "/etc/tracker-relay": "conf",
    CONFIG: "conf",
    "/var/lib/tracker-relay": "state",
    SPOOL: "spool",
    f"{SPOOL}/spool.sqlite": "spool",
    "/var/log/tracker-relay": "log",
    CONTROL: "runtime",
    SUBMISSION: "submission",
    "/etc/systemd/system/tracker-relay.service": "unit",
}


def ways(tag):
    """Every way in which a web application hands over mail, by name."""
    return {
        "port": ["send_port", f"{tag}-port"],
        "socket": ["send_socket", f"{tag}-socket", SUBMISSION],
        "program": ["send_program", f"{tag}-program", PROGRAM, 100],
    }


def run(sink):
    check("the service is active", active(), sh("journalctl", "-u", UNIT, "-n", "20", "--no-pager"))
    check("the relay runs in its domain", domain() == "tracker_relay_t", domain())
    submission(sink)
    mail_servers(sink)
    restart_and_reload(sink)
    account("mail by port, socket and program, out over STARTTLS and 465; reload, restart")
    direct.run(sink)
    status_page()
    labels("files and sockets have their labels")
    sockets_from_systemd(sink)
    forbidden_calls(sink)
    account("sockets from systemd, forbidden calls")
    switched_off()
    exposed()
    what_the_web_may_not()
    what_the_client_may_not()
    what_the_relay_may_not(sink)
    security = sh("systemd-analyze", "security", "--no-pager", UNIT).splitlines()[-1:]
    note(f"exposure: {security}")
    sh("systemctl", "stop", UNIT)
    check("a stop is clean", sh("systemctl", "show", "-P", "Result", UNIT).strip() == "success")
    removed()


def submission(sink):
    for name, path in WEB:
        context = web(path, [["context"]])[0]
        check(f"web code runs in {name}", f":{name}:" in str(context[1]), context)
        for way, deed in ways(name).items():
            answer = web(path, [deed])[0]
            mail = answer[0] == "ok" and sink.wait(deed[1])
            check(f"{name} sends mail by {way}", mail, answer)
            check(f"... which leaves over TLS with a log-in ({name}, {way})", mail and mail.tls and mail.user, mail)
            if not mail:
                note(sh("journalctl", "-u", UNIT, "-n", "6", "--no-pager", "-o", "cat"))
        answer = web(path, [["send_program", f"{name}-large", PROGRAM, 1_500_000]])[0]
        check(f"{name} sends 1.5 MB by program", answer[0] == "ok" and sink.wait(f"{name}-large"), answer)


def configure(old, new):
    with open(CONFIG) as file:
        text = file.read()
    configured(text.replace(old, new))


def mail_servers(sink):
    configure("smtp_port = 587\ntls = starttls", "smtp_port = 465\ntls = implicit")
    configure("format = journal", f"format = text\nfile = {LOG}")
    check("systemctl reload takes a new configuration", succeeds("systemctl", "reload", UNIT))
    answer = web("/wsgi", [["send_port", "implicit"]])[0]
    mail = sink.wait("implicit")
    check("mail leaves over port 465", mail and mail.port == 465 and mail.user, (answer, mail))
    check("the log file is written", "status=sent" in sh("cat", LOG))
    configure("smtp_from", "smtp_form")
    check("a reload with a fault fails, and the relay goes on", not succeeds("systemctl", "reload", UNIT) and active())
    configure("smtp_form", "smtp_from")


def queue():
    """What `tracker-relay queue list` tells an administrator."""
    said = sh("tracker-relay", "queue", "list", "--json")
    try:
        return json.loads(said)
    except ValueError:
        note(f"queue list: {said!r}")
        return []


def restart_and_reload(sink):
    sink.busy = True
    web("/wsgi", [["send_port", "waits"]])
    queued = until(lambda: [row for row in queue() if "waits" in str(row)])
    check("mail waits while the mail server is busy", queued, queued)
    sh("systemctl", "restart", UNIT)
    check("the relay is back in its domain after a restart", active() and domain() == "tracker_relay_t", domain())
    sink.busy = False
    sh("tracker-relay", "queue", "retry", queued[0]["id"] if queued else "none")
    check("and the mail leaves", sink.wait("waits"))
    check("an administrator's trace is answered", "relayed" in sh("tracker-relay", "trace", "dev@example.org"))


def get(path):
    with urllib.request.urlopen(f"http://127.0.0.1:8025{path}", timeout=60) as answer:
        return answer.status


def answers():
    try:
        return get("/healthz") == 200
    except OSError:
        return False


def status_page():
    check("the status page answers", until(answers))  # it opens behind the listener, which is ready before
    before = web("/wsgi", [["connect", 8025]])[0]
    boolean("tracker_relay_web_status", on=True)
    after = web("/wsgi", [["connect", 8025]])[0]
    boolean("tracker_relay_web_status", on=False)
    check("the web server reaches it by its boolean only", before[0] == "EACCES" and after[0] == "ok", (before, after))
    forget()


def labels(name):
    found = {path: os.getxattr(path, "security.selinux").decode().rstrip("\0") for path in LABELS}
    wrong = {path: label for path, label in found.items() if f":tracker_relay_{LABELS[path]}_t:" not in label}
    check(name, not wrong, wrong)


def sockets_from_systemd(sink):
    configure("listen = 127.0.0.1:2525", "listen = systemd:tracker-relay")
    sh("systemctl", "stop", UNIT)
    check("systemd makes the sockets", succeeds("systemctl", "start", "tracker-relay.socket"))
    answer = web("/wsgi", [["send_port", "activated"], ["send_socket", "activated-local", SUBMISSION]])
    mail = sink.wait("activated") and sink.wait("activated-local")
    check("a mail to systemd's sockets starts the relay, in its domain", mail and domain() == "tracker_relay_t", answer)
    sh("systemctl", "restart", UNIT)
    check("systemd's socket outlives a restart", active() and stat.S_ISSOCK(os.stat(SUBMISSION).st_mode))
    labels("systemd's sockets have their labels")
    sh("systemctl", "stop", UNIT, "tracker-relay.socket")
    configure("listen = systemd:tracker-relay", "listen = 127.0.0.1:2525")


def forbidden_calls(sink):
    """As shipped, a forbidden system call fails. Here it kills: what survives makes none, uvloop's io_uring apart."""
    folder = "/run/systemd/system/tracker-relay.service.d"
    os.makedirs(folder, exist_ok=True)
    with open(f"{folder}/kill.conf", "w") as file:
        file.write("[Service]\nSystemCallErrorNumber=\nSystemCallFilter=~io_uring_setup:EPERM\n")
    sh("systemctl", "daemon-reload")
    sh("systemctl", "start", UNIT)
    sent = [web(path, list(ways(f"kill-{name}").values())) for name, path in WEB]
    direct.send("kill-direct", "dev@direct.test")
    arrived = sink.wait("kill-direct") and all(
        sink.wait(deed[1]) for name, _ in WEB for deed in ways(f"kill-{name}").values()
    )
    get("/healthz")
    restarts = sh("systemctl", "show", "-P", "NRestarts", UNIT).strip()
    check("no forbidden system call is made in all that", arrived and restarts == "0", (restarts, sent))
    os.unlink(f"{folder}/kill.conf")
    sh("systemctl", "daemon-reload")
    sh("systemctl", "restart", UNIT)
    active()


def switched_off():
    boolean("tracker_relay_web_submit", on=False)
    for name, path in WEB:
        for way, answer in zip(ways(""), web(path, list(ways("off").values())), strict=True):
            check(f"with tracker_relay_web_submit off {name} may not send by {way}", answer[0] != "ok", answer)
    boolean("tracker_relay_web_submit", on=True)


def exposed():
    """From here on file modes protect nothing: what is denied is denied by SELinux."""
    with open(f"{SPOOL}/canary", "w") as file:
        file.write("x" * 32)
    sh("restorecon", f"{SPOOL}/canary")
    for path in ("/etc/tracker-relay", "/var/lib/tracker-relay", SPOOL, "/run/tracker-relay", "/var/log/tracker-relay"):
        os.chmod(path, 0o777)
    for path in (CONFIG, "/etc/tracker-relay/smtp_password", f"{SPOOL}/canary", f"{SPOOL}/spool.sqlite", CONTROL, LOG):
        os.chmod(path, 0o666)


def refused(who, deeds, answers):
    for (what, _), answer in zip(deeds.items(), answers, strict=True):
        check(f"{who} may not {what}", answer[0] in DENIED, answer)


def what_the_web_may_not():
    deeds = {f"connect to mail port {port}": ["connect", port] for port in (25, 465, 587)} | {
        "read config.ini": ["read", CONFIG],
        "write config.ini": ["write", CONFIG],
        "read the password": ["read", "/etc/tracker-relay/smtp_password"],
        "list the spool": ["listdir", SPOOL],
        "read a queued mail": ["read", f"{SPOOL}/spool.sqlite"],
        "create in the spool": ["create", f"{SPOOL}/new"],
        "read the log": ["read", LOG],
        "reach the control socket": ["connect_unix", CONTROL],
        "put a file among the sockets": ["create", "/run/tracker-relay/new"],
        "bind another relay's port": ["bind", 8025],
    }
    for name, path in WEB:
        refused(name, deeds, web(path, list(deeds.values())))


def what_the_client_may_not():
    deeds = {
        "connect to a mail server": ["connect", 25],
        "connect to a database": ["connect", 5432],
        "reach the control socket": ["connect_unix", CONTROL],
        "read the password": ["read", "/etc/tracker-relay/smtp_password"],
        "read a queued mail": ["read", f"{SPOOL}/spool.sqlite"],
        "read /etc/shadow": ["read", "/etc/shadow"],
        "run a shell": ["execute", "/bin/sh", "-c", ":"],
    }
    answer = web("/wsgi", [["other", "/usr/lib/lab/as-client", [["context"], *deeds.values()]]])[0]
    answers = answer[1] if answer[0] == "ok" else [answer] * (len(deeds) + 1)
    check(
        "the sendmail program's probe runs in its domain", ":tracker_relay_client_t:" in str(answers[0][1]), answers[0]
    )
    refused("the sendmail program", deeds, answers[1:])


def canaries():
    os.makedirs("/home/lab", exist_ok=True)
    for path in ("/etc/canary", f"{ROOTS_HOME}/canary", "/home/lab/canary"):
        with open(path, "w") as file:
            file.write("x")
        sh("restorecon", "-R", path)


def deeds_of_an_intruder():
    """What somebody does who has taken the relay over."""
    code = "/opt/tracker-relay/lib/python3.11/site-packages/relay/__init__.py"
    if not os.path.exists(code):
        code = sh("sh", "-c", "ls /opt/tracker-relay/lib/python3*/site-packages/relay/__init__.py").strip()
    reading = ["/etc/shadow", f"{ROOTS_HOME}/canary", "/var/www/html/index.html", "/var/log/audit/audit.log"]
    writing = [
        CONFIG,
        "/etc/tracker-relay/smtp_password",
        "/etc/canary",
        code,
        "/opt/tracker-relay/bin/tracker-relay",
        LOG,
    ]
    running = [["/bin/sh", "-c", ":"], ["/usr/bin/id"], ["/usr/bin/python3", "-c", "0"], [PROGRAM, "-bV"]]
    return (
        {f"read {path}": ["read", path] for path in reading}
        | {f"write {path}": ["write", path] for path in writing[:-1]}
        | {
            f"create in {folder}": ["create", f"{folder}/new"]
            for folder in ("/etc", "/tmp", "/var/tmp", "/opt/tracker-relay")
        }
        | {f"run {command[0]}": ["execute", *command] for command in running}
        | {f"connect to port {port}": ["connect", port] for port in (22, 80, 443, 2526, 3306, 5432, 8080, 11211)}
        | {f"bind port {port}": ["bind", port] for port in (2526, 8026, 8888)}
        | {
            "list /home": ["listdir", "/home/lab"],
            "open a packet socket": ["packet"],
            "open an audit socket": ["audit"],
            "have memory writable and executable": ["writable_and_executable"],
            "chroot": ["chroot", "/"],
            "change its user": ["setuid", 65534],
        }
    )


def as_relay(sink, wanted):
    """Deeds in the relay's domain, as root and outside the unit's sandbox: SELinux alone decides."""
    with open("/usr/lib/lab/wanted.json", "w") as file:
        json.dump(wanted, file)
    sh("restorecon", "/usr/lib/lab/wanted.json")
    said = sh("systemd-run", "--wait", "--collect", "--unit=probe", "/usr/lib/lab/as-relay")
    mail = sink.wait("@@PROBE", 5)
    if not mail:
        return [["NO PROBE", said]] * len(wanted)
    with sink.lock:
        sink.mails.remove(mail)
    return json.loads(mail.octets.strip()[len("@@PROBE ") :])


def what_the_relay_may_not(sink):
    canaries()
    allowed = {f"connect to port {port}": ["connect", port] for port in (25, 465, 587)}
    allowed |= {"read its password": ["read", "/etc/tracker-relay/smtp_password"]}
    deeds = deeds_of_an_intruder()
    answers = as_relay(sink, [["context"], *allowed.values(), *deeds.values()])
    check("the relay's probe runs in its domain", ":tracker_relay_t:" in str(answers[0][1]), answers[0])
    for (what, _), answer in zip(allowed.items(), answers[1:], strict=False):
        check(f"the relay may {what}", answer[0] == "ok", answer)
    refused("the relay", deeds, answers[1 + len(allowed) :])


def removed():
    """The way back: make remove, as the README says, while the relay runs."""
    for path in ("/etc/tracker-relay", CONFIG, SPOOL, "/var/lib/tracker-relay", f"{SPOOL}/spool.sqlite"):
        os.chmod(path, 0o700 if os.path.isdir(path) else 0o600)
    sh("chown", "-R", "tracker-relay:", "/etc/tracker-relay", "/var/lib/tracker-relay")
    check("a start succeeds", succeeds("systemctl", "start", UNIT))
    begun = time.monotonic()
    check("make remove succeeds", succeeds("make", "-C", "/usr/src/tracker-relay/contrib/selinux", "remove"))
    note(f"make remove took {time.monotonic() - begun:.0f} s")
    left = [
        path for path in LABELS if os.path.exists(path) and b"tracker_relay" in os.getxattr(path, "security.selinux")
    ]
    check("no label of the module is left", not left, left)
    where = domain()
    check("the relay runs on, unconfined", active() and where.endswith("_t") and "tracker_relay" not in where, where)
