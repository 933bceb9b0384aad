"""One daemon for the whole list of attacks, and a next hop that keeps every octet."""

import contextlib
import re
import socket
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.e2e.daemon import Daemon
from tests.hostile.replies import REPLIES

CONFIGURATION = """
max_size = 8M
max_recipients = 50
max_hops = 30
idle_timeout = 5s

[retry]
first = 1h
report_to = postmaster@example.com

[notification]
smtp_enabled = true
smtp_from = bugs@example.com
smtp_server = 127.0.0.1
smtp_port = {port}
use_tls = false
mime_encoding = auto
"""


@dataclass
class Received:
    """A mail at the next hop: the lines of its envelope, and its octets with the dots still stuffed."""

    sender: bytes
    recipients: list[bytes] = field(default_factory=list)
    octets: bytes = b""

    @property
    def content(self):
        """As its reader gets it."""
        return (b"\r\n" + self.octets).replace(b"\r\n.", b"\r\n")[2:]


class Hop:
    """Takes everything, in octets: only CRLF ends a line, only CRLF.CRLF a mail. Says REPLIES where a recipient asks."""

    features = b"250-hop\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n"

    def __init__(self):
        self.mails = []
        self.sock = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.port = self.sock.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.sock.accept()
                threading.Thread(target=self._talk, args=(client,), daemon=True).start()

    def _talk(self, client):
        with client, contextlib.suppress(OSError, ValueError):
            self._serve(client)

    def _serve(self, client):
        buffer = bytearray()

        def until(end):
            nonlocal buffer
            at = 0
            while (found := buffer.find(end, at)) < 0:
                at = max(len(buffer) - len(end), 0)
                piece = client.recv(1 << 20)
                if not piece:
                    raise ValueError
                buffer += piece
            said, buffer = bytes(buffer[:found]), buffer[found + len(end) :]
            return said

        client.sendall(b"220 hop\r\n")
        mail = None
        while True:
            line = until(b"\r\n")
            verb = line[:4].upper()
            answer = b"250 ok\r\n"
            if verb == b"EHLO":
                answer = self.features
            elif verb == b"MAIL":
                mail = Received(line[10:])
            elif verb == b"RCPT":
                mail.recipients.append(line[8:])
                answer = self._said(line, "rcpt") or answer
            elif verb == b"DATA":
                client.sendall(b"354 go\r\n")
                mail.octets = until(b"\r\n.\r\n") + b"\r\n"
                self.mails.append(mail)
                answer = self._said(mail.recipients[-1], "dot") or answer
            elif verb == b"QUIT":
                client.sendall(b"221 bye\r\n")
                return
            client.sendall(answer)

    @staticmethod
    def _said(line, when):
        found = re.search(rb"<reply-(\d+)-%b@" % when.encode(), line)
        return list(REPLIES.values())[int(found[1])] if found else None


class World:
    """The daemon, its next hop, and a client that says everything before it reads anything."""

    def __init__(self, daemon, hop):
        self.daemon, self.hop = daemon, hop
        self.at_first = self.memory("VmRSS")

    def say(self, octets, *, seconds=20, pause=0.0):
        """Send these octets (or pieces, one by one), end our half, and read until the relay hangs up."""
        pieces = [octets] if isinstance(octets, bytes) else octets
        with socket.create_connection(("127.0.0.1", self.daemon.port), seconds) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sender = threading.Thread(target=self._send, args=(sock, pieces, pause), daemon=True)
            sender.start()
            answers = b""
            with contextlib.suppress(ConnectionError):
                while piece := sock.recv(65536):
                    answers += piece
            sender.join(seconds)
            return answers

    @staticmethod
    def _send(sock, pieces, pause):
        with contextlib.suppress(OSError):
            for piece in pieces:
                sock.sendall(piece)
                time.sleep(pause)
            sock.shutdown(socket.SHUT_WR)

    def greeted(self):
        """Seconds until a new client is greeted."""
        began = time.monotonic()
        with socket.create_connection(("127.0.0.1", self.daemon.port), 10) as sock:
            assert sock.recv(100).startswith(b"220")
        return time.monotonic() - began

    def arrived(self, tag, number, seconds=20):
        """The mails for a recipient whose address holds `tag`, once there are that many."""
        end = time.monotonic() + seconds
        while True:
            found = [mail for mail in self.hop.mails if any(tag in rcpt for rcpt in mail.recipients)]
            if len(found) >= number or time.monotonic() > end:
                return found
            time.sleep(0.01)

    def memory(self, what):
        """Octets of memory that the daemon holds (VmRSS), or held at most (VmHWM)."""
        status = Path(f"/proc/{self.daemon.process.pid}/status").read_text()
        return int(re.search(rf"{what}:\s*(\d+)", status)[1]) << 10


@pytest.fixture(scope="module")
def world():
    with tempfile.TemporaryDirectory() as folder:
        hop = Hop()
        daemon = Daemon(Path(folder))
        daemon.configure(CONFIGURATION.format(port=hop.port)).start()
        yield World(daemon, hop)
        assert daemon.process.poll() is None, daemon.log()[-3000:]
        daemon.stop()
        hop.sock.close()
        log = daemon.log()
    assert "Traceback" not in log, log[-3000:]
    assert "local trouble" not in log, log[-3000:]
    for line in log.splitlines():
        assert line.isprintable(), line
    assert not [mail for mail in hop.mails if b"evil.test" in mail.sender + b"".join(mail.recipients)]
