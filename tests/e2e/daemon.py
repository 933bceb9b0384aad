"""The daemon in a process of its own."""

import json
import re
import signal
import smtplib
import subprocess
import sys
import textwrap

import pytest

from tests.e2e.tools import PASSWORD, ROOT, answers, free_port, until


class Daemon:
    """`tracker-relay run` with a configuration, in a process of its own."""

    program = ("-m", "relay")

    def __init__(self, folder):
        self.folder = folder
        self.port = free_port()
        self.process = None
        self.output = folder / "relay.log"

    def configure(self, text):
        (self.folder / "password").write_text(PASSWORD + "\n")
        (self.folder / "password").chmod(0o600)
        body = textwrap.dedent(text)
        head = f"[listener]\nlisten = 127.0.0.1:{self.port}\nhostname = relay.example.com\n"
        head = head if "[status]" in body else f"[status]\nlisten =\n{head}"
        listener, mark, rest = body.partition("[notification]")
        (self.folder / "config.ini").write_text(head + listener + mark + rest)
        return self

    def start(self):
        arguments = [sys.executable, *self.program, "--config", self.folder / "config.ini", "run"]
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(arguments, cwd=ROOT, stdout=output, stderr=output)
        until(lambda: answers(self.port) or self.process.poll() is not None, "the relay")
        assert self.process.poll() is None, self.log()
        return self

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.process.wait(30)

    def kill(self):
        self.process.kill()
        self.process.wait(10)

    def log(self):
        return self.output.read_text() if self.output.exists() else ""

    def wait_log(self, pattern, seconds=30):
        return until(lambda: re.search(pattern, self.log()), f"{pattern!r} in the log:\n{self.log()}", seconds)

    def wait_sent(self, number, seconds=30):
        until(lambda: self.log().count("status=sent") >= number, f"{number} times sent:\n{self.log()[-3000:]}", seconds)

    def send(self, octets, rcpt=("eve@example.org",), mail_from="trac@tracker.example.com"):
        with smtplib.SMTP("127.0.0.1", self.port, timeout=30) as client:
            client.sendmail(mail_from, list(rcpt), octets)

    def outbox(self):
        """Every mail in the outbox with its envelope."""
        found = []
        for path in sorted((self.folder / "var" / "outbox" / "new").glob("*")):
            envelope = json.loads((self.folder / "var" / "outbox" / "envelope" / f"{path.name}.json").read_text())
            found.append((path.read_bytes(), envelope))
        return found


@pytest.fixture
def daemon(tmp_path):
    """A relay to configure and start; ended at the test's end."""
    folder = tmp_path / "relay"
    folder.mkdir()
    one = Daemon(folder)
    yield one
    if one.process and one.process.poll() is None:
        one.stop()
    assert "Traceback" not in one.log(), one.log()
    assert PASSWORD not in one.log()
