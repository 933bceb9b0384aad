"""Known: what is known of one next hop: its connections and limits, who waits for it, what is wrong with it."""

import asyncio
import math
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from relay.account import Account, Memory
from relay.dialogue import Dialogue
from relay.entry import Cause, Disposition, Outcome
from relay.holds import Holds
from relay.options import Secret
from relay.pool import Pool
from relay.reply import Reply
from relay.routing import Upstream
from relay.transcript import Session, bounded


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
    used_at: float = 0.0
    trouble: Trouble | None = None
    proven_at: float = -math.inf
    """When it last took a mail, or stood a probe, on the steady clock."""
    names: list[str] = field(default_factory=list)
    session: Session | None = None
    """The last one that failed."""
    unkept: bool = False
    """The spool does not know of it yet."""
    watched: bool = True
    """False for the mail server of some recipient's domain: its fall is no fall of ours."""

    def note(self, at: float, host: str, lines: Sequence[str], password: Secret, message_id: str = "") -> None:
        """A session has failed; the password is in no line of it."""
        shown = bounded(lines, (password.reveal(),))
        self.session, self.unkept = Session(at, host, shown, message_id), True

    def spared(self, outcomes: Collection[Outcome]) -> None:
        """Who of these has got nothing is not counted."""
        if self.account and self.pool.manners.per_day:
            nothing = [o for o in outcomes if o.disposition is not Disposition.RELAYED and not o.ambiguous]
            self.account.spared(len(nothing))

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


def state_of(known_hops: Mapping[Upstream, Known], upstream: Upstream) -> HopState:
    """How it stands with one next hop; with one whose hosts DNS names, how it stands with all of them."""
    hops = [
        hop
        for known, hop in known_hops.items()
        if known == upstream or (upstream.is_discovered and known.name == upstream.name)
    ]
    used_at = max((hop.used_at for hop in hops), default=0.0)
    last = max((hop.trouble for hop in hops if hop.trouble), default=None, key=lambda trouble: trouble.at)
    holds = tuple(dict.fromkeys(str(hold) for hop in hops for hold in hop.holds))
    state = HopState(used_at, sum(len(hop.pool.links) for hop in hops), holds=holds)
    if last is None or (upstream.is_discovered and last.at < used_at):
        return state  # another host has stood in
    return replace(state, trouble_at=last.at, trouble=last.reply, cause=last.cause)


def trouble_of(known_hops: Mapping[Upstream, Known], name: str) -> Trouble | None:
    """The last trouble of a next hop of that name, as it was configured before: mail may wait for its end."""
    found = (hop.trouble for known, hop in known_hops.items() if known.name == name and hop.trouble)
    return max(found, default=None, key=lambda trouble: trouble.at)


def session_of(known_hops: Mapping[Upstream, Known], upstream: Upstream) -> Session | None:
    """The last session with a next hop, or a host of it, that failed since the start."""
    hops = (hop for known, hop in known_hops.items() if known == upstream or known.name == upstream.name)
    return max((hop.session for hop in hops if hop.session), default=None, key=lambda session: session.at)


async def keep(known_hops: Iterable[Known], memory: Memory, until: float) -> None:
    """Have the failed sessions that it does not know yet remembered. Raises SpoolError."""
    for hop in list(known_hops):
        if hop.unkept and hop.session:
            hop.unkept = False
            for name in set(hop.names):
                await memory.remember(f"session:{name}", hop.session.stored(), until)
