"""Health: in one word whether mail is taken. Anybody may ask, however often: the spool is looked at now and then."""

import asyncio

from relay.errors import RelayError
from relay.statuspage import Sources

FRESH = 5.0
"""Seconds for which one look at the spool is good."""
PATIENCE = 2.0
"""Seconds that the spool has to write."""


class Health:
    """The last look."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._looked, self._word = float("-inf"), ""
        self._looking = asyncio.Lock()

    async def word(self) -> str:
        """Why no mail can be taken: "stopping" or "spool"; "" when it can."""
        if word := self._sources.refusing():
            return word
        async with self._looking:
            now = asyncio.get_running_loop().time()
            if now - self._looked >= FRESH:
                self._word = await self._look()
                self._looked = now
        return self._word

    async def _look(self) -> str:
        """Write a little, as a mail would be written: a disk that is full or gone shows itself."""
        spool, clock = self._sources.spool, self._sources.clock
        try:
            spool.room(0)
            async with asyncio.timeout(PATIENCE):
                await spool.remember("health", "", clock() + 60)
        except (RelayError, TimeoutError):
            return "spool"
        return ""
