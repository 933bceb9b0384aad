"""Link: one connection to a next hop, from the name to the log-in, then ready for transactions.

aiosmtplib reads the greeting, says EHLO, upgrades to TLS and carries AUTH; then the connection is
handed to a `Dialogue` of our own, since its `sendmail` shortens addresses, holds a mail several times in
memory, loses the answers that came before a fault and takes one time limit for everything.

Whatever goes wrong here is a LinkFault: a Reply that defers the mail (a greeting of 5xx too: the
mail is not to blame) and the cause that tells who can mend it.
"""

import asyncio
import secrets
import socket
import ssl
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import aiosmtplib

from relay import auth, lookup, proving, tls
from relay.auth.binding import end_point
from relay.dane import Finding
from relay.dialogue import Dialogue
from relay.entry import Cause
from relay.errors import NoToken
from relay.linkfault import LinkFault, faults, words
from relay.options import Secret
from relay.reply import Reply
from relay.routing import Upstream
from relay.tls import Demand, Level
from relay.transaction import Features, Timeouts

NO_TOKEN = Secret("")
FRAGILE = ("Dovecot",)
"""In the greetings of servers that offer PIPELINING and die of an envelope behind a final dot (Dovecot 2.3)."""


@dataclass(slots=True)
class Seen:
    """What a connection has shown so far, stage by stage, for people: one that fails leaves here how far it came."""

    greeting: str = ""
    level: Level | None = None
    """None until it is known, which is after EHLO and STARTTLS."""
    wanted: Demand | None = None
    """What it must be, once DNS has been asked."""
    published: Finding | None = None
    """The TLSA records, where DANE is the proof."""
    version: str = ""
    cipher: str = ""
    certificate: dict[str, Any] = field(default_factory=dict)
    """As `ssl` reads it; empty where it was not verified."""
    certificate_octets: bytes = b""
    """The server's own, in DER; there also where it was not accepted."""
    keywords: dict[str, str] = field(default_factory=dict)
    """Of the last EHLO, in upper case, with their parameters."""
    mechanisms: tuple[str, ...] = ()
    mechanism: str = ""
    """By which it was logged in, or tried to."""
    tls_fault: Reply | None = None
    """Why opportunistic TLS was given up."""

    def secured(self, client: aiosmtplib.SMTP, level: Level) -> None:
        """Take down what stands after EHLO and TLS."""
        self.level = level
        self.keywords = {name.upper(): value for name, value in client.esmtp_extensions.items()}
        self.mechanisms = tuple(dict.fromkeys(name.upper() for name in _offers(client)))
        if inner := client.get_transport_info("ssl_object"):
            self.version, self.cipher = inner.version(), (inner.cipher() or ("",))[0]
            self.certificate = inner.getpeercert() or {}


class TlsaSource(Protocol):
    """Where the TLSA records of a server come from."""

    async def find(self, server: str, port: int) -> Finding:
        """What is published. Raises nothing."""


class TokenSource(Protocol):
    """Where the access tokens of upstreams come from."""

    async def current(self, upstream: Upstream) -> Secret:
        """The token to log in with. Raises NoToken."""

    async def refused(self, upstream: Upstream, token: Secret) -> Secret | None:
        """The server refused that one: another, or None."""


async def connect(
    upstream: Upstream,
    context: ssl.SSLContext,
    timeouts: Timeouts,
    hostname: str,
    tokens: TokenSource | None = None,
    *,
    published: TlsaSource | None = None,
    seen: Seen | None = None,
) -> Dialogue:
    """A connection to the first address that answers, secured and logged in. Raises LinkFault.

    An access token that the server refuses is replaced, and the connection made anew, once. `published` is
    asked where DANE is the proof; `seen` is told what the connection shows on its way.
    """
    seen = seen or Seen()
    seen.wanted = tls.demand(upstream)
    try:
        if seen.wanted.proof == "dane":
            assert published is not None, "DANE, and nobody to ask for TLSA records"
            seen.published = await published.find(upstream.server, upstream.port)
            seen.wanted = _allowed(tls.by_dane(seen.wanted, seen.published), upstream)
        seen.wanted = _allowed(tls.by_policy(seen.wanted, upstream), upstream)
        return await _with_token(upstream, context, timeouts, hostname, tokens, seen=seen)
    except LinkFault as fault:
        fault.tls_level = tls.told(seen.wanted, seen.level, fault.cause)
        raise


def _allowed(wanted: Demand | tls.Barred, upstream: Upstream) -> Demand:
    """Raises LinkFault where nobody may be connected to."""
    if isinstance(wanted, tls.Barred):
        raise LinkFault(wanted.reply, wanted.cause, f"{upstream.server}:{upstream.port}")
    return wanted


async def _with_token(
    upstream: Upstream,
    context: ssl.SSLContext,
    timeouts: Timeouts,
    hostname: str,
    tokens: TokenSource | None,
    *,
    seen: Seen,
) -> Dialogue:
    if upstream.oauth is None:
        return await _connect(upstream, context, timeouts, hostname, seen=seen)
    assert tokens is not None, "an upstream with tokens, and nobody who has them"
    try:
        token = await tokens.current(upstream)
        try:
            return await _connect(upstream, context, timeouts, hostname, token, seen=seen)
        except LinkFault as fault:
            newer = await tokens.refused(upstream, token) if fault.refused else None
            if newer is None:
                raise
        return await _connect(upstream, context, timeouts, hostname, newer, seen=seen)
    except NoToken as fault:
        place = f"{upstream.server}:{upstream.port}"
        raise LinkFault(Reply(454, "4.7.0", str(fault)), Cause.TOKEN, place) from fault


async def _connect(
    upstream: Upstream,
    context: ssl.SSLContext,
    timeouts: Timeouts,
    hostname: str,
    token: Secret = NO_TOKEN,
    *,
    seen: Seen,
) -> Dialogue:
    assert seen.wanted is not None
    with_tls = seen.wanted.tls_wanted
    if seen.wanted.proof != "pkix" and context.verify_mode is ssl.CERT_REQUIRED:
        context = proving.bare(upstream)
    try:
        try:
            return await _one(upstream, context, timeouts, hostname, token, seen=seen, with_tls=with_tls)
        except proving.Anchored as shown:
            context = proving.anchored(upstream, shown.anchors)
        return await _one(upstream, context, timeouts, hostname, token, seen=seen, with_tls=with_tls)
    except proving.NotProven as fault:
        place = f"{upstream.server}:{upstream.port}"
        raise LinkFault(Reply(454, "4.7.5", f"TLS failed: {fault}"), Cause.TLS, place) from fault
    except LinkFault as fault:
        # Opportunistic TLS asks for no proof and no secrecy: a server whose TLS is broken still gets mail.
        if fault.cause is not Cause.TLS or seen.wanted.tls_required:
            raise
        seen.tls_fault = fault.reply
    return await _one(upstream, context, timeouts, hostname, token, seen=seen, with_tls=False)


async def _one(
    upstream: Upstream,
    context: ssl.SSLContext,
    timeouts: Timeouts,
    hostname: str,
    token: Secret,
    *,
    seen: Seen,
    with_tls: bool,
) -> Dialogue:
    wanted = seen.wanted or tls.demand(upstream)
    sock, host = await _dial(upstream, timeouts.connect)
    client = aiosmtplib.SMTP(
        hostname=_sni(upstream, seen),
        sock=sock,
        use_tls=with_tls and wanted.tls_first,
        start_tls=False,
        tls_context=context,
        local_hostname=hostname,
        timeout=timeouts.greeting,
    )
    async with faults(host):
        try:
            greeting = await client.connect()
            seen.greeting = f"{greeting.code} {greeting.message}"
            client.timeout = timeouts.command
            if client.use_tls:
                level = _proven(client, upstream, wanted, host, seen=seen)
                await _hello(client)
            else:
                await _hello(client)
                level = Level.PLAIN
                if with_tls and await _start_tls(client, wanted, timeouts, host, _sni(upstream, seen)):
                    level = _proven(client, upstream, wanted, host, seen=seen)
                    await client.ehlo()
            seen.secured(client, level)
            if missed := wanted.missed(level):
                raise LinkFault(Reply(454, "4.7.5", missed), Cause.TLS, host)
            if upstream.logs_in:
                await _log_in(client, upstream, token, level, host, seen=seen)
            dialogue = _take_over(client, host, timeouts, wanted, level)
            dialogue.hide(upstream.password.reveal(), token.reveal())
            dialogue.eager = not any(name in seen.greeting for name in FRAGILE)
            return dialogue
        except BaseException:
            # Cut it: a polite end of TLS would wait for a peer that may not answer.
            if transport := cast("asyncio.Transport | None", client.transport):
                transport.abort()
            client.close()
            raise


async def _dial(upstream: Upstream, limit: float) -> tuple[socket.socket, str]:
    """A connected socket: every address of the name is tried, in the system's order."""
    loop = asyncio.get_running_loop()
    if upstream.server.startswith("unix:"):
        found: lookup.Found = [(socket.AF_UNIX, socket.SOCK_STREAM, 0, "", upstream.server[5:])]
    elif upstream.addresses:
        found = lookup.numeric(upstream.addresses, upstream.port)
    else:
        try:
            async with asyncio.timeout(limit):
                found = await lookup.addresses(upstream.server.strip("[]"), upstream.port)
        except (OSError, TimeoutError, UnicodeError) as fault:
            text = f"the name {upstream.server} does not resolve: {words(fault)}"
            raise LinkFault(Reply(451, "4.4.3", text), Cause.DNS, upstream.server) from fault
    last: Exception = OSError("it has no address")
    host = _named(upstream, found[0][4]) if found else upstream.server
    for family, kind, protocol, _, address in found:
        host = _named(upstream, address)
        sock = socket.socket(family, kind, protocol)
        sock.setblocking(False)
        try:
            async with asyncio.timeout(limit):
                await loop.sock_connect(sock, address)
            if family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return sock, host
        except (OSError, TimeoutError) as fault:
            sock.close()
            last = fault
        except BaseException:
            sock.close()
            raise
    raise LinkFault(Reply(451, "4.4.1", f"connect to {host}: {words(last)}"), Cause.CONNECT, host)


def _sni(upstream: Upstream, seen: Seen) -> str:
    """The name that TLS says: with DANE the TLSA base domain (RFC 7672 8.1)."""
    by_dane = seen.wanted is not None and seen.wanted.proof == "dane"
    return seen.published.names[0] if by_dane and seen.published else upstream.server


def _named(upstream: Upstream, address: object) -> str:
    if isinstance(address, tuple):
        return f"{upstream.server.strip('[]')}[{address[0]}]:{address[1]}"
    return upstream.server


async def _hello(client: aiosmtplib.SMTP) -> None:
    """EHLO; HELO for a server that knows no ESMTP."""
    try:
        await client.ehlo()
    except aiosmtplib.SMTPHeloError as refused:
        if not client.is_connected or refused.code // 100 != 5:
            raise
        await client.helo()


async def _start_tls(client: aiosmtplib.SMTP, wanted: Demand, timeouts: Timeouts, host: str, sni: str) -> bool:
    """True when the connection is now encrypted; False when that was not offered, and need not be. Raises LinkFault."""
    if not client.supports_extension("starttls"):
        if not wanted.tls_required:
            return False
        text = "the server offers no STARTTLS, and tls demands it (port 465 wants tls = implicit)"
        raise LinkFault(Reply(454, "4.7.4", text), Cause.TLS, host)
    try:
        await client.starttls(server_hostname=sni, timeout=timeouts.connect)
    except aiosmtplib.SMTPResponseException as refused:
        said = f"{refused.code} {refused.message}" if refused.code > 0 else "an answer that is no SMTP reply"
        reply = Reply(454, "4.7.4", f"STARTTLS refused: {said}")
        raise LinkFault(reply, Cause.TLS, host) from refused
    except aiosmtplib.SMTPException as broken:
        raise LinkFault(Reply(454, "4.7.5", f"TLS failed: {words(broken)}"), Cause.TLS, host) from broken
    return True


def _proven(client: aiosmtplib.SMTP, upstream: Upstream, wanted: Demand, host: str, *, seen: Seen) -> Level:
    """What a connection with TLS has shown of the server, before a word is said over it. Raises LinkFault."""
    inner = client.get_transport_info("ssl_object")
    seen.certificate_octets = (inner.getpeercert(binary_form=True) or b"") if inner else b""
    try:
        return proving.level_of(inner, upstream, wanted, seen.published)
    except proving.NotProven as fault:
        raise LinkFault(Reply(454, "4.7.5", f"TLS failed: {fault}"), Cause.TLS, host) from fault


async def _log_in(
    client: aiosmtplib.SMTP, upstream: Upstream, token: Secret, level: Level, host: str, *, seen: Seen
) -> None:
    """AUTH with one mechanism, once. Raises LinkFault; its text is the server's own."""
    if not tls.may_log_in(upstream, level):
        text = "no log-in: the connection is not protected by verified TLS"
        raise LinkFault(Reply(454, "4.7.0", text), Cause.TLS, host)
    inner = client.get_transport_info("ssl_object")
    certificate = inner.getpeercert(binary_form=True) if inner else None
    binding = end_point(certificate) if certificate else b""
    channel = auth.Channel(upstream.server, upstream.port, secrets.token_urlsafe(24), binding)
    who = auth.Credentials(upstream.user, upstream.password, token, bool(upstream.client_certificate))
    dialogue = auth.dialogue(_offers(client), who, channel, upstream.auth)
    said = await asyncio.to_thread(_step, dialogue, None)
    while isinstance(said, bytes):
        answer = await client.execute_command(said)
        said = await asyncio.to_thread(_step, dialogue, Reply.read(answer.code, answer.message))
    seen.mechanism = said.mechanism
    if said.refusal:
        raise LinkFault(said.refusal, Cause.CONNECT if said.ended else Cause.AUTH, host, refused=said.refused)


def _offers(client: aiosmtplib.SMTP) -> list[str]:
    """The mechanisms of its EHLO, in the old form `AUTH=` as well."""
    return client.esmtp_extensions.get("auth", "").split() + list(client.server_auth_methods)


def _step(dialogue: Generator[bytes, Reply, auth.Verdict], reply: Reply | None) -> bytes | auth.Verdict:
    """The next command, or the verdict. In a thread: SCRAM computes for a while, a server says for how long."""
    try:
        return dialogue.send(reply) if reply else next(dialogue)
    except StopIteration as over:
        return cast(auth.Verdict, over.value)


def _take_over(client: aiosmtplib.SMTP, host: str, timeouts: Timeouts, wanted: Demand, level: Level) -> Dialogue:
    """The connection out of aiosmtplib's hands into a dialogue of our own."""
    inner = client.get_transport_info("ssl_object")
    security = f"{inner.version()} {wanted.mode} {level}" if inner else ""
    transport = cast(asyncio.Transport, client.transport)  # uvloop's is no subclass
    keywords = {name.upper(): value for name, value in client.esmtp_extensions.items()}
    dialogue = Dialogue(host, Features(keywords), security, timeouts, tls.told(wanted, level))
    transport.set_protocol(dialogue)
    dialogue.connection_made(transport)
    client.protocol = client.transport = None  # so that it closes nothing of ours
    return dialogue
