"""Discovery: the hosts behind a next hop that DNS has to name, and one attempt that goes through them.

1. Ask for the MX of the domain; `exchangers.py` decides who comes in question, and in which order. For a server
   srv:DOMAIN ask for its SRV records, and `services.py` decides.
2. Ask for the addresses of all these side by side, and leave out ourselves (RFC 5321 5.1).
3. Attempt at the first; where it can not be reached, at the next: `routing.instead` decides, as for any next hop.

Where DNS does not answer the mail is deferred; where it says that there is nobody, it is refused.
"""

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from relay import exchangers, journal, services
from relay.admission import Listen
from relay.entry import Attempt, Cause, Outcome
from relay.errors import DnsFault, HopError
from relay.exchangers import Draw, Host
from relay.mail import Mail
from relay.mtasts import Policy
from relay.records import Answer
from relay.reply import Reply
from relay.resolver import Resolver
from relay.routing import LISTED, UNLISTED, Route, Upstream, instead
from relay.transaction import all_alike
from relay.upstream import Upstreams

AT_ONCE, AT_ONCE_PER_DOMAIN = 100, 10
"""Attempts under way at direct delivery, and for one domain: a mail may have a thousand recipients' domains."""


class PolicySource(Protocol):
    """Where the MTA-STS policies of domains come from."""

    async def of(self, domain: str) -> Policy | None:
        """The one that counts. Raises nothing."""


class Nowhere(HopError):
    """DNS names no host: not now, or never; `reply` is what the recipients are told, `cause` who can mend it"""

    def __init__(self, reply: Reply, host: str, cause: Cause = Cause.DNS) -> None:
        super().__init__(str(reply))
        self.reply, self.host, self.cause = reply, host, cause
        self.tls_level = ""


def _unknown(fault: DnsFault, domain: str) -> Nowhere:
    """DNS does not answer: a resolver of ours that fails is ours to mend, a domain's own servers are not."""
    return Nowhere(Reply(451, "4.4.3", str(fault)), domain, Cause.DNS if fault.ours else Cause.CONNECT)


@dataclass(slots=True)
class Discovery:
    """`names` are this relay's own, `listening` says where it listens: MX that lead there are left out.

    `policies` gives MTA-STS policies; None: they are not heeded.
    """

    resolver: Resolver
    upstreams: Upstreams
    clock: Callable[[], float]
    draw: Draw
    names: Callable[[], Sequence[str]] = lambda: ()
    listening: Callable[[], Sequence[Listen]] = lambda: ()
    policies: PolicySource | None = None
    _all: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))
    _each: dict[str, asyncio.Semaphore] = field(default_factory=dict)
    """By domain, while there are attempts for it."""
    _users: dict[str, int] = field(default_factory=dict)

    async def attempt(self, route: Route, mail: Mail) -> Attempt:
        """One attempt at the hosts of a route, in order. Never raises for what DNS or a peer does."""
        started = self.clock()
        try:
            hosts = await self.hosts(route.upstream, route.domain)
        except Nowhere as fault:
            if fault.cause is Cause.DNS and fault.reply.transient:
                self.upstreams.unknown(route.upstream, fault.reply, fault.cause)
            outcomes = all_alike(mail.envelope.recipients, fault.reply, fault.cause, fault.host)
            return Attempt(started, route.upstream.name, outcomes, delays=(0.0, 0.0, self.clock() - started, 0.0))
        # What may stand in for all of them is no matter of theirs: `delivery` goes there.
        first = replace(route, upstream=hosts[0], fallbacks=hosts[1:])
        if not route.upstream.is_mx:
            return await self._through(first, mail)
        async with self._place(route.domain):
            return await self._through(first, mail)

    async def _through(self, route: Route, mail: Mail) -> Attempt:
        """Host by host. What the last one that was asked about a recipient said is that recipient's outcome."""
        outcomes: dict[str, Outcome] = {}
        while True:
            attempt = await self.upstreams.attempt(route, mail)
            outcomes.update((outcome.origin, outcome) for outcome in attempt.outcomes)
            following = [] if _refused(attempt) else instead(route, mail, attempt)
            if not following:
                return replace(attempt, outcomes=tuple(outcomes.values()))
            [(route, mail)] = following
            reply = outcomes[mail.envelope.recipients[0].origin].reply
            journal.info("", f"{attempt.upstream}: {reply}: the next host is {route.upstream.server}")

    @contextlib.asynccontextmanager
    async def _place(self, domain: str) -> AsyncIterator[None]:
        """A place among those that are under way, in all and for this domain."""
        each = self._each.setdefault(domain, asyncio.Semaphore(AT_ONCE_PER_DOMAIN))
        self._users[domain] = self._users.get(domain, 0) + 1
        try:
            async with each, self._all:
                yield
        finally:
            self._users[domain] -= 1
            if not self._users[domain]:
                del self._users[domain], self._each[domain]

    async def hosts(self, upstream: Upstream, domain: str = "") -> tuple[Upstream, ...]:
        """The hosts behind a next hop, each as one of its own, the best first; `domain` for `mx`. Raises Nowhere."""
        if upstream.is_mx:
            found = await self._exchangers(upstream, domain)
            wanted = upstream.sts and not exchangers.literal(domain)
            policy = await self.policies.of(domain) if self.policies and wanted else None
            return tuple(self._hop(upstream, host, policy, domain) for host in found)
        return await self._services(upstream, services.domain_of(upstream.server))

    async def _services(self, upstream: Upstream, domain: str) -> tuple[Upstream, ...]:
        """The hosts that take our submissions. Whatever DNS says, it is a fault that passes: somebody can mend it."""
        asked = services.questions(domain, upstream.tls)
        answers = await asyncio.gather(*(self.resolver.ask(n, "SRV") for n in asked.values()), return_exceptions=True)
        known: dict[str, Answer] = {}
        fault: DnsFault | None = None
        for mode, answer in zip(asked, answers, strict=True):
            if isinstance(answer, DnsFault):
                fault = answer
            elif isinstance(answer, BaseException):
                raise answer
            else:
                known[mode] = answer
        found, strange = services.offered(domain, known, upstream.targets, self.draw)
        hosts = [Host(name, authentic=False) for name in dict.fromkeys(service.host for service in found)]
        resolved, unresolved = await self._resolved(hosts, upstream.ip)
        addresses = {host.name: host.addresses for host in exchangers.shortened(resolved)}
        hops = [
            replace(
                upstream,
                server=service.host,
                port=service.port,
                tls=service.tls,
                authentic=service.authentic,
                addresses=addresses[service.host],
                found_by=upstream.server,
            )
            for service in found
            if service.host in addresses
        ]
        if not hops:
            text = str(fault or unresolved or "")
            if not text and found:
                text = f"{', '.join(host.name for host in hosts)}: no address"
            raise Nowhere(Reply(451, "4.4.3", text or services.nobody(domain, upstream.tls, strange)), domain)
        return tuple(hops)

    async def _exchangers(self, upstream: Upstream, domain: str) -> Sequence[Host]:
        """The hosts that take a domain's mail."""
        if not domain:
            raise Nowhere(Reply(550, "5.1.2", "a bare name has no domain whose mail server could be found"), "")
        if address := exchangers.literal(domain):
            resolved, fault = [Host(address, addresses=(address,))], None
        else:
            try:
                found = exchangers.exchangers(domain, await self.resolver.ask(domain, "MX"), self.draw)
            except DnsFault as unanswered:
                raise _unknown(unanswered, domain) from unanswered
            if isinstance(found, Reply):
                raise Nowhere(found, domain)
            hosts = exchangers.before(found, [name.lower() for name in self.names()])[: exchangers.MOST_HOSTS]
            resolved, fault = await self._resolved(hosts, upstream.ip)
        listens = [listen for listen in self.listening() if listen.port == upstream.port]
        ours = [host.name for host in resolved if any(_is_ours(a, listens) for a in host.addresses)]
        left = exchangers.before(resolved, ours)
        if not left:
            raise Nowhere(exchangers.loop(domain), domain)
        tried = exchangers.shortened(left)
        if not tried:
            raise _unknown(fault, domain) if fault else Nowhere(exchangers.nowhere(domain, left), domain)
        return tried

    @staticmethod
    def _hop(upstream: Upstream, host: Host, policy: Policy | None, domain: str) -> Upstream:
        """One host as a next hop. What its connections must be is part of it: they carry no mail that demands more."""
        proof = upstream.proof if host.authentic else "none"  # RFC 7672 2.2.1: the way there is proved, or no DANE
        named = policy is None or policy.names(host.name)
        sts = (LISTED if named else UNLISTED) if policy and policy.mode == "enforce" else ""
        if not named and not sts:
            text = f"by the MTA-STS policy of {domain}, which is in testing, {host.name} is none of its mail servers"
            journal.info("", text)
        return replace(
            upstream, server=host.name, addresses=host.addresses, authentic=host.authentic, proof=proof, sts=sts
        )

    async def _resolved(self, hosts: Sequence[Host], ip: str) -> tuple[list[Host], DnsFault | None]:
        """The hosts with their addresses, and the last fault among the questions."""
        questions = [self.resolver.ask(host.name, kind) for host in hosts for kind in ("AAAA", "A")]
        answers = await asyncio.gather(*questions, return_exceptions=True)
        fault: DnsFault | None = None
        found: list[Host] = []
        for number, host in enumerate(hosts):
            known: list[Sequence[str]] = []
            for answer in answers[2 * number : 2 * number + 2]:
                if isinstance(answer, DnsFault):
                    fault = answer
                elif isinstance(answer, BaseException):
                    raise answer
                known.append(() if isinstance(answer, BaseException) else answer.records)
            v6, v4 = known
            found.append(replace(host, addresses=exchangers.addresses(v6, v4, self.draw, ip)))
        return found, fault


def _refused(attempt: Attempt) -> bool:
    """True where we were not let in: the same password is not tried at host after host, accounts get locked."""
    return any(outcome.cause in (Cause.AUTH, Cause.TOKEN) for outcome in attempt.outcomes)


def _is_ours(address: str, listens: Sequence[Listen]) -> bool:
    """True where this relay listens at that address: the sockets as they are bound, on the port in question."""
    for listen in listens:
        with contextlib.suppress(ValueError):
            bound = ipaddress.ip_address(listen.host)
            if str(bound) == address:
                return True
            if bound.is_unspecified and (bound.version == 6 or ":" not in address) and _is_local(address):
                return True
    return False


def _is_local(address: str) -> bool:
    """True for an address of this host: only those can be bound."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind((address, 0))
        except OSError:
            return False
    return True
