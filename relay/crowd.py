"""Crowd: who is connected, how many from one host, and who has to come again; a flood of clients fills no log."""

import asyncio
import contextlib
import socket
import sys
from collections import Counter
from collections.abc import Iterable
from typing import Any
from weakref import WeakSet

from relay import admission, journal
from relay.admission import ListenerOptions
from relay.connection import Connection
from relay.descriptors import NONE_LEFT, Spare
from relay.entry import Client
from relay.reply import Reply

TOO_MANY = Reply(421, "4.3.2", "too many connections, try again later")
IDLE_AND_FULL = Reply(421, "4.3.2", "idle, and others wait: come again")
_IDLE = 10.0
"""Seconds of silence after which a client may have to make room for another."""
_PAUSE = 10.0
"""Seconds between two log lines about clients that were sent away."""


class Crowd:
    """The clients of one listener; at most `room` of them, whatever max_connections says."""

    def __init__(self) -> None:
        self.sessions: set[Connection] = set()
        self.room = sys.maxsize
        self.coming: WeakSet[Connection] = WeakSet()
        """Whose TLS handshake is not over. Nobody tells us of one that fails: asyncio only forgets the session."""
        self._hosts: Counter[str] = Counter()
        self._empty = asyncio.Event()
        self._away = 0
        self._telling: asyncio.TimerHandle | None = None
        self._spare: Spare | None = None

    def full(self, options: ListenerOptions) -> bool:
        """Whether one more is too many."""
        return len(self.sessions) + len(self.coming) >= min(options.max_connections, self.room)

    def make_room(self) -> bool:
        """Send away who has been idle for longest, and for at least _IDLE; False when nobody has."""
        silent = (one for one in self.sessions if one.mail_begun is None and not one.closing)
        session = min(silent, key=lambda one: one.active, default=None)
        if session is None or asyncio.get_running_loop().time() - session.active < _IDLE:
            return False
        session.dismiss(IDLE_AND_FULL, idle=True)
        return True

    def add(self, session: Connection) -> None:
        """It has come; it is one of `sessions` when it is `met`."""
        self.coming.add(session)

    def met(self, session: Connection) -> Reply | None:
        """Whether this host may have one more connection, now that it is known which host it is."""
        self.coming.discard(session)
        self.sessions.add(session)
        self._empty.clear()
        client = session.client
        self._hosts[client.address] += 1
        if _here(client):
            return None
        return admission.connections_of_host(self._hosts[client.address], session.setting.options)

    def ended(self, session: Connection) -> None:
        """It has gone."""
        self.sessions.discard(session)
        host = session.client.address
        self._hosts[host] -= 1
        if self._hosts[host] <= 0:
            del self._hosts[host]
        if not self.sessions:
            self._empty.set()

    async def gone(self, seconds: float) -> None:
        """Wait until everybody has gone, but not longer than that."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.sessions:
                    await self._empty.wait()

    # -- who has to come again ----------------------------------------------------------------------

    def sent_away(self, number: int = 1) -> None:
        """So many clients were told to come again: said in the log, at most once in _PAUSE seconds."""
        self._away += number
        if self._telling is None:
            self._tell()

    def _tell(self) -> None:
        self._telling = None
        if self._away:
            more = f" ({self._away} clients)" if self._away > 1 else ""
            journal.rejected(Client("-"), TOO_MANY, f"connection{more}")
            self._away = 0
            self._telling = asyncio.get_running_loop().call_later(_PAUSE, self._tell)

    def watch(self, listening: Iterable[socket.socket]) -> None:
        """From now on, who comes while there is no descriptor for him is told so.

        asyncio would let him wait, and write a traceback for each that does, thousands a second (gh-151615).
        """
        loop = asyncio.get_running_loop()
        self._spare = spare = Spare()
        doors = [sock.fileno() for sock in listening]

        def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
            fault = context.get("exception")
            if "socket" not in context or not isinstance(fault, OSError) or fault.errno not in NONE_LEFT:
                loop.default_exception_handler(context)
            elif number := sum(map(spare.send_away, doors)):
                self.sent_away(number)

        loop.set_exception_handler(handle)

    def close(self) -> None:
        """Watch no more."""
        if self._telling:
            self._telling.cancel()
        if self._spare:
            asyncio.get_running_loop().set_exception_handler(None)
            self._spare.close()
            self._spare = None


def _here(client: Client) -> bool:
    """Whether it is on this host, where all trackers share an address."""
    return client.uid is not None or admission.ip_of(client.address).is_loopback
