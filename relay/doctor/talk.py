"""Talk: one session with a next hop, as a mail would open it: greeting, TLS, EHLO, AUTH, MAIL and RCPT; never DATA.

1. `link.connect` makes the connection, as it does for mail, and takes down what it shows: no second
   way of speaking to servers, and one log-in by one mechanism.
2. Each stage that was reached is a row; where it broke off, the row says why and what to do.
3. Where TLS fails, a second connection, without a log-in, looks at what the server does instead:
   ports 465 and 587 taken for each other are named as such.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

from relay.address import Address
from relay.dialogue import Dialogue
from relay.doctor import proof, sender, stages
from relay.doctor.certificate import Certificate, certificate
from relay.doctor.finding import Finding, fail
from relay.doctor.hop import Hop
from relay.doctor.ports import Ports
from relay.entry import Cause
from relay.link import Seen, TlsaSource, TokenSource, connect
from relay.linkfault import LinkFault
from relay.options import Secret
from relay.proving import context_of
from relay.reply import Reply
from relay.transaction import Timeouts

WHOLE = 180.0
"""Seconds for one connection, with all that is said over it before a mail."""


@dataclass(frozen=True, slots=True)
class Means:
    """What a session needs: time limits, the name for EHLO, TLSA records, tokens, to whom a mail is said to go."""

    timeouts: Timeouts
    hostname: str
    published: TlsaSource
    tokens: TokenSource | None = None
    recipient: Address | None = None


async def talk(hop: Hop, means: Means, address: tuple[str, int] | None) -> AsyncIterator[Finding]:
    """A row for each stage. `address` is one that takes connections, None for a unix socket."""
    seen = Seen()
    try:
        context = await asyncio.to_thread(context_of, hop.upstream)
    except (OSError, ssl.SSLError) as unreadable:
        text = f"tls_ca_file or client_certificate can not be used: {unreadable.strerror or unreadable}"
        files = [name for name in (hop.upstream.ca_file, hop.upstream.client_certificate) if name]
        yield fail("tls", hop.about, text, "\n".join(f"ls -l {name}" for name in files))
        return
    link, fault = await _connected(hop, context, means, seen)
    try:
        for row in stages.reached(hop, seen, fault):
            yield row
        if fault:
            yield await _broken(hop, means, seen, fault, address)
        elif link:
            async for row in sender.allowed(hop, link, means.recipient):
                yield row
    finally:
        if link:
            await link.quit()


async def _connected(
    hop: Hop, context: ssl.SSLContext, means: Means, seen: Seen
) -> tuple[Dialogue | None, LinkFault | None]:
    try:
        async with asyncio.timeout(WHOLE):
            way = connect(
                hop.upstream,
                context,
                means.timeouts,
                means.hostname,
                means.tokens,
                published=means.published,
                seen=seen,
            )
            return await way, None
    except LinkFault as fault:
        return None, fault
    except TimeoutError:
        return None, LinkFault(Reply(451, "4.4.2", f"not within {WHOLE:.0f} s"), Cause.CONNECT, hop.upstream.server)


async def _broken(hop: Hop, means: Means, seen: Seen, fault: LinkFault, address: tuple[str, int] | None) -> Finding:
    """The stage at which it broke off."""
    if row := proof.barred(hop, seen):
        return row
    if fault.cause in (Cause.AUTH, Cause.TOKEN) or seen.level is not None:
        return stages.not_in(hop, seen, fault)
    ports = Ports(address, min(means.timeouts.greeting, 10.0)) if address else None
    if hop.upstream.tls == "implicit" and not seen.greeting and ports and (said := await ports.plain_greeting()):
        text = f"port {hop.upstream.port} begins in plain text ({said}), and tls = implicit speaks TLS at once"
        return fail("tls", hop.about, f"ports 465 and 587 mixed up: {text}", stages.starttls_lines(hop))
    if hop.upstream.tls != "implicit" and not seen.greeting and ports and await ports.speaks_tls():
        text = (
            f"port {hop.upstream.port} is TLS from the first octet, and tls = {hop.upstream.tls} waits for a greeting"
        )
        return fail("tls", hop.about, f"ports 465 and 587 mixed up: {text}", stages.implicit_lines(hop))
    if fault.cause is Cause.TLS:
        return stages.tls_failed(hop, seen, fault, await _shown(hop, means))
    return stages.not_greeted(hop, seen, fault)


async def _shown(hop: Hop, means: Means) -> Certificate | None:
    """The certificate that was not accepted, looked at over a connection without log-in and without proof."""
    bare = replace(hop.upstream, proof="none", sts="", ca_file="", user="", password=Secret(""), auth="", oauth=None)
    seen = Seen()
    link, _ = await _connected(Hop(bare), await asyncio.to_thread(context_of, bare), means, seen)
    if link:
        await link.quit()
    return certificate(seen)
