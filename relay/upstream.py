"""Upstream: one attempt for one mail at one next hop, and the connections kept for the next.

1. A hop known to be down, or one that refused our log-in, defers at once: a backlog does not hammer it.
2. Take an idle connection, or a place behind a mail on one, or make one; at most MAX_CONNECTIONS at a time.
3. Make the mail fit what the hop offered: SIZE, 8BITMIME, SMTPUTF8; what can not be made fit is refused.
4. Hold the transaction; every recipient has its own answer.
5. A connection that turns out dead before it said a word about this mail is replaced, RETRIES times.

Nothing that a peer or the network does raises: it becomes outcomes. A cancelled attempt closes its
connection, so that no later mail gets an answer meant for this one.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace

from relay import downgrade, fields, mime, tls
from relay.dialogue import SMALL, Dialogue, Stale
from relay.dkim import Signer, sign
from relay.entry import Attempt, Cause, Outcome
from relay.link import TlsaSource, TokenSource, connect
from relay.linkfault import LinkFault
from relay.mail import Mail, Recipient
from relay.message import Message, at_hand
from relay.pool import MAX_IDLE, MAX_MAILS, Pool
from relay.proving import context_of
from relay.reply import Reply
from relay.routing import Route, Upstream
from relay.transaction import Features, Plan, Timeouts, all_alike

MOST_FOUND = 100
"""Hosts named by DNS to which idle connections are kept; with more of them each is closed after its mail."""
RETRIES = 2
"""Further connections tried for a mail about which the first one's peer had not said a word."""


@dataclass(slots=True)
class _Hop:
    """What we know of one upstream; `queue` are attempts that wait for a place on a connection."""

    pool: Pool[Dialogue] = field(default_factory=Pool)
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


@dataclass(frozen=True, slots=True)
class HopState:
    """What is known of one next hop, for people. Times are wall-clock seconds, 0 for never since the start.

    `trouble` is why the last connection or log-in failed, None once one has worked.
    """

    used_at: float = 0.0
    connections: int = 0
    trouble_at: float = 0.0
    trouble: Reply | None = None
    cause: Cause | None = None


@dataclass(slots=True)
class Upstreams:
    """Every next hop. `hostname` is what EHLO says, `clock` gives wall-clock seconds.

    `tokens` gives those of OAuth2, `published` TLSA records.
    """

    timeouts: Timeouts
    hostname: str
    clock: Callable[[], float]
    tokens: TokenSource | None = None
    published: TlsaSource | None = None
    _hops: dict[Upstream, _Hop] = field(default_factory=dict)
    _contexts: dict[Upstream, ssl.SSLContext] = field(default_factory=dict)
    """Those of hosts that DNS has named, which come and go: one for all that are alike but for the name."""
    _sweeper: asyncio.TimerHandle | None = None
    _closing: set[asyncio.Task[None]] = field(default_factory=set)

    async def attempt(self, route: Route, mail: Mail) -> Attempt:
        """One try; an outcome for every recipient of `mail`. Never raises for what a peer does."""
        upstream = route.upstream
        started = self.clock()
        hop = self._hops.setdefault(upstream, _Hop())
        recipients = mail.envelope.recipients
        if blocked := hop.pool.blocked(self._now()):
            reply, cause = blocked
            host = f"{upstream.server}:{upstream.port}"
            level = tls.told(tls.demand(upstream), None, cause)
            return Attempt(started, upstream.name, all_alike(recipients, reply, cause, host), tls_level=level)
        last = LinkFault(Reply(451, "4.4.2", "the connection broke"), Cause.CONNECT, upstream.server)
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
        outcomes = all_alike(recipients, last.reply, last.cause, last.host)
        level = last.tls_level or tls.told(tls.demand(upstream), None, last.cause)
        delays = (0.0, 0.0, max(self.clock() - started, 0.0), 0.0)
        return Attempt(started, upstream.name, outcomes, delays=delays, tls_level=level)

    async def probe(self, upstream: Upstream) -> Dialogue:
        """A connection made, secured, logged in and closed again: the hop is asked again. Raises LinkFault."""
        hop = self._hops.setdefault(upstream, _Hop())
        try:
            link = await self._connect(hop, upstream)
        except LinkFault as fault:
            hop.trouble = (self.clock(), fault.reply, fault.cause)
            raise
        await link.quit()
        hop.trouble = None
        hop.pool.forgive()
        return link

    def state_of(self, upstream: Upstream) -> HopState:
        """How it stands with one next hop."""
        hop = self._hops.get(upstream)
        if hop is None:
            return HopState()
        at, reply, cause = hop.trouble or (0.0, None, None)
        return HopState(hop.used_at, len(hop.pool.links), at, reply, cause)

    def forgive(self, names: Collection[str]) -> None:
        """What kept us from these next hops is mended: they need not be left alone any longer."""
        for upstream, hop in self._hops.items():
            if upstream.name in names:
                hop.pool.forgive()

    async def close(self) -> None:
        """QUIT on every idle connection, best effort."""
        if self._sweeper:
            self._sweeper.cancel()
        links = [link for hop in self._hops.values() for link in hop.pool.links]
        self._hops.clear()
        await asyncio.gather(*(link.quit() for link in links), *self._closing)

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
            hop.pool.rest(self._now(), link)
            hop.next_please()
            if link.mails >= MAX_MAILS or (upstream.addresses and len(self._hops) > MOST_FOUND):
                self._sweep()
            else:
                self._sweep_later()
        delays = (0.0, 0.0, max(connected - started, 0.0), max(self.clock() - connected, 0.0))
        return Attempt(started, upstream.name, tuple(outcomes), link.security, delays, link.tls_level)

    async def _link(self, hop: _Hop, upstream: Upstream, *, fresh: bool) -> Dialogue:
        """A connection with room for one more mail. Raises LinkFault."""
        while True:
            link = None if fresh else hop.pool.choose()
            if link is not None:
                return link
            if hop.pool.may_connect:
                return await self._connected(hop, upstream)
            fresh = False
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
            hop.pool.links.append(link)
            hop.pool.worked()
            hop.trouble = None
        except LinkFault as fault:
            if fault.cause is not Cause.TOKEN:  # else the server is not to blame, and was not asked
                hop.pool.failed(self._now(), fault.reply, fault.cause)
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
        alike = replace(upstream, name="", server="", port=0) if upstream.addresses else None
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
            for link in hop.pool.spent(self._now(), 0.0 if many and upstream.addresses else MAX_IDLE):
                self._quit(link)
            if upstream.addresses and hop.is_idle(self._now()):
                del self._hops[upstream]
            elif hop.pool.links or upstream.addresses:
                self._sweep_later()

    def _quit(self, link: Dialogue) -> None:
        task = asyncio.get_running_loop().create_task(link.quit())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


@dataclass(frozen=True, slots=True)
class Fitted:
    """A mail as this hop can take it, and the recipients to whom it can not go this way."""

    plan: Plan
    message: Message
    size: int
    refused: tuple[Outcome, ...] = ()


def fit(mail: Mail, features: Features, host: str, signer: Signer | None = None) -> Fitted:
    """Make a mail fit what a hop offers, then sign it; nothing is sent that the hop did not offer to take."""
    recipients = mail.envelope.recipients
    message = mail.message
    parameters: list[str] = []
    nobody = Plan("", "", (), False)

    if "SMTPUTF8" not in features and not message.header_bytes.isascii():
        message = message.map_fields(fields.without_utf8)
    if mime.needs_8bit(message):
        if "8BITMIME" in features:
            parameters.append("BODY=8BITMIME")
        else:
            converted = None if mail.keep_body else downgrade.seven_bit(message)
            if converted is None:
                text = "the hop takes no 8-bit mail, and this body must not be converted"
                return Fitted(nobody, message, 0, _rule(recipients, Reply(554, "5.6.3", text), host))
            message = converted
    if signer:
        message = sign(signer, message)
    size = len(message.header_bytes) + message.body.size
    if "SIZE" in features:
        if 0 < features.max_size < size:
            text = f"the mail has {size} octets, the hop takes {features.max_size}"
            return Fitted(nobody, message, 0, _rule(recipients, Reply(552, "5.3.4", text), host))
        parameters.append(f"SIZE={size}")
    plan, refused = _international(mail, message, parameters, features)
    reply = Reply(553, "5.6.7", "the hop takes no address or header outside ASCII (SMTPUTF8)")
    return Fitted(plan, message, size, _rule(refused, reply, host) if refused else ())


def _international(
    mail: Mail, message: Message, parameters: list[str], features: Features
) -> tuple[Plan, tuple[Recipient, ...]]:
    """SMTPUTF8 only when needed (RFC 6531): domains go as A-labels, local parts and header fields can not."""
    reverse = mail.envelope.reverse_path
    paths = [(r, r.address.wire_form) for r in mail.envelope.recipients]
    sender = "" if reverse is None else reverse.wire_form
    whole = not message.header_bytes.isascii() or not sender.isascii()
    offered = "SMTPUTF8" in features
    if offered and (whole or any(not path.isascii() for _, path in paths)):
        parameters.append("SMTPUTF8")
    kept = tuple((r, path) for r, path in paths if offered or (path.isascii() and not whole))
    refused = tuple(r for r, path in paths if not offered and (whole or not path.isascii()))
    words = "".join(f" {parameter}" for parameter in parameters)
    return Plan(sender, words, kept, "PIPELINING" in features), refused


def _rule(recipients: tuple[Recipient, ...], reply: Reply, host: str) -> tuple[Outcome, ...]:
    return all_alike(recipients, reply, Cause.RULE, host, "wire")
