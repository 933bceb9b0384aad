"""Dialogue: the transactions over one connection to a next hop, one behind the other (RFC 5321 3.3, RFC 2920).

1. A mail's MAIL, RCPTs and DATA go in one write where the peer offers PIPELINING.
2. On 354 its content follows, and right behind the final dot the envelope of the next mail that waits
   here: one round trip a mail. Nothing waits behind a large mail.
3. Replies belong to the commands in their order; a transaction that ends without its final dot is reset.
4. A connection that breaks is of no use to anybody: the mail under way has its answer (`transaction.py`
   says which), a mail of which the peer has not said a word is Stale and may be tried elsewhere at once.
"""

import asyncio
import contextlib
import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from relay.entry import Outcome
from relay.errors import HopError
from relay.message import Message
from relay.reply import Reply
from relay.transaction import Features, Plan, ReplyReader, Stuffer, Timeouts, Transaction

_STRIDE = 4
"""Pieces of a large mail that are made at once."""
SMALL = 65536
"""Octets of a mail up to which it is sent in one write, and another may wait behind it."""


SHORTEST_HIDDEN = 6
"""Characters of a secret that is taken out of replies."""


class Stale(HopError):
    """the connection was gone before the server had said anything about this mail"""


@dataclass(eq=False, slots=True)
class _Turn:
    """One mail's turn on the connection."""

    transaction: Transaction
    message: Message
    small: bool
    ended: "asyncio.Future[list[Outcome]]"
    said: bool = False
    resetting: bool = False
    """RSET went out before it, and its reply is still to come."""
    lone: bool = False
    """A lone dot went out, since 354 came although nobody was accepted."""
    streaming: "asyncio.Task[None] | None" = None


@dataclass(eq=False, slots=True)
class Dialogue(asyncio.Protocol):
    """A connection that may carry mail.

    `security` is in words for people, "" without TLS; `tls_level` the level wanted and had, for the log.
    """

    host: str
    features: Features
    security: str
    timeouts: Timeouts
    tls_level: str = ""
    mails: int = 0
    pace: float = 0.0
    """Seconds that a mail has taken of late."""
    retires_at: float = math.inf
    last: tuple[Transaction, Message] | None = None
    """What was said of the mail that has ended last, for who asks before the next one."""
    opening: tuple[str, ...] = ()
    """How the session began, for people."""
    eager: bool = True
    """The peer can bear the next envelope behind a final dot."""
    choked: bool = False
    """It went away as it got one, before it said a word about the mail before it."""
    _turns: deque[_Turn] = field(default_factory=deque)
    _booked: int = 0
    """Mails that are made ready for it."""
    _replies: ReplyReader = field(default_factory=ReplyReader)
    _transport: Any = None
    _clean: bool = True
    _wrote: bool = False
    """Something was said since the peer's last octets came."""
    _over: bool = False
    _leaving: "asyncio.Future[None] | None" = None
    _asked: "asyncio.Future[Reply] | None" = None
    _flowing: asyncio.Event = field(default_factory=asyncio.Event)
    _deadline: float = 0.0
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection over from whoever made it."""
        self._transport = transport
        self._flowing.set()

    def hide(self, *secrets: str) -> None:
        """Let no reply show one of them; none so short that it may be a part of a word."""
        self._replies.hidden = tuple(secret for secret in secrets if len(secret) >= SHORTEST_HIDDEN)

    # -- what the pool asks -------------------------------------------------------------------------

    @property
    def usable(self) -> bool:
        """False when it is closed, or has heard what nobody asked for: a 421, or its end."""
        return not (self._over or self._leaving or self._transport.is_closing())

    @property
    def waiting(self) -> int:
        """Mails under way or waiting here."""
        return len(self._turns) + self._booked

    @property
    def has_room(self) -> bool:
        """True when one more mail may wait behind the one under way."""
        turns = self._turns
        good = self.eager and self.usable and "PIPELINING" in self.features
        return good and len(turns) == 1 and turns[0].small and not self._booked

    @contextlib.contextmanager
    def booked(self) -> Iterator[None]:
        """A place for a mail that is still made ready: meanwhile nobody takes the connection for an idle one."""
        self._booked += 1
        try:
            yield
        finally:
            self._booked -= 1

    # -- a mail's way -------------------------------------------------------------------------------

    async def carry(self, plan: Plan, message: Message, size: int) -> list[Outcome]:
        """Hold the transaction; an outcome for each of the plan's recipients.

        Raises Stale, and HopError, with nothing said, for what can not be said in SMTP. Cancelled, it closes the
        connection: no later mail may get an answer meant for this one.
        """
        if not self.usable:  # it was, when this mail was given to it, and not yet ready
            raise Stale("the connection was closed before the mail was ready")
        loop = asyncio.get_running_loop()
        turn = _Turn(Transaction(plan, self.host), message, size <= SMALL, loop.create_future())
        began = loop.time()
        self._turns.append(turn)
        try:
            if len(self._turns) == 1:
                self._step()
            elif self._turns[0].transaction.dot_sent and len(self._turns) == 2:
                self._write(self._opening(turn))
            outcomes = await turn.ended
            self.last = (turn.transaction, message)
            return outcomes
        except asyncio.CancelledError:
            self._break("the attempt was cut off")
            raise
        finally:
            self.mails += 1
            spent = loop.time() - began
            self.pace = (self.pace + spent) / 2 if self.mails > 1 else spent

    async def ask(self, command: str) -> Reply:
        """One command outside any mail, while none is under way; its reply. Raises Stale when the connection ends."""
        if not self.usable or self._turns:
            raise Stale("the connection is not free")
        self._asked = asyncio.get_running_loop().create_future()
        self._say(command.encode() + b"\r\n")
        try:
            return await self._asked
        finally:
            self._asked = None
            self._deadline = 0.0

    def _opening(self, turn: _Turn) -> bytes:
        """What begins a mail's transaction."""
        turn.said = True
        turn.resetting, self._clean = not self._clean, True
        return (b"RSET\r\n" if turn.resetting else b"") + turn.transaction.next_commands()

    def _step(self) -> None:
        """Whatever is next, as far as it needs no reply."""
        while self._turns and not self._over:
            turn = self._turns[0]
            transaction = turn.transaction
            if not turn.said:
                self._say(self._opening(turn))
            if turn.resetting or turn.streaming:
                return
            if transaction.broken or transaction.ended:
                self._finish(turn)
            elif transaction.dot_sent or transaction.waiting:
                return
            elif more := transaction.next_commands():
                self._say(more)
            elif transaction.content_wanted:
                self._send_content(turn)
            elif transaction.lone_dot_wanted and not turn.lone:
                turn.lone = True
                self._say(b".\r\n")
                return
            else:
                self._finish(turn)

    def _send_content(self, turn: _Turn) -> None:
        if not turn.small:
            turn.streaming = asyncio.get_running_loop().create_task(self._stream(turn))
            return
        stuffer = Stuffer()
        content = stuffer.feed(b"".join(turn.message.pieces())) + stuffer.finish()
        turn.transaction.dot_sent = True
        if len(self._turns) > 1 and "PIPELINING" in self.features:
            content += self._opening(self._turns[1])
        self._write(content)
        self._await_within(self.timeouts.final_dot)

    async def _stream(self, turn: _Turn) -> None:
        """The content of a large mail, as fast as the peer takes it; made in a thread, so that nobody waits for it."""
        stuffer, pieces = Stuffer(), turn.message.pieces()

        def some() -> bytes:
            return b"".join(map(stuffer.feed, islice(pieces, _STRIDE)))

        try:
            while (content := await asyncio.to_thread(some)) or not turn.transaction.dot_sent:
                turn.transaction.dot_sent = not content
                self._write(content or stuffer.finish())
                self._await_within(self.timeouts.data_block)
                await self._flowing.wait()
            self._await_within(self.timeouts.final_dot)
            turn.streaming = None
            self._step()
        except Exception as fault:
            if not turn.ended.done():
                turn.ended.set_exception(fault)
            self._break("the mail could not be read")

    def _finish(self, turn: _Turn) -> None:
        """A transaction is over, and the connection free for the next one."""
        transaction = turn.transaction
        self._turns.popleft()
        self._clean = transaction.clean or turn.lone
        if turn.streaming:
            turn.streaming.cancel()
        if not turn.ended.done():
            turn.ended.set_result(transaction.outcomes())
        if transaction.broken:
            self._break(str(transaction.broken))
        elif not self._turns:
            self._deadline = 0.0

    # -- the wire -----------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Hand each reply to the mail that it answers."""
        self._wrote = False
        try:
            for reply in self._replies.feed(data):
                if self._over:
                    return
                if self._wrote and self._turns and not (reply.code >= 400 and self._turns[0].transaction.dot_sent):
                    # It came with the reply that made us say more, so it can not be the answer to that.
                    raise HopError(f"the server answered before it was asked: {reply}")
                self._hear(reply)
                self._step()
        except HopError as fault:
            self._break(str(fault))

    def _hear(self, reply: Reply) -> None:
        if self._asked and not self._asked.done():
            self._asked.set_result(reply)
            return
        if not self._turns:
            self._leave_off()
            return
        turn = self._turns[0]
        transaction = turn.transaction
        if turn.resetting:
            turn.resetting = False
            if not reply.positive:
                raise HopError(f"RSET was answered with {reply}")
        elif turn.lone:
            self._finish(turn)
        elif turn.streaming and not transaction.dot_sent:
            if reply.positive:
                raise HopError("the server answered before the end of the mail")
            # It will hear no more of this mail, and has said why (552, 421).
            transaction.dot_sent = True
            transaction.answer(reply)
            transaction.broken = transaction.broken or reply
            self._finish(turn)
        elif reply.code == 421 and self.mails and not transaction.answered:
            raise HopError(f"the server has said {reply}")  # of the connection, not of this mail: Stale
        else:
            transaction.answer(reply)

    def _leave_off(self) -> None:
        """A word that nobody asked for, or the answer to QUIT: it is of no use any more."""
        self._over = True
        if self._leaving and not self._leaving.done():
            self._leaving.set_result(None)
        self.abort()

    def eof_received(self) -> bool:
        """The peer has hung up."""
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone, with or without a reason."""
        text = getattr(error, "strerror", None) or (str(error) if error else "")
        self._break(f"the connection broke: {text}" if text else "the server closed the connection")

    def pause_writing(self) -> None:
        """The peer is slow to take what we send."""
        self._flowing.clear()

    def resume_writing(self) -> None:
        """It has caught up."""
        self._flowing.set()

    def _say(self, data: bytes) -> None:
        self._write(data)
        self._await_within(self.timeouts.command)

    def _write(self, data: bytes) -> None:
        self._wrote = True
        if not self._over and not self._transport.is_closing():
            self._transport.write(data)

    def _break(self, reason: str) -> None:
        """No more over this connection: every mail here gets its answer, or is Stale."""
        self._over = True
        if self._timer:
            self._timer.cancel()
        if self._leaving and not self._leaving.done():
            self._leaving.set_result(None)
        if self._asked and not self._asked.done():
            self._asked.set_exception(Stale(reason))
        turns, self._turns = list(self._turns), deque()
        self.choked = len(turns) > 1 and turns[1].said and not turns[0].transaction.ended
        for number, turn in enumerate(turns):
            transaction = turn.transaction
            if turn.streaming and not turn.ended.done():
                turn.streaming.cancel()
            if turn.ended.done():
                continue
            if number or (self.mails and not transaction.answered):
                turn.ended.set_exception(Stale(reason))
            else:
                transaction.lost(reason)
                turn.ended.set_result(transaction.outcomes())
        self.abort()

    def abort(self) -> None:
        """Cut it off."""
        self._over = True
        self._flowing.set()
        self._transport.abort()

    async def quit(self) -> None:
        """Say QUIT and close; what the peer makes of it changes nothing."""
        if not self.usable or self._turns:
            return
        self._leaving = asyncio.get_running_loop().create_future()
        self._write(b"QUIT\r\n")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2.0):
                await self._leaving
        self.abort()

    # -- time ---------------------------------------------------------------------------------------

    def _await_within(self, seconds: float) -> None:
        """A reply, or room for more, is due within that time: one timer that looks, not one per command."""
        loop = asyncio.get_running_loop()
        self._deadline = loop.time() + seconds
        if self._timer is None:
            self._timer = loop.call_later(min(seconds, self._tick), self._look)

    @property
    def _tick(self) -> float:
        """How often it is looked: a later deadline may be nearer than the one the timer was set for."""
        return min(self.timeouts.command, self.timeouts.data_block, self.timeouts.final_dot) / 4

    def _look(self) -> None:
        self._timer = None
        if not self._deadline or self._over:
            return
        loop = asyncio.get_running_loop()
        left = self._deadline - loop.time()
        if left > 0:
            self._timer = loop.call_later(min(left, self._tick), self._look)
        else:
            self._break("the server did not answer in time")
