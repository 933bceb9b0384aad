"""Turns: long steps on the event loop, when they keep nobody waiting: whoever waits for an answer gets it between.

1. A few in each round of the loop: fifty mails prepared in one round would let whoever comes now wait for all fifty.
2. While clients are talking, one in PATIENCE seconds: a burst of mail is answered first, and leaves right behind it.
3. A load that lasts longer than BURST is no burst: then it is one in each round, so that the queue does not grow.
"""

import asyncio
import contextlib
import math
from collections import deque
from collections.abc import Callable

QUIET = 0.004
"""Seconds without a word from any client after which none of them counts as talking."""
PATIENCE = 0.02
BURST = 2.0
AT_ONCE = 8
"""Turns in one round of the loop while nobody talks: two milliseconds of work."""


class Turns:
    """A turnstile, in the order of the asking. `heard` tells when a client has last said anything (loop time)."""

    def __init__(self, heard: Callable[[], float] = lambda: -math.inf) -> None:
        self._heard = heard
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._giving: asyncio.Handle | None = None
        """Set from a turn that was taken until the next one may be."""
        self._patient_until = self._burst_until = 0.0

    async def take(self) -> None:
        """Wait for a turn; at once where there is one."""
        loop = asyncio.get_running_loop()
        if self._giving is None:
            now = loop.time()
            self._burst_until = now + BURST
            if self._free(now):
                self._giving = loop.call_soon(self._give, loop)
                return
            self._giving = loop.call_later(QUIET, self._give, loop)
        waiter = loop.create_future()
        self._waiting.append(waiter)
        await waiter  # cancelled, it is passed over

    def _give(self, loop: asyncio.AbstractEventLoop) -> None:
        self._giving, given = None, 0
        most = self._free(loop.time())
        while self._waiting and (given < most or self._waiting[0].done()):
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                given += 1
        if given:
            self._giving = loop.call_soon(self._give, loop)
        elif self._waiting:
            self._giving = loop.call_later(QUIET, self._give, loop)

    def _free(self, now: float) -> int:
        """How many turns there are in this round."""
        talking = now - self._heard() < QUIET
        if talking and now < min(self._patient_until, self._burst_until):
            return 0
        self._patient_until = now + PATIENCE
        return 1 if talking else AT_ONCE


async def within(event: asyncio.Event, seconds: float) -> bool:
    """Wait for `event`, but not longer than that; True when it came."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()
