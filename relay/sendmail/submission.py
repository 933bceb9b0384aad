"""Submission: one mail over the relay's unix socket, or a whole SMTP session between it and standard input."""

import os
import re
import select
import socket
from collections.abc import Iterable, Iterator, Sequence

from relay import unixsocket
from relay.address import AddressError, parse_domain

EX_DATAERR, EX_NOUSER, EX_UNAVAILABLE, EX_TEMPFAIL, EX_NOPERM = 65, 67, 69, 75, 77
_PATIENCE = 300.0
"""Seconds that the relay may take for one answer."""
_STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}\b")


class Failed(Exception):
    """The mail was not taken: the exit status (sysexits.h) and one line."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def connect(path: str) -> socket.socket:
    """The relay's socket. Raises Failed."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    connection.settimeout(_PATIENCE)
    try:
        with unixsocket.short(path) as name:
            connection.connect(name)
    except PermissionError as fault:
        raise Failed(EX_NOPERM, f"this user may not use {path}: {fault.strerror}") from fault
    except OSError as fault:
        text = f"the relay is not running, no answer at {path}: {fault.strerror or fault}; try again later"
        raise Failed(EX_TEMPFAIL, text) from fault
    return connection


class Relay:
    """The relay at the other end of a connection; its refusals are Failed."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lines = connection.makefile("rb")
        _, greeting = self._reply("greeting")
        self.host = _host(greeting)
        """Its name, as it greets."""
        self._ask(f"EHLO {_host(os.uname().nodename)}")

    def submit(self, reverse_path: str, paths: Sequence[str], body: str, size: int, content: Iterable[bytes]) -> str:
        """Hand over one mail; the relay's last word, which holds the mail's id. Raises Failed."""
        parameters = f" SIZE={size}" + (f" BODY={body}" if body else "")
        if not "".join((reverse_path, *paths)).isascii():
            parameters += " SMTPUTF8"
        self._ask(f"MAIL FROM:<{reverse_path}>{parameters}")
        refusals = [text for path in paths if (text := self._recipient(path))]
        if len(refusals) == len(paths):
            raise Failed(EX_NOUSER, refusals[0])
        self._ask("DATA")
        try:
            for piece in stuffed(content):
                self._connection.sendall(piece)
            self._connection.sendall(b".\r\n")
        except (BrokenPipeError, ConnectionResetError):
            pass  # it hung up in the middle: its last words tell why
        except OSError as fault:
            raise _lost(fault) from fault
        _, text = self._reply("mail")
        return text

    def _recipient(self, path: str) -> str:
        """The relay's refusal of one recipient, "" when it takes him. Raises Failed for one that may pass."""
        try:
            self._ask(f"RCPT TO:<{path}>")
        except Failed as refused:
            if refused.status == EX_TEMPFAIL:
                raise
            return f"{path}: {refused}"
        return ""

    def _ask(self, command: str) -> str:
        try:
            self._connection.sendall(command.encode("utf-8", "surrogateescape") + b"\r\n")
        except (BrokenPipeError, ConnectionResetError):
            pass
        except OSError as fault:
            raise _lost(fault) from fault
        return self._reply(command.partition(" ")[0])[1]

    def _reply(self, what: str) -> tuple[int, str]:
        """Code and text of a positive reply. Raises Failed for any other."""
        texts: list[str] = []
        line = b""
        while not texts or line[3:4] == b"-":
            try:
                line = self._lines.readline(4096)
            except OSError as fault:
                raise _lost(fault) from fault
            if not re.match(rb"[2345]\d\d[ -]", line):
                raise Failed(EX_TEMPFAIL, "the relay hung up; try again later")
            texts.append(line[4:].decode("utf-8", "replace").strip())
        code, text = int(line[:3]), " ".join(texts)
        if code >= 400:
            raise Failed(_status(code, text, what), f"the relay says {code} {text}")
        return code, text


def _status(code: int, text: str, what: str) -> int:
    """The exit status of a refusal."""
    if code < 500:
        return EX_TEMPFAIL
    if what == "greeting":
        return EX_NOPERM
    found = _STATUS.match(text)
    return EX_DATAERR if found and found[0] in ("5.5.2", "5.1.7", "5.6.7") else EX_UNAVAILABLE


def _lost(fault: OSError) -> Failed:
    return Failed(EX_TEMPFAIL, f"the relay does not answer: {fault.strerror or fault}; try again later")


def _host(text: str) -> str:
    """The first word, if it is a host name, else the usual word for nobody's."""
    name = text.partition(" ")[0]
    try:
        return parse_domain(name)
    except AddressError:
        return "localhost"


def stuffed(content: Iterable[bytes]) -> Iterator[bytes]:
    """Lines ended by CRLF, with a second dot in front of those that begin with one (RFC 5321 4.5.2)."""
    at_start = True
    for piece in content:
        data = piece.replace(b"\n.", b"\n..")
        yield b"." + data if at_start and piece.startswith(b".") else data
        at_start = piece.endswith(b"\n")


def session(connection: socket.socket) -> None:
    """Standard input to the relay and its answers to standard output, until it hangs up. Raises OSError."""
    connection.settimeout(None)
    watched: list[int | socket.socket] = [0, connection]
    while True:
        ready, _, _ = select.select(watched, (), ())
        if connection in ready:
            answer = connection.recv(65536)
            if not answer:
                return
            view = memoryview(answer)
            while view:
                view = view[os.write(1, view) :]
        elif 0 in ready:
            said = os.read(0, 65536)
            if said:
                connection.sendall(said)
            else:
                connection.shutdown(socket.SHUT_WR)
                watched.remove(0)
