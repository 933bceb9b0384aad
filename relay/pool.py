"""Pool: bookkeeping about one next hop, without I/O: which connection to use, and until when to leave it alone."""

from dataclasses import dataclass, field
from typing import Generic, TypeVar

from relay.entry import Cause
from relay.reply import Reply

C = TypeVar("C")

MAX_CONNECTIONS = 20
"""Connections to one next hop at one time."""
MAX_IDLE = 30.0
"""Seconds after which an unused connection is closed; servers do so after one to five minutes."""
MAX_MAILS = 100
"""Mails over one connection at most."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
AUTH_PAUSE = 60.0
"""Seconds between two log-ins after a refused one, whatever the length of the queue: accounts get locked."""


@dataclass(slots=True)
class Pool(Generic[C]):
    """One next hop. Times are those of one steady clock, in seconds."""

    idle: list[tuple[float, C]] = field(default_factory=list)
    _until: float = 0.0
    _pause: float = 0.0
    _reply: Reply | None = None
    _cause: Cause = Cause.CONNECT

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

    def worked(self) -> None:
        """A connection stands and may be used: the hop is up."""
        self._until, self._pause, self._reply = 0.0, 0.0, None

    def take(self) -> C | None:
        """An idle connection, the one used last."""
        return self.idle.pop()[1] if self.idle else None

    def give_back(self, now: float, connection: C) -> None:
        """A connection that can serve another mail."""
        self.idle.append((now, connection))

    def stale(self, now: float) -> list[C]:
        """Connections that have been idle for too long; they are ours to close now."""
        old = [connection for since, connection in self.idle if now - since >= MAX_IDLE]
        self.idle = [(since, connection) for since, connection in self.idle if now - since < MAX_IDLE]
        return old
