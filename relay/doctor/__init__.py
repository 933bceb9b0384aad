"""Doctor: `tracker-relay doctor`, ordered checks of the whole road of a mail, each with its cause and its remedy.

1. This host: configuration, spool, daemon, policies, a web server's user, Trac.
2. Each next hop: name, addresses, greeting, TLS, features, log-in (once), sender. No DATA.
3. DKIM keys in DNS; with --send-to one marked mail through the running relay.

Every row is printed when it is found. Each wait has an end. Nothing is changed, but that a token which has
ended is renewed, as the relay itself would do.
"""

import argparse
import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from relay import app, loaded
from relay.address import Address, AddressError, parse
from relay.commands.asking import as_owner
from relay.dkim import Signer
from relay.doctor import confinement, discovered, other_user, own, published, trac, trial
from relay.doctor.finding import Finding, Level, fail, ok, shown
from relay.doctor.hop import Hop, hops_of, signers_of
from relay.doctor.talk import Means, talk
from relay.doctor.token import token
from relay.doctor.way import connections, resolve
from relay.loaded import Configuration, Loaded
from relay.renewal import Renewal
from relay.resolver import Resolver
from relay.tlsa import Published
from relay.tokenstore import TokenStore
from relay.transaction import Timeouts

EX_OK, EX_FAILED = 0, 1
CONNECT, ANSWER = 10.0, 30.0
"""Seconds at most for a connection and for an answer, where [timeouts] allow more: somebody waits here."""


def declare(parser: argparse.ArgumentParser) -> None:
    """What `doctor` is told."""
    parser.add_argument(
        "--as", dest="user", metavar="USER", help="also connect to the relay as that user, a web server's"
    )
    parser.add_argument("--trac", metavar="TRAC_INI", type=Path, help="also look at what Trac is told")
    parser.add_argument("--send-to", dest="recipient", metavar="ADDRESS", type=_address, help="also send a test mail")
    parser.add_argument("--json", action="store_true", help="for scripts: see docs/commands.md")


def _address(value: str) -> Address:
    try:
        return parse(value)
    except AddressError as fault:
        raise argparse.ArgumentTypeError(f"{value!r} is no address: {fault}") from fault


def run(arguments: argparse.Namespace, read: Loaded) -> int:
    """Every check, in order; 1 when one of them is a FAIL."""
    failed = False
    rows: list[Finding] = []
    secrets = _secrets(read.configuration)
    for found in _all(arguments, read):
        finding = shown(found, secrets)
        failed = failed or finding.level is Level.FAIL
        rows.append(finding)
        if not arguments.json:
            print("\n".join(finding.lines()), flush=True)
    if arguments.json:
        print(json.dumps([row.form() for row in rows], indent=1, ensure_ascii=False))
    else:
        print(_summary(rows), file=sys.stderr)
    return EX_FAILED if failed else EX_OK


def _summary(rows: Iterable[Finding]) -> str:
    levels = [row.level for row in rows]
    return ", ".join(f"{levels.count(level)} {level.upper()}" for level in Level)


def _secrets(config: Configuration) -> list[str]:
    """What no row may show, be it that a server says it back."""
    hops = [*(p.next_hop for p in config.notifications), *(hop for _, hop in config.upstreams)]
    found = {hop.smtp_password.reveal() for hop in hops}
    return sorted((secret for secret in found if len(secret) > 3), key=len, reverse=True)


def _all(arguments: argparse.Namespace, read: Loaded) -> Iterator[Finding]:
    """The order is that of a mail's road."""
    config = read.configuration
    # Before anything here has a thread, which a fork would not take along.
    tried = _as_user(config, arguments.user) if arguments.user else None
    yield from own.configuration(read)
    if not read.ini.sections:
        return
    sound = not read.faults
    hops = hops_of(config) if sound else []
    hostname = app.setting_of(config).hostname if sound else config.listener.hostname
    port = next((listen.port for listen in config.listener.listen if listen.port), 0)
    yield from _whole("spool", own.spool(config))
    yield from _whole("daemon", own.daemon(config, hostname))
    used = [hop.upstream for hop in hops]
    yield from _whole("policy", confinement.confinement(port, used, config.dns.nameservers))
    if tried:
        yield from other_user.findings(tried, own.start(config))
    if arguments.trac:
        yield from _whole("trac", trac.trac(config, arguments.trac))
    if not sound:
        return
    for hop in hops:
        yield from _whole(hop.about, _examined(config, hop, arguments.recipient))
    for section, signer in signers_of(config):
        yield from _whole("dkim", _published(config, section, signer))
    if arguments.recipient:
        yield from _whole("mail", _sent(config, arguments.recipient))


def _as_user(config: Configuration, user: str) -> other_user.Tried:
    return other_user.attempt(user, own.doors(config), has_certificate=bool(config.listener.tls_certificate))


def _whole(what: str, rows: Iterator[Finding]) -> Iterator[Finding]:
    """These rows; a fault of ours in the middle is one, too, and the other checks are made all the same."""
    try:
        yield from rows
    except Exception as fault:
        text = f"this check broke off, the program is at fault: {type(fault).__name__}: {fault}"
        yield fail("doctor", what, text, "report it, with what tracker-relay --version says")


def _published(config: Configuration, section: str, signer: Signer) -> Iterator[Finding]:
    async def row() -> Finding:
        return await published.published(section, signer, Resolver(config.dns))

    yield asyncio.run(row())


def _sent(config: Configuration, recipient: Address) -> Iterator[Finding]:
    sender = config.policy.sender
    if sender is None:
        yield fail("mail", str(recipient), "there is no address to send from", "[notification]\nsmtp_from = ...")
        return
    yield from trial.send(config, sender, recipient, own.start(config))


def _examined(config: Configuration, hop: Hop, recipient: Address | None) -> Iterator[Finding]:
    """One next hop, as the user whom the spool belongs to: what he may not read, the relay may not either."""
    if hop.upstream.is_outbox:
        yield ok("outbox", hop.about, "no mail server: mail is kept in that folder")
        return

    with contextlib.suppress(ImportError):
        import cryptography.x509  # noqa: F401, PLC0415 - while we may read Python's folder
        import jwt  # noqa: F401, PLC0415

    async def rows() -> list[Finding]:
        return [row async for row in examine(config, hop, recipient)]

    if not os.path.exists(config.spool.path):
        yield from asyncio.run(rows())
        return
    with as_owner(config.spool.path):
        found = asyncio.run(rows())
    yield from found


async def examine(config: Configuration, hop: Hop, recipient: Address | None) -> AsyncIterator[Finding]:
    """Name, addresses, token, session; each only where the one before it leaves a way."""
    if hop.upstream.is_discovered:
        async for row in discovered.rows(config, hop, recipient, examine):
            yield row
        return
    limits = _limits(config.timeouts)
    row, addresses = await resolve(hop, limits.connect)
    yield row
    resolver = Resolver(config.dns)
    means = Means(limits, app.setting_of(config).hostname, Published(lambda: resolver), recipient=recipient)
    reached: list[tuple[str, int]] = []
    secrets: list[str] = []
    lost = True
    async for row, address in connections(hop, addresses, limits.connect):
        yield row
        if row.level is Level.OK:
            lost = False
            reached += [address] if address else []
    if hop.upstream.oauth:
        renewal = Renewal(TokenStore(loaded.token_folder(config)), time.time)
        row, held = await token(hop, hop.upstream.oauth, renewal, may_renew=_is_owner(config))
        yield row
        means = replace(means, tokens=held)
        secrets = [held.token.reveal()] if held.token else []
        hop = hop if held.token else _without_log_in(hop)
    if not lost:
        async for row in talk(hop, means, reached[0] if reached else None):
            yield shown(row, secrets)


def _without_log_in(hop: Hop) -> Hop:
    """The same server, of which all is seen that it shows before a log-in: the row of the token says why no further."""
    return Hop(replace(hop.upstream, user="", auth="", oauth=None), hop.names, token_missing=True)


def _is_owner(config: Configuration) -> bool:
    try:
        return os.stat(config.spool.path).st_uid == os.geteuid()
    except OSError:
        return False


def _limits(timeouts: Timeouts) -> Timeouts:
    return replace(
        timeouts,
        connect=min(timeouts.connect, CONNECT),
        greeting=min(timeouts.greeting, ANSWER),
        command=min(timeouts.command, ANSWER),
    )
