"""Whatever octets come in whatever pieces: one reply to each command and each mail, in order; what was answered 250 is kept as it was sent, nothing else is.

The listener's session in memory, without sockets. Its replies are read beside the client's octets by a
second, simple reader of SMTP: it finds each mail's content by RFC 5321 4.5.2 alone. The same octets in other
pieces get the same replies and the same mails. Spools that are full or broken are answered 452 and 451.
"""

import asyncio
import contextlib
import re
import socket
from dataclasses import dataclass, replace

from relay import connection, journal, login
from relay.admission import ListenerOptions
from relay.errors import SpoolFull
from relay.gate import Gate
from relay.server import Session
from relay.spool import SpoolOptions
from relay.spool.memory import MemorySpool
from relay.surroundings import Setting
from tests.fuzz.engine import dice

NAME = "session"
SHARE = 6
CASES = 1500
LONGEST = 2500
TOKENS = (
    b"EHLO x\r\n", b"HELO x\r\n", b"MAIL FROM:<a@b.example>\r\n", b"MAIL FROM:<>\r\n", b"MAIL FROM:<a@b.example> SIZE=", b" BODY=8BITMIME", b" SMTPUTF8",
    b" AUTH=<>", b"RCPT TO:<c@d.example>\r\n", b"RCPT TO:<bob>\r\n", b"RCPT TO:c@d.example\r\n", b"DATA\r\n", b"RSET\r\n", b"NOOP\r\n", b"QUIT\r\n", b"VRFY x\r\n",
    b"HELP\r\n", b"EXPN\r\n", b"BDAT 5 LAST\r\n", b"STARTTLS\r\n", b"AUTH PLAIN AGRhbmEAcGFzcw==\r\n", b"AUTH PLAIN\r\n", b"AUTH LOGIN\r\n", b"ZGFuYQ==\r\n", b"cGFzcw==\r\n",
    b"AUTH LOGIN ZGFuYQ==\r\n", b"*\r\n", b"=\r\n", b"GET / HTTP/1.1\r\n", b"\r\n.\r\n", b"\n.\n", b"\r\n.\n", b"\n.\r\n", b"\r.\r", b"\r\n..\r\n", b"\r\n.x",
    b"Received: x\r\n", b"X-Tracker-Relay: gw.example.com\r\n", b"Subject: x\r\n", b"Message-ID: <1@x>\r\n", b"y" * 5000, b"y" * 300, b"NOOP\r\n" * 250, b"\x16\x03\x01",
    b'"a b"@c.example', b"[127.0.0.1]", b"[IPv6:::1]", b"@a,@b:c@d", "é@ü.example".encode(), b"=?utf-8?q?x?=@y",
)  # fmt: skip
OPTIONS = replace(ListenerOptions(), max_size=600, max_recipients=5, max_hops=3, duplicate_window=0.0)
HOST = "gw.example.com"
REPLY = re.compile(rb"(?:([2-5]\d\d)-[^\x00-\x1f\x7f]*\r\n)*([2-5]\d\d) [^\x00-\x1f\x7f]*\r\n")
KEPT = re.compile(rb"250 2\.0\.0 queued as (\S+)\r\n")


TROUBLES = {"room": b"", "write": b"452", "writes": b"451", "put": b"451", "full": b"452"}
"""What goes wrong in a spool, and what the final dot is answered then."""


class FuzzGate(Gate):
    """One login, and no work to prove it."""

    async def verify(self, login, password):
        return (login, password) == ("dana", "pass")


class Spool(MemorySpool):
    """Keeps what it is given in order; `trouble` says what goes wrong."""

    trouble = ""

    def __init__(self):
        super().__init__(SpoolOptions(), lambda: 1e9)
        self.mails = []

    def room(self, octets):
        if self.trouble == "room":
            raise SpoolFull("no room")

    def draft(self):
        draft = super().draft()
        if self.trouble in ("write", "writes"):
            draft.write = self._fails
        return draft

    def _fails(self, data):
        raise SpoolFull("no room") if self.trouble == "write" else OSError(5, "broken")

    async def put(self, entry, draft):
        if self.trouble in ("put", "full"):
            raise RuntimeError("broken") if self.trouble == "put" else SpoolFull("no room")
        body = draft.body()
        self.mails.append((entry, body.read(0, body.size)))


class Wire:
    """The client's end of a transport."""

    def __init__(self):
        self.heard = bytearray()
        self.closing = self.closed = False

    def get_extra_info(self, name, default=None):
        return {"socket": self, "peername": ("127.0.0.1", 1)}.get(name, default)

    family = socket.AF_INET

    def setsockopt(self, *values):
        pass

    def write(self, data):
        if not self.closing:
            self.heard += data

    def write_eof(self):
        pass

    def is_closing(self):
        return self.closing

    def close(self):
        self.closing = True

    abort = close

    def pause_reading(self):
        pass

    resume_reading = pause_reading


@dataclass
class Spoken:
    """What one run brought."""

    heard: bytes
    mails: list


async def _tls(transport, protocol, context):
    """In place of a handshake: the same wire, and nobody else's octets on it."""
    return transport


@contextlib.contextmanager
def without_handshakes():
    """TLS begins at once, and a wrong password costs nothing."""
    before = connection.upgraded, login._PAUSE
    connection.upgraded, login._PAUSE = _tls, 0.0
    try:
        yield
    finally:
        connection.upgraded, login._PAUSE = before


async def speak(data, ends, *, trouble="", gate=False):
    """One session: `data` in pieces up to each of `ends`, each after the replies to the one before."""
    with without_handshakes():
        return await _speak(data, ends, trouble=trouble, gate=gate)


async def _speak(data, ends, *, trouble, gate):
    spool = Spool()
    spool.trouble = trouble
    ids = iter(range(1 << 30))
    known = FuzzGate(object(), {"dana": None}) if gate else FuzzGate()
    setting = Setting(OPTIONS, spool, lambda: f"id{next(ids)}", lambda: 1e9, HOST, HOST, gate=known)
    session = Session(setting, "127.0.0.1:25", lambda session: None, lambda session: None)
    wire = Wire()
    session.connection_made(wire)
    at = 0
    for end in ends:
        session.data_received(data[at:end])
        at = end
        await _rest(session)
    session.eof_received()
    await _rest(session)
    session.connection_lost(None)
    await _rest(session)
    return Spoken(bytes(wire.heard), spool.mails)


async def _rest(session):
    """Until it waits for the client again."""
    before = -1
    while session._holding or len(session.buffer) != before:
        before = len(session.buffer)
        await asyncio.sleep(0)


def replies(heard):
    """The server's octets as whole replies; every octet belongs to one."""
    found, at = [], 0
    while at < len(heard):
        reply = REPLY.match(heard, at)
        assert reply and reply[1] in (None, reply[2]), f"no reply: {heard[at : at + 100]!r}"
        found.append(reply[0])
        at = reply.end()
    return found


def content(data, at):
    """RFC 5321 4.5.2: the mail that begins there as it should be kept, and where the next command begins; None without an end."""
    end = (b"\r\n" + data[at:]).find(b"\r\n.\r\n")
    if end < 0:
        return None
    written = data[at : at + end]
    lines = [line.removeprefix(b".") for line in written.split(b"\r\n")]
    return b"\r\n".join(re.sub(rb"\r?\n", b"\r\n", line) for line in lines), at + end + 3


def read_beside(data, heard, cuts):
    """Follow the dialogue: each mail that came, by the client's octets, and the reply to it. Raises where a reply fits nothing.

    `cuts` are the ends of the pieces: what came in one with STARTTLS counts for nothing (RFC 3207 4.2).
    """
    greeting, *answers = replies(heard)
    assert greeting.startswith(b"220 "), greeting
    answers, at, mails = iter(answers), 0, []
    for answer in answers:
        if answer[:3] in (b"421", b"221"):
            assert not list(answers), "words behind the last one"
            return mails
        end = data.find(b"\n", at)
        assert end >= 0, f"a reply to nothing: {answer!r}"
        at = end + 1
        if answer.startswith(b"220 "):
            at = min(cut for cut in cuts if cut >= at)
        elif answer.startswith(b"354 "):
            found = content(data, at)
            if found is None:
                assert not list(answers), "a reply within a mail"
                return mails
            octets, at = found
            verdict = next(answers, b"")
            if verdict.startswith(b"421"):
                return mails
            mails.append((octets, verdict))
    assert data.find(b"\n", at) < 0, "a command without a reply"
    return mails


def check(data):
    """Three runs of one client."""
    chance = dice(data)
    gate = chance.randrange(3) == 0
    trouble = chance.choice(("", "", "", "", "", *TROUBLES))
    cuts = sorted(chance.randint(0, len(data)) for _ in range(chance.choice((1, 2, 10, 40))))
    return LOOP.run_until_complete(_check(data, cuts, gate, trouble))


async def _check(data, cuts, gate, trouble):
    faults = journal.COUNTERS["faults"]
    ends = [*cuts, len(data)]
    whole = await speak(data, ends[-1:], gate=gate)
    _agrees(data, whole, ends[-1:])
    pieces = await speak(data, ends, gate=gate)
    _agrees(data, pieces, ends)
    if b"220 2.0.0 go ahead" not in whole.heard:
        assert _alike(pieces.heard) == _alike(whole.heard), f"in pieces {pieces.heard!r}, whole {whole.heard!r}"
        assert [octets for _, octets in pieces.mails] == [octets for _, octets in whole.mails]
    assert journal.COUNTERS["faults"] == faults, "an exception that nobody expected"
    if not trouble:
        return 2
    troubled = await speak(data, ends, gate=gate, trouble=trouble)
    for _, verdict in read_beside(data, troubled.heard, ends):
        assert verdict[:3] in (TROUBLES[trouble], b"550", b"552", b"554"), verdict
    assert not troubled.mails
    journal.COUNTERS["faults"] = faults
    return 3


def _alike(heard):
    """Of two reasons to refuse a mail, which one is met first depends on the pieces."""
    return re.sub(rb"55[02] 5\.\d\.\d (?:the mail holds|mail is larger)[^\r]*", b"refused", heard)


def _agrees(data, spoken, ends):
    """250 and what is kept are one; each kept mail is what the client sent, and fit to be relayed."""
    names = KEPT.findall(spoken.heard)
    assert [entry.id.encode() for entry, _ in spoken.mails] == names
    for entry, octets in spoken.mails:
        assert not re.search(rb"\r(?!\n)|(?<!\r)\n|\0", octets), "a bare line end"
        assert entry.size == len(octets) <= OPTIONS.max_size
        assert 1 <= len(entry.envelope.recipients) <= OPTIONS.max_recipients
        assert all(str(r.address).isprintable() for r in entry.envelope.recipients)
    sent = [octets for octets, verdict in read_beside(data, spoken.heard, ends) if KEPT.match(verdict)]
    assert [octets for _, octets in spoken.mails] == sent, "kept is not what was sent"


LOOP = asyncio.new_event_loop()
