"""Transaction: one mail's SMTP dialogue as a state machine without I/O (RFC 5321 3.3, RFC 2920).

1. MAIL, every RCPT and DATA go in one write where the peer offers PIPELINING, else one by one.
2. Each reply is the answer of its own recipient: a refusal is that recipient's alone.
3. The content goes only after 354 and when somebody was accepted; a 354 for nobody gets a lone dot.
4. The reply to the final dot is the answer of all who were accepted, and no other one is: a peer that
   says 250 to DATA has taken nothing yet, and is not spoken to any more. A connection that breaks before
   that reply defers them; one that breaks behind the dot does so as *ambiguous* (RFC 1047).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from relay.address import UNSAYABLE
from relay.entry import Cause, Disposition, Outcome
from relay.errors import HopError
from relay.immutable import immutable
from relay.mail import Recipient
from relay.options import at_least, option
from relay.reply import Reply

MAX_REPLY_LINE = 4096
MAX_REPLY_LINES = 100
MAX_REPLY_TEXT = 8192
"""Octets of a reply's text from which on further lines of it are counted, but not kept: each recipient has a reply."""


_WAIT = at_least("1s")
"""With 0, which elsewhere is no limit, no server would be heard at all."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """[timeouts]: how long a next hop may take, in seconds; defaults of RFC 5321 4.5.3.2."""

    connect: float = option(30.0, "Until the connection stands, TLS included", _WAIT, shown="30s")
    greeting: float = option(300.0, "Until the greeting", _WAIT, shown="5m")
    command: float = option(300.0, "Until the reply to a command", _WAIT, shown="5m")
    data_block: float = option(180.0, "Until a piece of the mail is taken", _WAIT, shown="3m")
    final_dot: float = option(600.0, "Until the reply to the final dot", _WAIT, shown="10m")


class ReplyReader:
    """Octets in, Replies out. Raises HopError for what is no SMTP reply, or one without end.

    `hidden` is left out of their text: what a server repeats of our secrets would go on into log and reports.
    """

    def __init__(self) -> None:
        self.hidden: tuple[str, ...] = ()
        self._rest = b""
        self._lines: list[str] = []
        self._number = self._octets = 0
        """Lines of the reply under way, and octets in those that are kept."""
        self._code = 0

    def feed(self, data: bytes) -> Iterator[Reply]:
        """Every reply that `data` completes; whoever does not take them all reads no more here."""
        data, at = self._rest + data, 0
        while (end := data.find(b"\n", at)) >= 0:
            line, at = data[at:end].rstrip(b"\r"), end + 1
            if self._line(line):
                text = "\n".join(self._lines)
                for secret in self.hidden:
                    text = text.replace(secret, "***")
                self._lines, self._number, self._octets = [], 0, 0
                yield Reply.read(self._code, text)
        self._rest = data[at:]
        if len(self._rest) > MAX_REPLY_LINE:
            raise HopError("the server sends a reply without end")

    def _line(self, line: bytes) -> bool:
        """One line; True when it is the last of its reply."""
        code, mark = line[:3], line[3:4]
        sane = code.isdigit() and len(code) == 3 and b"2" <= code[:1] <= b"5" and mark in (b"", b" ", b"-")
        if len(line) > MAX_REPLY_LINE or not sane:
            raise HopError("the server's answer is no SMTP reply")
        if self._number and int(code) != self._code:
            raise HopError("the lines of the server's reply disagree")
        self._code = int(code)
        if self._octets <= MAX_REPLY_TEXT:  # a line is kept whole or not: no half of a secret stays unseen
            self._lines.append(line[4:].decode("utf-8", "replace"))
        self._octets += len(line)
        self._number += 1
        if self._number > MAX_REPLY_LINES:
            raise HopError("the server sends a reply without end")
        return mark != b"-"


class Stuffer:
    """Dot-stuffing of a mail in pieces (RFC 5321 4.5.2)."""

    def __init__(self) -> None:
        self._tail = b"\r\n"

    def feed(self, piece: bytes) -> bytes:
        """The piece with a dot before each line's leading dot."""
        if not piece:
            return b""
        data = self._tail + piece
        self._tail = data[-2:]
        return data.replace(b"\r\n.", b"\r\n..")[2:] if b"\r\n." in data else piece

    def finish(self) -> bytes:
        """The end: the last line closed, and the final dot."""
        return b".\r\n" if self._tail == b"\r\n" else b"\r\n.\r\n"


@dataclass(frozen=True, slots=True)
class Features:
    """What the peer offered in EHLO: keyword in upper case to its parameters."""

    keywords: Mapping[str, str] = field(default_factory=dict)

    def __contains__(self, keyword: str) -> bool:
        return keyword in self.keywords

    @property
    def max_size(self) -> int:
        """Octets that the peer takes at most; 0 when it does not say."""
        size = self.keywords.get("SIZE", "")
        return int(size) if size.isascii() and size.isdigit() and len(size) < 20 else 0


@immutable
class Plan:
    """One transaction as it will be said: paths in wire form, parameters included."""

    sender: str
    parameters: str
    recipients: tuple[tuple[Recipient, str], ...]
    pipelining: bool

    def commands(self) -> list[bytes]:
        """MAIL, the RCPTs and DATA, a line each. Raises HopError where one would be two lines, or no UTF-8."""
        lines = [f"MAIL FROM:<{self.sender}>{self.parameters}"]
        lines += [f"RCPT TO:<{path}>" for _, path in self.recipients]
        lines.append("DATA")
        if any(not line.isprintable() and UNSAYABLE.search(line) for line in lines):
            raise HopError("an address can not be said in SMTP")
        return [line.encode() + b"\r\n" for line in lines]


@dataclass(slots=True)
class Transaction:
    """Feed it replies; it says what to send. `host` is named in the outcomes.

    Made only of what can be said: raises HopError, before anything is, where an address can not.
    """

    plan: Plan
    host: str
    _commands: list[bytes] = field(init=False)
    _replies: list[Reply] = field(default_factory=list)
    _final: Reply | None = None
    _sent: int = 0
    dot_sent: bool = False
    broken: Reply | None = None
    """Why the connection is of no further use: a 421, or what made us end it."""
    cause: Cause = Cause.PEER

    def __post_init__(self) -> None:
        self._commands = self.plan.commands()

    def next_commands(self) -> bytes:
        """What to send now, before any content; b"" when the answers to what was sent decide."""
        commands = self._commands
        if self.plan.pipelining:
            first = self._sent == 0
            self._sent = len(commands)
            return b"".join(commands) if first else b""
        if len(self._replies) < self._sent or self._over or self._sent == len(commands):
            return b""
        if self._sent == len(commands) - 1 and not self._accepted():
            self._sent = len(commands)
            return b""
        self._sent += 1
        return commands[self._sent - 1]

    @property
    def _over(self) -> bool:
        """Nothing more can come of it: MAIL was refused, or the connection is going."""
        refused = bool(self._replies) and not self._replies[0].positive
        return self.broken is not None or (refused and not self.plan.pipelining)

    @property
    def waiting(self) -> int:
        """Replies that are still to come for what was sent."""
        if self.broken:
            return 0
        expected = self._sent
        if not self.plan.pipelining and expected == len(self.plan.recipients) + 2 and not self._accepted():
            expected -= 1  # DATA was never said
        return expected - len(self._replies)

    def answer(self, reply: Reply) -> None:
        """The reply to the next command, in order. One that can not be the answer to it ends the connection."""
        if reply.code == 421:
            self.broken = reply
        elif self._out_of_step(reply):
            text = f"the server is out of step: it answered {self._asked} with {reply}"
            self.broken = reply = Reply(451, "4.5.0", text)
            if self.dot_sent:
                return  # whatever it means, it is no answer to the mail
        if self.dot_sent:
            self._final = reply
        else:
            self._replies.append(reply)

    def _out_of_step(self, reply: Reply) -> bool:
        """True for a reply that says neither yes nor no to what was asked, or yes to a mail that it has not got."""
        at_data = not self.dot_sent and len(self._replies) == len(self.plan.recipients) + 1
        if at_data:
            return reply.positive or (300 <= reply.code < 400 and reply.code != 354)
        return 300 <= reply.code < 400

    @property
    def _asked(self) -> str:
        """The command that the next reply answers."""
        number = len(self._replies)
        if self.dot_sent:
            return "the final dot"
        return ("MAIL" if not number else "RCPT") if number <= len(self.plan.recipients) else "DATA"

    @property
    def replies(self) -> Sequence[Reply]:
        """To the commands, in their order."""
        return self._replies

    @property
    def final(self) -> Reply | None:
        """To the final dot."""
        return self._final

    @property
    def ended(self) -> bool:
        """True once the final dot has its answer."""
        return self._final is not None

    @property
    def answered(self) -> bool:
        """True once the peer has answered anything."""
        return bool(self._replies)

    @property
    def content_wanted(self) -> bool:
        """354 was said, and somebody is to get it."""
        return self._go_ahead and bool(self._accepted())

    @property
    def lone_dot_wanted(self) -> bool:
        """354 was said although nobody was accepted (RFC 2920 3.1)."""
        return self._go_ahead and not self._accepted()

    @property
    def _go_ahead(self) -> bool:
        at = len(self.plan.recipients) + 1
        return len(self._replies) > at and self._replies[at].code == 354 and self.broken is None

    @property
    def clean(self) -> bool:
        """True when the next MAIL needs no RSET before it."""
        return self._final is not None or (bool(self._replies) and not self._replies[0].positive)

    def lost(self, reason: str, cause: Cause = Cause.CONNECT) -> None:
        """The connection broke, or was ended by us, for this reason."""
        self.broken = Reply(451, "4.4.2", reason)
        self.cause = cause

    def _accepted(self) -> list[Recipient]:
        if not self._replies or not self._replies[0].positive:
            return []
        pairs = zip(self.plan.recipients, self._replies[1:], strict=False)
        return [recipient for (recipient, _), reply in pairs if reply.positive]

    def outcomes(self) -> list[Outcome]:
        """What became of each recipient, once there is nothing to send and nothing to wait for."""
        found: list[Outcome] = []
        for number, (recipient, path) in enumerate(self.plan.recipients):
            reply, cause = self._verdict(number)
            found.append(
                Outcome(
                    recipient.origin,
                    path,
                    _disposition(reply),
                    reply,
                    self.host,
                    cause,
                    ambiguous=self.dot_sent and self._final is None and self._own(number).positive,
                )
            )
        return found

    def _own(self, number: int) -> Reply:
        """The reply to this recipient's RCPT; a made-up one when none came."""
        if len(self._replies) > number + 1:
            return self._replies[number + 1]
        return self.broken or Reply(451, "4.5.0", "no reply came")

    def _verdict(self, number: int) -> tuple[Reply, Cause]:
        if self._replies and not self._replies[0].positive:
            return self._replies[0], Cause.PEER
        own = self._own(number)
        if not own.positive:
            told = len(self._replies) > number + 1
            if told and own.code == 552:
                own = Reply(452, "4.5.3", own.text)  # RFC 5321 4.5.3.1.10: too many recipients
            return own, Cause.PEER if told else self.cause
        if self._final is not None:
            return self._final, Cause.PEER
        at = len(self.plan.recipients) + 1
        if len(self._replies) > at and self._replies[at].code != 354:
            return self._replies[at], Cause.PEER
        return self.broken or Reply(451, "4.5.0", "no reply came"), self.cause


def _disposition(reply: Reply) -> Disposition:
    """Judge by the first digit (RFC 5321 4.3.2); a code that fits nowhere is worth another try."""
    if reply.positive:
        return Disposition.RELAYED
    return Disposition.REFUSED if reply.permanent else Disposition.DEFERRED


def all_alike(
    recipients: Sequence[Recipient], reply: Reply, cause: Cause, host: str = "", rule: str = ""
) -> tuple[Outcome, ...]:
    """One answer for every recipient."""
    return tuple(
        Outcome(r.origin, str(r.address), _disposition(reply), reply, host, cause, rule=rule) for r in recipients
    )
