"""The stage of these tests: the relay as a process that can be killed, clients that note what was acknowledged."""

import contextlib
import itertools
import os
import signal
import smtplib
import socket
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

from tests.crash.sink import Sink, octets
from tests.e2e.tools import ROOT, free_port, until

CONFIG = """\
[listener]
listen = 127.0.0.1:{port}
hostname = relay.example.com
[status]
listen =
[spool]
path = {spool}
{options}
[retry]
first = 1s
longest = 2s
[notification]
smtp_enabled = true
smtp_server = 127.0.0.1
smtp_port = {sink}
tls = none
smtp_from = tracker@tracker.example.com
mime_encoding = auto
smtp_subject_prefix =
"""
COUNT = """
import sqlite3, sys
connection = sqlite3.connect(f"file:{sys.argv[1]}/spool.sqlite?mode=ro", uri=True)
print(connection.execute("SELECT count(*) FROM entries").fetchone()[0])
"""
KILLED = -signal.SIGKILL
ENOUGH = 3
"""Starts of which a median is asked."""


class Relay:
    """`tracker-relay run` in a process of its own; `prefix` is put in front of its command."""

    def __init__(self, folder, sink, *, spool=None, options="", prefix=()):
        self.folder, self.port, self.prefix = folder, free_port(), list(prefix)
        self.spool = spool or folder / "spool"
        self.config = folder / "config.ini"
        text = CONFIG.format(port=self.port, spool=self.spool, options=options, sink=sink.port)
        self.config.write_text(text)
        self.output = folder / "relay.log"
        self.process = None
        self.greeted = []
        """Seconds from each start to its first greeting, and of processor time in them."""

    def start(self, *prefix):
        """Start it and wait for its greeting; with `prefix` in the interpreter's and module's place it may die before."""
        command = [*self.prefix, *(prefix or (sys.executable, "-m", "relay")), "--config", self.config, "run"]
        began = time.monotonic()
        with self.output.open("ab") as output:
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output, env=environment)
        until(lambda: self.process.poll() is not None or self._greets(), f"a greeting:\n{self.log()[-3000:]}")
        if not prefix:
            assert self.process.poll() is None, self.log()[-3000:]
            self.greeted.append((time.monotonic() - began, _cpu(self.process.pid)))
        return self

    def _greets(self):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as sock:
            return sock.recv(100).startswith(b"220")
        return False

    def kill(self):
        self.process.kill()
        self.process.wait(20)

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(30)

    def log(self):
        return self.output.read_text(errors="replace") if self.output.exists() else ""

    def waiting(self):
        """How many mails are in the spool, read beside a relay that runs or not, where it sees its disk."""
        done = subprocess.run(
            [*self.prefix, sys.executable, "-c", COUNT, self.spool], capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return int(done.stdout)

    def check_empty(self, seconds=20):
        """Nothing is stuck in the queue, no file is left behind, nothing was set aside."""
        until(lambda: self.waiting() == 0, "an empty queue", seconds)
        until(lambda: not list((self.spool / "bodies").iterdir()), "no body file", 5)
        assert not (self.spool / "corrupt").exists()


def _cpu(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def check_greetings(greeted):
    """A restart greets within a second; where others use the machine too, that is a second of processor time.

    One that happened to be slow says nothing: it takes a few to tell.
    """
    wall, cpu = (statistics.median(times) for times in zip(*greeted, strict=True))
    print(f"start to first greeting: {wall:.2f} s, {cpu:.2f} s of them processor time (medians of {len(greeted)})")
    if len(greeted) < ENOUGH:
        return
    assert cpu <= 1.0
    if os.getloadavg()[0] < (os.cpu_count() or 1):
        assert wall <= 1.0


class Clients:
    """Threads that send mail without end, each on connections of its own; what got its 250 is in `acknowledged`."""

    def __init__(self, port, number=8, *, large=10, prefix="m", pace=0.0):
        self.port, self.large, self.prefix, self.pace = port, large, prefix, pace
        self.acknowledged = []
        self.refused = []
        self._numbers = itertools.count()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(number)]
        for thread in self._threads:
            thread.start()

    def _run(self):
        while not self._stop.is_set():
            try:
                with smtplib.SMTP("127.0.0.1", self.port, timeout=10) as client:
                    for _ in range(20):
                        if self._stop.is_set():
                            return
                        self._one(client)
            except (OSError, smtplib.SMTPException):
                time.sleep(0.02)

    def _one(self, client):
        number = next(self._numbers)
        token = f"{'L' if self.large and number % self.large == 0 else 'S'}{self.prefix}{number}"
        try:
            client.sendmail("tracker@tracker.example.com", [f"eve-{token}@example.org"], octets(token))
        except smtplib.SMTPResponseException as refusal:
            self.refused.append((token, refusal.smtp_code))
        except smtplib.SMTPSenderRefused as refusal:
            self.refused.append((token, refusal.smtp_code))
        else:
            self.acknowledged.append(token)
        if self.pace:
            time.sleep(self.pace)

    def stop(self):
        self._stop.set()
        for thread in self._threads:
            thread.join(20)


def send(port, token, rcpt=None, timeout=10):
    """One mail; True when it was acknowledged."""
    try:
        with smtplib.SMTP("127.0.0.1", port, timeout=timeout) as client:
            client.sendmail("tracker@tracker.example.com", [rcpt or f"eve-{token}@example.org"], octets(token))
    except (OSError, smtplib.SMTPException):
        return False
    return True


def arrived(sink, tokens, seconds=30):
    """Wait until every token has arrived whole; fails with those that have not."""
    wanted = set(tokens)

    def missing():
        wanted.difference_update(token for token in list(wanted) if sink.taken.get(token))
        return not wanted

    with contextlib.suppress(AssertionError):
        until(missing, "", seconds)
    assert not wanted, f"LOST: {len(wanted)} acknowledged mails, {sorted(wanted)[:5]} ..."
    torn = [token for token, times in sink.taken.items() if not all(delivery.whole for delivery in times)]
    assert not torn, f"CORRUPT: {torn[:5]}"


def doubled(sink):
    """Tokens that arrived more than once, with the time of the first reply."""
    return {token: times[0].at for token, times in sink.taken.items() if len(times) > 1}


__all__ = ["KILLED", "Clients", "Relay", "Sink", "arrived", "check_greetings", "doubled", "octets", "send"]
