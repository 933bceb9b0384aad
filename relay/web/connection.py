"""Connection: uvicorn's HTTP protocol with limits of our own, and the sockets it is served on.

uvicorn's server is left out: it would take the process's signals and wake up ten times a second. Its
protocol serves on the relay's own event loop; what it lacks is added here: a limit of connections, time
limits for a request that does not end and for a client that does not read.
"""

import asyncio
import contextlib
import logging
import os
import socket
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from relay import unixsocket
from relay.admission import Listen
from relay.errors import ConfigError

MAX_CONNECTIONS = 50
"""Connections at one time; who comes beyond gets 503, and from twice as many on nothing."""
MAX_HEADER = 16384
"""Octets of request line and header at most."""
REQUEST_TIME = 10.0
"""Seconds that a client has to send a request."""
ANSWER_TIME = 300.0
"""Seconds in which a request must be answered and the answer read."""
IDLE_TIME = 5
"""Seconds that a connection waits for its next request."""
_BACKLOG = 64
_SOCKET_MODE = 0o660
"""A unix socket lets in without token: the relay's user and its group, as the control socket does."""


class _Connection(H11Protocol):
    """One client. What becomes of it never reaches the log: everybody on this host can speak nonsense here."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A new client, if there is room for it."""
        super().connection_made(cast(asyncio.Transport, transport))  # uvloop's is no subclass
        if len(self.connections) > 2 * MAX_CONNECTIONS:
            self.transport.abort()
            return
        self._limit()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        super().connection_lost(exc)
        if self._timer:
            self._timer.cancel()

    def handle_events(self) -> None:
        """Something came: a request that is whole gets another time limit than one that is not."""
        was_busy = self._busy
        super().handle_events()
        if self._busy is not was_busy:
            self._limit()

    def on_response_complete(self) -> None:
        """An answer is written."""
        super().on_response_complete()
        self._limit()

    @property
    def _busy(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _limit(self) -> None:
        """The time for what is under way, from now on."""
        if self._timer:
            self._timer.cancel()
        self._timer = self.loop.call_later(ANSWER_TIME if self._busy else REQUEST_TIME, self._late)

    def _late(self) -> None:
        if self.transport is not None:
            self.transport.abort()


class Server:
    """An application on some sockets of the running event loop."""

    def __init__(self, app: ASGIApp) -> None:
        self._config = uvicorn.Config(
            app,
            http=_Connection,
            loop="none",
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            limit_concurrency=MAX_CONNECTIONS,
            timeout_keep_alive=IDLE_TIME,
            h11_max_incomplete_event_size=MAX_HEADER,
        )
        self._config.load()
        # Its warnings are about what clients send, its errors about faults that our own guard has logged.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        self._state = ServerState()
        self._servers: list[asyncio.Server] = []
        self._paths: list[str] = []

    async def listen(self, listen: Listen) -> str:
        """Serve there too; where that is: "http://..." or "unix:PATH". Raises ConfigError."""
        try:
            return await (self._on_path(listen) if listen.path else self._on_port(listen))
        except OSError as fault:
            known = fault.errno and not isinstance(fault, socket.gaierror | FileExistsError)  # whose numbers are others
            reason = os.strerror(fault.errno or 0) if known else fault.strerror or str(fault)
            raise ConfigError(f"[status] listen: {listen}: {reason}") from fault

    async def _on_port(self, listen: Listen) -> str:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: self._protocol(trusted=False), listen.host, listen.port)
        self._servers.append(server)
        port = server.sockets[0].getsockname()[1]
        return f"http://{Listen(listen.host, port).reachable}"

    async def _on_path(self, listen: Listen) -> str:
        sock = socket.socket(socket.AF_UNIX)
        try:
            with unixsocket.short(listen.path) as path:
                unixsocket.refuse_living(path)
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
                os.fchmod(sock.fileno(), _SOCKET_MODE)  # on Linux the path gets this mode: it is never open to others
                sock.bind(path)
        except BaseException:
            sock.close()
            raise
        self._paths.append(listen.path)
        unixsocket.give_mode(listen.path, _SOCKET_MODE)
        loop = asyncio.get_running_loop()
        server = await loop.create_unix_server(lambda: self._protocol(trusted=True), sock=sock, backlog=_BACKLOG)
        self._servers.append(server)
        return f"unix:{listen.path}"

    def _protocol(self, *, trusted: bool) -> asyncio.Protocol:
        state: dict[str, Any] = {"trusted": trusted}
        return _Connection(config=self._config, server_state=self._state, app_state=state)

    def close(self) -> None:
        """Serve no more; connections are cut off, whatever they are doing: nothing of the page needs an end."""
        for server in self._servers:
            server.close()
        for path in self._paths:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        for connection in list(self._state.connections):
            connection.transport.abort()
        for task in list(self._state.tasks):
            task.cancel()
