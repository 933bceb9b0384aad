"""Account: what one log-in at one server may still send, however many next hops of ours use it.

A mail waits for its place in the minute here, for MOST_WAIT at most; behind that it goes back into the
queue without a trace, due when its turn comes. The recipients of the day are remembered in the spool.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from relay import journal
from relay.entry import Cause
from relay.manners import HOUR, HOURS, MOST_WAIT, Day, Manners, Minute
from relay.reply import Reply
from relay.retry import in_words
from relay.routing import Upstream


class Memory(Protocol):
    """Where small facts outlast a restart: the spool."""

    async def remember(self, key: str, value: str, until: float) -> None:
        """Keep it until then."""

    async def recall(self, key: str) -> str | None:
        """It, or None."""


@dataclass(slots=True)
class Account:
    """`name` is for people and for the spool; `clock` gives wall-clock seconds."""

    name: str
    minute: Minute | None
    day: Day | None
    clock: Callable[[], float]
    memory: Memory | None
    _recalled: bool = False
    _recalling: asyncio.Lock = field(default_factory=asyncio.Lock)
    _told: bool = False
    """It was said that the day's share is used up."""

    async def turn(self, recipients: int, manners: Manners) -> tuple[Reply, Cause] | None:
        """Wait for the turn of a mail to so many; why it has none now, else None. Raises SpoolError."""
        minute, day = self._limited(manners)
        if day and (left := await self._left(day, recipients)):
            text = f"this account has had its {day.most} recipients of 24 hours: try again in {left:.0f} seconds"
            return Reply(451, "4.7.0", text), Cause.PAUSED
        now = asyncio.get_running_loop().time()
        if minute and minute.wait(now) > MOST_WAIT:
            wait = minute.stand_behind(now)
            text = f"this account takes {minute.most} mails a minute: try again in {wait:.0f} seconds"
            return Reply(451, "4.3.2", text), Cause.TURN
        if day:
            await self._count(day, recipients)
        if minute and (wait := minute.take(now)):
            await asyncio.sleep(wait)
        return None

    def _limited(self, manners: Manners) -> tuple[Minute | None, Day | None]:
        """What is counted, under the limits of this moment: a reload changes them, and forgets no count."""
        if most := manners.per_minute:
            self.minute = self.minute or Minute(most)
            self.minute.limit(most)
        if most := manners.per_day:
            self.day = self.day or Day(most)
            self.day.most = most
        return self.minute if manners.per_minute else None, self.day if manners.per_day else None

    def spared(self, recipients: int) -> None:
        """So many of a mail that was counted have got nothing: a server that refuses all day uses up no share of it."""
        if self.day:
            self.day.give_back(recipients)

    async def _left(self, day: Day, recipients: int) -> float:
        """Seconds until the day has room for them; 0.0 for now."""
        async with self._recalling:
            if self.memory is not None and not self._recalled:
                day.restore(await self.memory.recall(self._key) or "{}")
                self._recalled = True
        wait = day.wait(self.clock(), recipients)
        if wait and not self._told:
            journal.alarm(
                f"{self.name} has had its {day.most} recipients of 24 hours (recipients_per_day): its mail waits"
                f" for {in_words(wait // 60 * 60 or 60.0)}"
            )
        self._told = wait > 0
        return wait

    async def _count(self, day: Day, recipients: int) -> None:
        if day.take(self.clock(), recipients) and self.memory is not None:
            await self._keep(day.kept(self.clock()))

    async def _keep(self, kept: str) -> None:
        if self.memory is not None:
            await self.memory.remember(self._key, kept, self.clock() + HOURS * HOUR)

    async def close(self) -> None:
        """Keep the exact count."""
        if self.day and self._recalled:
            await self._keep(self.day.kept(self.clock(), exact=True))

    @property
    def _key(self) -> str:
        return f"recipients:{self.name}"


def account_of(upstream: Upstream, clock: Callable[[], float], memory: Memory | None) -> Account | None:
    """The account behind a next hop; None where nothing is counted."""
    manners = upstream.manners
    if not (manners.per_minute or manners.per_day):
        return None
    who = f"{upstream.user} at " if upstream.user else ""
    name = f"{who}{upstream.found_by or f'{upstream.server}:{upstream.port}'}"
    minute = Minute(manners.per_minute) if manners.per_minute else None
    return Account(name, minute, Day(manners.per_day) if manners.per_day else None, clock, memory)
