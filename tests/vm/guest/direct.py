"""Direct delivery under the policy: DNS over UDP and TCP, strangers' port 25, MTA-STS policies over HTTPS, loops."""

import glob
import os
import smtplib
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from host import UNIT, account, active, boolean, check, configured, domain, forget, note, sh, succeeds, until

sys.path += glob.glob("/opt/tracker-relay/lib/python3*/site-packages")  # for dnspython; tried last
from nameserver import Zone, serving

CONFIG, SPOOL = "/etc/tracker-relay/config.ini", "/var/lib/tracker-relay/spool"
LOG = "/var/log/tracker-relay/relay.log"
POLICY = "version: STSv1\nmode: enforce\nmx: mx.direct.test\nmax_age: 86400\n"
LARGE = " ".join('"' + "x" * 200 + '"' for _ in range(4))
"""A record beside the one that counts: the answer is too large for UDP."""
ZONE = Zone(
    {
        ("direct.test", "MX"): ["10 mx.direct.test."],
        ("mx.direct.test", "A"): ["127.0.0.1"],
        ("_mta-sts.direct.test", "TXT"): ['"v=STSv1; id=1"', LARGE],
        ("mta-sts.direct.test", "A"): ["127.0.0.1"],
        ("loop.test", "MX"): ["10 mx.loop.test."],
        ("mx.loop.test", "A"): ["127.0.0.1"],
    }
)
ROUTE = """[dns]
nameservers = 127.0.0.1
[route:direct]
match = recipient: direct.test, recipient: loop.test
upstream = mx
"""
ALL = "127.0.0.1:2525", "0.0.0.0:2525\nallow = 127.0.0.0/8"
"""The listener as it is, and as one for which every address of this host is its own."""


class _Page(BaseHTTPRequestHandler):
    def do_GET(self):
        good = self.headers["Host"] == "mta-sts.direct.test" and self.path == "/.well-known/mta-sts.txt"
        self.send_response(200 if good else 404)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(POLICY)))
        self.end_headers()
        self.wfile.write(POLICY.encode())

    def log_message(self, *_):
        pass


def serve_policies(context):
    """The web server on 443, for as long as the machine runs."""
    server = ThreadingHTTPServer(("127.0.0.1", 443), _Page)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *_: None
    threading.Thread(target=server.serve_forever, daemon=True).start()


def send(tag, to):
    with smtplib.SMTP("127.0.0.1", 2525, local_hostname="lab", timeout=60) as client:
        client.sendmail("trac@tracker.example.com", [to], f"Subject: {tag}\r\n\r\nline\r\n")


def logged(words):
    return until(lambda: words in sh("cat", LOG), 60)


def run(sink):
    """The log goes to LOG by now. Leaves the route to direct.test behind, and its policy known."""
    threading.Thread(target=_names, daemon=True).start()
    with open(CONFIG) as file:
        before = file.read()
    configured(before + ROUTE)
    check("direct delivery is taken by a reload", succeeds("systemctl", "reload", UNIT))
    closed(sink)
    opened(sink)
    loops()
    account("direct delivery: DNS, port 25, policies, loops")


def _names():
    with serving(ZONE, port=53):
        threading.Event().wait()


def closed(sink):
    send("sts-closed", "dev@direct.test")
    mail = sink.wait("sts-closed")
    check("mail leaves for the mail server that DNS names", mail and mail.port == 25 and not mail.user, mail)
    check("an answer of DNS that is too large for UDP comes over TCP", ZONE.over_tcp > 0, ZONE.over_tcp)
    refused = logged("MTA-STS policy of direct.test can not be had: mta-sts.direct.test: Permission denied")
    check("without the boolean no policy is fetched, and the log says so", refused, sh("tail", "-n", "5", LOG))
    said = sh("tracker-relay", "doctor", "--json")
    check("doctor names the boolean", "setsebool -P tracker_relay_connect_https on" in said, said[-600:])
    account("HTTPS while its boolean is off", allowed="tcontext=system_u:object_r:http_port_t:")
    forget()


def opened(sink):
    boolean("tracker_relay_connect_https", on=True)
    check("a restart", succeeds("systemctl", "restart", UNIT) and active())
    send("sts-open", "dev@direct.test")
    mail = sink.wait("sts-open")
    check("with it the policy is fetched", logged("the MTA-STS policy of direct.test: enforce"), sh("tail", LOG))
    check("and heeded", mail and mail.port == 25 and mail.tls and logged("tls=mta-sts"), sh("tail", "-n", "5", LOG))
    [kept] = glob.glob(f"{SPOOL}/mta-sts/*.json") or ["none"]
    label = os.getxattr(kept, "security.selinux").decode() if kept != "none" else ""
    check("and kept, as guarded as mail", ":tracker_relay_spool_t:" in label, (kept, label))
    boolean("tracker_relay_connect_https", on=False)


def loops():
    """A listener on 0.0.0.0, and mail for a domain whose mail server is this host: seen, not connected to.

    It is started without the unit's LimitCORE=0 here, which it must not need.
    """
    folder = "/run/systemd/system/tracker-relay.service.d"
    os.makedirs(folder, exist_ok=True)
    with open(f"{folder}/core.conf", "w") as file:
        file.write("[Service]\nLimitCORE=infinity\n")
    with open(CONFIG) as file:
        before = file.read()
    configured(before.replace(*ALL) + "[mx]\nport = 2525\n")
    sh("systemctl", "daemon-reload")
    check("a start with other options", succeeds("systemctl", "restart", UNIT) and active(), domain())
    pid = sh("systemctl", "show", "-P", "MainPID", UNIT).strip()
    cores = [line.split() for line in sh("cat", f"/proc/{pid}/limits").splitlines() if "core file" in line]
    check("no core file, whatever the unit says", cores and cores[0][4] == "0", cores)
    send("loop", "dev@loop.test")
    seen = until(lambda: "is this relay itself" in sh("tracker-relay", "trace", "dev@loop.test"), 60)
    check("a loop is seen", seen, sh("tracker-relay", "trace", "dev@loop.test")[-600:])
    configured(before)
    os.unlink(f"{folder}/core.conf")
    sh("systemctl", "daemon-reload")
    begun = time.monotonic()
    check("a start as before", succeeds("systemctl", "restart", UNIT) and active(), domain())
    note(f"a restart took {time.monotonic() - begun:.0f} s")
