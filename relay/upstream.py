"""Upstream: one attempt for one mail at one next hop, and the connections kept for the next.

1. A hop known to be down, or one that refused our log-in, defers at once: a backlog does not hammer it.
   One that refuses us, not the mail, has its mail held (`holds.py`), but for one that tries now and then.
2. Wait for the mail's turn (`account.py`); then take an idle connection, or a place behind a mail on one,
   or make one, within the limits of `manners.py`.
3. Make the mail fit what the hop offered: SIZE, 8BITMIME, SMTPUTF8; what can not be made fit is refused.
4. Hold the transaction; every recipient has its own answer.
5. A connection that turns out dead before it said a word about this mail is replaced, RETRIES times.

Nothing that a peer or the network does raises: it becomes outcomes. A cancelled attempt closes its
connection, so that no later mail gets an answer meant for this one.
"""

import asyncio
import math
import ssl
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from typing import Any

from relay import journal, tls
from relay.account import Account, Memory, account_of
from relay.dialogue import SMALL, Dialogue, Stale
from relay.dkim import Signer
from relay.entry import Attempt, Cause, Disposition, Outcome
from relay.fit import fit
from relay.holds import Holds, kept_back
from relay.link import TlsaSource, TokenSource, connect
from relay.linkfault import LinkFault
from relay.mail import Mail
from relay.message import at_hand
from relay.pool import MAX_IDLE, Pool
from relay.proving import context_of
from relay.refusals import About, about, asked_pause
from relay.reply import Reply
from relay.routing import MX, Route, Upstream
from relay.transaction import Timeouts, all_alike

MOST_FOUND = 100
"""Hosts named by DNS to which idle connections are kept; with more of them each is closed after its mail."""
_RELAYED = Disposition.RELAYED
RETRIES = 2
"""Further connections tried for a mail about which the first one's peer had not said a word."""


@dataclass(slots=True)
class _Hop:
    """What we know of one upstream; `queue` are attempts that wait for a place on a connection."""

    pool: Pool[Dialogue]
    account: Account | None = None
    holds: Holds = field(default_factory=Holds)
    queue: "deque[asyncio.Future[None]]" = field(default_factory=deque)
    context: ssl.SSLContext | None = None
    used_at: float = 0.0
    trouble: tuple[float, Reply, Cause] | None = None

    def is_idle(self, now: float) -> bool:
        """True when nothing is lost with what we know of it."""
        return not (self.pool.links or self.pool.connecting or self.queue or self.pool.blocked(now))

    def next_please(self) -> None:
        """A place may have become free: wake one who waits for it."""
        while self.queue:
            waiter = self.queue.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def all_please(self) -> None:
        """It is known anew how the hop stands: wake everybody who waits."""
        waiting, self.queue = self.queue, deque()
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)


class _Blocked(LinkFault):
    """the hop failed while this mail waited for a place: it is not asked again for a while"""


class _Full(LinkFault):
    """it takes no further connection, but those that stand are good"""


@dataclass(frozen=True, slots=True)
class HopState:
    """What is known of one next hop, for people. Times are wall-clock seconds, 0 for never since the start.

    `trouble` is why the last connection or log-in failed, None once one has worked; `holds` say whose
    mail waits, since it refuses us and not the mail.
    """

    used_at: float = 0.0
    connections: int = 0
    trouble_at: float = 0.0
    trouble: Reply | None = None
    cause: Cause | None = None
    holds: tuple[str, ...] = ()


def _when(trouble: tuple[float, Any, Any]) -> float:
    return trouble[0]


@dataclass(slots=True)
class Upstreams:
    """Every next hop. `hostname` is what EHLO says, `clock` gives wall-clock seconds.

    `tokens` gives those of OAuth2, `published` TLSA records, `memory` outlasts a restart. Two profiles' next hops that
    differ in nothing but their name are one.
    """

    timeouts: Timeouts
    hostname: str
    clock: Callable[[], float]
    tokens: TokenSource | None = None
    published: TlsaSource | None = None
    memory: Memory | None = None
    _shared: dict[Upstream, _Hop] = field(default_factory=dict)
    """By the next hop without its name."""
    _accounts: dict[str, Account] = field(default_factory=dict)
    _hops: dict[Upstream, _Hop] = field(default_factory=dict)
    _contexts: dict[Upstream, ssl.SSLContext] = field(default_factory=dict)
    """Those of hosts that DNS has named, which come and go: one for all that are alike but for the name."""
    _sweeper: asyncio.TimerHandle | None = None
    _closing: set[asyncio.Task[None]] = field(default_factory=set)

    async def attempt(self, route: Route, mail: Mail) -> Attempt:
        """One try; an outcome for every recipient of `mail`. Never raises for what a peer does."""
        upstream = route.upstream
        started = self.clock()
        hop = self._hops.get(upstream) or self._hop(upstream)
        recipients = mail.envelope.recipients
        blocked = hop.pool.blocked(self._now()) or self._held(hop, mail)
        if not blocked and route.fallbacks:
            blocked = hop.pool.tried_out
        if not blocked and hop.account:
            blocked = await hop.account.turn(len(recipients)) or hop.pool.blocked(self._now())
        if blocked:
            reply, cause = blocked
            host = f"{upstream.server}:{upstream.port}"
            outcomes = all_alike(recipients, reply, cause, host)
            kept = tuple(map(kept_back, outcomes)) if reply.permanent else outcomes
            return Attempt(started, upstream.name, kept, tls_level=tls.told(tls.demand(upstream), None, cause))
        last: LinkFault | None = None
        for number in range(RETRIES + 1):
            try:
                return await self._over(hop, route, mail, started, fresh=number == RETRIES)
            except Stale as fault:
                last = LinkFault(Reply(451, "4.4.2", str(fault)), Cause.CONNECT, upstream.server)
            except LinkFault as fault:
                last = fault
                if not isinstance(fault, _Blocked):
                    hop.trouble = (self.clock(), fault.reply, fault.cause)
                break
        assert last is not None, "no connection, and no fault"
        outcomes = all_alike(recipients, last.reply, last.cause, last.host)
        level = last.tls_level or tls.told(tls.demand(upstream), None, last.cause)
        delays = (0.0, 0.0, max(self.clock() - started, 0.0), 0.0)
        return Attempt(started, upstream.name, outcomes, delays=delays, tls_level=level)

    async def probe(self, upstream: Upstream) -> Dialogue:
        """A connection made, secured, logged in and closed again: the hop is asked again. Raises LinkFault."""
        hop = self._hops.get(upstream) or self._hop(upstream)
        try:
            link = await self._connect(hop, upstream)
        except LinkFault as fault:
            hop.trouble = (self.clock(), fault.reply, fault.cause)
            raise
        await link.quit()
        hop.trouble = None
        hop.pool.forgive()
        hop.holds.forgive()
        return link

    def _hop(self, upstream: Upstream) -> _Hop:
        """What is known of a next hop, and what it shares with those of the same server and log-in."""
        shared = replace(upstream, name="")
        hop = None if upstream.is_exchanger else self._shared.get(shared)
        if hop is None:
            account = account_of(upstream, self.clock, self.memory)
            if account:
                account = self._accounts.setdefault(account.name, account)
            hop = _Hop(Pool(upstream.manners), account)
            if not upstream.is_exchanger:  # the hosts that DNS names come and go
                self._shared[shared] = hop
        self._hops[upstream] = hop
        return hop

    def _held(self, hop: _Hop, mail: Mail) -> tuple[Reply, Cause] | None:
        """What keeps a mail of this sender here."""
        if not hop.holds:
            return None
        hold = hop.holds.keeps(self._now(), str(mail.envelope.reverse_path or ""))
        return (hold.reply, Cause.PAUSED) if hold else None

    def state_of(self, upstream: Upstream) -> HopState:
        """How it stands with one next hop; with one whose hosts DNS names, how it stands with all of them."""
        hops = [
            hop
            for known, hop in self._hops.items()
            if known == upstream or (upstream.is_discovered and known.name == upstream.name)
        ]
        used_at = max((hop.used_at for hop in hops), default=0.0)
        at, reply, cause = max((hop.trouble for hop in hops if hop.trouble), default=(0.0, None, None), key=_when)
        if upstream.is_discovered and at < used_at:
            at, reply, cause = 0.0, None, None  # another host has stood in
        holds = tuple(dict.fromkeys(str(hold) for hop in hops for hold in hop.holds))
        return HopState(used_at, sum(len(hop.pool.links) for hop in hops), at, reply, cause, holds)

    def unknown(self, upstream: Upstream, reply: Reply, cause: Cause) -> None:
        """DNS names no host of this next hop."""
        hop = self._hops.get(upstream) or self._hop(upstream)
        hop.trouble = (self.clock(), reply, cause)

    def forgive(self, names: Collection[str]) -> None:
        """What kept us from these next hops is mended: they need not be left alone any longer."""
        for upstream, hop in self._hops.items():
            if upstream.name in names:
                hop.pool.forgive()
                hop.holds.forgive()

    async def close(self) -> None:
        """QUIT on every idle connection, best effort."""
        if self._sweeper:
            self._sweeper.cancel()
        links = {id(link): link for hop in self._hops.values() for link in hop.pool.links}.values()
        self._hops.clear()
        self._shared.clear()
        await asyncio.gather(*(link.quit() for link in links), *self._closing)
        for account in self._accounts.values():
            try:
                await account.close()
            except Exception as fault:
                journal.fault(f"the day's recipients of {account.name}", fault)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    async def _over(self, hop: _Hop, route: Route, mail: Mail, started: float, *, fresh: bool) -> Attempt:
        """The transaction over a connection of the pool. Raises Stale, LinkFault."""
        upstream, signer = route.upstream, route.signer
        link = await self._link(hop, upstream, fresh=fresh)
        connected = hop.used_at = self.clock()
        try:
            outcomes = await self._transact(link, mail, signer)
        finally:
            now = self._now()
            hop.pool.rest(now, link)
            hop.next_please()
            if hop.pool.worn(now, link) or (upstream.is_exchanger and len(self._hops) > MOST_FOUND):
                self._sweep()
            else:
                self._sweep_later()
        if all(outcome.disposition is _RELAYED for outcome in outcomes):
            hop.pool.carried()
        else:
            outcomes = [self._judged(hop, route, mail, outcome) for outcome in outcomes]
        if hop.holds and any(outcome.disposition is _RELAYED for outcome in outcomes):
            self._mended(hop, upstream, mail)
        delays = (0.0, 0.0, max(connected - started, 0.0), max(self.clock() - connected, 0.0))
        return Attempt(started, upstream.name, tuple(outcomes), link.security, delays, link.tls_level)

    def _judged(self, hop: _Hop, route: Route, mail: Mail, outcome: Outcome) -> Outcome:
        """What a refusal means for the next hop, and for the recipient where it is not about him."""
        if outcome.disposition is _RELAYED or outcome.cause is not Cause.PEER:
            return outcome
        kind = about(outcome.reply)
        if kind is About.RATE:
            hop.pool.slow_down(self._now(), outcome.reply, asked_pause(outcome.reply))
        if kind not in (About.SENDER, About.QUOTA) or route.upstream.name == MX:
            return outcome
        sender = str(mail.envelope.reverse_path or "")
        if hold := hop.holds.begin(kind, sender, outcome.reply, self._now(), self.clock()):
            journal.alarm(f"next hop {route.upstream.name}: {hold}")
        return kept_back(outcome)

    @staticmethod
    def _mended(hop: _Hop, upstream: Upstream, mail: Mail) -> None:
        for hold in hop.holds.end(str(mail.envelope.reverse_path or "")):
            whose = f"mail from <{hold.sender}>" if hold.sender else "mail"
            journal.info("", f"next hop {upstream.name} takes {whose} again")

    async def _link(self, hop: _Hop, upstream: Upstream, *, fresh: bool) -> Dialogue:
        """A connection with room for one more mail. Raises LinkFault."""
        while True:
            now = self._now()
            link = None if fresh else hop.pool.choose(now)
            if link is not None:
                return link
            if hop.pool.may_connect(now):
                try:
                    return await self._connected(hop, upstream)
                except _Full:
                    continue
            fresh = False
            if spent := hop.pool.spent(now):
                for link in spent:
                    self._quit(link)
                continue
            await self._turn(hop)
            if blocked := hop.pool.blocked(self._now()):
                raise _Blocked(*blocked, f"{upstream.server}:{upstream.port}")

    @staticmethod
    async def _turn(hop: _Hop) -> None:
        """Wait until a place may be free."""
        waiter = asyncio.get_running_loop().create_future()
        hop.queue.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                hop.next_please()  # the place goes to another
            raise

    async def _connected(self, hop: _Hop, upstream: Upstream) -> Dialogue:
        hop.pool.connecting += 1
        try:
            link = await self._connect(hop, upstream)
            now = self._now()
            link.retires_at = now + age if (age := upstream.manners.age) else math.inf
            hop.pool.links.append(link)
            hop.pool.worked(now)
            hop.trouble = None
        except LinkFault as fault:
            if fault.cause is Cause.CONNECT and hop.pool.full(self._now()):
                raise _Full(fault.reply, fault.cause, fault.host) from fault
            if fault.cause is not Cause.TOKEN:  # else the server is not to blame, and was not asked
                hop.pool.failed(self._now(), fault.reply, fault.cause, asked_pause(fault.reply))
            self._sweep_later()
            raise
        finally:
            hop.pool.connecting -= 1
            hop.all_please()
        return link

    async def _connect(self, hop: _Hop, upstream: Upstream) -> Dialogue:
        context = self._context(hop, upstream)
        return await connect(upstream, context, self.timeouts, self.hostname, self.tokens, published=self.published)

    def _context(self, hop: _Hop, upstream: Upstream) -> ssl.SSLContext:
        alike = replace(upstream, name="", server="", port=0) if upstream.is_exchanger else None
        if hop.context is None and alike:
            hop.context = self._contexts.get(alike)
        if hop.context is None:
            try:
                hop.context = context_of(upstream)
                if alike:
                    self._contexts[alike] = hop.context
            except (OSError, ssl.SSLError) as fault:
                text = f"tls_ca_file or client_certificate can not be used: {fault.strerror or fault}"
                raise LinkFault(Reply(454, "4.7.5", text), Cause.TLS, upstream.server) from fault
        return hop.context

    async def _transact(self, link: Dialogue, mail: Mail, signer: Signer | None) -> list[Outcome]:
        """An outcome for every recipient. A large mail is measured and signed in a thread. Raises Stale."""
        if at_hand(mail.message.body) and mail.message.body.size <= SMALL:
            fitted = fit(mail, link.features, link.host, signer)
        else:
            fitted = await asyncio.to_thread(fit, mail, link.features, link.host, signer)
        outcomes = list(fitted.refused)
        if fitted.plan.recipients:
            outcomes += await link.carry(fitted.plan, fitted.message, fitted.size)
        return outcomes

    def _sweep_later(self) -> None:
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().call_later(MAX_IDLE, self._sweep)

    def _sweep(self) -> None:
        """Close what was idle for too long, or has carried enough; forget hosts of DNS that nobody waits for."""
        if self._sweeper:
            self._sweeper.cancel()
            self._sweeper = None
        many = len(self._hops) > MOST_FOUND
        for upstream, hop in list(self._hops.items()):
            for link in hop.pool.spent(self._now(), 0.0 if many and upstream.is_exchanger else MAX_IDLE):
                self._quit(link)
            if upstream.is_exchanger and hop.is_idle(self._now()):
                del self._hops[upstream]
            elif hop.pool.links or upstream.is_exchanger:
                self._sweep_later()

    def _quit(self, link: Dialogue) -> None:
        task = asyncio.get_running_loop().create_task(link.quit())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
