"""A next hop of a few lines, and a relay whose commands are run as an administrator runs them."""

import re
import socket
import subprocess
import sys
import threading
import time

import pytest


class Hop:
    """It accepts mail and keeps each Subject; `delay` seconds before the final reply.

    `refuse` maps a recipient's local part to the reply of its RCPT; a function is asked each time.
    With `log_in`, a function from the AUTH command to its reply, it offers AUTH PLAIN.
    """

    def __init__(self):
        self.subjects = []
        self.mails = []
        self.delay = 0.0
        self.refuse = {}
        self.log_in = None
        self.sock = socket.create_server(("127.0.0.1", 0), backlog=100)
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
            lines.write(text + b"\r\n")
            lines.flush()

        say(b"220 hop")
        taken = 0
        while line := lines.readline():
            answer = b"250 ok"
            if line.startswith(b"MAIL"):
                taken = 0
            elif line.startswith(b"EHLO") and self.log_in:
                answer = b"250-hop\r\n250 AUTH PLAIN"
            elif line.startswith(b"AUTH") and self.log_in:
                answer = self.log_in(line.strip())
            elif line.startswith(b"RCPT"):
                answer = self._rcpt(line)
                taken += answer.startswith(b"2")
            elif line.startswith(b"DATA") and not taken:
                answer = b"554 5.5.1 no valid recipients"
            elif line.startswith(b"DATA"):
                say(b"354 go")
                octets = b""
                while (line := lines.readline()) != b".\r\n":
                    octets += line
                time.sleep(self.delay)
                self.mails.append(octets)
                self.subjects.append(re.search(rb"Subject: (.*)\r", octets)[1].decode())
            elif line.startswith(b"QUIT"):
                return
            say(answer)

    def _rcpt(self, line):
        local = re.search(rb"<([^@>]*)", line)[1].decode()
        answer = self.refuse.get(local, "250 ok")
        return (answer() if callable(answer) else answer).encode()


@pytest.fixture
def hop():
    made = Hop()
    yield made
    made.sock.close()


class Administrator:
    """Types commands about one relay."""

    def __init__(self, daemon):
        self.config = daemon.folder / "config.ini"

    def run(self, *arguments, **more):
        line = [sys.executable, "-m", "relay", "--config", str(self.config), *arguments]
        return subprocess.run(line, capture_output=True, timeout=60, **more)

    def command(self, *arguments, status=0, **more):
        """What it printed, standard error last; fails unless the exit status is `status`."""
        result = self.run(*arguments, **more)
        assert result.returncode == status, (result.returncode, result.stdout, result.stderr)
        assert b"Traceback" not in result.stderr
        return result.stdout.decode() + result.stderr.decode()


def hopping(daemon, port, first="1h"):
    """A configuration that relays to that port of ours."""
    return daemon.configure(
        f"""
        [retry]
        first = {first}
        longest = {first}

        [notification]
        smtp_enabled = true
        smtp_from = bugs@example.com
        smtp_server = 127.0.0.1
        smtp_port = {port}
        use_tls = false
        """
    )


@pytest.fixture
def relay(daemon):
    """A relay with `set_hop(port)` and `command(...)`."""
    daemon.set_hop = lambda port, first="1h": hopping(daemon, port, first)
    daemon.run = Administrator(daemon).run
    daemon.command = Administrator(daemon).command
    daemon.run_json = lambda *arguments: daemon.run(*arguments, "--json").stdout
    return daemon
