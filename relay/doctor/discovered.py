"""Discovered: a next hop whose hosts DNS has to name (mx, srv:DOMAIN): who they are, and whether one takes us."""

import os
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from relay import app, services
from relay.address import Address, ascii_domain
from relay.discovery import Discovery, Nowhere
from relay.doctor import confinement
from relay.doctor.finding import Finding, Level, fail, ok, warn
from relay.doctor.hop import Hop
from relay.https import Browser
from relay.loaded import Configuration, policy_folder
from relay.policies import Fetch, Policies
from relay.resolver import Resolver
from relay.routing import Upstream
from relay.tokenstore import TokenStore
from relay.upstream import Upstreams


@dataclass(frozen=True, slots=True)
class _Reading:
    """The policies that the relay keeps: looked at, never written, since it may be root who looks."""

    kept: TokenStore

    def load(self, name: str) -> bytes | None:
        return self.kept.load(name) if os.access(self.kept.folder, os.X_OK) else None

    def store(self, name: str, data: bytes) -> None:
        return


Examine = Callable[[Configuration, Hop, Address | None], AsyncIterator[Finding]]


async def rows(
    config: Configuration,
    hop: Hop,
    recipient: Address | None,
    examine: Examine,
    fetch: Fetch | None = None,
    *,
    root: Path = Path("/"),
) -> AsyncIterator[Finding]:
    """The hosts, then host by host what `examine` says, until one has shown more than its name: as mail would go.

    Direct delivery is tried at the domain of the `recipient`, else of the first sender: somebody's it must be.
    `root` is for tests, as in confinement.
    """
    setting = app.setting_of(config)
    whose = recipient or next(iter(hop.senders.values()), None)
    domain = ascii_domain(whose.domain) if whose and hop.upstream.is_mx else ""
    if hop.upstream.is_mx and not domain:
        yield warn("dns", hop.about, "no domain to try it at is known", "tracker-relay doctor --send-to ADDRESS")
        return
    upstreams = Upstreams(config.timeouts, setting.hostname, time.time)
    names = (setting.hostname, setting.gateway_id)
    resolver = Resolver(config.dns)
    kept = _Reading(TokenStore(policy_folder(config)))
    policies = Policies(kept, lambda: resolver, fetch or Browser().get, time.time)
    discovery = Discovery(resolver, upstreams, time.time, random.random, lambda: names, policies=policies)
    try:
        hosts = await discovery.hosts(hop.upstream, domain)
    except Nowhere as fault:
        make = fail if fault.reply.transient or not recipient else warn
        yield make("dns", hop.about, fault.reply.text, _question(hop, domain))
        return
    for finding in _named(hop, domain, hosts, root):
        yield finding
    if hop.upstream.sts and (policy := await policies.of(domain)):
        heeded = "is heeded" if policy.mode == "enforce" else "is in testing"
        yield ok("mta-sts", hop.about, f"the policy of {domain} {heeded}: mx {', '.join(policy.patterns)}")
    unreached: list[Finding] = []
    for host in hosts:
        found = [row async for row in examine(config, Hop(host, hop.names, hop.senders), recipient)]
        if any(row.check not in ("dns", "tcp", "token") for row in found):
            for row in unreached:  # the relay goes on to the next one, too
                yield replace(row, level=Level.WARN) if row.level is Level.FAIL else row
            for row in found:
                yield row
            return
        unreached += found
    for row in unreached:
        yield row


def _named(hop: Hop, domain: str, hosts: Sequence[Upstream], root: Path) -> Iterator[Finding]:
    """Who the hosts are, and which of their ports this host's policy keeps closed."""
    named = ", ".join(f"{host.server}:{host.port}" for host in hosts)
    of = domain or services.domain_of(hop.upstream.server)
    yield ok("dns", hop.about, f"the mail of {of} goes to {named}")
    if not hop.upstream.is_mx:  # the port of mx is an option, and was looked at
        yield from confinement.unreachable((host.port for host in hosts), root)


def _question(hop: Hop, domain: str) -> str:
    if domain:
        return f"dig MX {domain}"
    asked = services.questions(services.domain_of(hop.upstream.server), hop.upstream.tls)
    return "\n".join(f"dig SRV {name}" for name in asked.values())
