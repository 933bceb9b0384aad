"""Profiles end to end: what explain says is what leaves, each over its own next hop, and none in another's way."""

import base64
import json
import re
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from relay import cli
from tests.e2e.tools import closed_port, free_port, until

MAILS = sorted((Path(__file__).parents[1] / "data" / "tracker-mail").glob("*.eml"))


class Peer:
    """A mail server with AUTH PLAIN: keeps (sender, recipients, octets, user) of each mail, in order.

    `open` cleared: it takes mails but never answers their final dot. `password`: all others are refused.
    """

    def __init__(self, password=""):
        self.mails, self.users, self.password = [], [], password
        self.open = threading.Event()
        self.open.set()
        self.sock = socket.create_server(("127.0.0.1", 0), backlog=200)
        self.port = self.sock.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self.sock.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(client,), daemon=True).start()

    def _talk(self, client):
        with client, client.makefile("rwb") as lines:
            try:
                self._serve(lines)
            except (OSError, ValueError):
                return

    def _serve(self, lines):
        def say(text):
            lines.write(text.encode() + b"\r\n")
            lines.flush()

        user, sender, rcpt = "", "", []
        say("220 peer")
        while line := lines.readline().decode().rstrip():
            verb = line.split(" ")[0].upper()
            if verb == "EHLO":
                say("250-peer\r\n250-8BITMIME\r\n250 AUTH PLAIN")
            elif verb == "AUTH":
                _, user, password = base64.b64decode(line.split(" ")[2]).decode().split("\0")
                self.users.append((user, password))
                say("235 2.7.0 welcome" if not self.password or password == self.password else "535 5.7.8 no")
            elif verb == "DATA":
                say("354 go")
                octets = b"".join(iter(lines.readline, b".\r\n"))
                self.open.wait(60)
                self.mails.append((sender, sorted(rcpt), re.sub(rb"(?m)^\.", b"", octets), user))
                sender, rcpt = "", []
                say("250 2.0.0 kept")
            else:
                sender = re.findall("<(.*)>", line)[0] if verb == "MAIL" else sender
                rcpt += re.findall("<(.*)>", line) if verb == "RCPT" else []
                say("221 bye" if verb == "QUIT" else "250 ok")


@pytest.fixture
def peers():
    made = [Peer() for _ in range(3)]
    yield made
    for peer in made:
        peer.open.set()
        peer.sock.close()


HEAD = """\
[status]
listen =
[listener]
listen = 127.0.0.1:{port}, 127.0.0.1:{second}
hostname = relay.example.com
[retry]
first = 1s
longest = 1s
[users]
dana = Dana Field <dana@example.com>
luc = luc@example.net
[notification]
smtp_enabled = true
smtp_from = bugs@example.com
smtp_default_domain = corp.example.com
mime_encoding = qp
"""
HOP = "use_tls = false\nsmtp_server = 127.0.0.1\n"
PROFILES = """\
use_tls = false
smtp_server = 127.0.0.1
smtp_port = {0}
smtp_user = base
smtp_password = base-secret

[notification:roundup]
match = from: orchard@bugs.example.com
smtp_from = orchard@example.com
smtp_always_cc = dock@example.org
from = keep
smtp_port = {1}
smtp_user = roundup
smtp_password = roundup-secret

[notification:old]
match = header: X-Trac-Version=1.0.20
    header: X-Trac-Version=0.12.7
rewrite = off
upstream = down, spare

[notification:second]
match = listener: 127.0.0.1:{second}
smtp_subject_prefix = [Second]
use_public_cc = true
public_envelope = true
smtp_server = localhost
smtp_port = {2}

[upstream:down]
server = 127.0.0.1
port = {closed}
tls = none

[upstream:spare]
server = 127.0.0.1
port = {2}
tls = none
"""


@pytest.fixture
def relay(daemon, peers):
    daemon.second = free_port()

    def configure(text):
        path = daemon.folder / "config.ini"
        ports = [peer.port for peer in peers]
        names = {"port": daemon.port, "second": daemon.second, "closed": closed_port()}
        path.write_text((HEAD + text).format(*ports, **names))
        path.chmod(0o600)
        return daemon

    daemon.write = configure
    return daemon


def untraced(octets):
    """Without what names the passage: our two fields in front."""
    return re.sub(rb"\AReceived:.*?\r\nX-Tracker-Relay:[^\n]*\n", b"", octets, flags=re.DOTALL)


@pytest.mark.parametrize("listener", ["port", "second"])
def test_what_explain_prints_is_what_leaves_and_where(relay, peers, capsys, listener):
    relay.write(PROFILES).start()
    port = getattr(relay, listener)
    relay.port, first = port, relay.port
    expected = []
    for path in MAILS:
        envelope = json.loads(path.with_suffix(".json").read_text())["envelope"]
        arguments = ["--envelope", str(path.with_suffix(".json")), "--listener", f"127.0.0.1:{port}", "--json"]
        assert cli.main(["--config", str(relay.folder / "config.ini"), "explain", str(path), *arguments]) == 0
        said = json.loads(capsys.readouterr().out)
        rcpt = sorted(row["address"] for row in said["recipients"] if row["outcome"] == "gets it")
        expected.append((said["upstreams"][-1], said["from"] or "", rcpt, untraced(said["mail"].encode("latin-1"))))
        relay.send(
            path.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"),
            envelope["rcpt_tos"],
            envelope["mail_from"],
        )
    hops = {
        "notification": peers[0],
        "notification:roundup": peers[1],
        "notification:second": peers[2],
        "spare": peers[2],
    }
    until(lambda: sum(len(peer.mails) for peer in peers) >= len(MAILS), relay.log)
    for hop, peer in hops.items():
        left = [(hop, sender, rcpt, untraced(raw)) for sender, rcpt, raw, _ in peer.mails]
        told = [row for row in expected if hops[row[0]] is peer]
        assert sorted(row[1:] for row in left) == sorted(row[1:] for row in told)
    plain = "notification" if listener == "port" else "notification:second"
    assert {name for name, *_ in expected} == {plain, "notification:roundup", "spare"}
    assert set(peers[0].users) <= {("base", "base-secret")}, "promise 7: to each its own log-in"
    assert set(peers[1].users) == {("roundup", "roundup-secret")}
    assert peers[2].users == []
    relay.port = first


def test_the_start_lines_name_each_profile_and_its_next_hops(relay, peers):
    relay.write(PROFILES).start()
    log = relay.wait_log(r"profile second: [^\n]*").string
    assert f"mail goes to 127.0.0.1:{peers[0].port} (none)" in log
    assert f"profile roundup: mail with from: orchard@bugs.example.com goes to 127.0.0.1:{peers[1].port} (none)" in log
    assert re.search(
        rf"profile old: mail with header: X-Trac-Version=1.0.20, or header: X-Trac-Version=0.12.7 goes to"
        rf" 127.0.0.1:\d+ \(none\), else to 127.0.0.1:{peers[2].port} \(none\)",
        log,
    )


def test_a_reload_that_adds_a_profile_applies_to_queued_mail(relay, peers):
    down = HOP + "smtp_port = {closed}\n"
    relay.write(down).start()
    relay.send(b"X-Trac-Project: Harbour\r\nSubject: ours\r\n\r\nx\r\n")
    relay.send(b"X-Trac-Project: Crew\r\nSubject: theirs\r\n\r\nx\r\n")
    until(lambda: relay.log().count("status=deferred") >= 2, relay.log)
    relay.write(down + "[notification:harbour]\nmatch = project: harbour\nsmtp_from = h@example.com\nsmtp_port = {1}\n")
    assert cli.main(["--config", str(relay.folder / "config.ini"), "reload"]) == 0
    until(lambda: peers[1].mails, relay.log)
    [(sender, rcpt, raw, _)] = peers[1].mails
    assert (sender, rcpt) == ("h@example.com", ["eve@example.org"])
    assert b"Subject: [Harbour] ours" in raw
    relay.wait_log(r"profile: harbour \(project: harbour\)")
    relay.write(HOP + "smtp_port = {0}\n")
    assert cli.main(["--config", str(relay.folder / "config.ini"), "reload"]) == 0
    until(lambda: peers[0].mails, relay.log)
    assert [sender for sender, *_ in peers[0].mails] == ["bugs@example.com"]
    time.sleep(1.2)
    assert (len(peers[0].mails), len(peers[1].mails)) == (1, 1)


def test_promise_7_a_profile_whose_next_hop_hangs_stops_no_other(relay, peers):
    peers[1].open.clear()
    relay.write(HOP + "smtp_port = {0}\n[notification:slow]\nmatch = project: Slow\nsmtp_port = {1}\n").start()
    for number in range(70):
        relay.send(f"X-Trac-Project: Slow\r\nSubject: {number}\r\n\r\nx\r\n".encode())
    for number in range(5):
        began = time.monotonic()
        relay.send(f"Subject: fast {number}\r\n\r\nx\r\n".encode())
        until(lambda n=number: len(peers[0].mails) > n, relay.log, 5)
        assert time.monotonic() - began < 5
    assert peers[1].mails == []
    peers[1].open.set()
    until(lambda: len(peers[1].mails) >= 70, relay.log)
    time.sleep(0.5)
    subjects = [re.search(rb"Subject: \[Slow\] (\d+)", raw)[1] for _, _, raw, _ in peers[1].mails]
    assert sorted(map(int, subjects)) == list(range(70))


def test_a_next_hop_that_does_not_let_us_in_is_stood_in_for(relay, peers):
    peers[0].password = "another"
    relay.write(
        """
        upstream = first, gone, spare
        [upstream:first]
        server = 127.0.0.1
        port = {0}
        user = me
        password = wrong
        tls = none
        [upstream:gone]
        server = no-such-name.invalid
        [upstream:spare]
        server = 127.0.0.1
        port = {1}
        tls = none
        """.replace("        ", "")
    ).start()
    relay.send(b"Subject: x\r\n\r\nx\r\n")
    until(lambda: peers[1].mails, relay.log)
    assert peers[0].mails == []
    relay.wait_log(
        r"status=deferred \(454 4.7.8 log-in as me refused: 535 5.7.8 no\)[^\0]*no-such-name[^\0]*"
        r"status=sent \(250 2.0.0 kept\)"
    )


CRON = b"From: root@web.example (Cron Daemon)\nTo: root\nSubject: Cron <root@web> backup\n\nno space left\n"


def test_what_cron_sends_by_the_drop_in_leaves_as_it_came_unless_a_profile_matches_it(relay, peers):
    def cron():
        line = [sys.executable, "-m", "relay", "--config", str(relay.folder / "config.ini"), "sendmail", "-i", "-f"]
        done = subprocess.run([*line, "root@web.example", "root"], input=CRON, capture_output=True, timeout=60)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")

    text = HOP + "smtp_port = {0}\nsmtp_always_cc = list@example.org\n"
    relay.write(text).start()
    cron()
    until(lambda: peers[0].mails, relay.log)
    relay.write(text + "[notification:cron]\nmatch = listener: sendmail\nsmtp_from = cron@example.com\n")
    assert cli.main(["--config", str(relay.folder / "config.ini"), "reload"]) == 0
    cron()
    until(lambda: len(peers[0].mails) > 1, relay.log)
    (sender, rcpt, raw, _), (own_sender, own_rcpt, own_raw, _) = peers[0].mails
    assert (sender, rcpt) == ("root@web.example", ["root@corp.example.com"])
    assert b"\r\nFrom: root@web.example (Cron Daemon)\r\nTo: root\r\nSubject: Cron <root@web> backup\r\n" in raw
    assert (own_sender, own_rcpt) == ("cron@example.com", ["list@example.org", "root@corp.example.com"])
    assert b"\r\nFrom: cron@example.com\r\n" in own_raw
    assert b"Cc: list@example.org\r\n" in own_raw
