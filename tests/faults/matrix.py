"""The matrix at work: one relay, and for each row of the table a profile and a peer of its own.

Round one: every fault at once, one attempt for each mail. Round two: all but the stubborn peers are cured, a
relay started anew on the same spool finds every mail's lifetime over at its next failure, and all are tried again.
"""

import json
import re
import smtplib
import subprocess
import sys

from tests.e2e.tools import until
from tests.faults.cases import CASES, DEFERRED
from tests.faults.peer import PASSWORD, USER, Peer

POSTMASTER = "postmaster@reports.example.org"
"""Who gets our own reports."""
SECRET = "the words of the mail"
CONFIG = """\
[timeouts]
connect = 3s
greeting = 3s
command = 3s
data_block = 3s
final_dot = 3s
[retry]
first = 1h
longest = 1h
lifetime = {lifetime}
report_to = {postmaster}
[notification]
smtp_enabled = true
smtp_from = bugs@example.com
mime_encoding = none
smtp_server = localhost
smtp_port = {port}
tls = starttls
tls_ca_file = {authority}
smtp_user = {user}
smtp_password_file = password
"""


def ends_of(case):
    """What the first attempt is to bring, for each recipient in turn."""
    return case.ends if isinstance(case.ends, tuple) else (case.ends,) * case.rcpts * case.mails


def body_of(case):
    filler = "".join(f"{line:064d}\r\n" for line in range(case.size // 66))
    return f"{SECRET}\r\n.\r\n..dots\r\n{filler}".encode()


class Matrix:
    def __init__(self, daemon, peers, authority, contexts):
        self.daemon, self.peers, self.authority = daemon, peers, authority
        self.peer = {name: peers.add(Peer(case.script, contexts, case.implicit)) for name, case in CASES.items()}
        self.number = {name: number for number, name in enumerate(CASES)}
        self.first, self.second = {}, {}
        """By recipient, its mail's life after each round."""

    def run(self):
        self.daemon.configure(self.configuration("5d", CASES))
        self._set_password()
        self.daemon.start()
        self._send()
        self._wait_for(sum(len(ends_of(case)) for case in CASES.values()), 0)
        self.daemon.stop()
        self.first = self.lives()
        for name, case in CASES.items():
            if not case.stubborn:
                self.peers.cure(self.peer[name])
        still = [name for name, case in CASES.items() if case.stubborn or DEFERRED not in ends_of(case)]
        self.daemon.configure(self.configuration("1s", still))
        self._set_password()
        before = len(self.daemon.log())
        self.daemon.start()
        self.command("queue", "retry", "--all", "--yes")
        self._wait_for(
            sum(life["state"] == "queued" and self._open(life, path) for path, life in self.first.items()), before
        )
        self.daemon.stop()
        self.second = self.lives()

    @staticmethod
    def _open(life, path):
        return all(outcome["address"] != path for outcome in life["answered"])

    def _wait_for(self, number, since):
        """Until that many recipients have been tried, by the log."""

        def tried():
            return len(set(re.findall(r"to=<(\S+@example\.org)>, .* status=", self.daemon.log()[since:])))

        until(lambda: tried() >= number, f"{number} recipients tried", 60)

    def configuration(self, lifetime, with_lines):
        """`with_lines`: the rows whose own lines still stand in it."""
        healthy = next(iter(self.peer.values())).port
        text = CONFIG.format(
            port=healthy, authority=self.authority, user=USER, lifetime=lifetime, postmaster=POSTMASTER
        )
        for name, case in CASES.items():
            number = self.number[name]
            own = {"smtp_port": self.peer[name].port, **(dict(case.lines) if name in with_lines else {})}
            text += f"[notification:f{number}]\nmatch = header: X-Fault={number}\n"
            text += "".join(f"{option} = {value}\n" for option, value in own.items())
        return text

    def _set_password(self):
        (self.daemon.folder / "password").write_text(PASSWORD + "\n")

    def rcpts(self, name):
        case, number = CASES[name], self.number[name]
        return [f"r{number}-{mail}-{n}@example.org" for mail in range(case.mails) for n in range(case.rcpts)]

    def _send(self):
        """Those first whose upstream takes its time."""
        slow = sorted(
            CASES, key=lambda name: not any(word in name for word in ("stall", "drip", "port is", "not taken"))
        )
        with smtplib.SMTP("127.0.0.1", self.daemon.port, timeout=30) as client:
            for turn in range(2):
                for name in slow:
                    if turn < CASES[name].mails:
                        client.sendmail("trac@tracker.example.com", self._mail(name, turn), self._octets(name, turn))

    def _mail(self, name, turn):
        number = CASES[name].rcpts
        return self.rcpts(name)[turn * number : (turn + 1) * number]

    def _octets(self, name, turn):
        number = self.number[name]
        head = (
            f"From: trac@tracker.example.com\r\nTo: a@example.org\r\nSubject: fault {number}\r\n"
            f"X-Fault: {number}\r\nMessage-ID: <{number}.{turn}@tracker.example.com>\r\n\r\n"
        )
        return head.encode() + body_of(CASES[name])

    def command(self, *arguments):
        line = [sys.executable, "-m", "relay", "--config", str(self.daemon.folder / "config.ini"), *arguments]
        done = subprocess.run(line, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, (done.stdout[-2000:], done.stderr[-2000:])
        return done.stdout

    def lives(self):
        """By recipient: every mail's whole life, our own reports apart."""
        listed = json.loads(self.command("queue", "list", "--state", "queued,held,done", "--limit", "0", "--json"))
        ids = [mail["id"] for mail in listed if not mail["report"]]
        assert len(ids) == sum(case.mails for case in CASES.values()), "a mail is lost"
        shown = json.loads(self.command("queue", "show", *ids, "--json"))
        return {path: life for life in shown for path in life["to"]}

    def copies(self, name):
        """How often each recipient's mail was taken by the peer."""
        kept = [kept for kept in self.peer[name].kept if POSTMASTER not in kept.rcpts]
        return {path: sum(path in mail.rcpts for mail in kept) for path in self.rcpts(name)}
