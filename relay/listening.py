"""Listening: the sockets of the listener, and the sessions behind them."""

import asyncio
import contextlib
import errno
import os
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from relay import journal, unixsocket
from relay.admission import Listen
from relay.connection import Connection
from relay.crowd import TOO_MANY, Crowd
from relay.errors import ConfigError
from relay.gate import HANDSHAKE
from relay.profiles import SENDMAIL
from relay.reply import Reply, wire_form
from relay.securing import IMPLICIT_PORT
from relay.server import Session
from relay.surroundings import Setting

_BACKLOG = 1024
_OF_ROOT = 1024
"""Ports below this one are for those who have CAP_NET_BIND_SERVICE."""
_SOCKET_MODE = 0o666
"""A unix socket's own mode: the folder that it lies in says who may reach it."""


@dataclass(slots=True)
class Listener:
    """All addresses of [listener]. `setting` may be replaced while it runs: new sessions get the new one."""

    setting: Setting
    submission: str = ""
    """The submission socket where [listener] submission does not name it; "" is none."""
    handed_over: Mapping[str, Sequence[socket.socket]] = field(default_factory=dict)
    """Listening sockets that systemd has made for us, by name: what `systemd:NAME` asks for."""
    crowd: Crowd = field(default_factory=Crowd)
    addresses: list[Listen] = field(default_factory=list)
    """Where it really listens, ports of 0 resolved."""
    _servers: list[asyncio.Server] = field(default_factory=list)
    _paths: list[str] = field(default_factory=list)

    @property
    def serving(self) -> bool:
        """True while new clients are taken."""
        return bool(self._servers)

    @property
    def sessions(self) -> set[Connection]:
        """The clients of this moment."""
        return self.crowd.sessions

    async def start(self) -> None:
        """Listen everywhere, or nowhere. Raises ConfigError naming the address that can not be had."""
        for name in self.handed_over.keys() - {listen.name for listen in self.setting.options.listen}:
            journal.warning("", f"nobody serves the socket {name!r} from systemd: add systemd:{name} to listen")
        submission = self._submission()
        for listen in self.setting.options.listen:
            if listen != submission:
                await self._open(listen, str(listen), "listen")
        if submission in self.addresses:
            pass  # systemd has made it
        elif self.setting.options.submission or submission in self.setting.options.listen:
            await self._open(submission, SENDMAIL, "submission")
        elif submission.path:
            await self._open_default(submission)
        self.crowd.watch(sock for server in self._servers for sock in server.sockets)

    def _submission(self) -> Listen:
        named = self.setting.options.submission
        return Listen(path=self.submission if named is None else named)

    async def _open(self, listen: Listen, name: str, option: str) -> None:
        try:
            if listen.name:
                await self._take_over(listen)
            else:
                self._serving(await self._bind(listen, name), listen)
        except OSError as fault:
            await self.stop(0)
            raise ConfigError(f"[listener] {option}: {listen}: {_reason(fault, listen)}") from fault

    async def _open_default(self, listen: Listen) -> None:
        """The submission socket that nobody asked for: what keeps it from being is said, and the rest goes on."""
        try:
            os.makedirs(os.path.dirname(listen.path), exist_ok=True)
            self._serving(await self._bind(listen, SENDMAIL), listen)
        except OSError as fault:
            journal.warning(
                "", f"no socket for the sendmail drop-in: {listen}: {_reason(fault, listen)}; see [listener] submission"
            )

    def _serving(self, server: asyncio.Server, listen: Listen) -> None:
        self._servers.append(server)
        self.addresses += [_bound(s, listen) for s in server.sockets]

    async def _bind(self, listen: Listen, name: str) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        factory = self._factory(name)
        if not listen.path:
            context = self.setting.gate.context if listen.port == IMPLICIT_PORT else None
            patience = HANDSHAKE if context else None
            return await loop.create_server(
                factory, listen.host, listen.port, backlog=_BACKLOG, ssl=context, ssl_handshake_timeout=patience
            )
        with unixsocket.short(listen.path) as path:
            unixsocket.refuse_living(path)
            server = await loop.create_unix_server(factory, path, backlog=_BACKLOG)
        self._paths.append(listen.path)
        try:
            unixsocket.give_mode(listen.path, _SOCKET_MODE)
        except OSError:
            server.close()
            raise
        return server

    async def _take_over(self, listen: Listen) -> None:
        """Serve the sockets of that name. They, and a unix socket's file, stay systemd's: we only stop accepting."""
        loop = asyncio.get_running_loop()
        sockets = self.handed_over.get(listen.name, ())
        if not sockets:
            there = ", ".join(sorted(self.handed_over)) or "none"
            raise OSError(f"systemd handed over no such socket (it handed over: {there}): see its .socket unit")
        for sock in sockets:
            if not _listens(sock):
                raise OSError("not a listening stream socket: use ListenStream= and Accept=no")
            factory = self._factory(SENDMAIL if _bound(sock, listen) == self._submission() else str(listen))
            if sock.family == socket.AF_UNIX:
                server = await loop.create_unix_server(factory, sock=sock, backlog=_BACKLOG, **_KEEP_FILE)
            else:
                server = await loop.create_server(factory, sock=sock, backlog=_BACKLOG)
            self._serving(server, listen)

    def _factory(self, name: str) -> Callable[[], asyncio.Protocol]:
        def session() -> asyncio.Protocol:
            if self.crowd.full(self.setting.options) and not self.crowd.make_room():
                return _TooMany(self.crowd)
            made = Session(self.setting, name, self.crowd.met, self.crowd.ended)
            self.crowd.add(made)
            return made

        return session

    async def stop(self, grace: float) -> None:
        """No new clients; idle ones are sent away; one in the middle of a mail gets `grace` seconds.

        Never waits for the servers' own `wait_closed`, which hangs on an idle client since Python 3.12.
        """
        for server in self._servers:
            server.close()
        self._servers.clear()
        for path in self._paths:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        self._paths.clear()
        self.crowd.close()
        for session in (*self.sessions, *self.crowd.coming):
            session.finish(Reply(421, "4.3.2", "shutting down"))
        await self.crowd.gone(grace)
        for session in list(self.sessions):
            if session.transport is not None:
                session.transport.abort()


class _TooMany(asyncio.Protocol):
    """A client beyond max_connections: told so, and gone."""

    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say 421 and hang up."""
        client = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        client.write(wire_form(TOO_MANY))
        client.close()
        self._crowd.sent_away()


_KEEP_FILE: dict[str, Any] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}
"""Since Python 3.13 a server removes the file of its unix socket when it closes."""


def _listens(sock: socket.socket) -> bool:
    return sock.type == socket.SOCK_STREAM and bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


def _bound(sock: socket.socket, listen: Listen) -> Listen:
    if listen.path:
        return listen
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return Listen(path=os.fsdecode(name).replace("\0", "@"))
    return Listen(*name[:2])


def _reason(fault: OSError, listen: Listen) -> str:
    """What is wrong, and what to do about it."""
    if isinstance(fault, socket.gaierror) or not fault.errno:
        return str(fault.strerror or fault)
    if fault.errno == errno.EEXIST:
        return str(fault.strerror)
    port = listen.port or "PORT"
    remedies = {
        errno.EADDRINUSE: f"end the program that has it (ss -ltnp 'sport = :{port}'), or name another"
        if listen.port
        else "end the program that has it, or name another",
        errno.EADDRNOTAVAIL: "no address of this host: name one that is (ip address)",
        errno.EACCES: "ports below 1024 are root's: name a higher one, or let systemd open it (listen = systemd:NAME)"
        if listen.port and listen.port < _OF_ROOT
        else "tracker-relay doctor looks for the policy that forbids it"
        if listen.port
        else "give this user the folder (chown), or name another",
        errno.ENOENT: "make the folder, or name another",
        errno.ENOTDIR: "what should be the folder is none: name another",
        errno.EROFS: "name a folder that can be written",
    }
    remedy = remedies.get(fault.errno)
    return os.strerror(fault.errno) + (f": {remedy}" if remedy else "")
