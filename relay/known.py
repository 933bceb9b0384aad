"""Known: what is known of one next hop: its connections and limits, who waits for it, what is wrong with it."""

import asyncio
import math
import ssl
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from relay.account import Account
from relay.dialogue import Dialogue
from relay.entry import Cause
from relay.holds import Holds
from relay.pool import Pool
from relay.reply import Reply


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a connection or log-in failed, `at` wall-clock seconds since 1970."""

    at: float
    reply: Reply
    cause: Cause


class Watcher(Protocol):
    """Who hears of next hops that fall and rise."""

    def fell(self, names: Sequence[str], trouble: Trouble) -> None:
        """It can not be used."""

    def rose(self, names: Sequence[str], causes: Collection[Cause] = ...) -> None:
        """It can again, for mail that waited for these causes."""


@dataclass(slots=True)
class Known:
    """What we know of one upstream; `queue` are attempts that wait for a place on a connection."""

    pool: Pool[Dialogue]
    account: Account | None = None
    holds: Holds = field(default_factory=Holds)
    queue: "deque[asyncio.Future[None]]" = field(default_factory=deque)
    context: ssl.SSLContext | None = None
    used_at: float = 0.0
    trouble: Trouble | None = None
    proven_at: float = -math.inf
    """When it last took a mail, or stood a probe, on the steady clock."""
    names: list[str] = field(default_factory=list)
    watched: bool = True
    """False for the mail server of some recipient's domain: its fall is no fall of ours."""

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


@dataclass(frozen=True, slots=True)
class HopState:
    """What is known of one next hop, for people. Times are wall-clock seconds, 0 for never since the start.

    `trouble` is why the last connection or log-in failed, None once one has worked; `holds` say whose
    mail waits, since it refuses us and not the mail.
    """

    used_at: float = 0.0
    connections: int = 0
    trouble_at: float = 0.0
    trouble: Reply | None = None
    cause: Cause | None = None
    holds: tuple[str, ...] = ()
