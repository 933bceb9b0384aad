"""Asking: a running daemon over its control socket, or the spool itself when none runs."""

import asyncio
import concurrent.futures.thread  # noqa: F401 - before we become a user who may not read Python's folder
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from typing import Any, TypeVar

from relay import control
from relay.control import NoDaemon
from relay.errors import RelayError
from relay.loaded import Configuration

Lines = Iterator[dict[str, Any]]
T = TypeVar("T")


class Asking:
    """One command's questions. Without a daemon the spool is opened with the first and closed at the end.

    Root works on a spool as the user whom it belongs to, so that no file of root's is left in it, and is
    root again between two lines of an answer: what the command itself reads and writes is root's own.
    """

    def __init__(self, configuration: Configuration) -> None:
        self.configuration = configuration
        self._open = contextlib.ExitStack()
        self._relay: Any = None
        self._runner: asyncio.Runner | None = None

    def __enter__(self) -> "Asking":
        return self

    def __exit__(self, *fault: object) -> None:
        self._open.close()

    def __call__(self, request: dict[str, Any], octets: Iterable[bytes] = ()) -> Lines:
        """The lines of the daemon's answer, or of the spool's own when no daemon runs. Raises RelayError."""
        if self._relay is None:
            with contextlib.suppress(NoDaemon):
                return control.ask(control.socket_path(self.configuration), request, octets)
            self._open_spool()
        return self._offline({**request, "by": control.user_name(os.getuid())}, octets)

    def _open_spool(self) -> None:
        from relay import app  # noqa: PLC0415 - the daemon's parts are not needed to ask it
        from relay.systemd import Systemd  # noqa: PLC0415

        relay = app.Relay(self.configuration, Systemd({}))
        self._runner = self._open.enter_context(asyncio.Runner())
        self._step(relay.spool.open)
        self._open.callback(lambda: self._step(relay.spool.close))
        self._step(relay.recollect)
        self._relay = relay

    def _offline(self, request: dict[str, Any], octets: Iterable[bytes]) -> Lines:
        """Ask the same parts that the daemon asks."""

        async def following() -> AsyncIterator[bytes]:
            for piece in octets:
                yield piece

        async def next_line() -> dict[str, Any] | None:
            return await anext(lines, None)

        lines = self._relay.ask(request, following())
        try:
            while (line := self._step(next_line)) is not None:
                yield line
        finally:
            self._step(lines.aclose)

    def _step(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Begun only as the spool's owner: without a spool it is never made at all."""
        assert self._runner is not None
        with as_owner(self.configuration.spool.path):
            return self._runner.run(work())


@contextlib.contextmanager
def as_owner(path: str) -> Iterator[None]:
    """For root: the spool's owner meanwhile. Raises RelayError when there is no spool."""
    try:
        status = os.stat(path)
    except OSError as fault:
        raise RelayError(
            f"no daemon is running, and there is no spool {path}: {os.strerror(fault.errno or 0)}"
        ) from fault
    if os.geteuid() != 0 or status.st_uid == 0:
        yield
        return
    groups, group = os.getgroups(), os.getegid()
    os.setgroups([])
    os.setegid(status.st_gid)
    os.seteuid(status.st_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
        os.setgroups(groups)
