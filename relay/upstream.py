"""Upstream: one attempt for one mail at one next hop, and the connections kept for the next.

1. A hop known to be down, or one that refused our log-in, defers at once: a backlog does not hammer it.
2. Take an idle connection, or make one; at most MAX_CONNECTIONS at a time.
3. Make the mail fit what the hop offered: SIZE, 8BITMIME, SMTPUTF8; what can not be made fit is refused.
4. Hold the transaction; every recipient has its own answer.
5. An idle connection that turns out dead before it answered anything is replaced, once.

Nothing that a peer or the network does raises: it becomes outcomes. A cancelled attempt closes its
connection, so that no later mail gets an answer meant for this one.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from relay import mime
from relay.address import Address, ascii_domain
from relay.entry import Attempt, Cause, Outcome
from relay.errors import HopError
from relay.link import Link, LinkFault, connect, context_of
from relay.mail import Mail, Recipient
from relay.message import Message
from relay.pool import MAX_CONNECTIONS, MAX_IDLE, MAX_MAILS, Pool
from relay.reply import Reply
from relay.routing import Route, Upstream
from relay.transaction import Features, Plan, Stuffer, Timeouts, Transaction, all_alike


@dataclass(slots=True)
class _Hop:
    """What we know of one upstream."""

    pool: Pool[Link] = field(default_factory=Pool)
    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_CONNECTIONS))
    context: ssl.SSLContext | None = None


class _Dead(Exception):
    """an idle connection was gone before it answered anything"""


@dataclass(slots=True)
class Upstreams:
    """Every next hop. `hostname` is what EHLO says, `clock` gives wall-clock seconds."""

    timeouts: Timeouts
    hostname: str
    clock: Callable[[], float]
    _hops: dict[Upstream, _Hop] = field(default_factory=dict)
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
            return Attempt(started, upstream.name, all_alike(recipients, reply, cause, host))
        async with hop.slots:
            try:
                return await self._over(hop, upstream, mail, started)
            except LinkFault as fault:
                hop.pool.failed(self._now(), fault.reply, fault.cause)
                outcomes = all_alike(recipients, fault.reply, fault.cause, fault.host)
                spent = max(self.clock() - started, 0.0)
                return Attempt(started, upstream.name, outcomes, delays=(0.0, 0.0, spent, 0.0))

    async def close(self) -> None:
        """QUIT on every idle connection, best effort."""
        if self._sweeper:
            self._sweeper.cancel()
        links = [link for hop in self._hops.values() for _, link in hop.pool.idle]
        self._hops.clear()
        await asyncio.gather(*(link.quit() for link in links), *self._closing)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    async def _over(self, hop: _Hop, upstream: Upstream, mail: Mail, started: float) -> Attempt:
        while (link := hop.pool.take()) is not None:
            if not link.silent:
                link.abort()
                continue
            try:
                return await self._hold(hop, link, upstream, mail, started)
            except _Dead:
                link.abort()
                break
        link = await connect(upstream, self._context(hop, upstream), self.timeouts, self.hostname)
        hop.pool.worked()
        return await self._hold(hop, link, upstream, mail, started)

    def _context(self, hop: _Hop, upstream: Upstream) -> ssl.SSLContext:
        if hop.context is None:
            try:
                hop.context = context_of(upstream)
            except (OSError, ssl.SSLError) as fault:
                text = f"tls_ca_file or client_certificate can not be used: {fault.strerror or fault}"
                raise LinkFault(Reply(454, "4.7.5", text), Cause.TLS, upstream.server) from fault
        return hop.context

    async def _hold(self, hop: _Hop, link: Link, upstream: Upstream, mail: Mail, started: float) -> Attempt:
        """The transaction over this link, which then goes back to the pool if it is still good."""
        connected = self.clock()
        good = False
        try:
            outcomes, good = await self._transact(link, mail)
        finally:
            link.mails += 1
            if good and link.mails < MAX_MAILS:
                hop.pool.give_back(self._now(), link)
                self._sweep_later()
            elif good:
                self._quit(link)
            else:
                link.abort()
        delays = (0.0, 0.0, max(connected - started, 0.0), max(self.clock() - connected, 0.0))
        return Attempt(started, upstream.name, tuple(outcomes), link.security, delays)

    async def _transact(self, link: Link, mail: Mail) -> tuple[list[Outcome], bool]:
        """Outcomes, and whether the link can carry another mail. Raises _Dead."""
        fitted = fit(mail, link.features, link.host)
        outcomes = list(fitted.refused)
        if not fitted.plan.recipients:
            return outcomes, True
        transaction = Transaction(fitted.plan, link.host)
        try:
            await self._dialogue(link, transaction, fitted.message)
        except (OSError, TimeoutError, HopError, ValueError) as fault:
            if link.mails and not transaction.answered:
                raise _Dead from fault
            await self._last_words(link, transaction)
            transaction.lost(_lost(fault))
        link.clean = transaction.clean
        return outcomes + transaction.outcomes(), transaction.broken is None

    async def _dialogue(self, link: Link, transaction: Transaction, message: Message) -> None:
        limit = self.timeouts.command
        reset = b"" if link.clean else b"RSET\r\n"
        while data := transaction.next_commands():
            await link.send(reset + data, limit)
            if reset:
                await link.reply(limit)
                reset = b""
            while transaction.waiting:
                transaction.answer(await link.reply(limit))
        if transaction.lone_dot_wanted:
            await link.send(b".\r\n", limit)
            await link.reply(limit)
        elif transaction.content_wanted:
            stuffer = Stuffer()
            for piece in message.pieces():
                await link.send(stuffer.feed(piece), self.timeouts.data_block)
            transaction.dot_sent = True
            await link.send(stuffer.finish(), self.timeouts.data_block)
            transaction.answer(await link.reply(self.timeouts.final_dot))

    async def _last_words(self, link: Link, transaction: Transaction) -> None:
        """A server that hangs up in the middle of a mail may have said why (552, 421)."""
        if transaction.content_wanted and not transaction.dot_sent:
            with contextlib.suppress(OSError, TimeoutError, HopError):
                reply = await link.reply(1.0)
                if not reply.positive:
                    transaction.dot_sent = True
                    transaction.answer(reply)

    def _sweep_later(self) -> None:
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().call_later(MAX_IDLE, self._sweep)

    def _sweep(self) -> None:
        """Close what was idle for too long."""
        self._sweeper = None
        for hop in self._hops.values():
            for link in hop.pool.stale(self._now()):
                self._quit(link)
            if hop.pool.idle:
                self._sweep_later()

    def _quit(self, link: Link) -> None:
        task = asyncio.get_running_loop().create_task(link.quit())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


@dataclass(frozen=True, slots=True)
class Fitted:
    """A mail as this hop can take it, and the recipients to whom it can not go this way."""

    plan: Plan
    message: Message
    refused: tuple[Outcome, ...] = ()


def fit(mail: Mail, features: Features, host: str) -> Fitted:
    """Make a mail fit what a hop offers; nothing is sent that the hop did not offer to take."""
    recipients = mail.envelope.recipients
    message = mail.message
    parameters: list[str] = []
    nobody = Plan("", "", (), False)

    if mime.needs_8bit(message):
        if "8BITMIME" in features:
            parameters.append("BODY=8BITMIME")
        else:
            converted = None if mail.keep_body else mime.seven_bit(message)
            if converted is None:
                text = "the hop takes no 8-bit mail, and this body must not be converted"
                return Fitted(nobody, message, _rule(recipients, Reply(554, "5.6.3", text), host))
            message = converted
    size = len(message.header_bytes) + message.body.size
    if "SIZE" in features:
        if 0 < features.max_size < size:
            text = f"the mail has {size} octets, the hop takes {features.max_size}"
            return Fitted(nobody, message, _rule(recipients, Reply(552, "5.3.4", text), host))
        parameters.append(f"SIZE={size}")
    return _international(mail, message, parameters, features, host)


def _international(mail: Mail, message: Message, parameters: list[str], features: Features, host: str) -> Fitted:
    """SMTPUTF8 only when needed (RFC 6531): domains go as A-labels, local parts and header fields can not."""
    reverse = mail.envelope.reverse_path
    paths = [(r, _wire_form(r.address)) for r in mail.envelope.recipients]
    sender = "" if reverse is None else _wire_form(reverse)
    whole = not message.header_bytes.isascii() or not sender.isascii()
    refused: list[Recipient] = []
    if "SMTPUTF8" in features:
        if whole or any(not path.isascii() for _, path in paths):
            parameters.append("SMTPUTF8")
    else:
        refused = [r for r, path in paths if whole or not path.isascii()]
    reply = Reply(553, "5.6.7", "the hop takes no address or header outside ASCII (SMTPUTF8)")
    kept = tuple((r, path) for r, path in paths if r not in refused)
    words = "".join(f" {parameter}" for parameter in parameters)
    plan = Plan(sender, words, kept, "PIPELINING" in features)
    return Fitted(plan, message, _rule(tuple(refused), reply, host))


def _wire_form(address: Address) -> str:
    """The path as MAIL and RCPT say it: exactly the address, its domain in A-labels."""
    if not address.domain or address.domain.isascii():
        return str(address)
    return str(replace(address, domain=ascii_domain(address.domain)))


def _rule(recipients: tuple[Recipient, ...], reply: Reply, host: str) -> tuple[Outcome, ...]:
    return all_alike(recipients, reply, Cause.RULE, host, "wire")


def _lost(fault: BaseException) -> str:
    if isinstance(fault, TimeoutError):
        return "the server did not answer in time"
    if isinstance(fault, HopError):
        return str(fault)
    return f"the connection broke: {getattr(fault, 'strerror', None) or fault or type(fault).__name__}"
