"""Gate: what a client of the listener can prove itself with: TLS of ours, and a password of its own.

Both are read when the relay starts and at each reload, and never while a client waits.
"""

import asyncio
import hashlib
import secrets
import ssl
from dataclasses import dataclass, field

from relay import challenge, namedfile, passwords
from relay.admission import ListenerOptions
from relay.challenge import Challenge
from relay.passwords import Known

_BY_PASSWORD = ("PLAIN", "LOGIN")
HANDSHAKE = 30.0
"""Seconds for a TLS handshake."""
_AT_ONCE = 2
"""Passwords that are tried at one time: each takes a core for a while."""


@dataclass(frozen=True, slots=True)
class Gate:
    """`context` is None without a certificate of ours, `known` empty without a file of passwords."""

    context: ssl.SSLContext | None = None
    known: Known = field(default_factory=dict)
    secret: bytes = field(default=b"", repr=False)
    """For the challenges to logins that nobody has: known to whom the file of passwords is known."""
    _trying: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))

    @property
    def mechanisms(self) -> tuple[str, ...]:
        """By which a client may log in, strongest first; none without passwords."""
        if not self.known:
            return ()
        return ("SCRAM-SHA-256", *_BY_PASSWORD) if challenge.offered(self.known) else _BY_PASSWORD

    def challenge(self) -> Challenge:
        """A fresh dialogue of SCRAM-SHA-256."""
        return Challenge(self.known, secrets.token_urlsafe(18), self.secret)

    async def verify(self, login: str, password: str) -> bool:
        """True for the login's own password. Tried in a thread, so that nobody else waits for it."""
        async with self._trying:
            return await asyncio.to_thread(passwords.verify, self.known, login, password)


def context_of(options: ListenerOptions) -> ssl.SSLContext | None:
    """The listener's TLS context, None without a certificate. Raises OSError, ssl.SSLError."""
    if not options.tls_certificate:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    for named in filter(None, (options.tls_certificate, options.tls_key)):
        namedfile.look(named)
    context.load_cert_chain(options.tls_certificate, options.tls_key or None, password=_no_pass_phrase)
    return context


def _no_pass_phrase() -> str:
    raise ssl.SSLError("the private key has a pass phrase: nobody is there to type it")


def gate_of(options: ListenerOptions) -> Gate:
    """The gate that [listener] asks for. Raises OSError, ssl.SSLError, UnicodeError."""
    if not options.passwd_file:
        return Gate(context_of(options))
    text = namedfile.read(options.passwd_file).decode("utf-8")
    known, _ = passwords.read(text)
    return Gate(context_of(options), known, hashlib.sha256(text.encode()).digest())


async def upgraded(transport: asyncio.Transport, protocol: asyncio.Protocol, context: ssl.SSLContext) -> object:
    """The transport that speaks TLS over this one. Raises OSError, ssl.SSLError, TimeoutError."""
    loop = asyncio.get_running_loop()
    made = await loop.start_tls(transport, protocol, context, server_side=True, ssl_handshake_timeout=HANDSHAKE)
    if made is None:  # it was closed meanwhile
        raise ConnectionResetError("connection lost")
    return made
