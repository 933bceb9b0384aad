"""Control: the admin socket. One JSON object a line asks; who may ask is known from the socket.

1. The daemon listens on a unix socket beside its spool (`/run/tracker-relay/control.sock` when installed).
   Root, the daemon's own user and its group may ask; the kernel says who that is (SO_PEERCRED).
2. A request is one line. Its `octets` says how many octets follow it, such as a mail's.
3. The answer is lines, each an object, so that neither side holds a long one in memory; the last is
   `{"end": true}`, or `{"error": "..."}`. A connection that ends without either broke.
"""

import asyncio
import contextlib
import json
import os
import pwd
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from relay import journal, places, unixsocket
from relay.errors import ConfigError, DamagedMail, NoSuchMail, RelayError
from relay.loaded import Configuration

INSTALLED = Path(places.CONFIG)
INSTALLED_SOCKET = Path(places.RUN, "control.sock")
LONGEST_REQUEST = 1 << 20
"""Octets in a request's line at most."""
_PATIENCE = 60.0
"""Seconds that either side waits for the other's next octets."""
_CHUNK = 65536
_FAREWELL = 1.0
"""Seconds for which one who has his answer is still heard."""

_KINDS = {kind.__name__: kind for kind in (NoSuchMail, DamagedMail)}
"""Errors that the asking side tells apart."""

Octets = AsyncIterator[bytes]
Answer = Callable[[dict[str, Any], Octets], AsyncIterator[dict[str, Any]]]
"""Answers one request, line by line; raises RelayError for what can not be done.

`request["by"]` is the user who asks, as the kernel and the system name him.
"""


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
            unixsocket.give_mode(str(self._path), 0o660)
        except OSError as fault:
            raise ConfigError(
                f"control socket {self._path}: {fault.strerror or os.strerror(fault.errno or 0)}"
            ) from fault

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
            async for line in self._lines(reader, writer.get_extra_info("socket")):
                writer.write(json.dumps(line).encode() + b"\n")
                async with asyncio.timeout(_PATIENCE):
                    await writer.drain()
            await _listen_out(reader, writer)
        except (OSError, TimeoutError, ValueError, asyncio.CancelledError):
            return  # it left, or sent no line in time, or we are stopping: this task is nobody else's
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _lines(self, reader: asyncio.StreamReader, sock: Any) -> AsyncIterator[dict[str, Any]]:
        who = unixsocket.peer(sock)
        if who.uid not in (0, os.geteuid()) and os.getegid() not in who.groups:
            yield {"error": "only root, the relay's user and its group may ask"}
            return
        try:
            async with asyncio.timeout(_PATIENCE):
                request = json.loads(await reader.readline())
            following = _following(reader, int(request.pop("octets", 0)))
        except (ValueError, TypeError, AttributeError, RecursionError):
            yield {"error": f"the request is no JSON object of at most {LONGEST_REQUEST} octets"}
            return
        try:
            request["by"] = await asyncio.to_thread(user_name, who.uid)
            async for line in self._answer(request, following):
                yield line
            yield {"end": True}
        except RelayError as fault:
            yield {"error": str(fault), "kind": type(fault).__name__}
        except (OSError, TimeoutError):
            raise
        except Exception as fault:
            journal.fault("control", fault)
            yield {"error": "local trouble: see the log"}


async def _listen_out(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """All is said: hear him out for a moment. Closed upon unread octets, the socket would tell him of a reset, too."""
    if writer.is_closing():
        return
    writer.write_eof()
    async with asyncio.timeout(_FAREWELL):
        while await reader.read(_CHUNK):
            pass


async def _following(reader: asyncio.StreamReader, octets: int) -> Octets:
    while octets > 0:
        async with asyncio.timeout(_PATIENCE):
            piece = await reader.read(min(_CHUNK, octets))
        if not piece:
            raise ConnectionResetError
        octets -= len(piece)
        yield piece


def user_name(uid: int) -> str:
    """The user's name, for history and log; his number when he has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def answers(path: Path) -> bool | None:
    """Whether a daemon is behind that socket; None where this user may not know."""
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            with unixsocket.short(str(path)) as name:
                sock.connect(name)
        except PermissionError:
            return None
        except OSError:
            return False
    return True


def ask(path: Path, request: dict[str, Any], octets: Iterable[bytes] = ()) -> Iterator[dict[str, Any]]:
    """Ask a running daemon; `octets` follow the request, which says how many. The lines of its answer.

    Raises NoDaemon at once when there is none; RelayError with the daemon's words when it refuses.
    """
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(_PATIENCE)
    try:
        with unixsocket.short(str(path)) as name:
            sock.connect(name)
    except PermissionError as fault:
        sock.close()
        raise RelayError(f"{path}: Permission denied: be root, or in the group of the relay's user") from fault
    except OSError as fault:
        sock.close()
        raise NoDaemon from fault
    return _answer(sock, path, request, octets)


def _answer(
    sock: socket.socket, path: Path, request: dict[str, Any], octets: Iterable[bytes]
) -> Iterator[dict[str, Any]]:
    with sock, sock.makefile("rb") as lines:
        try:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # refused already: it says why
                sock.sendall(json.dumps(request).encode() + b"\n")
                for piece in octets:
                    sock.sendall(piece)
            for line in lines:
                said = json.loads(line)
                if "error" in said:
                    raise _KINDS.get(said.get("kind"), RelayError)(said["error"])
                if "end" in said:
                    return
                yield said
        except (OSError, ValueError) as fault:
            raise RelayError(f"{path}: the daemon gave no answer: {fault}") from fault
    raise RelayError(f"{path}: the daemon broke off its answer")
