"""Control: the admin socket. One JSON object a line asks, one answers; who may ask is known from the socket.

The daemon listens on a unix socket beside its spool (`/run/tracker-relay/control.sock` when installed).
Root, the daemon's own user and its group may ask; the kernel says who that is (SO_PEERCRED).
"""

import asyncio
import json
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from relay import journal, places, unixsocket
from relay.errors import ConfigError, RelayError
from relay.loaded import Configuration

INSTALLED = Path(places.CONFIG)
INSTALLED_SOCKET = Path(places.RUN, "control.sock")
LONGEST_REQUEST = 1 << 20
"""Octets in a request at most."""
_PATIENCE = 60.0
"""Seconds that one request may take."""

Answer = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]
"""Answers one request; raises RelayError for what can not be done."""


class NoDaemon(RelayError):
    """no daemon answers on the control socket"""


def socket_path(configuration: Configuration) -> Path:
    """Where the control socket of this configuration's daemon is."""
    return INSTALLED_SOCKET if configuration.path == INSTALLED else Path(configuration.spool.path, "control.sock")


class Control:
    """The daemon's side."""

    def __init__(self, path: Path, answer: Answer) -> None:
        self._path, self._answer = path, answer
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    async def start(self) -> None:
        """Listen. Raises ConfigError when the socket can not be made."""
        try:
            self._path.unlink(missing_ok=True)  # the spool's lock says that no other daemon is alive
            with unixsocket.short(str(self._path)) as name:
                self._server = await asyncio.start_unix_server(self._serve, name, limit=LONGEST_REQUEST)
            self._path.chmod(0o660)
        except OSError as fault:
            raise ConfigError(f"control socket {self._path}: {os.strerror(fault.errno or 0)}") from fault

    async def stop(self) -> None:
        """Listen no more; requests under way are cut off."""
        if self._server is None:
            return
        self._server.close()
        for task in self._tasks:
            task.cancel()
        self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            async with asyncio.timeout(_PATIENCE):
                answer = await self._one(reader, writer)
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        except (OSError, TimeoutError, ValueError):
            return  # it left, or sent no line in time
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> dict[str, Any]:
        if not _may_ask(writer.get_extra_info("socket")):
            return {"error": "only root, the relay's user and its group may ask"}
        line = await reader.readline()
        try:
            request = json.loads(line)
            if not isinstance(request, dict):
                raise TypeError
        except (ValueError, TypeError, RecursionError):
            return {"error": "the request is no JSON object"}
        try:
            return await self._answer(request)
        except RelayError as fault:
            return {"error": str(fault)}
        except Exception as fault:
            journal.fault("control", fault)
            return {"error": "local trouble: see the log"}


def _may_ask(sock: Any) -> bool:
    who = unixsocket.peer(sock)
    return who.uid in (0, os.geteuid()) or os.getegid() in who.groups


def runs(path: Path) -> bool:
    """Whether a daemon is behind that socket, be it one that this user may not ask."""
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            with unixsocket.short(str(path)) as name:
                sock.connect(name)
        except PermissionError:
            return True
        except OSError:
            return False
    return True


def ask(path: Path, request: dict[str, Any]) -> dict[str, Any]:
    """Ask a running daemon. Raises NoDaemon when there is none, RelayError with its words when it refuses."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(_PATIENCE)
        try:
            with unixsocket.short(str(path)) as name:
                sock.connect(name)
        except PermissionError as fault:
            raise RelayError(f"{path}: you may not ask this daemon: be root, or in its group") from fault
        except OSError as fault:
            raise NoDaemon from fault
        try:
            sock.sendall(json.dumps(request).encode() + b"\n")
            with sock.makefile("rb") as lines:
                answer = json.loads(lines.readline() or b"{}")
        except (OSError, ValueError) as fault:
            raise RelayError(f"{path}: the daemon gave no answer: {fault}") from fault
    if "error" in answer:
        raise RelayError(answer["error"])
    return dict(answer)
