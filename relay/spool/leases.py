"""Leases: who works on which entry, and which claims lie ready before anybody asks.

They live in memory: the lock makes this process the only one, and after a crash every lease would be a
dead worker's anyway. So a claim writes nothing, and its token fences all the same.

A mail that was just kept is ready as it is: nothing is read back from the disk to deliver it. What is
older is looked up in the database, LOOK at a time, when it is due. Fresh and older mail take turns, so
that neither starves the other. All of it belongs to the event loop's thread.
"""

import math
from bisect import insort
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from relay.entry import Entry
from relay.message import Body
from relay.spool.protocol import Claim, Clock, Wanted

FRESH = 1000
"""Mails of one profile that lie ready as they came; further ones are looked up in the database."""
FRESH_OCTETS = 8 << 20
"""Octets of these mails."""
LOOK = 32
"""Mails of one profile that one look at the database makes ready."""
LOOK_AGAIN = 60.0
"""Seconds after which the database is looked at whatever is known: a lease may have ended with its worker dead."""


@dataclass(slots=True)
class _Lease:
    token: int
    until: float
    seq: int
    """The row that it is about."""


@dataclass(slots=True)
class _Queue:
    """One profile's claims that nobody has taken yet, and when a look at the database may find more."""

    fresh: deque[Claim] = field(default_factory=deque)
    stored: deque[Claim] = field(default_factory=deque)
    look_at: float = math.inf
    octets: int = 0
    fresh_next: bool = False

    @property
    def head(self) -> Claim | None:
        """The next one: fresh and older ones by turns, of each kind the longest due."""
        if self.fresh and (self.fresh_next or not self.stored):
            return self.fresh[0]
        return self.stored[0] if self.stored else None

    def next(self) -> Claim:
        """Take the head."""
        if self.head is (self.fresh[0] if self.fresh else None):
            claim = self.fresh.popleft()
            self.octets -= claim.body.size
            self.fresh_next = False
            return claim
        self.fresh_next = True
        return self.stored.popleft()

    def remove(self, name: str) -> Claim | None:
        """That entry's claim, if it lay here."""
        for ready in (self.fresh, self.stored):
            for claim in ready:
                if claim.entry.id == name:
                    ready.remove(claim)
                    self.octets -= claim.body.size if ready is self.fresh else 0
                    return claim
        return None


@dataclass(slots=True)
class Leases:
    """`length` in seconds."""

    clock: Clock
    length: float
    _leases: dict[str, _Lease] = field(default_factory=dict)
    _queues: dict[str, _Queue] = field(default_factory=dict)
    _token: int = 0
    _looking: int = 0
    _releases: int = 0
    _ended: dict[str, int] = field(default_factory=dict)
    """What was released while somebody looks, with the number of that release: his rows may be older than it."""

    # -- leases -------------------------------------------------------------------------------------

    def holds(self, claim: Claim) -> int | None:
        """The row of a claim that is still ours, else None."""
        lease = self._leases.get(claim.entry.id)
        return lease.seq if lease and lease.token == claim.token else None

    def extend(self, claim: Claim) -> bool:
        """A fresh lease; False when it is no longer ours."""
        if self.holds(claim) is None:
            return False
        self._leases[claim.entry.id].until = self.clock() + self.length
        return True

    def release(self, names: Iterable[str]) -> None:
        """They are settled."""
        self._releases += 1
        for name in names:
            self._leases.pop(name, None)
            if self._looking:
                self._ended[name] = self._releases

    def _lease(self, entry: Entry, body: Body, seq: int) -> Claim:
        self._token += 1
        self._leases[entry.id] = _Lease(self._token, self.clock() + self.length, seq)
        return Claim(entry, body, self._token)

    def _leased(self, name: str) -> bool:
        lease = self._leases.get(name)
        return lease is not None and lease.until > self.clock()

    @property
    def rows(self) -> list[int]:
        """The rows that somebody has."""
        return [lease.seq for lease in self._leases.values() if lease.until > self.clock()]

    # -- what lies ready ----------------------------------------------------------------------------

    def offer(self, entry: Entry, body: Body, seq: int) -> None:
        """A mail that was just kept: ready as it is, if it is due and there is room for it."""
        queue = self._queues.setdefault(entry.profile, _Queue())
        room = len(queue.fresh) < FRESH and queue.octets + body.size <= FRESH_OCTETS
        if entry.due > self.clock() or not room or self._leased(entry.id):
            queue.look_at = min(queue.look_at, entry.due)
            return
        queue.octets += body.size
        insort(queue.fresh, self._lease(entry, body, seq), key=lambda claim: claim.entry.due)

    def due(self, profile: str, at: float) -> None:
        """An entry of that profile will be due then."""
        queue = self._queues.setdefault(profile, _Queue())
        queue.look_at = min(queue.look_at, at)

    def take(self, wanted: Wanted, limit: int) -> list[Claim]:
        """Up to `limit` claims that lie ready; of those at the heads of their queues the longest due first."""
        claims: list[Claim] = []
        queues = [queue for name, queue in self._queues.items() if _asked(name, wanted) and queue.head is not None]
        while queues and len(claims) < limit:
            queue = queues[0] if len(queues) == 1 else min(queues, key=_due)
            claim = self._renewed(queue.next())
            if claim is not None:
                claims.append(claim)
            if queue.head is None:
                queues.remove(queue)
        return claims

    def _renewed(self, claim: Claim) -> Claim | None:
        """Its time begins now; None when it has lain here so long that another has it."""
        return claim if self.extend(claim) else None

    def take_one(self, name: str) -> Claim | None:
        """The claim on that entry, if it lies ready: nobody works on it yet."""
        found = (queue.remove(name) for queue in self._queues.values())
        claim = next(filter(None, found), None)
        return self._renewed(claim) if claim else None

    # -- looking into the database ------------------------------------------------------------------

    def to_look(self, wanted: Wanted) -> list[str]:
        """The profiles of which the database may hold something due, and nothing older lies ready."""
        now = self.clock()
        return [
            name
            for name, queue in self._queues.items()
            if _asked(name, wanted) and not queue.stored and queue.look_at <= now
        ]

    def begin_look(self, profile: str | None = None) -> int:
        """Somebody reads rows that may be older than what is settled meanwhile; of `profile`, all that is due.

        What becomes due while he reads asks for another look: he may not have seen it. The number is for `free`.
        """
        self._looking += 1
        if profile is not None:
            self._queues[profile].look_at = math.inf
        return self._releases

    def end_look(self) -> None:
        """His rows are dealt with."""
        self._looking -= 1
        if not self._looking:
            self._ended.clear()

    def free(self, name: str, began: int) -> bool:
        """True for a row that nobody has, and that nobody has settled since that look began."""
        return not self._leased(name) and self._ended.get(name, 0) <= began

    def lease(self, entry: Entry, body: Body, seq: int) -> Claim:
        """A claim on a free row."""
        return self._lease(entry, body, seq)

    def looked(self, profile: str, found: list[Claim], again_at: float) -> None:
        """What a look has brought, and when the next one may bring more."""
        queue = self._queues[profile]
        queue.stored.extend(found)
        queue.look_at = min(queue.look_at, again_at, self.clock() + LOOK_AGAIN)

    @property
    def next_look(self) -> float:
        """When a look at the database may find something."""
        return min((queue.look_at for queue in self._queues.values()), default=self.clock() + LOOK_AGAIN)


def _due(queue: _Queue) -> float:
    return queue.head.entry.due if queue.head else math.inf


def _asked(profile: str, wanted: Wanted) -> bool:
    return wanted.profile in ("", profile) and profile not in wanted.without
