"""Canary: every next hop is tried out while no mail proves that it works, and its falls and rises are news.

1. Each has a look (connect, TLS, log-in, NOOP) when `canary` seconds have shown nothing of it, soon after the
   start, and while it is down as often as its pause allows: once a minute with a refused password.
2. One that falls is an alarm, before the mail of a ticket fails; one that falls again and again is a warning.
3. One that rises has all that waited for it due at once, the oldest first; how fast it leaves is the pool's affair.

One look's fault or slowness is nobody else's: each next hop has a task of its own.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from dataclasses import dataclass, field

from relay import journal
from relay.entry import Cause
from relay.known import Trouble
from relay.linkfault import LinkFault
from relay.routing import Upstream
from relay.upstream import Upstreams

TICK = 5.0
"""Seconds between two rounds."""
BEGIN = 10.0
"""Seconds after the start until the first one."""
AGAIN = 30.0
"""Seconds between two looks at one next hop at least."""
QUIET = 600.0
"""Seconds after an alarm for which a further fall of the same next hop is only a warning."""
WAYS = (Cause.CONNECT, Cause.DNS, Cause.TLS, Cause.AUTH, Cause.TOKEN)
"""The causes of mail that waits for a next hop to be up."""

DueAgain = Callable[[Sequence[str], str, Collection[Cause]], Awaitable[int]]
"""Names of next hops, why in words, the causes: makes the mail due that waits for these, oldest first; how many."""


@dataclass(slots=True)
class Canary:
    """`hops` are those of the configuration of this moment; `resting` says that nobody shall ask that one."""

    upstreams: Upstreams
    hops: Callable[[], Sequence[Upstream]]
    resting: Callable[[Upstream], bool]
    due_again: DueAgain
    _running: asyncio.Task[None] | None = None
    _looks: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _next: dict[str, float] = field(default_factory=dict)
    _alarmed: dict[str, float] = field(default_factory=dict)
    _waking: set[asyncio.Task[None]] = field(default_factory=set)

    def start(self) -> None:
        """Look after the next hops from now on."""
        self.upstreams.watcher = self
        self._running = asyncio.create_task(self._run())

    def stop(self) -> None:
        """No more; what is under way is cut off."""
        for task in filter(None, (self._running, *self._looks.values(), *self._waking)):
            task.cancel()

    async def _run(self) -> None:
        await asyncio.sleep(BEGIN)
        while True:
            self._round()
            await asyncio.sleep(TICK)

    def _round(self) -> None:
        now = asyncio.get_running_loop().time()
        self._begin(self._keep())
        for hop in self.hops():
            every = hop.manners.canary
            if every is None or hop.is_outbox or hop.is_discovered or self.resting(hop) or hop.name in self._looks:
                continue
            if now < self._next.get(hop.name, 0.0) or not self.upstreams.wants_look(hop, every):
                continue
            self._next[hop.name] = now + AGAIN
            self._looks[hop.name] = asyncio.create_task(self._look(hop))

    async def _look(self, hop: Upstream) -> None:
        try:
            await self.upstreams.probe(hop)
        except LinkFault:
            pass  # it is known as trouble, and was said
        except Exception as fault:
            journal.fault(f"a look at {hop.name}", fault)
        finally:
            del self._looks[hop.name]

    # -- what the upstreams tell --------------------------------------------------------------------

    def fell(self, names: Sequence[str], trouble: Trouble) -> None:
        """No connection, or no log-in, where there was one, or where nobody had tried."""
        now, name = asyncio.get_running_loop().time(), ", ".join(names)
        text = f"next hop {name} can not be used ({trouble.cause}), its mail waits: {trouble.reply}"
        if now - self._alarmed.get(name, -QUIET) >= QUIET:
            self._alarmed[name] = now
            journal.alarm(text)
        else:
            journal.warning("", text)

    def rose(self, names: Sequence[str], causes: Collection[Cause] = WAYS) -> None:
        """It works again: what waits for it, for these causes, is due."""
        self._begin(self._wake(names, causes))

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._waking.add(task)
        task.add_done_callback(self._waking.discard)

    async def _keep(self) -> None:
        """Failed sessions outlast a restart."""
        try:
            await self.upstreams.keep()
        except Exception as fault:
            journal.fault("failed sessions", fault)

    async def _wake(self, names: Sequence[str], causes: Collection[Cause]) -> None:
        name = ", ".join(names)
        try:
            due = await self.due_again(names, f"next hop {name} takes mail again", causes)
            journal.info("", f"next hop {name} takes mail again; {due} mails are due")
        except Exception as fault:
            journal.fault(f"the mail that waited for {name}", fault)
