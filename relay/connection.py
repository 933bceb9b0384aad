"""One client's connection: greeting, command lines, pipelined answers, timers.

aiosmtpd's SMTP is the base; its command reader, timers and error replies are replaced, since they
lose a mail whose client hangs up early, cut a client that is still sending, keep one for ever that
does not read, and answer our faults with a permanent 500 (measured; each has its test).

1. What arrives is worked off at once, in `data_received`: no task and no stream per client.
2. A command that has to wait (a mail for the disk) holds the session: what follows it stays in the
   buffer, and beyond _CHUNK octets in the socket.
3. Answers are collected and leave in one write when the client's octets are used up (RFC 2920 3.2).
4. A client that reads no answers is not read from either.
"""

import asyncio
import re
import socket
import ssl
from abc import abstractmethod
from collections.abc import Callable, Coroutine
from typing import Any

from aiosmtpd.smtp import SMTP

from relay import admission, journal, unixsocket
from relay.entry import Client
from relay.gate import upgraded
from relay.reply import Reply, wire_form
from relay.surroundings import Setting

MAX_COMMAND = 4096
"""Octets in a command line: room for a path of 254 octets and every parameter we take."""
MAX_ERRORS = 20
"""Refused commands before a session ends, since its last mail. What is a fault of ours does not count."""
MAX_REFUSALS = 10
"""Refused recipients before it ends, in times of max_recipients: they are mistakes of a tracker's users."""
MAX_IDLE = 1000
"""Commands that bring no mail nearer, since the last one, before it ends."""
_WORK = frozenset((b"MAIL", b"RCPT", b"DATA", b"QUIT"))
_CHUNK = 65536
_PORTION = 200_000
"""Octets of one client before others get their turn: uvloop would read 8 MB in a row."""
_MOST_PILED = 24 << 20
"""Octets that may lie about, in all, for clients that read no answers or send commands faster than they are done."""
_TURN = 20
"""Commands of one client that are worked off before others get their turn."""
_LONGEST_SESSION = 24 * 3600
_LONGEST_MAIL = 3600.0
"""Seconds between DATA and the final dot."""
_GRACE = 5.0
"""Seconds that a client has to read our last words."""
_HTTP = re.compile(rb"(?:GET|POST|PUT|HEAD|OPTIONS|CONNECT|DELETE|PATCH|TRACE) |.* HTTP/\d", re.IGNORECASE)
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
_Met = Callable[["Connection"], Reply | None]


class Connection(SMTP):
    """One client. `listener` says by which of our addresses it came.

    `met` is asked, once it is known who it is, whether there is room for it; `ended` is called when it is over.
    """

    def __init__(self, setting: Setting, listener: str, met: "_Met", ended: Callable[["Connection"], None]) -> None:
        # The base's own __init__ walks all members twice, makes streams, asks the resolver for our name: not used.
        self.loop = asyncio.get_running_loop()
        self.setting = setting
        self.hostname = setting.hostname
        self.transport: Any = None
        self.client = Client(listener=listener)
        self.mail_begun: float | None = None
        """When DATA was said, until its reply: stopping waits for that."""
        self.closing = False
        self.buffer = b""
        self._at = 0
        self.content: Callable[[bytes], bytes] | None = None
        """Takes what arrives while a mail's content is awaited; gives what followed its final dot."""
        self.expect: Callable[[bytes], None] | None = None
        """Takes the next line, which is no command."""
        self.secure = False
        """True once TLS protects the connection."""
        self.must_log_in = False
        """True for a client that may send only after AUTH."""
        self._met, self._ended = met, ended
        self._farewell: Reply | None = None
        self._holding: asyncio.Task[None] | None = None
        self._eof = self._unread = self._stopped = self._overlong = self._turning = self._sent_away = self._left = False
        self._replies: list[bytes] = []
        self._errors = self._refusals = self._idle = self._taken = self._piled = 0
        self._refusal: Reply | None = None
        self._begun = self.active = self.loop.time()
        self._timer: asyncio.TimerHandle | None = None

    # -- the connection -----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet it, unless it may not send here."""
        self.transport = transport
        self._timer = self.loop.call_later(self.setting.options.idle_timeout, self._watch)
        try:
            self._identify(transport)
        except OSError:  # it is gone; an exception would keep uvloop from ever telling so
            self.transport.abort()
            return
        if self._refusal:
            journal.rejected(self.client, self._refusal, "connection")
            self.dismiss(self._refusal)
        else:
            self.answer(Reply(220, "", f"{self.hostname} ESMTP"))
            self._flush()

    def _identify(self, transport: asyncio.BaseTransport) -> None:
        """Who it is. Raises OSError when it is gone already."""
        connection = transport.get_extra_info("socket")
        address, uid = "unix", None
        if connection.family in (socket.AF_INET, socket.AF_INET6):
            # Made by hand, or handed over, a listening socket has no TCP_NODELAY: 44 ms for every mail.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            peer = transport.get_extra_info("peername")
            if not peer:  # uvloop asks only now
                raise ConnectionResetError
            address = admission.unmapped(peer[0])
            self.secure = transport.get_extra_info("ssl_object") is not None
            self._refusal = admission.client_allowed(address, self.setting.options)
            if self._refusal and self.setting.gate.known:
                self.must_log_in, self._refusal = True, None
        else:
            who = unixsocket.peer(connection)
            uid = who.uid
            self._refusal = admission.user_allowed(uid, who.groups, self.setting.options)
        self.client = Client(address, protocol="SMTP", listener=self.client.listener, uid=uid)
        self._refusal = self._met(self) or self._refusal

    def data_received(self, data: bytes) -> None:
        """Work off what the client sends, or keep it until the session may go on."""
        if self._left:
            return
        self.active = self.setting.pulse.at = self.loop.time()
        self._taken += len(data)
        self.buffer = self.buffer + data if self.buffer else data
        self._go_on()

    def eof_received(self) -> bool:
        """The client has said all it will say: what it has sent is still served (`printf ... | nc -N`)."""
        self._eof = True
        if self._left:
            self.transport.close()
        else:
            self._go_on()
        return True

    def pause_writing(self) -> None:
        """The client does not read our answers: nothing more is done for it until it does."""
        self._unread = True

    def resume_writing(self) -> None:
        """It reads again."""
        self._unread = False
        self._go_on()

    def connection_lost(self, error: Exception | None) -> None:
        """The client is gone; a mail whose final dot was read is kept all the same."""
        if self.transport is None:
            return
        self.transport = None
        self._pile_up(0)
        self.closing = True
        if self._timer:
            self._timer.cancel()
        if self._holding is None:
            self._end()

    def _end(self) -> None:
        """Nothing more will be done for this client."""
        self.lost()
        self._ended(self)

    def lost(self) -> None:
        """The client is gone: forget what it had begun."""

    def _watch(self) -> None:
        """Look from time to time whether the client is still alive: one timer, not one per command."""
        now = self.loop.time()
        if self._holding:
            self.active = now  # it waits for us
        left = min(self.active + self.setting.options.idle_timeout, self._begun + _LONGEST_SESSION) - now
        if self.mail_begun is not None and now > self.mail_begun + _LONGEST_MAIL and not self._holding:
            self.dismiss(Reply(421, "4.4.2", "this mail takes too long"))
        elif now >= self._begun + _LONGEST_SESSION:
            self.dismiss(Reply(421, "4.4.2", "this session takes too long"))
        elif left > 0:
            self._timer = self.loop.call_later(left, self._watch)
        else:
            self.dismiss(Reply(421, "4.4.2", "idle for too long"), idle=True)

    def dismiss(self, reply: Reply, *, idle: bool = False) -> None:
        """Say this and hang up; at once on one that is idle."""
        if self._left:
            return
        self.closing, self._sent_away = True, not idle
        self.answer(reply)
        self._flush()
        self._hang_up()

    def finish(self, farewell: Reply) -> None:
        """Say this and hang up, but behind a mail that is under way."""
        if self.mail_begun is not None:
            self._farewell = farewell
        else:
            self.dismiss(farewell, idle=True)

    def _hang_up(self) -> None:
        """Close; a client that does not read our last words is cut off after a moment.

        Who was sent away may be sending still. Closed upon unread octets, a connection is reset, and he
        would never read why: so only our half is closed, and what comes is thrown away.
        """
        transport = self.transport
        if transport is None or self._left or transport.is_closing():
            return
        self._left = True
        if self._timer:
            self._timer.cancel()
        self._timer = self.loop.call_later(_GRACE, transport.abort)
        if not self._sent_away or self._eof:
            transport.close()
            return
        if self._stopped:
            transport.resume_reading()
        try:
            transport.write_eof()
        except OSError:  # it is gone
            transport.abort()

    # -- reading and answering ----------------------------------------------------------------------

    def _go_on(self) -> None:
        """Work off the buffer, as far as may be; then answer."""
        if self._turning or self._holding or self._unread:
            self._throttle()
            return
        self._turning, more = True, False
        try:
            more = self._work_off()
        except Exception as fault:
            journal.fault("session", fault)
            self.dismiss(Reply(451, "4.3.0", "local trouble, try again later"))
        finally:
            self._turning = False
        self._flush()
        self._throttle()
        if more:
            self.loop.call_soon(self._go_on)
        elif self.closing or (self._eof and not self._holding and not self._unread):
            self._hang_up()

    def _work_off(self) -> bool:
        """True when there is more to do, once others have had their turn."""
        self._at = 0
        try:
            for _ in range(_TURN):
                if self.closing or self._holding or self._at == len(self.buffer):
                    return False
                if self.content is not None:
                    data, self._at = self.buffer[self._at :], 0
                    self.buffer = self.content(data)
                elif (line := self._next_line()) is not None:
                    (self.expect or self._command)(line)
                else:
                    return False
            return True
        finally:
            self.buffer = self.buffer[self._at :]

    def _next_line(self) -> bytes | None:
        """One command line without its line end, None while it is incomplete; one that is too long is answered here."""
        begin, end = self._at, self.buffer.find(b"\n", self._at)
        if end < 0:
            if len(self.buffer) - begin > MAX_COMMAND:
                self._overlong, self._at = True, len(self.buffer)
            return None
        self._at = end + 1
        if self._overlong or end - begin > MAX_COMMAND:
            self._overlong = False
            self.refuse(Reply(500, "5.5.2", "line too long"), "command")
            return None if self.closing else self._next_line()
        return self.buffer[begin:end].removesuffix(b"\r")

    def hold(self, work: Coroutine[Any, Any, None]) -> None:
        """Do `work` before anything else that this client asks for. It outlasts the client."""
        self._holding = self.loop.create_task(self._held(work))

    async def _held(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as fault:
            journal.fault("session", fault)
            self.answer(Reply(451, "4.3.0", "local trouble, try again later"))
        finally:
            self._holding = None
        if self.transport is None:
            self._end()
        elif self._farewell:
            self.dismiss(self._farewell, idle=True)
        else:
            self._go_on()

    def start_tls(self, context: ssl.SSLContext) -> None:
        """Answer what was asked so far, then speak TLS. What came with the command counts for nothing."""
        self.transport.pause_reading()  # what comes next is for TLS
        self.buffer = b""
        self.hold(self._upgrade(context))

    async def _upgrade(self, context: ssl.SSLContext) -> None:
        transport = self.transport
        try:
            made = await upgraded(transport, self, context)
        except (OSError, ssl.SSLError, TimeoutError) as fault:
            journal.rejected(self.client, Reply(421, "4.7.0", f"TLS handshake: {fault}"), "STARTTLS")
            transport.abort()
            self.connection_lost(None)  # of a client that goes within the handshake asyncio may never tell us
        else:
            if self.transport is not None:  # or it went behind it
                self.transport, self.secure = made, True

    def _pile_up(self, octets: int) -> None:
        """So much lies about for this client: it is sent away where that is too much in all."""
        pile = self.setting.pile
        pile.octets += octets - self._piled
        self._piled = octets
        if octets and pile.octets > _MOST_PILED:
            reply = Reply(421, "4.3.2", "too much to do, try again later")
            journal.rejected(self.client, reply, "session")
            self.buffer = b""
            self.dismiss(reply)
            if self._unread:
                self.transport.abort()

    def _throttle(self) -> None:
        """Read from the client only what can be worked off."""
        over, self._taken = self._taken > _PORTION, self._taken % (_PORTION + 1)
        stop = over or self._unread or len(self.buffer) > _CHUNK
        if stop == self._stopped or self._eof or self.transport is None or self.transport.is_closing():
            return
        self._stopped = stop
        piled = stop and not over and self._holding is None
        self._pile_up(len(self.buffer) + self.transport.get_write_buffer_size() if piled else 0)
        (self.transport.pause_reading if stop else self.transport.resume_reading)()
        if over:
            self.loop.call_soon(self._throttle)

    def answer(self, reply: Reply) -> None:
        """Answer; it is sent when the client's pipelined commands are used up."""
        self._replies.append(wire_form(reply))

    def refuse(self, reply: Reply, what: str, *, known: bool = False) -> None:
        """Answer, log unless it is `known`, and count: a client that errs without end is sent away."""
        if not known:
            journal.rejected(self.client, reply, what)
        self.answer(reply)
        if what == "RCPT":
            self._refusals += 1
        elif not reply.transient:
            self._errors += 1
        if self._errors >= MAX_ERRORS or self._refusals >= MAX_REFUSALS * self.setting.options.max_recipients:
            self.send_away("too many errors")

    def worked(self) -> None:
        """A mail was kept: this client is no nuisance."""
        self._errors = self._refusals = self._idle = 0

    def send_away(self, text: str) -> None:
        """Say so, and end the session."""
        reply = Reply(421, "4.7.0", text)
        journal.rejected(self.client, reply, "session")
        self.answer(reply)
        self.closing = self._sent_away = True

    def _flush(self) -> None:
        """Send what was answered; one write for a group of pipelined commands (RFC 2920 3.2)."""
        data, self._replies = b"".join(self._replies), []
        if data and self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)

    def _command(self, line: bytes) -> None:
        verb, _, argument = line.partition(b" ")
        if not self.client.helo and self._errors == 0 and (_HTTP.match(line) or line[:1] in (b"\x16", b"*")):
            self.send_away("this is SMTP")
        elif _CONTROL.search(line):
            self.refuse(Reply(500, "5.5.2", "control character in the line"), "command")
        elif not line:
            self.refuse(Reply(500, "5.5.2", "empty line"), "command")
        elif (verb := verb.upper()) not in _WORK and self._idle >= MAX_IDLE:
            self.send_away("too many commands without a mail")
        else:
            self._idle += verb not in _WORK
            self.execute(verb, argument.strip(b" "))

    @abstractmethod
    def execute(self, verb: bytes, argument: bytes) -> None:
        """Do one command and answer it."""
