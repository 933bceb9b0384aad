"""Events: which mail of an event is the first, so that additions go out once (kept in the spool for a day)."""

import asyncio
from dataclasses import dataclass, field

from relay import journal
from relay.errors import SpoolError
from relay.spool import Clock, Spool

DAY = 86400.0
"""Seconds for which an event is remembered."""


@dataclass(slots=True)
class Events:
    """Asked before each preparing: a mail that was the first stays it in every further attempt."""

    spool: Spool
    clock: Clock
    _asking: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def is_first(self, key: str, entry_id: str) -> bool:
        """True for the first mail of the event that `key` names; in doubt, since the spool fails, too."""
        async with self._asking:
            try:
                holder = await self.spool.recall(f"event:{key}")
                if holder is None:
                    await self.spool.remember(f"event:{key}", entry_id, self.clock() + DAY)
            except SpoolError as fault:
                journal.fault("events", fault)
                return True
        return holder in (None, entry_id)
