"""The drop-in, run as programs run it, against a real daemon and against relays that misbehave."""

import email
import email.policy
import os
import pwd
import resource
import subprocess
import sys

import pytest

from tests.e2e.tools import ROOT, ROOT_ONLY, until
from tests.sendmail.conftest import COMMAND, Ended

SAID_NOTHING = Ended(0, "", "")
MAIL = b"From: Dana <dana@example.com>\nTo: a@example.org\nCc: bob\nBcc: c@example.org\nSubject: Crane\n\njams\n"


def outbox(daemon, number=1):
    return until(lambda: len(daemon.outbox()) == number and daemon.outbox(), f"{number} mails in the outbox")


def one(daemon):
    [(raw, envelope)] = outbox(daemon)
    return raw, envelope["from"], {row["address"] for row in envelope["to"]}


@pytest.mark.parametrize("ends", [b"\n", b"\r\n"])
def test_t_takes_the_headers_recipients_and_those_of_the_command_line(relay, drop_in, ends):
    daemon = relay()
    assert drop_in("-i", "-t", "more@example.org", mail=MAIL.replace(b"\n", ends)) == SAID_NOTHING
    raw, sender, to = one(daemon)
    assert to == {"a@example.org", "bob@corp.example.com", "c@example.org", "more@example.org"}
    assert b"c@example.org" not in raw
    assert raw.endswith(b"\r\n\r\njams\r\n")
    assert b"\nFrom: Dana <dana@example.com>\r\n" in raw
    assert sender == f"{pwd.getpwuid(os.getuid()).pw_name}@relay.example.com"
    spooled = subprocess.run(
        [sys.executable, "-m", "relay", "--config", daemon.folder / "config.ini", "trace", "Crane", "--json"],
        capture_output=True, text=True, cwd=ROOT, timeout=60,
    ).stdout  # fmt: skip
    assert f"from unix(uid={os.getuid()}) by sendmail" in spooled


def test_what_is_missing_is_added(relay, drop_in):
    daemon = relay()
    assert drop_in("-F", "Night Crew", "a@example.org", mail=b"Subject: x\n\nhello") == SAID_NOTHING
    raw, sender, _ = one(daemon)
    message = email.message_from_bytes(raw, policy=email.policy.default)
    assert message["From"] == f"Night Crew <{sender}>"
    assert message["Date"].datetime.tzinfo
    assert message["Message-ID"].endswith("@example.com>")
    assert message["Received"].startswith(
        f"by relay.example.com (tracker-relay, from userid {os.getuid()}) with ESMTP id"
    )
    assert raw.endswith(b"\r\n\r\nhello\r\n")


def test_no_header_at_all_and_8_bits(relay, drop_in):
    daemon = relay()
    assert (
        drop_in("-i", "-B8BITMIME", "-f", "Dana <dana@example.com>", "a@example.org", mail="Grüße\n".encode())
        == SAID_NOTHING
    )
    raw, sender, _ = one(daemon)
    assert sender == "dana@example.com"
    body = raw.partition(b"\r\n\r\n")[2]
    assert body in ("Grüße\r\n".encode(), b"Gr=C3=BC=C3=9Fe\r\n")


def test_the_null_sender(relay, drop_in):
    daemon = relay()
    for given in ("", "<>"):
        assert drop_in("-f", given, "a@example.org", mail=b"\nx\n") == SAID_NOTHING
    for raw, envelope in outbox(daemon, 2):
        assert envelope["from"] is None
        assert b"@relay.example.com>\r\n" in raw


def test_an_empty_mail_is_a_mail(relay, drop_in):
    daemon = relay()
    assert drop_in("a@example.org") == SAID_NOTHING
    assert one(daemon)[2] == {"a@example.org"}


def test_a_lone_dot(relay, drop_in):
    daemon = relay()
    for words in ((), ("-i",), ("-oi",)):
        assert drop_in(*words, "a@example.org", mail=b"From: x@example.com\n\na\n.\nb\n") == SAID_NOTHING
    texts = sorted(raw.partition(b"\r\n\r\n")[2] for raw, _ in outbox(daemon, 3))
    assert texts == [b"a\r\n", b"a\r\n.\r\nb\r\n", b"a\r\n.\r\nb\r\n"]


def test_what_is_no_address_is_reported_and_the_rest_goes(relay, drop_in):
    daemon = relay()
    assert drop_in("-t", "-f", "dana@example.com", mail=b"To: a@example.org, Dana Field\n\nx\n") == SAID_NOTHING
    mails = {envelope["to"][0]["address"]: (raw, envelope["from"]) for raw, envelope in outbox(daemon, 2)}
    assert mails["a@example.org"][1] == "dana@example.com"
    report, sender = mails["dana@example.com"]
    assert sender is None
    assert b"Dana Field (no address)" in report
    assert "RCPT: 553 5.1.3" in daemon.log()


def test_verbose_says_what_the_relay_said(relay, drop_in):
    daemon = relay()
    ended = drop_in("-v", "a@example.org", mail=b"\nx\n")
    assert ended.out.startswith("2.0.0 queued as ")
    assert ended.out.split()[-1] in daemon.log()


def test_nobody_who_listens_changes_nothing_about_the_mail(relay, drop_in):
    """A caller who has closed his ends of the pipes gets the true status all the same."""
    daemon = relay()
    for words, status in ((["-v", "a@example.org"], 0), (["-Z"], 64)):
        process = subprocess.Popen(
            [*COMMAND, *words],
            env=drop_in.environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        process.stdout.close()
        process.stderr.close()
        process.stdin.write(b"\nx\n")
        process.stdin.close()
        assert process.wait(30) == status
    outbox(daemon)


NOT_SENT = [
    ((), b"x", 64, "sendmail: no recipient: name one, or take those of the header with -t\n"),
    (("-t",), b"Subject: x\n\n", 64, "sendmail: no recipient stands in To, Cc or Bcc\n"),
    (("-t",), b"", 64, "sendmail: no recipient stands in To, Cc or Bcc\n"),
    (
        ("-t",),
        b"From: x@example.com\nBcc: a@example.org\n" + b"X: y\n" * 999 + b"Bcc: b@example.org\n\nx\n",
        65,
        "sendmail: the header has more than 1000 fields\n",
    ),
    (("-Z", "a@example.org"), b"x", 64, "sendmail: no such option: -Z\n"),
    (("-f", "a b", "a@example.org"), b"x", 64, "sendmail: -f 'a b' is no address\n"),
    (("a@example.org",), b"\na\0b\n", 65, "sendmail: the relay says 550 5.5.2 the mail holds a NUL octet\n"),
    (("a b",), b"\nx\n", 67, "sendmail: a b (no address): the relay says 553 5.1.3 bad local part\n"),
    (("a\nb@example.org",), b"\nx\n", 65, "sendmail: a control character stands in the recipient 'a\\nb@example.org'\n"),
]  # fmt: skip


def test_what_can_not_be_sent(relay, drop_in):
    daemon = relay()
    for words, mail, status, said in NOT_SENT:
        assert drop_in(*words, mail=mail) == Ended(status, "", said)
    assert "Traceback" not in daemon.log()
    assert daemon.outbox() == []


def test_over_the_size_it_is_refused_before_it_is_sent(relay, drop_in):
    relay(listener="max_size = 1K\n")
    ended = drop_in("a@example.org", mail=b"\n" + b"x" * 2000)
    assert ended == Ended(69, "", "sendmail: the relay says 552 5.3.4 mail is larger than 1024 octets\n")


def test_a_user_who_is_not_listed_may_not(relay, drop_in):
    relay(listener="allow_uids = 54321\n")
    assert drop_in("a@example.org", mail=b"\nx\n") == Ended(
        77, "", "sendmail: the relay says 554 5.7.1 this user may not send here\n"
    )


def test_without_a_relay_it_is_to_be_tried_again(drop_in, tmp_path):
    drop_in.environ["TRACKER_RELAY_CONFIG"] = str(tmp_path / "config.ini")
    ended = drop_in("a@example.org", mail=b"\nx\n")
    path = tmp_path / "var" / "submission.sock"
    said = f"sendmail: the relay is not running, no answer at {path}: No such file or directory; try again later\n"
    assert ended == Ended(75, "", said)


@ROOT_ONLY
def test_a_user_who_may_read_nothing_but_the_socket(relay, drop_in, tmp_path):
    """The drop-in works for users who may not read config.ini: the socket's place follows from its path."""
    daemon = relay()
    (daemon.folder / "config.ini").chmod(0o600)
    folder = daemon.folder
    while folder != folder.parent and folder.name != "tmp":
        folder.chmod(0o755)
        folder = folder.parent
    nobody = pwd.getpwnam("nobody").pw_uid
    become = f"import os; os.setgroups([]); os.setgid({nobody}); os.setuid({nobody}); "
    command = (*COMMAND[:2], COMMAND[2].replace("sys.exit", become + "sys.exit"))
    ended = drop_in("a@example.org", mail=b"\nx\n", command=command)
    assert ended == SAID_NOTHING
    outbox(daemon)
    assert f"client=unix(uid={nobody})" in daemon.log()


@pytest.mark.parametrize(
    ("answers", "status", "said"),
    [
        ({"": "421 4.3.2 shutting down"}, 75, "the relay says 421 4.3.2 shutting down"),
        ({"": "554 5.7.1 not you"}, 77, "the relay says 554 5.7.1 not you"),
        ({"": None}, 75, "the relay hung up; try again later"),
        ({"": "hello"}, 75, "the relay hung up; try again later"),
        ({"MAIL": "451 4.3.0 local trouble"}, 75, "the relay says 451 4.3.0 local trouble"),
        ({"MAIL": None}, 75, "the relay hung up; try again later"),
        ({"RCPT": "452 4.5.3 more than 1000"}, 75, "the relay says 452 4.5.3 more than 1000"),
        ({"DATA": "554 5.5.1 no valid recipients"}, 69, "the relay says 554 5.5.1 no valid recipients"),
        ({".": "452 4.3.1 no space"}, 75, "the relay says 452 4.3.1 no space"),
        ({".": "554 5.4.6 mail loop"}, 69, "the relay says 554 5.4.6 mail loop"),
        ({".": None}, 75, "the relay hung up; try again later"),
        ({".": "250-two\r\n250 lines"}, 0, ""),
        ({".": "550 5.5.2 \x1b[2J"}, 65, "the relay says 550 5.5.2 ?[2J"),
    ],
)
def test_what_the_relay_may_say(scripted, drop_in, answers, status, said):
    scripted(**answers)
    ended = drop_in("a@example.org", mail=b"\nx\n")
    assert ended == Ended(status, "", f"sendmail: {said}\n" if said else "")


def test_one_recipient_of_two_refused_is_no_failure(scripted, drop_in):
    relay = scripted()
    relay.answers["RCPT"] = "250 ok"
    assert drop_in("a@example.org", "b@example.org", "a@example.org", mail=b"\n.x\n..\n").status == 0
    heard = b"".join(relay.heard).decode()
    assert heard.count("RCPT TO:<a@example.org>\r\n") == 1
    assert "\r\n\r\n..x\r\n...\r\n" in heard


def test_letters_outside_ascii_ask_for_smtputf8(scripted, drop_in):
    relay = scripted()
    assert drop_in("-B", "8bitmime", "Müller@example.org", mail=b"\nx\n").status == 0
    mail = next(line for line in relay.heard if line.startswith(b"MAIL"))
    assert mail.split()[-2:] == [b"BODY=8BITMIME", b"SMTPUTF8"]


def test_a_relay_that_hangs_up_in_the_middle_is_believed(scripted, drop_in):
    """Its last words tell more than the broken pipe."""
    relay = scripted(DATA="552 5.3.4 mail is larger than 1000 octets")
    ended = drop_in("a@example.org", mail=b"\n" + b"x" * 5_000_000)
    assert (ended.status, relay.heard[-1]) == (69, b"DATA\r\n")


def test_smtp_on_standard_input(relay, drop_in):
    daemon = relay()
    said = b"EHLO x\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nDATA\r\nSubject: x\r\n\r\nx\r\n.\r\nQUIT\r\n"
    ended = drop_in("-bs", mail=said)
    codes = [line[:3] for line in ended.out.splitlines() if line[3:4] == " "]
    assert (ended.status, codes) == (0, ["220", "250", "250", "250", "354", "250", "221"])
    assert one(daemon)[2] == {"b@example.org"}


def test_smtp_without_a_relay(drop_in, tmp_path):
    drop_in.environ["TRACKER_RELAY_SOCKET"] = str(tmp_path / "none.sock")
    ended = drop_in("-bs", mail=b"QUIT\r\n")
    assert (ended.status, ended.out) == (75, "421 4.3.2 the relay is not running, try again later\r\n")


@pytest.mark.parametrize("script", ["relay.sendmail:command", "relay.__main__:main"])
def test_by_the_name_of_a_link(relay, drop_in, tmp_path, script):
    """As a package manager's alternatives, or an administrator's `ln -s`, would call it."""
    daemon = relay()
    module, _, function = script.partition(":")
    program = tmp_path / "program"
    program.write_text(f"#!{sys.executable}\nimport sys\nfrom {module} import {function}\nsys.exit({function}())\n")
    program.chmod(0o755)

    def called(name, *words):
        (tmp_path / name).symlink_to(program)
        return drop_in(*words, mail=b"\nx\n", command=(str(tmp_path / name),))

    assert called("newaliases") == SAID_NOTHING
    assert called("mailq") == Ended(0, "the queue is empty\n", "")
    assert called("sendmail", "a@example.org") == SAID_NOTHING
    if script == "relay.sendmail:command":
        assert called("tracker-relay-sendmail", "a@example.org") == SAID_NOTHING
    outbox(daemon, 2 if script == "relay.sendmail:command" else 1)


def test_as_a_command_of_tracker_relay(relay, drop_in):
    daemon = relay()
    del drop_in.environ["TRACKER_RELAY_CONFIG"]
    config = str(daemon.folder / "config.ini")
    for before in (["--config", config], [f"--config={config}"], [f"--conf={config}"]):
        command = (sys.executable, "-m", "relay", *before, "sendmail")
        assert drop_in("-i", "-fx@example.com", "--", "a@example.org", mail=b"\nx\n", command=command) == SAID_NOTHING
    outbox(daemon, 3)


def test_the_socket_may_be_named_and_may_be_none(relay, drop_in, tmp_path):
    daemon = relay(listener=f"submission = {tmp_path}/s\n")
    assert drop_in("a@example.org", mail=b"\nx\n") == SAID_NOTHING
    drop_in.environ["TRACKER_RELAY_CONFIG"] = "/nonexistent/config.ini"
    drop_in.environ["TRACKER_RELAY_SOCKET"] = f"unix:{tmp_path}/s"
    assert drop_in("a@example.org", mail=b"\nx\n") == SAID_NOTHING
    outbox(daemon, 2)
    del drop_in.environ["TRACKER_RELAY_SOCKET"]
    (tmp_path / "config.ini").write_text("[listener]\nsubmission =\n")
    drop_in.environ["TRACKER_RELAY_CONFIG"] = str(tmp_path / "config.ini")
    ended = drop_in("a@example.org", mail=b"\nx\n")
    said = f"sendmail: {tmp_path}/config.ini gives the drop-in no socket: [listener] submission is empty\n"
    assert ended == Ended(69, "", said)


@pytest.mark.parametrize("closed", [False, True])
def test_no_input_is_no_input(drop_in, closed):
    """Standard input that can not be read, or that its caller has closed."""
    code = COMMAND[2].replace("import sys;", "import os, sys; os.close(0);") if closed else COMMAND[2]
    with open("/dev/null", "wb") as unreadable:
        ended = subprocess.run(
            [*COMMAND[:2], code, "a@example.org"],
            env=drop_in.environ,
            capture_output=True,
            text=True,
            stdin=unreadable,
            timeout=60,
        )
    assert (ended.returncode, ended.stderr) == (66, "sendmail: the mail can not be read: Bad file descriptor\n")


def test_closed_standard_streams(relay, drop_in):
    """What is said there reaches nobody, and never the relay."""
    daemon = relay()
    code = COMMAND[2].replace("import sys;", "import os, sys; os.close(1); os.close(2);")
    assert drop_in("-v", "a@example.org", mail=b"\nx\n", command=(*COMMAND[:2], code)).status == 0
    assert drop_in("a b", mail=b"\nx\n", command=(*COMMAND[:2], code)).status == 67
    outbox(daemon)


def test_a_large_mail_is_not_held_in_memory(relay, drop_in, tmp_path):
    daemon = relay()
    path = tmp_path / "mail"
    line = b"x" * 75 + b"\n"
    with path.open("wb") as file:
        file.write(b"To: a@example.org\n\n")
        for _ in range(45):
            file.write(line * (1024 * 1024 // len(line)))
    with path.open("rb") as file:
        command = [*COMMAND, "-t"]
        process = subprocess.Popen(command, stdin=file, env=drop_in.environ)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    idle = subprocess.Popen([*COMMAND, "-bi"], env=drop_in.environ)
    _, _, least = os.wait4(idle.pid, 0)
    idle.returncode = 0
    assert usage.ru_maxrss - least.ru_maxrss < 8 * 1024, (usage.ru_maxrss, least.ru_maxrss)  # KiB
    raw, _, _ = one(daemon)
    assert raw.count(b"\r\n" + line.strip() + b"\r\n") or raw.count(line.strip()) == 45 * (1024 * 1024 // len(line))
    assert len(raw) > 45 * 1024 * 1024


def test_a_disk_without_room_is_to_be_tried_again(drop_in):
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))

    ended = drop_in("a@example.org", mail=b"\n" + b"x\n" * (2 << 20), preexec_fn=limit)
    assert (ended.status, ended.err) == (75, "sendmail: no room for the mail: File too large\n")


def test_it_imports_little():
    """It is started for every mail: what takes a tenth of a second to load has no place in it."""
    code = "import sys, relay.sendmail; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60
    ).stdout.split()
    assert "relay.sendmail" in loaded
    heavy = {
        "asyncio",
        "argparse",
        "email",
        "ssl",
        "logging",
        "json",
        "sqlite3",
        "aiosmtpd",
        "dns",
        "relay.config",
        "relay.cli",
        "pathlib",
        "tempfile",
        "idna",
    }
    assert not heavy & set(loaded)
