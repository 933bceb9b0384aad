"""One client's connection: greeting, command lines, pipelined answers, timers.

aiosmtpd's SMTP is the base; its command reader, timers and error replies are replaced, since they
lose a mail whose client hangs up early, cut a client that is still sending, keep one for ever that
does not read, and answer our faults with a permanent 500 (measured; each has its test).
"""

import asyncio
import re
import socket
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiosmtpd.smtp import SMTP

from relay import admission, journal, unixsocket
from relay.admission import ListenerOptions
from relay.entry import Client
from relay.reply import Reply
from relay.spool import Spool

MAX_COMMAND = 4096
"""Octets in a command line: room for a path of 254 octets and every parameter we take."""
MAX_ERRORS = 20
"""Refused commands in one session before it ends."""
_CHUNK = 65536
_LONGEST_SESSION = 24 * 3600
_GRACE = 5.0
"""Seconds that a client has to read our last words."""
_HTTP = re.compile(rb"(?:GET|POST|PUT|HEAD|OPTIONS|CONNECT|DELETE|PATCH|TRACE) ", re.IGNORECASE)
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")


class Gone(Exception):
    """the client left, or we sent it away"""


@dataclass(frozen=True, slots=True)
class Setting:
    """What a session needs besides its socket.

    `new_id` and `clock` make ids and wall-clock seconds; `queued` hears of every mail that was kept.
    """

    options: ListenerOptions
    spool: Spool
    new_id: Callable[[], str]
    clock: Callable[[], float]
    hostname: str
    gateway_id: str
    queued: Callable[[], None] = lambda: None


class Connection(SMTP):
    """One client. `listener` says by which of our addresses it came; `ended` is called when it is over."""

    def __init__(self, setting: Setting, listener: str, ended: Callable[["Connection"], None]) -> None:
        # The base's own __init__ walks all members twice and asks the resolver for our name: a seventh
        # of the cost of a mail. What its remaining methods need is set here.
        self.loop = asyncio.get_running_loop()
        asyncio.StreamReaderProtocol.__init__(
            self,
            asyncio.StreamReader(limit=_CHUNK, loop=self.loop),
            client_connected_cb=self._cb_client_connected,
            loop=self.loop,
        )
        self.setting = setting
        self.hostname = setting.hostname
        self.transport: Any = None
        self.client = Client(listener=listener, protocol="SMTP")
        self.busy = False
        """True between DATA and its reply: stopping waits for it."""
        self.closing = False
        self._ended = ended
        self.buffer = b""
        self._eof = False
        self._replies: list[bytes] = []
        self._errors = 0
        self._refusal: Reply | None = None
        self._begun = self._active = self.loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    # -- the connection -----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet it, unless it may not send here."""
        asyncio.StreamReaderProtocol.connection_made(self, transport)
        self.transport = transport
        self._identify(transport)
        self._timer = self.loop.call_later(self.setting.options.idle_timeout, self._watch)
        self._task = self.loop.create_task(self._serve())

    def _identify(self, transport: asyncio.BaseTransport) -> None:
        connection = transport.get_extra_info("socket")
        address, uid = "unix", None
        if connection.family in (socket.AF_INET, socket.AF_INET6):
            # Made by hand, or handed over, a listening socket has no TCP_NODELAY: 44 ms for every mail.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            address = transport.get_extra_info("peername")[0]
            self._refusal = admission.client_allowed(address, self.setting.options)
        else:
            who = unixsocket.peer(connection)
            uid = who.uid
            self._refusal = admission.user_allowed(uid, who.groups, self.setting.options)
        self.client = Client(address, protocol="SMTP", listener=self.client.listener, uid=uid)

    def data_received(self, data: bytes) -> None:
        """Note that the client is alive."""
        self._active = self.loop.time()
        asyncio.StreamReaderProtocol.data_received(self, data)

    def eof_received(self) -> bool | None:
        """The client has said all it will say: what it has sent is still served (`printf ... | nc -N`)."""
        return asyncio.StreamReaderProtocol.eof_received(self)

    def connection_lost(self, error: Exception | None) -> None:
        """The client is gone; a mail whose final dot was read is kept all the same."""
        asyncio.StreamReaderProtocol.connection_lost(self, error)
        self.transport = None
        if self._timer:
            self._timer.cancel()

    def _watch(self) -> None:
        """Look from time to time whether the client is still alive: one timer, not one per command."""
        if self.transport is None:
            return
        now = self.loop.time()
        idle = self.setting.options.idle_timeout
        left = min(self._active + idle, self._begun + _LONGEST_SESSION) - now
        if left > 0:
            self._timer = self.loop.call_later(left, self._watch)
        else:
            self.dismiss(Reply(421, "4.4.2", "idle for too long"))

    def dismiss(self, reply: Reply) -> None:
        """Say this and hang up; a client that does not read is cut off after a moment."""
        transport = self.transport
        self.closing = True
        if transport is None:
            return
        transport.write(_line(reply))
        transport.close()
        self.loop.call_later(_GRACE, transport.abort)

    # -- reading and answering ----------------------------------------------------------------------

    async def _serve(self) -> None:
        try:
            if self._refusal:
                journal.rejected(self.client, self._refusal, "connection")
                self.dismiss(self._refusal)
                return
            self.answer(Reply(220, "", f"{self.hostname} ESMTP"))
            while not self.closing:
                await self._command(await self._read_line())
        except (Gone, ConnectionError):
            pass
        except Exception as fault:
            journal.fault("session", fault)
            self.dismiss(Reply(451, "4.3.0", "local trouble, try again later"))
        finally:
            self._ended(self)
            if self.transport is not None:
                self.transport.close()
                self.loop.call_later(_GRACE, self.transport.abort)

    async def more(self) -> bytes:
        """The next octets. Answers go out first: the client may be waiting for them. Raises Gone at the end."""
        await self._flush()
        data = await self._reader.read(_CHUNK)
        if not data:
            raise Gone
        return data

    async def _read_line(self) -> bytes:
        """One command line without its line end; one that is too long is answered here."""
        while True:
            at = self.buffer.find(b"\n")
            if 0 <= at <= MAX_COMMAND:
                line, self.buffer = self.buffer[:at], self.buffer[at + 1 :]
                return line.removesuffix(b"\r")
            if at < 0 and len(self.buffer) <= MAX_COMMAND:
                self.buffer += await self.more()
                continue
            while at < 0:
                self.buffer = await self.more()
                at = self.buffer.find(b"\n")
            self.buffer = self.buffer[at + 1 :]
            self.refuse(Reply(500, "5.5.2", "line too long"), "command")

    def answer(self, reply: Reply) -> None:
        """Answer; it is sent when the client's pipelined commands are used up."""
        self._replies.append(_line(reply))

    def refuse(self, reply: Reply, what: str) -> None:
        """Answer, log, and count: a client that errs without end is sent away."""
        self._errors += 1
        journal.rejected(self.client, reply, what)
        if self._errors >= MAX_ERRORS:
            reply = Reply(421, "4.7.0", "too many errors")
            self.closing = True
        self.answer(reply)

    async def _flush(self) -> None:
        """Send what was answered; one write for a group of pipelined commands (RFC 2920 3.2)."""
        if not self._replies:
            return
        data, self._replies = b"".join(self._replies), []
        if self.transport is None:
            return
        self._writer.write(data)
        await self._writer.drain()

    async def _command(self, line: bytes) -> None:
        verb, _, argument = line.partition(b" ")
        if not self.client.helo and self._errors == 0 and (_HTTP.match(line) or line[:1] in (b"\x16", b"*")):
            self.refuse(Reply(421, "4.7.0", "this is SMTP"), "not SMTP")
            self.closing = True
        elif _CONTROL.search(line):
            self.refuse(Reply(500, "5.5.2", "control character in the line"), "command")
        elif not line:
            self.refuse(Reply(500, "5.5.2", "empty line"), "command")
        else:
            await self.execute(verb.upper(), argument.strip(b" "))
        if self.closing or b"\n" not in self.buffer:
            await self._flush()

    @abstractmethod
    async def execute(self, verb: bytes, argument: bytes) -> None:
        """Do one command and answer it."""


def _line(reply: Reply) -> bytes:
    """The reply as it goes over the wire; its status code on every line (RFC 2034)."""
    status = f"{reply.status} " if reply.status else ""
    *head, last = reply.text.split("\n")
    lines = [f"{reply.code}-{status}{text}\r\n" for text in head]
    return "".join([*lines, f"{reply.code} {status}{last}\r\n"]).encode("utf-8", "replace")
