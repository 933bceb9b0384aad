"""The drop-in as a command of its own, and relays that answer it: a real daemon, or one that follows a script."""

import os
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass

import pytest

from tests.e2e.daemon import daemon
from tests.e2e.tools import ROOT

__all__ = ["daemon"]

COMMAND = (sys.executable, "-c", "import sys; from relay.sendmail import command; sys.exit(command())")


@dataclass
class Ended:
    status: int
    out: str
    err: str


class DropIn:
    """Runs the command as a program would, its output captured."""

    def __init__(self):
        self.environ = {k: v for k, v in os.environ.items() if not k.startswith("TRACKER_RELAY_")} | {
            "PYTHONPATH": str(ROOT)
        }

    def __call__(self, *words, mail=b"", command=COMMAND, **more):
        ended = subprocess.run(
            [*command, *words], input=mail, capture_output=True, env=self.environ, timeout=60, **more
        )
        return Ended(ended.returncode, ended.stdout.decode(), ended.stderr.decode())


@pytest.fixture
def drop_in():
    return DropIn()


@pytest.fixture
def relay(daemon, drop_in):
    """A running daemon whose mail stays in its outbox, and the drop-in that finds it by its configuration."""

    def start(listener="", notification="rewrite = off\n"):
        more = "smtp_default_domain = corp.example.com\n"
        daemon.configure(
            f"{listener}\n[notification]\nsmtp_enabled = true\nsmtp_from = bugs@example.com\n{more}{notification}"
        )
        drop_in.environ["TRACKER_RELAY_CONFIG"] = str(daemon.folder / "config.ini")
        return daemon.start()

    return start


class Scripted:
    """A relay on a unix socket that says what a script says: pairs of a verb and the answer to it.

    An answer of None hangs up. "" is the verb of the greeting, "." the mail's own.
    """

    def __init__(self, path, **answers):
        self.answers = {
            "": "220 relay.example.com ESMTP",
            "EHLO": "250-relay.example.com\r\n250 SIZE 1000",
            "MAIL": "250 2.1.0 ok",
            "RCPT": "250 2.1.5 ok",
            "DATA": "354 go",
            ".": "250 2.0.0 queued as x",
        } | answers
        self.heard = []
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(path))
        self._listening.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        self._listening.settimeout(20)
        client, _ = self._listening.accept()
        with client, client.makefile("rb") as lines:
            client.settimeout(20)
            verb = ""
            while True:
                answer = self.answers[verb]
                if answer is None:
                    return
                client.sendall(answer.encode() + b"\r\n")
                if answer.startswith("354"):
                    while (line := lines.readline()) not in (b".\r\n", b""):
                        self.heard.append(line)
                    verb = "."
                    continue
                line = lines.readline()
                if not line:
                    return
                self.heard.append(line)
                verb = line[:4].decode()

    def close(self):
        self._listening.close()
        self._thread.join(20)


@pytest.fixture
def scripted(tmp_path, drop_in):
    made = []

    def make(**answers):
        path = tmp_path / "scripted.sock"
        drop_in.environ["TRACKER_RELAY_SOCKET"] = str(path)
        made.append(Scripted(path, **answers))
        return made[-1]

    yield make
    for one in made:
        one.close()
