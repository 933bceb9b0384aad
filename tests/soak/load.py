"""Mail by the hundred thousand: numbered, sent over connections that come and go, counted where it arrives.

Both sides are protocols without streams or tasks for each mail, and work with what they are given in one go, so
that two processors are enough: one for the relay, one for all of this.
"""

import asyncio
import base64
import re
import time

LINE = "Der Kran läuft – line %02d of a notification that says little, at some length.\r\n"
TEXT = "".join(LINE % n for n in range(28)).encode()
LARGE = 1000
"""One mail in so many is above what the spool keeps in its database: a file of its own."""
SECOND_TRY = 200
"""One in so many has a recipient whom the next hop takes only later."""
AGAIN = 200
"""One in so many is sent again by a client that has not heard its 250."""
PER_CONNECTION = 50
LIST = b"<list@example.org>"
"""Added to each mail by the relay: smtp_always_bcc."""
_DOT = b"\r\n.\r\n"
_ID = re.compile(rb"\r\nMessage-ID: <0(\d+)\.soak@tracker\.example\.com>\r\n", re.IGNORECASE)
_READER = re.compile(rb"<reader-(\d+)@example\.org>")


def text(number):
    """The body of that mail, in UTF-8."""
    return TEXT * 150 if number % LARGE == LARGE - 1 else TEXT


def octets(number):
    """A mail as Trac writes it, an event of its own each."""
    return (
        f"From: =?utf-8?q?H=C3=A4fen?= <tracker@tracker.example.com>\r\nTo: undisclosed-recipients: ;\r\n"
        f"Subject: [Harbour] #{number}: Crane number {number} jams\r\nMessage-ID: <0{number}.soak@tracker.example.com>\r\n"
        f"Date: Mon, 02 Nov 2026 {number // 3600 % 24:02}:{number // 60 % 60:02}:{number % 60:02} +0000\r\n"
        "X-Mailer: Trac 1.6, by Edgewall Software\r\nX-Trac-Version: 1.6\r\nX-Trac-Project: Harbour\r\n"
        f"X-Trac-Ticket-ID: {number}\r\nX-Trac-Ticket-URL: http://t.example.com/harbour/ticket/{number}\r\n"
        "Precedence: bulk\r\nAuto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n"
        'Content-Type: text/plain; charset="utf-8"\r\nContent-Transfer-Encoding: 8bit\r\n\r\n'
    ).encode() + text(number)


class Counter:
    """The next hop: it counts for each mail how often reader and list have got it, over as many connections as come."""

    def __init__(self, mails):
        self.readers, self.lists = bytearray(mails), bytearray(mails)
        self.arrived = 0
        """Readers who have got theirs."""
        self.deferred = 0
        self.damaged = []
        """Numbers of mails that are not as they have to be."""
        self.open = self.sessions = 0
        self.port = 0
        self._whole = {}
        self._waiting = set()

    async def start(self):
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Session(self), "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def stop(self):
        self._server.close()

    def later(self, path):
        """Whether this recipient is asked to come again: once."""
        found = _READER.search(path)
        number = int(found[1]) if found else 1
        if number % SECOND_TRY or self.readers[number] or number in self._waiting:
            self._waiting.discard(number)
            return False
        self._waiting.add(number)
        self.deferred += 1
        return True

    def take(self, paths, data):
        found = _ID.search(data)
        number = int(found[1])
        if not self._is_whole(number, data):
            self.damaged.append(number)
        for path in paths:
            if path.endswith(LIST):
                self.lists[number] = min(self.lists[number] + 1, 255)
            elif (reader := _READER.search(path)) and int(reader[1]) == number:
                self.readers[number] = min(self.readers[number] + 1, 255)
                self.arrived += 1
            else:
                self.damaged.append(number)

    def _is_whole(self, number, data):
        """All of one length are alike in base64; the first of them is read."""
        body = data[data.index(b"\r\n\r\n") + 4 :]
        wanted = self._whole.get(len(body))
        if wanted is None:
            if base64.b64decode(body) != text(number):
                return False
            wanted = self._whole[len(body)] = body
        return body == wanted


class _Session(asyncio.Protocol):
    def __init__(self, counter):
        self.counter = counter
        self.buffer, self.in_data, self.paths, self.ended = b"", False, [], False

    def connection_made(self, transport):
        self.transport = transport
        self.counter.open += 1
        self.counter.sessions += 1
        transport.write(b"220 counter\r\n")

    def connection_lost(self, error):
        self.counter.open -= 1

    def data_received(self, data):
        data, at, said = self.buffer + data if self.buffer else data, 0, []
        while True:
            mark = _DOT if self.in_data else b"\r\n"
            end = data.find(mark, at)
            if end < 0:
                break
            piece, at = data[at:end], end + len(mark)
            if self.in_data:
                self.counter.take(self.paths, piece + b"\r\n")
                self.in_data, self.paths = False, []
                said.append(b"250 2.0.0 taken\r\n")
            else:
                said.append(self._command(piece))
        self.buffer = data[at:]
        if said:
            self.transport.write(b"".join(said))
        if self.ended:
            self.transport.close()

    def _command(self, line):
        verb = line[:4].upper()
        if verb == b"RCPT":
            if self.counter.later(line):
                return b"450 4.2.1 come again\r\n"
            self.paths.append(line)
        elif verb == b"DATA":
            if not self.paths:
                return b"554 5.5.1 nobody to send it to\r\n"
            self.in_data = True
            return b"354 go\r\n"
        elif verb == b"EHLO":
            return b"250-counter\r\n250-PIPELINING\r\n250 8BITMIME\r\n"
        elif verb == b"QUIT":
            self.ended = True
            return b"221 bye\r\n"
        elif verb in (b"MAIL", b"RSET"):
            self.paths = []
        return b"250 ok\r\n"


class Senders:
    """`connections` clients at a time; never more than `ahead` mails beyond what has arrived."""

    def __init__(self, port, mails, counter, connections=10, ahead=2000):
        self.port, self.mails, self.counter, self.ahead = port, mails, counter, ahead
        self.acknowledged = bytearray(mails)
        self.sent = self.again = self.open = 0
        self.refused = []
        """Replies that are none of those that had to come."""
        self._loop = asyncio.get_running_loop()
        self._finished = self._loop.create_future()
        self._left = connections
        for _ in range(connections):
            self.connect()

    def connect(self):
        """A client comes, or comes again."""
        self._loop.create_task(self._loop.create_connection(lambda: _Client(self), "127.0.0.1", self.port))

    def ended(self, error):
        """A connection is over; with what is left to send, another follows."""
        if error or self.refused:
            self._fail(error or AssertionError(self.refused))
        elif self.sent < self.mails:
            self.connect()
        else:
            self._left -= 1
            if not self._left and not self._finished.done():
                self._finished.set_result(None)

    def _fail(self, error):
        if not self._finished.done():
            self._finished.set_exception(error)

    async def finish(self):
        await self._finished


class _Client(asyncio.Protocol):
    """Greeting and EHLO, then mails: envelope and DATA in one write, the content, its 250."""

    def __init__(self, senders):
        self.senders = senders
        self.buffer, self.mails, self.repeats = b"", 0, None
        self.awaited = [(b"220", self._hello)]

    def connection_made(self, transport):
        self.transport = transport
        self.senders.open += 1

    def connection_lost(self, error):
        self.senders.open -= 1
        self.senders.ended(error)

    def data_received(self, data):
        *lines, self.buffer = (self.buffer + data).split(b"\r\n")
        for line in lines:
            if line[3:4] == b"-":
                continue
            code, follow = self.awaited.pop(0) if self.awaited else (b"nothing", None)
            if not line.startswith(code):
                self.senders.refused.append(line)
                self.transport.abort()
                return
            if follow:
                follow(line)

    def _hello(self, _line):
        self.awaited = [(b"250", self._next)]
        self.transport.write(b"EHLO soak\r\n")

    def _next(self, _line=b""):
        """The next mail, once there is room for it."""
        one = self.senders
        if one.sent >= one.mails or self.mails >= PER_CONNECTION:
            self.awaited = [(b"221", None)]
            self.transport.write(b"QUIT\r\n")
        elif one.sent - one.counter.arrived > one.ahead:
            one._loop.call_later(0.02, self._next)
        else:
            self.number, one.sent = one.sent, one.sent + 1
            self.mails += 1
            self._send()

    def _send(self):
        self.awaited = [(b"250", None), (b"250", None), (b"354", self._content)]
        path = f"reader-{self.number}@example.org"
        self.transport.write(f"MAIL FROM:<tracker@tracker.example.com>\r\nRCPT TO:<{path}>\r\nDATA\r\n".encode())

    def _content(self, _line):
        self.awaited = [(b"250", self._taken)]
        self.transport.write(octets(self.number) + b".\r\n")

    def _taken(self, line):
        self.senders.acknowledged[self.number] = 1
        if self.number % AGAIN == AGAIN - 1 and self.repeats is None:
            self.repeats = line
            self.senders.again += 1
            self._send()
        elif self.repeats not in (None, line):
            self.senders.refused.append(line)
            self.transport.abort()
        else:
            self.repeats = None
            self._next()


async def arrived(counter, mails, patience=60.0):
    """Wait for the last one, as long as some still come."""
    seen, since = counter.arrived, time.monotonic()
    while counter.arrived < mails and time.monotonic() - since < patience:
        await asyncio.sleep(0.2)
        if counter.arrived != seen:
            seen, since = counter.arrived, time.monotonic()
