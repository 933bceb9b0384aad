"""Pool: bookkeeping about one next hop, without I/O: which connection to use, and until when to leave it alone."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from relay.entry import Cause
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

    mails: int
    pace: float


C = TypeVar("C", bound=Carrier)

MAX_CONNECTIONS = 20
"""Connections to one next hop at one time."""
MAX_IDLE = 30.0
"""Seconds after which an unused connection is closed; servers do so after one to five minutes."""
MAX_MAILS = 100
"""Mails over one connection at most."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
NEAR = 0.02
"""Seconds for a mail under which another one waits for its turn instead of asking for a further connection."""
AUTH_PAUSE = 60.0
"""Seconds between two log-ins after a refused one, whatever the length of the queue: accounts get locked."""


@dataclass(slots=True)
class Pool(Generic[C]):
    """One next hop. Times are those of one steady clock, in seconds."""

    links: list[C] = field(default_factory=list)
    connecting: int = 0
    """Connections that are being made."""
    _idle_since: dict[C, float] = field(default_factory=dict)
    _until: float = 0.0
    _pause: float = 0.0
    _reply: Reply | None = None
    _cause: Cause = Cause.CONNECT
    _proven: bool = False
    """True since a connection, its log-in included, has succeeded, until one fails."""

    def blocked(self, now: float) -> tuple[Reply, Cause] | None:
        """Why nothing is tried at this moment: the last fault, while its pause lasts."""
        if self._reply is not None and now < self._until:
            return self._reply, self._cause
        return None

    def failed(self, now: float, reply: Reply, cause: Cause) -> None:
        """No connection, or no log-in: leave it alone for a while, longer each time."""
        self._pause = min(max(self._pause * 2, FIRST_PAUSE), LONGEST_PAUSE)
        if cause is Cause.AUTH:
            self._pause = AUTH_PAUSE
        self._until, self._reply, self._cause = now + self._pause, reply, cause
        self._proven = False

    def worked(self) -> None:
        """A connection stands and may be used: the hop is up."""
        self._until, self._pause, self._reply, self._proven = 0.0, 0.0, None, True

    def forgive(self) -> None:
        """What kept us from it is mended, somebody says: try at once."""
        self._until, self._pause, self._reply = 0.0, 0.0, None

    def choose(self) -> C | None:
        """The connection for one more mail: an idle one, the one used last; else one that is near, or all there may be.

        None: make another one if `may_connect`, else wait for one of these.
        """
        self.links = [link for link in self.links if link.usable]
        free = [link for link in self.links if not link.waiting and link.mails < MAX_MAILS]
        if free:
            return max(free, key=lambda link: self._idle_since.get(link, 0.0))
        full = len(self.links) + self.connecting >= MAX_CONNECTIONS
        behind = [link for link in self.links if link.has_room and link.mails < MAX_MAILS]
        near = [link for link in behind if full or (link.mails and link.pace < NEAR)]
        return min(near, key=lambda link: link.pace, default=None)

    @property
    def may_connect(self) -> bool:
        """True when the hop may get one more connection; the first is made alone.

        So a wrong password is said once, not by every mail that happens to wait: accounts get locked.
        """
        return len(self.links) + self.connecting < MAX_CONNECTIONS and (self._proven or not self.connecting)

    def rest(self, now: float, link: C) -> None:
        """A connection has carried its mail."""
        self._idle_since[link] = now

    def spent(self, now: float, max_idle: float = MAX_IDLE) -> list[C]:
        """Connections that have been idle for too long or have carried enough; they are ours to close now."""

        def over(link: C) -> bool:
            return not link.waiting and (link.mails >= MAX_MAILS or now - self._idle_since.get(link, now) >= max_idle)

        return self._taken_out(over)

    def _taken_out(self, over: Callable[[C], bool]) -> list[C]:
        gone = [link for link in self.links if link.usable and over(link)]
        self.links = [link for link in self.links if link.usable and link not in gone]
        self._idle_since = {link: self._idle_since[link] for link in self.links if link in self._idle_since}
        return gone
