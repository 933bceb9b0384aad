"""Systemd: the sockets that it hands over, and what it is told: ready, reloading, stopping, alive.

Both protocols are a few variables of the environment (sd_listen_fds(3), sd_notify(3), sd_watchdog_enabled(3));
its library is not needed. Started by anything else, all of this does nothing.
"""

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import AsyncIterator, MutableMapping

from relay import journal
from relay.errors import ConfigError

_FIRST = 3
"""The first descriptor handed over."""
_UNNAMED = "unknown"
"""The name of a socket that came without one (sd_listen_fds_with_names(3))."""


class Systemd:
    """The service manager that has started us, if one has. Takes its variables out of `environ`, for good.

    Raises ConfigError when it has handed over something that is no socket.
    """

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        self.sockets = _handed_over(environ)
        """By name (FileDescriptorName=, else the name of the .socket unit)."""
        self._address = environ.pop("NOTIFY_SOCKET", "")
        self._watchdog = _watchdog(environ)

    def ready(self, status: str) -> None:
        """The relay serves, with its present configuration; `status` is shown by `systemctl status`."""
        self._tell("READY=1", f"STATUS={journal.clean(status)}")

    def reloading(self) -> None:
        """The configuration is being read anew; `ready` follows, whatever comes of it."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """No new mail is taken; what is under way gets its grace."""
        self._tell("STOPPING=1", "STATUS=stopping: running attempts are finished")

    @contextlib.asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Tell it, from the event loop and twice within WatchdogSec=, that we are alive."""
        if not self._watchdog:
            yield
            return
        task = asyncio.create_task(self._alive(self._watchdog / 2))
        try:
            yield
        finally:
            task.cancel()

    async def _alive(self, every: float) -> None:
        while True:
            self._tell("WATCHDOG=1")
            await asyncio.sleep(every)

    def _tell(self, *states: str) -> None:
        """One datagram. Never waits: what cannot be told is logged, and mail goes on."""
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address[0] == "@" else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as channel:
                channel.sendto("\n".join(states).encode(), address)
        except OSError as fault:
            journal.warning("", f"systemd could not be told {states[0]}: {os.strerror(fault.errno or 0)}")


def _handed_over(environ: MutableMapping[str, str]) -> dict[str, list[socket.socket]]:
    """The sockets meant for this process; none when the variables are another's, or no numbers."""
    pid, number, names = (environ.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"))
    sockets: dict[str, list[socket.socket]] = {}
    if pid != str(os.getpid()) or not number.isdecimal():
        return sockets
    given = names.split(":") if names else []
    for at in range(int(number)):
        name = given[at] if at < len(given) else _UNNAMED
        try:
            taken = socket.socket(fileno=_FIRST + at)
        except OSError as fault:
            raise ConfigError(f"systemd handed over {name!r}, which is no socket: take it out of the unit") from fault
        taken.set_inheritable(False)
        sockets.setdefault(name, []).append(taken)
    return sockets


def _watchdog(environ: MutableMapping[str, str]) -> float:
    """Seconds within which a sign of life is wanted; 0 for none."""
    pid, wanted = environ.pop("WATCHDOG_PID", ""), environ.pop("WATCHDOG_USEC", "")
    if pid not in ("", str(os.getpid())) or not wanted.isdecimal():
        return 0
    return int(wanted) / 1_000_000
