"""An upstream that misbehaves to order: every case of the table has a port of its own, all of them in this process.

A script maps a stage to what happens there: a text is the reply (its lines as they stand), a function does as
it likes. Stages: greeting, EHLO, EHLO again (inside TLS), STARTTLS, handshake, AUTH, AUTH again (behind a 334),
MAIL, RCPT, RCPT:2 (the second one), DATA, content (its first octets are there), dot, QUIT. A list is a step
for each connection, of which the last one stays.
"""

import base64
import contextlib
import re
import selectors
import socket
import struct
import threading
import time
from dataclasses import dataclass, field

USER, PASSWORD = "me", "correct-horse-battery"
FEATURES = ("PIPELINING", "SIZE 10000000", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES")
LONGEST = 15.0
"""Seconds after which a session that nobody ends is over."""


class Over(Exception):
    """the session is at its end"""


# -- what may happen at any stage --------------------------------------------------------------------


def close(_talk):
    """Hang up, with a FIN."""
    raise Over


def reset(talk):
    """Hang up, with an RST."""
    talk.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raise Over


def stall(talk):
    """Say nothing, until the other side gives up; what it sends meanwhile is lost."""
    talk.wait_for_the_end()
    raise Over


def drip(talk):
    """A reply, an octet at a time, that has no end in any time one would wait for."""
    for octet in b"250-" + b"x" * 100:
        talk.send(bytes([octet]))
        time.sleep(0.25)
    raise Over


def garbage(talk):
    """What is no SMTP at all."""
    talk.send(b"\xff\xfe\0 what? \r\n\x1b[31mnonsense\r\n")


def flood(talk):
    """A reply without end, as fast as it is taken."""
    for _ in range(400):
        talk.send(b"250-" + b"x" * 10_000 + b"\r\n")
    raise Over


def half(talk):
    """The first line of a reply that should have more, then the end."""
    talk.send(b"250-and\r\n")
    raise Over


def say(*replies):
    """These replies, in one piece."""
    return "\r\n".join(replies)


def then(reply, act):
    """A reply, then something worse."""

    def both(talk):
        talk.send(reply.encode() + b"\r\n")
        act(talk)

    return both


# -- the server --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kept:
    """One mail that a peer took, whatever it said about it."""

    rcpts: tuple
    octets: bytes


@dataclass(eq=False)
class Peer:
    """One port, one script. `cured` ends the misbehaviour. `clear` is every octet that came outside TLS."""

    script: dict
    contexts: dict
    implicit: bool = False
    cured: bool = False
    clear: bytearray = field(default_factory=bytearray)
    kept: list = field(default_factory=list)
    log_ins: int = 0
    sessions: int = 0
    port: int = 0

    def __post_init__(self):
        if self.script.get("connect") == "refused":
            self.listening = socket.socket()
            self.listening.bind(("127.0.0.1", 0))  # taken, and nobody listens
        else:
            self.listening = socket.create_server(("127.0.0.1", 0), backlog=50)
            self.listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        self.port = self.listening.getsockname()[1]

    def listen(self):
        """Cured of refusing connections."""
        self.listening.listen(50)


class Peers:
    """Every peer, served by one thread that accepts and one for each session."""

    def __init__(self):
        self.all = []
        self._selector = selectors.DefaultSelector()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def add(self, peer):
        self.all.append(peer)
        if peer.script.get("connect") != "refused":
            self._selector.register(peer.listening, selectors.EVENT_READ, peer)
        return peer

    def cure(self, peer):
        peer.cured, peer.implicit = True, False
        if peer.script.get("connect") == "refused":
            peer.listen()
            self._selector.register(peer.listening, selectors.EVENT_READ, peer)

    def stop(self):
        self._stopping.set()
        self._thread.join(5)
        for peer in self.all:
            peer.listening.close()
        self._selector.close()

    def _accept(self):
        while not self._stopping.is_set():
            for key, _ in self._selector.select(0.05):
                taken, _ = key.fileobj.accept()
                key.data.sessions += 1
                talk = Talk(key.data, taken)
                threading.Thread(target=talk.run, daemon=True).start()


class Talk:
    """One session, as the script has it."""

    def __init__(self, peer, taken):
        self.peer, self.socket = peer, taken
        self.socket.settimeout(LONGEST)
        self.script = {} if peer.cured else peer.script
        self.number = peer.sessions - 1
        self.secured = False
        self.buffer = b""
        self.rcpts, self.asked = [], 0

    def run(self):
        with contextlib.suppress(Over, OSError, ValueError):
            if self.peer.implicit:
                self.start_tls()
            self.act("greeting", "220 peer.example.net ESMTP")
            while line := self.line():
                self.command(line)
        with contextlib.suppress(OSError):
            self.socket.close()

    # -- octets

    def send(self, octets):
        self.socket.sendall(octets)

    def receive(self):
        octets = self.socket.recv(65536)
        if not self.secured:
            self.peer.clear += octets
        return octets

    def line(self):
        while b"\n" not in self.buffer:
            octets = self.receive()
            if not octets:
                return b""
            self.buffer += octets
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line + b"\n"

    def wait_for_the_end(self):
        with contextlib.suppress(OSError):
            while self.receive():
                pass

    # -- the script

    def step(self, stage, default):
        step = self.script.get(stage, default)
        return step[min(self.number, len(step) - 1)] if isinstance(step, list) else step

    def act(self, stage, default):
        """Do what stands there; the reply's text, "" where it was no reply."""
        step = self.step(stage, default)
        if callable(step):
            step(self)
            return ""
        self.send(step.encode("utf-8", "surrogateescape") + b"\r\n")
        if step.startswith("421"):
            raise Over
        return step

    def command(self, line):
        verb = line.split(maxsplit=1)[0].upper().decode("ascii", "replace") if line.strip() else ""
        match verb:
            case "EHLO":
                self.act("EHLO again" if self.secured and not self.peer.implicit else "EHLO", self.offer())
            case "STARTTLS":
                if self.act("STARTTLS", "220 go ahead").startswith("220"):
                    self.start_tls()
            case "AUTH":
                self.log_in(line)
            case "MAIL":
                self.rcpts, self.asked = [], 0
                self.act("MAIL", "250 2.1.0 ok")
            case "RCPT":
                self.asked += 1
                stage = f"RCPT:{self.asked}"
                if self.act(stage if stage in self.script else "RCPT", "250 2.1.5 ok").startswith("2"):
                    self.rcpts.append(re.search(rb"<(.*)>", line)[1].decode())
            case "DATA":
                if "354" in self.act("DATA", "354 go ahead"):
                    self.content()
            case "QUIT":
                self.act("QUIT", "221 bye")
                raise Over
            case "RSET" | "NOOP" | "HELO":
                self.act(verb, "250 ok")
            case _:
                self.send(b"500 5.5.2 what?\r\n")

    def offer(self):
        offers = ["peer.example.net", *self.step("features", FEATURES)]
        if self.secured:
            offers.append(self.step("offers", "AUTH PLAIN"))
        elif self.script.get("plain") is None:
            offers.append(self.step("before TLS", "STARTTLS"))
        offers = [offer for offer in offers if offer]
        return "\r\n".join([*(f"250-{offer}" for offer in offers[:-1]), f"250 {offers[-1]}"])

    def start_tls(self):
        step = self.step("handshake", "good")
        if callable(step):
            step(self)
            self.wait_for_the_end()
            raise Over
        self.buffer = b""
        self.socket = self.peer.contexts[step].wrap_socket(self.socket, server_side=True)
        self.secured = True
        if self.script.get("secured"):
            self.script["secured"](self)

    def log_in(self, line):
        self.peer.log_ins += 1
        right = base64.b64encode(f"\0{USER}\0{PASSWORD}".encode())
        said = self.act("AUTH", "235 2.7.0 in" if line.split()[-1] == right else "535 5.7.8 no")
        while said.startswith("334"):
            if not self.line():
                raise Over
            said = self.act("AUTH again", "501 5.7.0 broken off")

    def content(self):
        if "content" in self.script:
            self.buffer += self.receive()
            self.act("content", "")
        octets = bytearray(b"\r\n" + self.buffer)
        while (end := octets.find(b"\r\n.\r\n", max(0, len(octets) - 70_000))) < 0:
            more = self.receive()
            if not more:
                raise Over
            octets += more
        self.buffer = bytes(octets[end + 5 :])
        octets = bytes(octets[2 : end + 2]).replace(b"\r\n..", b"\r\n.").removeprefix(b".")
        step = self.step("dot", "250 2.0.0 kept")
        if octets and not (isinstance(step, str) and step[0] in "45"):
            self.peer.kept.append(Kept(tuple(self.rcpts), octets))
        self.act("dot", "250 2.0.0 kept")
