"""The whole daemon as systemd starts it: sockets by systemd-socket-activate, systemd's own ears by a socket of ours."""

import os
import shutil
import signal
import smtplib
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.tools import until

ROOT = Path(__file__).resolve().parents[2]
ACTIVATE = shutil.which("systemd-socket-activate")
CONFIG = """[status]
listen =
[listener]
listen = systemd:trackers
hostname = relay.example.com
[notification]
smtp_enabled = true
smtp_from = trac@tracker.example.com
"""


class Service:
    """`tracker-relay run` under systemd-socket-activate, with the test in systemd's place."""

    def __init__(self, folder):
        self.folder = folder
        self.channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.channel.bind(str(folder / "notify"))
        self.channel.settimeout(30)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        (folder / "config.ini").write_text(CONFIG)
        self.output = folder / "log"
        self.process = None

    def start(self, *more):
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                [
                    ACTIVATE,
                    f"--listen=127.0.0.1:{self.port}",
                    "--fdname=trackers",
                    f"--setenv=NOTIFY_SOCKET={self.folder / 'notify'}",
                    *more,
                    *(sys.executable, "-m", "relay", "--config", self.folder / "config.ini", "run"),
                ],
                cwd=ROOT,
                stdout=output,
                stderr=output,
            )
        until(self._listens, "a listener")
        return self

    def _listens(self):
        """Seen without a connection, which would start the program."""
        state = f"0100007F:{self.port:04X} 00000000:0000 0A"
        return state in Path("/proc/net/tcp").read_text()

    def heard(self, wanted):
        """The next thing that is told and is no sign of life; it must begin with `wanted`."""
        while (told := self.channel.recv(4096).decode()) == "WATCHDOG=1":
            pass
        assert told.startswith(wanted), (told, self.output.read_text())
        return told

    def send(self):
        with smtplib.SMTP("127.0.0.1", self.port, timeout=30) as client:
            client.sendmail("trac@tracker.example.com", ["eve@example.org"], "Subject: hi\n\nbody\n")

    def mails(self):
        return len(list((self.folder / "var" / "outbox" / "new").glob("*")))

    def close(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(30)
        self.channel.close()


@pytest.fixture
def service(tmp_path):
    if not ACTIVATE:
        message = "left out: systemd-socket-activate is missing; run ./test as root on Debian"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    one = Service(tmp_path)
    yield one
    one.close()
    assert "Traceback" not in one.output.read_text()


def test_a_mail_that_comes_before_the_relay_starts_it_and_is_taken(service):
    service.start()
    service.send()  # systemd-socket-activate starts the program at the first connection only
    ready = service.heard("READY=1")
    assert (
        ready == f"READY=1\nSTATUS=listening on 127.0.0.1:{service.port}, unix:{service.folder}/var/submission.sock;"
        f" mail goes to the outbox {service.folder}/var/outbox"
    )
    until(lambda: service.mails() == 1, "1 mails")
    service.send()
    until(lambda: service.mails() == 2, "2 mails")
    service.process.send_signal(signal.SIGTERM)
    service.heard("STOPPING=1")
    assert service.process.wait(30) == 0


def test_a_reload_is_told_with_what_became_of_it(service):
    service.start()
    service.send()
    service.heard("READY=1")
    command = [sys.executable, "-m", "relay", "--config", service.folder / "config.ini", "reload"]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60).stdout == "reloaded\n"
    service.heard("RELOADING=1\nMONOTONIC_USEC=")
    service.heard("READY=1\nSTATUS=listening on")
    (service.folder / "config.ini").write_text(CONFIG + "smtp_form = x\n")
    service.process.send_signal(signal.SIGHUP)
    service.heard("RELOADING=1")
    assert service.heard("READY=1") == "READY=1\nSTATUS=the old configuration stays: see the log"
    service.send()
    until(lambda: service.mails() == 2, "2 mails")


def test_signs_of_life_come_from_the_running_daemon(service):
    service.start("--setenv=WATCHDOG_USEC=300000")
    service.send()
    service.heard("READY=1")
    for _ in range(3):
        assert service.channel.recv(4096) == b"WATCHDOG=1"


def test_a_name_that_systemd_does_not_know_ends_the_start_with_one_line(service):
    (service.folder / "config.ini").write_text(CONFIG.replace("systemd:trackers", "systemd:tracker"))
    service.start()
    socket.create_connection(("127.0.0.1", service.port), 10).close()
    assert service.process.wait(30) == 69
    lines = service.output.read_text().splitlines()
    assert lines[-1] == (
        "tracker-relay: [listener] listen: systemd:tracker: systemd handed over no such socket"
        " (it handed over: trackers): see its .socket unit"
    )
    assert "nobody serves the socket 'trackers' from systemd: add systemd:trackers to listen" in lines[-2]
