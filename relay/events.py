"""Events: which mail of an event is the first, so that additions go out once (kept in the spool for a day)."""

from dataclasses import dataclass, field

from relay import journal
from relay.errors import SpoolError
from relay.spool import Clock, Spool

DAY = 86400.0
"""Seconds for which an event is remembered."""
_KNOWN = 1000
"""Events that are also remembered here: their further mails, which come within moments, ask no disk."""


@dataclass(slots=True)
class Events:
    """Asked before each preparing: a mail that was the first stays it in every further attempt."""

    spool: Spool
    clock: Clock
    _known: dict[str, str] = field(default_factory=dict)

    async def is_first(self, key: str, entry_id: str) -> bool:
        """True for the first mail of the event that `key` names; in doubt, since the spool fails, too."""
        holder = self._known.get(key)
        if holder is not None:
            return holder == entry_id
        # Noted before anything is awaited: of two mails side by side one is the first.
        self._known[key] = entry_id
        while len(self._known) > _KNOWN:
            del self._known[next(iter(self._known))]
        try:
            stored = await self.spool.note(f"event:{key}", entry_id, self.clock() + DAY)
        except SpoolError as fault:
            journal.fault("events", fault)
            return True
        self._known[key] = stored
        return stored == entry_id

    async def would_be_first(self, key: str, entry_id: str) -> bool:
        """The same, without becoming it: for who only looks."""
        holder = self._known.get(key) or await self.spool.recall(f"event:{key}")
        return holder in (None, entry_id)
