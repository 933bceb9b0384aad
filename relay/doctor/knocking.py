"""Knocking: connect to where the relay listens, as any client does, and hear its greeting; no mail is begun."""

import contextlib
import errno
import os
import re
import socket
import ssl
from dataclasses import dataclass

from relay import unixsocket
from relay.admission import Listen
from relay.securing import IMPLICIT_PORT

PATIENCE = 5.0
"""Seconds for the connection, and again for the greeting."""
OURS = re.compile(r"220 (?P<name>\S+) ESMTP")
"""The relay's greeting, and nobody else's: others add their own name."""
POLICY = (errno.EACCES, errno.EPERM)
"""What SELinux, AppArmor or a firewall of this host says; a server that is down says ECONNREFUSED."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The greeting, or why there is none: the error's number (0 for another reason) and words."""

    greeting: str = ""
    error: int = 0
    text: str = ""

    @property
    def name(self) -> str:
        """The name in our own greeting; "" when it is none of ours."""
        found = OURS.fullmatch(self.greeting)
        return found["name"] if found else ""

    @property
    def is_policy(self) -> bool:
        """True when a policy of this host forbids it."""
        return self.error in POLICY


def knock(listen: Listen, *, has_certificate: bool = False) -> Answer:
    """Connect there, hear one line, say QUIT; over TLS where a listener with a certificate speaks it at once."""
    try:
        with contextlib.closing(_connected(listen, tls=has_certificate and listen.port == IMPLICIT_PORT)) as connection:
            connection.settimeout(PATIENCE)
            with connection.makefile("rb") as lines:
                greeting = lines.readline(1024).decode("utf-8", "replace").strip()
            with contextlib.suppress(OSError):
                connection.sendall(b"QUIT\r\n")
    except TimeoutError:
        return Answer(error=errno.ETIMEDOUT, text="no answer in time")
    except (OSError, UnicodeError) as fault:
        number = fault.errno if isinstance(fault, OSError) and fault.errno and fault.errno > 0 else 0
        return Answer(error=number, text=os.strerror(number) if number else str(fault))
    return Answer(greeting) if greeting else Answer(text="it hung up without a word")


def _connected(listen: Listen, *, tls: bool) -> socket.socket:
    if not listen.path:
        plain = socket.create_connection((listen.reachable.host, listen.port), PATIENCE)
        return _over_tls(plain) if tls else plain
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(PATIENCE)
        with unixsocket.short(listen.path) as name:
            connection.connect(name)
    except BaseException:
        connection.close()
        raise
    return connection


def _over_tls(plain: socket.socket) -> socket.socket:
    """It is ourselves whom we ask: no certificate need prove that."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        return context.wrap_socket(plain)
    except BaseException:
        plain.close()
        raise
