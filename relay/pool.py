"""Pool: bookkeeping about one next hop, without I/O: which connection to use, and until when to leave it alone."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from relay.entry import Cause
from relay.manners import Manners
from relay.reply import Reply


class Carrier(Protocol):
    """What the pool asks of a connection."""

    @property
    def usable(self) -> bool:
        """False when it is gone, or of no use any more."""

    @property
    def waiting(self) -> int:
        """Mails under way or waiting on it."""

    @property
    def has_room(self) -> bool:
        """True when a mail may wait behind the one under way."""

    choked: bool
    """It broke as it got an envelope behind a final dot."""
    mails: int
    pace: float
    retires_at: float
    """When it takes no further mail, on the pool's clock."""


C = TypeVar("C", bound=Carrier)

MAX_IDLE = 30.0
"""Seconds after which an unused connection is closed; servers do so after one to five minutes."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
NEAR = 0.02
"""Seconds for a mail under which another one waits for its turn instead of asking for a further connection."""
AUTH_PAUSE = 60.0
"""Seconds between two log-ins after a refused one, whatever the length of the queue: accounts get locked."""
PROOF = 60.0
"""Seconds for which a connection that was made, its log-in included, shows that a further one may be."""
LONGEST_RATE_PAUSE = 600.0
"""Seconds that a hop is left alone at most which says that it is asked too much, and not for how long."""
CAREFUL = 3600.0
"""Seconds for which a hop that has died of an envelope behind a final dot is sent none there."""


@dataclass(slots=True)
class Pool(Generic[C]):
    """One next hop. Times are those of one steady clock, in seconds."""

    manners: Manners = field(default_factory=Manners)
    links: list[C] = field(default_factory=list)
    connecting: int = 0
    """Connections that are being made."""
    _idle_since: dict[C, float] = field(default_factory=dict)
    _until: float = 0.0
    _pause: float = 0.0
    _reply: Reply | None = None
    _cause: Cause = Cause.CONNECT
    _proven_until: float = 0.0
    _slowed: bool = False
    """The pause is one for which it has asked; a connection that stands is no answer to that."""
    _full_until: float = 0.0
    """It has refused a further connection: none is asked for before then."""
    _most: int = 0
    """After a failure: so many mails at a time, one more with each that leaves; 0 for as many as there may be."""

    _careful_until: float = 0.0
    """It has died of an envelope behind a final dot: before then each mail waits for the end of the one before it."""

    def blocked(self, now: float) -> tuple[Reply, Cause] | None:
        """Why nothing is tried at this moment: the last fault, while its pause lasts."""
        if self._reply is not None and now < self._until:
            return self._reply, self._cause
        return None

    @property
    def tried_out(self) -> tuple[Reply, Cause] | None:
        """The last fault, while one connection finds out whether it is over: who can go elsewhere does not wait."""
        return (self._reply, self._cause) if self._reply is not None and self.connecting else None

    def failed(self, now: float, reply: Reply, cause: Cause, asked: float | None = None) -> None:
        """No connection, or no log-in: leave it alone for a while, longer each time, or as long as it `asked`."""
        self._pause = min(max(self._pause * 2, FIRST_PAUSE), LONGEST_PAUSE)
        if cause is Cause.AUTH:
            self._pause = AUTH_PAUSE
        self._until, self._reply, self._cause = now + max(self._pause, asked or 0.0), reply, cause
        self._proven_until, self._most, self._slowed = 0.0, 1, False

    def full(self, now: float) -> bool:
        """It refuses one more connection; True when those that stand will do, and no other is made for a while."""
        if not any(link.usable for link in self.links):
            return False
        self._full_until = now + LONGEST_PAUSE
        return True

    def slow_down(self, now: float, reply: Reply, asked: float | None) -> None:
        """It says that we ask too much: a pause, then half of what was under way, and slowly more again."""
        if self.blocked(now):
            return  # one of those that were under way as it said so first
        self._pause = asked or min(max(self._pause * 2, FIRST_PAUSE), LONGEST_RATE_PAUSE)
        self._until, self._reply, self._cause, self._slowed = now + self._pause, reply, Cause.CONNECT, True
        self._most = max(self._busy // 2, 1)

    def worked(self, now: float) -> None:
        """A connection stands and may be used: the hop is up."""
        self._proven_until = now + PROOF
        if self._slowed and now < self._until:
            return
        self._until, self._reply, self._slowed = 0.0, None, False
        if not self._most:
            self._pause = 0.0

    def carried(self) -> None:
        """A mail was taken: after a failure, one more at a time from now on."""
        if self._most:
            self._most = self._most + 1 if self._most < self.manners.connections else 0
            self._pause = 0.0

    def forgive(self) -> None:
        """What kept us from it is mended, somebody says: try at once."""
        self._until, self._pause, self._reply, self._full_until = 0.0, 0.0, None, 0.0

    @property
    def down(self) -> bool:
        """True while nothing shows that it works again since it failed."""
        return self._reply is not None

    @property
    def _busy(self) -> int:
        return sum(1 for link in self.links if link.waiting) + self.connecting

    def worn(self, now: float, link: C) -> bool:
        """True for a connection that has carried enough, or is old."""
        return link.mails >= self.manners.mails or now >= link.retires_at

    def choose(self, now: float) -> C | None:
        """The connection for one more mail: an idle one, the one used last; else one that is near, or all there may be.

        None: make another one if `may_connect`, else wait for one of these.
        """
        most = self.manners.mails
        self._weed(now)
        if self._most and self._busy >= self._most:
            return None
        young = [link for link in self.links if link.mails < most and now < link.retires_at]
        free = [link for link in young if not link.waiting]
        if free:
            return max(free, key=lambda link: self._idle_since.get(link, 0.0))
        good = [link for link in young if link.mails + link.waiting < most]
        full = len(self.links) + self.connecting >= self.manners.connections or now < self._full_until
        behind = [] if now < self._careful_until else [link for link in good if link.has_room]
        near = [link for link in behind if full or (link.mails and link.pace < NEAR)]
        return min(near, key=lambda link: link.pace, default=None)

    def _weed(self, now: float) -> None:
        """Connections that are of no use any more are no longer ours."""
        usable = [link for link in self.links if link.usable]
        if len(usable) < len(self.links) and any(link.choked for link in self.links):
            self._careful_until = now + CAREFUL
        self.links = usable

    def may_connect(self, now: float) -> bool:
        """True when the hop may get one more connection; after a minute without one, the first is made alone.

        So a wrong password is said once, not by every mail that happens to wait: accounts get locked.
        """
        if self._most and self._busy >= self._most:
            return False
        room = len(self.links) + self.connecting < self.manners.connections
        if self.links and now < self._full_until:
            return False
        return room and (now < self._proven_until or not self.connecting)

    def rest(self, now: float, link: C) -> None:
        """A connection has carried its mail."""
        self._idle_since[link] = now

    def spent(self, now: float, max_idle: float = MAX_IDLE) -> list[C]:
        """Connections that have been idle for too long or have carried enough; they are ours to close now."""

        def over(link: C) -> bool:
            return not link.waiting and (self.worn(now, link) or now - self._idle_since.get(link, now) >= max_idle)

        return self._taken_out(now, over)

    def _taken_out(self, now: float, over: Callable[[C], bool]) -> list[C]:
        self._weed(now)
        gone = [link for link in self.links if over(link)]
        self.links = [link for link in self.links if link not in gone]
        self._idle_since = {link: self._idle_since[link] for link in self.links if link in self._idle_since}
        return gone
