"""Lanes: how many workers of a profile one next hop may keep busy, so that a slow one leaves workers for the others.

1. A mail enters the lane of its next hop while there is room: the fewer workers the profile has left, the fewer more a
   lane may have. Of 96 one hop alone gets 42 (20 connections with two mails each: one under way, one behind it), a
   second one that is slow 18, the next 10; it takes seventeen to get all.
2. Where there is no room it waits for PATIENCE: a hop that takes mail at some speed makes room before that.
3. Else it steps back into the spool, which is no attempt: due at a slot of its own, SLOTS in a second, so that 10,000
   such mails cost little. The next mails for that hop step back at once.
4. When there is room again, the one that was due first is claimed by its id, before its slot.

A next hop is that of a route, with the recipients' domain where DNS names the hosts of each (`mx`). What is known here
is gone with the process; the slots stand in the spool.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Protocol

from relay import journal
from relay.entry import Attempt, Cause, Entry, State
from relay.mail import Mail
from relay.reply import Reply
from relay.routing import Route
from relay.spool import Claim, Clock, Spool, Wanted
from relay.transaction import all_alike

PATIENCE = 0.5
"""Seconds that a worker waits for room in a lane."""
SLOTS = 20
"""Mails of one lane that become due again in a second, whether there is room or not."""
KNOWN = 10_000
"""Mails that may be called before their slot."""


class UnderWay(Protocol):
    """Work on an entry."""

    @property
    def profile(self) -> str:
        """Whose mail it is."""


@dataclass(eq=False, slots=True)
class _Lane:
    """One next hop of one profile."""

    key: tuple[str, str, str]
    under_way: int = 0
    """Mails in an attempt, or called for one."""
    waiting: "deque[tuple[asyncio.Future[bool], Entry]]" = field(default_factory=deque)
    back: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Who has stepped back, by id: when he was due first, and when he is due now; 0.0 while that is not settled."""
    line: list[tuple[float, str]] = field(default_factory=list)
    """A heap of those that may be called: since when they are due, and their ids."""
    lined: set[str] = field(default_factory=set)
    slot: float = 0.0


@dataclass(slots=True)
class Lanes:
    """`workers` is how many a profile has; `wake` is called when somebody is to be `called`."""

    workers: int
    clock: Clock
    wake: Callable[[], None]
    _lanes: dict[tuple[str, str, str], _Lane] = field(default_factory=dict)
    _busy: Counter[str] = field(default_factory=Counter)
    """By profile: what its lanes have under way."""
    _short: dict[_Lane, None] = field(default_factory=dict)
    """The lanes in which somebody waits for room."""
    _known: int = 0
    _calls: deque[str] = field(default_factory=deque)
    _places: dict[str, _Lane] = field(default_factory=dict)
    """Where there is a place kept for who was called."""
    _stepping: dict[str, list[_Lane]] = field(default_factory=dict)
    """Who steps back, and from where, until that is settled."""
    _tried: set[str] = field(default_factory=set)
    """Who has a pause of his own, since an attempt has deferred him."""

    async def attempt(
        self, profile: str, entry: Entry, route: Route, mail: Mail, attempt: Callable[[Route, Mail], Awaitable[Attempt]]
    ) -> Attempt:
        """What `attempt` brings, or that it is not this mail's turn."""
        key = profile, route.upstream.name, route.domain
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = _Lane(key)
        if not await self._enter(lane, entry):
            text = f"the mail before it keeps this next hop busy: try again in {self._slot(lane):.0f} seconds"
            outcomes = all_alike(mail.envelope.recipients, Reply(451, "4.3.2", text), Cause.TURN)
            return Attempt(self.clock(), route.upstream.name, outcomes)
        try:
            done = await attempt(route, mail)
        finally:
            self._leave(lane)
        if not all(outcome.disposition.final for outcome in done.outcomes):
            self._tried.add(entry.id)
        return done

    def ended(self, name: str, due: float) -> None:
        """Work on that entry is over; if it is still queued, it is due then."""
        tried = name in self._tried
        self._tried.discard(name)
        if place := self._places.pop(name, None):  # it has gone another way
            self._leave(place)
        for lane in self._stepping.pop(name, ()):
            if tried or not due:
                self._forget(lane, name)
            elif known := lane.back.get(name):
                since = known[0]
                lane.back[name] = since, due
                if name not in lane.lined:
                    lane.lined.add(name)
                    heappush(lane.line, (since, name))
                    self._short[lane] = None
            self._fill(lane)
        if self._calls:
            self.wake()

    async def called(self, spool: Spool, under_way: Mapping[str, UnderWay]) -> list[Claim]:
        """Claims on those for whom there is room now, as far as their profiles have workers free."""
        if not self._calls:
            return []
        workers = Counter(work.profile for work in under_way.values())
        claims: list[Claim] = []
        calls, self._calls = self._calls, deque()
        for name in calls:
            lane = self._places.get(name)
            if lane is None or name in under_way:
                continue  # his slot has come: he finds his place by himself
            if workers[lane.key[0]] >= self.workers:
                self._calls.append(name)
                continue
            due = self._forget(lane, name)
            if due is None:
                continue  # called twice
            workers[lane.key[0]] += 1
            try:
                for claim in await spool.claim(Wanted(id=name), 0):
                    if claim.entry.state is State.QUEUED and claim.entry.due == due:
                        claims.append(claim)
                        break
                    await spool.settle([claim], (claim.entry, None))  # something else was decided about it
                else:
                    del self._places[name]
                    self._leave(lane)
            except Exception as fault:
                journal.fault(f"claim of {name}", fault)
                del self._places[name]
                self._leave(lane)
        return claims

    # -- one lane -----------------------------------------------------------------------------------

    def _room(self, lane: _Lane) -> bool:
        free = max(self.workers - self._busy[lane.key[0]], 0)
        return 3 * self.workers * lane.under_way < 4 * free * free

    def _count(self, lane: _Lane, more: int) -> None:
        lane.under_way += more
        self._busy[lane.key[0]] += more

    async def _enter(self, lane: _Lane, entry: Entry) -> bool:
        """Wait for room; False where there is none in time."""
        if self._places.get(entry.id) is lane:
            del self._places[entry.id]
            self._forget(lane, entry.id)
            return True
        if lane.back:
            self._step_back(lane, entry)
            return False
        if not lane.waiting and self._room(lane):
            self._count(lane, 1)
            return True
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[bool] = loop.create_future()
        lane.waiting.append((waiter, entry))
        self._short[lane] = None
        timer = loop.call_later(PATIENCE, self._turn_away, lane, waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.result():
                self._leave(lane)
            raise
        finally:
            timer.cancel()

    def _turn_away(self, lane: _Lane, waiter: "asyncio.Future[bool]") -> None:
        """One has waited for too long: that hop is slow, and nobody waits for it here."""
        if waiter.done():
            return
        waiting, lane.waiting = lane.waiting, deque()
        for other, entry in waiting:
            if not other.done():
                self._step_back(lane, entry)
                other.set_result(False)

    def _step_back(self, lane: _Lane, entry: Entry) -> None:
        if entry.id not in lane.back and (self._known < KNOWN or not lane.back):
            lane.back[entry.id] = entry.due, 0.0
            self._known += 1
        self._stepping.setdefault(entry.id, []).append(lane)

    def _slot(self, lane: _Lane) -> float:
        """Seconds until the next slot of a lane, which is taken."""
        now = asyncio.get_running_loop().time()
        lane.slot = max(lane.slot + 1 / SLOTS, now + 1.0)
        return lane.slot - now

    def _forget(self, lane: _Lane, name: str) -> float | None:
        """He may not be called any more; when he is due, None where he had not stepped back."""
        known = lane.back.pop(name, None)
        if known is None:
            return None
        self._known -= 1
        return known[1]

    def _leave(self, lane: _Lane) -> None:
        """One less is under way: there may be room, here or in another lane of the profile."""
        self._count(lane, -1)
        self._fill(lane)
        for other in list(self._short):
            self._fill(other)

    def _fill(self, lane: _Lane) -> None:
        """Let in who waits, call who has stepped back; a lane without either is forgotten."""
        while self._room(lane):
            if lane.waiting:
                waiter, _ = lane.waiting.popleft()
                if not waiter.done():
                    self._count(lane, 1)
                    waiter.set_result(True)
            elif lane.line:
                _, name = heappop(lane.line)
                lane.lined.discard(name)
                if name in lane.back and name not in self._places:
                    self._count(lane, 1)
                    self._places[name] = lane
                    self._calls.append(name)
                    self.wake()
            else:
                break
        if not (lane.waiting or lane.line):
            self._short.pop(lane, None)
            if not (lane.under_way or lane.back):
                self._lanes.pop(lane.key, None)
