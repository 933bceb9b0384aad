"""Turns: long steps on the event loop, one in each of its rounds, so that whoever waits for an answer gets it between.

Ten mails that became due at once and were prepared in one round would let every client wait for all ten, at each
of its commands.
"""

import asyncio
import contextlib
from collections import deque


class Turns:
    """A turnstile: `take` returns once in each round of the event loop, in the order of the asking."""

    def __init__(self) -> None:
        self._taken = False
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def take(self) -> None:
        """Wait for a turn; at once where nobody has taken that of this round."""
        loop = asyncio.get_running_loop()
        if self._taken:
            waiter = loop.create_future()
            self._waiting.append(waiter)
            await waiter  # cancelled, it is passed over
            return
        self._taken = True
        loop.call_soon(self._next, loop)

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                loop.call_soon(self._next, loop)
                return
        self._taken = False


async def within(event: asyncio.Event, seconds: float) -> bool:
    """Wait for `event`, but not longer than that; True when it came."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()
