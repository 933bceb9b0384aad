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
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace

from relay import journal, tls, transcript
from relay.account import Account, Memory, account_of
from relay.dialogue import Dialogue, Stale
from relay.dkim import Signer
from relay.entry import Attempt, Cause, Disposition, Outcome
from relay.fit import fit, is_light
from relay.holds import kept_back
from relay.known import HopState, Known, Trouble, Watcher, keep, session_of, state_of, trouble_of
from relay.link import Seen, TlsaSource, TokenSource, connect
from relay.linkfault import LinkFault
from relay.mail import Mail
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


class _Blocked(LinkFault):
    """the hop failed while this mail waited for a place: it is not asked again for a while"""


class _Full(LinkFault):
    """it takes no further connection, but those that stand are good"""


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
    watcher: Watcher | None = None
    _shared: dict[Upstream, Known] = field(default_factory=dict)
    """By the next hop without its name."""
    _accounts: dict[str, Account] = field(default_factory=dict)
    _hops: dict[Upstream, Known] = field(default_factory=dict)
    _contexts: dict[Upstream, ssl.SSLContext] = field(default_factory=dict)
    """Of hosts that DNS has named, which come and go, one for all that are alike but for the name."""
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
            blocked = await hop.account.turn(len(recipients), upstream.manners) or hop.pool.blocked(self._now())
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
                    self._fell(hop, fault)
                break
        assert last is not None, "no connection, and no fault"
        outcomes = all_alike(recipients, last.reply, last.cause, last.host)
        hop.spared(outcomes)
        level = last.tls_level or tls.told(tls.demand(upstream), None, last.cause)
        delays = (0.0, 0.0, max(self.clock() - started, 0.0), 0.0)
        return Attempt(started, upstream.name, outcomes, delays=delays, tls_level=level)

    async def probe(self, upstream: Upstream) -> Dialogue:
        """Connect, TLS, log-in, NOOP and QUIT; one that works is asked again at once. Raises LinkFault."""
        hop = self._hops.get(upstream) or self._hop(upstream)
        try:
            link = await self._connect(hop, upstream)
            try:
                await _noop(link)
            finally:
                await link.quit()
        except LinkFault as fault:
            if not hop.pool.links:
                self._failed(hop, fault)
            self._fell(hop, fault)
            raise
        hop.pool.forgive()
        self._rose(hop)
        return link

    def wants_look(self, upstream: Upstream, every: float) -> bool:
        """True when nothing has shown for so many seconds that it works, and it may be asked."""
        hop = self._hops.get(upstream)
        if hop is None:
            return True
        now = self._now()
        return not hop.pool.blocked(now) and (hop.trouble is not None or now - hop.proven_at >= every)

    def _failed(self, hop: Known, fault: LinkFault) -> None:
        if fault.cause is not Cause.TOKEN:  # else the server is not to blame, and was not asked
            hop.pool.failed(self._now(), fault.reply, fault.cause, asked_pause(fault.reply))

    def _fell(self, hop: Known, fault: LinkFault) -> None:
        was, hop.trouble = hop.trouble, Trouble(self.clock(), fault.reply, fault.cause)
        if self.watcher and hop.watched and (was is None or was.cause is not fault.cause):
            self.watcher.fell(hop.names, hop.trouble)

    def _rose(self, hop: Known) -> None:
        hop.proven_at = self._now()
        was, hop.trouble = hop.trouble, None
        if self.watcher and hop.watched and was is not None:
            self.watcher.rose(hop.names)

    def _hop(self, upstream: Upstream) -> Known:
        """What is known of a next hop, and what it shares with those of the same server and log-in."""
        shared = replace(upstream, name="")
        hop = None if upstream.is_exchanger else self._shared.get(shared)
        if hop is None:
            account = account_of(upstream, self.clock, self.memory)
            if account:
                account = self._accounts.setdefault(account.name, account)
            hop = Known(Pool(upstream.manners), account, watched=not upstream.is_exchanger)
            if not upstream.is_exchanger:  # the hosts that DNS names come and go
                self._shared[shared] = hop
                hop.trouble = trouble_of(self._hops, upstream.name)
        hop.names.append(upstream.name)
        self._hops[upstream] = hop
        return hop

    def _held(self, hop: Known, mail: Mail) -> tuple[Reply, Cause] | None:
        """What keeps a mail of this sender here."""
        if not hop.holds:
            return None
        hold = hop.holds.keeps(self._now(), str(mail.envelope.reverse_path or ""))
        return (hold.reply, Cause.PAUSED) if hold else None

    def state_of(self, upstream: Upstream) -> HopState:
        """How it stands with one next hop; with one whose hosts DNS names, how it stands with all of them."""
        return state_of(self._hops, upstream)

    def unknown(self, upstream: Upstream, reply: Reply, cause: Cause) -> None:
        """DNS names no host of this next hop."""
        hop = self._hops.get(upstream) or self._hop(upstream)
        hop.trouble = Trouble(self.clock(), reply, cause)

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
        try:
            await self.keep()
        except Exception as fault:
            journal.fault("failed sessions", fault)
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

    async def _over(self, hop: Known, route: Route, mail: Mail, started: float, *, fresh: bool) -> Attempt:
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
            hop.proven_at = now
        else:
            if link.last:
                lines = [*link.opening, f"[{link.mails} mails over this connection so far]"]
                lines += transcript.transaction(*link.last)
                hop.note(self.clock(), link.host, lines, upstream.password, mail.message.text("message-id"))
            hop.spared(outcomes)
            outcomes = [self._judged(hop, route, mail, outcome) for outcome in outcomes]
        link.last = None
        if hop.holds and any(outcome.disposition is _RELAYED for outcome in outcomes):
            self._mended(hop, mail)
        delays = (0.0, 0.0, max(connected - started, 0.0), max(self.clock() - connected, 0.0))
        return Attempt(started, upstream.name, tuple(outcomes), link.security, delays, link.tls_level)

    def _judged(self, hop: Known, route: Route, mail: Mail, outcome: Outcome) -> Outcome:
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

    def _mended(self, hop: Known, mail: Mail) -> None:
        if hop.holds.end(str(mail.envelope.reverse_path or "")) and self.watcher:
            self.watcher.rose(hop.names, (Cause.PAUSED,))

    async def _link(self, hop: Known, upstream: Upstream, *, fresh: bool) -> Dialogue:
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
                hop.next_please()  # it was the only one woken, and brings no mail whose end would wake another
                raise _Blocked(*blocked, f"{upstream.server}:{upstream.port}")

    @staticmethod
    async def _turn(hop: Known) -> None:
        """Wait until a place may be free."""
        waiter = asyncio.get_running_loop().create_future()
        hop.queue.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                hop.next_please()  # the place goes to another
            raise

    async def _connected(self, hop: Known, upstream: Upstream) -> Dialogue:
        hop.pool.connecting += 1
        try:
            link = await self._connect(hop, upstream)
            now = self._now()
            link.retires_at = now + age if (age := upstream.manners.age) else math.inf
            hop.pool.links.append(link)
            hop.pool.worked(now)
            self._rose(hop)
        except LinkFault as fault:
            if fault.cause is Cause.CONNECT and hop.pool.full(self._now()):
                raise _Full(fault.reply, fault.cause, fault.host) from fault
            self._failed(hop, fault)
            self._sweep_later()
            raise
        finally:
            hop.pool.connecting -= 1
            hop.all_please()
        return link

    async def _connect(self, hop: Known, upstream: Upstream) -> Dialogue:
        context, seen = self._context(upstream), Seen()
        asked = (upstream, context, self.timeouts, self.hostname, self.tokens)
        try:
            link = await connect(*asked, published=self.published, seen=seen)
        except LinkFault as fault:
            lines = [*self._opening(seen), f"[{fault.reply}]"]
            hop.note(self.clock(), fault.host, lines, upstream.password)
            raise
        link.opening = tuple(self._opening(seen))
        return link

    def _opening(self, seen: Seen) -> list[str]:
        security = f"{seen.version} {seen.cipher}".strip()
        return transcript.opening(self.hostname, seen.greeting, seen.keywords, security, seen.mechanism)

    def session_of(self, upstream: Upstream) -> transcript.Session | None:
        """The last session that failed since the start."""
        return session_of(self._hops, upstream)

    async def keep(self) -> None:
        """Have the spool remember the failed sessions that it does not know yet. Raises SpoolError."""
        if self.memory is not None:
            await keep(self._hops.values(), self.memory, self.clock() + transcript.KEPT)

    def _context(self, upstream: Upstream) -> ssl.SSLContext:
        key = replace(upstream, name="", server="", port=0) if upstream.is_exchanger else upstream
        try:
            if key not in self._contexts:
                self._contexts[key] = context_of(upstream)
        except (OSError, ssl.SSLError) as fault:
            text = f"tls_ca_file or client_certificate can not be used: {fault.strerror or fault}"
            raise LinkFault(Reply(454, "4.7.5", text), Cause.TLS, upstream.server) from fault
        return self._contexts[key]

    def reloaded(self, timeouts: Timeouts, hostname: str) -> None:
        """For every further connection; the certificates are read anew, too."""
        self.timeouts, self.hostname = timeouts, hostname
        self._contexts.clear()

    async def _transact(self, link: Dialogue, mail: Mail, signer: Signer | None) -> list[Outcome]:
        """An outcome for every recipient. All but small mail is measured and signed in a thread. Raises Stale."""
        if is_light(mail.message):
            fitted = fit(mail, link.features, link.host, signer)
        else:
            with link.booked():
                fitted = await asyncio.to_thread(fit, mail, link.features, link.host, signer)
        if not fitted.plan.recipients:
            return [*fitted.refused]
        return [*fitted.refused, *await link.carry(fitted.plan, fitted.message, fitted.size)]

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


async def _noop(link: Dialogue) -> None:
    """It answers, too. Raises LinkFault."""
    try:
        reply = await link.ask("NOOP")
    except Stale as fault:
        raise LinkFault(Reply(451, "4.4.2", str(fault)), Cause.CONNECT, link.host) from fault
    if reply.transient:  # a 5xx is from one that does not know the command, and lives
        raise LinkFault(Reply(451, "4.3.2", f"to NOOP the server said {reply}"), Cause.CONNECT, link.host)
