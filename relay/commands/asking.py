"""Asking: a running daemon over its control socket, or the spool itself when none runs."""

import asyncio
import concurrent.futures.thread  # noqa: F401 - before we become a user who may not read Python's folder
import contextlib
import os
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

from relay import control
from relay.control import NoDaemon
from relay.errors import RelayError
from relay.loaded import Configuration

Lines = Iterator[dict[str, Any]]


def ask(configuration: Configuration, request: dict[str, Any], octets: Iterable[bytes] = ()) -> Lines:
    """The lines of the daemon's answer, or of the spool's own when no daemon runs. Raises RelayError."""
    try:
        return control.ask(control.socket_path(configuration), request, octets)
    except NoDaemon:
        return _offline(configuration, request, octets)


def _offline(configuration: Configuration, request: dict[str, Any], octets: Iterable[bytes]) -> Lines:
    """Open the spool and ask the same Queue that the daemon asks."""
    from relay import app  # noqa: PLC0415 - the daemon's parts are not needed to ask it
    from relay.systemd import Systemd  # noqa: PLC0415

    async def following() -> AsyncIterator[bytes]:
        for piece in octets:
            yield piece

    by = control.user_name(os.getuid())
    with _as_owner(configuration.spool.path), asyncio.Runner() as runner:
        relay = app.Relay(configuration, Systemd({}))
        runner.run(relay.spool.open())
        try:
            lines = relay.queue.answer({**request, "by": by}, following())

            async def next_line() -> dict[str, Any] | None:
                return await anext(lines, None)

            while (line := runner.run(next_line())) is not None:
                yield line
        finally:
            runner.run(relay.spool.close())


@contextlib.contextmanager
def _as_owner(path: str) -> Iterator[None]:
    """Root works on a spool as the user whom it belongs to, so that no file of root's is left in it."""
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
