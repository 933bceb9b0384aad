"""Transfer encodings (RFC 2045 6), streamed: octets in pieces in, octets in pieces out.

Text is brought to canonical form first: every line ends in CRLF. No function here holds more than a
few pieces of a body.
"""

import binascii
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from relay.message import PIECE

LONGEST_ENCODED = 76
"""Columns of an encoded line (RFC 2045 6.7, 6.8)."""
LONGEST_LINE = 998
"""Octets of a line on the wire, its CRLF not counted (RFC 5321 4.5.3.1.6)."""

_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/]")
_PADDED = re.compile(rb"[A-Za-z0-9+/]{2}(?:==|[A-Za-z0-9+/]=)")
_WHITE = b" \t\r\n"
_BLOCK = 57 * 1024
_LONE = re.compile(rb"(?<!\r)\r*+\n")
_LINE_OF_OTHERS = re.compile(rb"(?m)^(?:From |--)[^\r\n]*")
_TOKEN = re.compile(rb"=[0-9A-F]{2}|[^=]")
_ILLEGAL_QP = re.compile(rb"[ \t]\r?\n|=(?![0-9A-Fa-f]{2}|\r\n)|[^\t\r\n -~]")


IDENTITY = ("7bit", "8bit", "binary")
"""The transfer encodings that leave octets as they are (RFC 2045 6.2)."""


class Undecodable(ValueError):
    """the octets are not in the transfer encoding that the part declares"""


def decoded(octets: Iterable[bytes], scheme: str) -> Iterator[bytes]:
    """The content behind `scheme` (7bit, 8bit, binary, base64, quoted-printable). Raises Undecodable."""
    if scheme == "base64":
        return _from_base64(octets)
    if scheme == "quoted-printable":
        return _from_qp(octets)
    return iter(octets)


def _from_base64(octets: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for piece in octets:
        data = rest + piece.translate(None, _WHITE)
        equals = data.find(b"=")
        cut = (len(data) if equals < 0 else equals) & ~3
        rest = data[cut:]
        if _NOT_BASE64.search(data, 0, cut) or len(rest) > 4:
            raise Undecodable
        if cut:
            yield binascii.a2b_base64(data[:cut])
    if rest:
        if not _PADDED.fullmatch(rest):
            raise Undecodable
        yield binascii.a2b_base64(rest)


def _from_qp(octets: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for piece in octets:
        data = rest + piece
        cut = data.rfind(b"\n") + 1
        if not cut and len(data) > PIECE:  # an endless line: cut it where no =XX is split
            cut = max(len(data) - 3 + (data[-3:].find(b"=") if b"=" in data[-3:] else 3), 1)
        rest = data[cut:]
        if cut:
            yield binascii.a2b_qp(data[:cut])
    if rest:
        yield binascii.a2b_qp(rest)


def canonical(octets: Iterable[bytes]) -> Iterator[bytes]:
    """Lines end in CRLF: bare LF and runs of CR before LF are mended; a CR elsewhere stays."""
    held = 0  # CRs that end what was read so far
    for piece in octets:
        data = piece.rstrip(b"\r")
        trailing = len(piece) - len(data)
        if held and data:
            text = data.lstrip(b"\r")
            held += len(data) - len(text)
            data = text[1:] if text.startswith(b"\n") else text
            yield from (b"\r\n",) if len(data) < len(text) else _carriage_returns(held)
            held = 0
        if data:
            yield data if is_canonical(data) else _LONE.sub(b"\r\n", data)
        held += trailing
    yield from _carriage_returns(held)


def is_canonical(data: bytes) -> bool:
    """True when CR and LF stand only together: found out in a tenth of the time that a substitution takes."""
    rest = data.replace(b"\r\n", b"")
    return b"\r" not in rest and b"\n" not in rest


def _carriage_returns(number: int) -> Iterator[bytes]:
    for at in range(0, number, PIECE):
        yield b"\r" * min(PIECE, number - at)


def encoded(octets: Iterable[bytes], scheme: str, guard: Sequence[bytes] = ()) -> Iterator[bytes]:
    """`octets` in `scheme`; base64 and quoted-printable in lines of at most LONGEST_ENCODED columns.

    base64 ends in CRLF; the others end as the content does. No line of quoted-printable begins like a
    delimiter of the boundaries in `guard`: what the encoding uncovers must not become a part.
    """
    if scheme == "base64":
        return _to_base64(octets)
    if scheme == "quoted-printable":
        return _to_qp(octets, guard)
    return iter(octets)


def uncovers(octets: Iterable[bytes], guard: Sequence[bytes]) -> bool:
    """True when a line of these octets begins like a delimiter of one of the boundaries."""
    marks = [b"\n--" + boundary for boundary in guard]
    longest = max(map(len, marks), default=0)
    tail = b"\n"
    for piece in octets:
        data = tail + piece
        if any(mark in data for mark in marks):
            return True
        tail = data[-longest:]
    return False


def is_long(octets: Iterable[bytes]) -> bool:
    """True when a line has more than LONGEST_LINE octets; from line end to line end, in the longest steps allowed."""
    reach, rest = LONGEST_LINE + 2, b""
    for piece in octets:
        data = rest + piece
        at = 0
        while len(data) - at > reach:
            end = data.rfind(b"\n", at, at + reach)
            if end < 0:
                return True
            at = end + 1
        rest = data[at:]
    return any(len(line.removesuffix(b"\r")) > LONGEST_LINE for line in rest.split(b"\n"))


def legal_qp(octets: Iterable[bytes]) -> bool:
    """True for quoted-printable as RFC 2045 6.7 demands it; its lines must be short."""
    rest = b""
    for piece in octets:
        data = rest + piece
        cut = data.rfind(b"\n") + 1
        if _ILLEGAL_QP.search(data, 0, cut):
            return False
        rest = data[cut:]
    return not _ILLEGAL_QP.search(rest) and rest[-1:] not in (b" ", b"\t")


def _to_base64(octets: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for piece in octets:
        data = rest + piece
        cut = len(data) - len(data) % 57
        rest = data[cut:]
        for at in range(0, cut, _BLOCK):
            yield base64_lines(data[at : min(at + _BLOCK, cut)])
    if rest:
        yield base64_lines(rest)


def base64_length(octets: int) -> int:
    """How long so many octets are in base64, in lines that all end in CRLF."""
    return (octets + 2) // 3 * 4 + (octets + 56) // 57 * 2


def base64_lines(data: bytes) -> bytes:
    """`data` in base64, in lines that all end in CRLF."""
    text = binascii.b2a_base64(data, newline=False)
    lines = [text[at : at + LONGEST_ENCODED] for at in range(0, len(text), LONGEST_ENCODED)]
    lines.append(b"")
    return b"\r\n".join(lines)


def _to_qp(octets: Iterable[bytes], guard: Sequence[bytes]) -> Iterator[bytes]:
    rest = b""
    for piece in octets:
        data = rest + piece
        cut = data.rfind(b"\r\n") + 2 if b"\r\n" in data else 0
        rest = data[cut:]
        if cut:
            yield qp(data[:cut], guard)
        if len(rest) > PIECE:
            # An endless line: a soft break between two pieces of it. A CR may belong to the next LF.
            cut = len(rest) - 1 if rest.endswith(b"\r") else len(rest)
            yield qp(rest[:cut], guard) + b"=\r\n"
            rest = rest[cut:]
    if rest:
        yield qp(rest, guard)


def qp(data: bytes, guard: Sequence[bytes] = ()) -> bytes:
    """Canonical text in quoted-printable; ends as `data` ends.

    No line begins with `From `, which an mbox would change, nor like a delimiter of `guard`.
    """
    if data.count(b"\r") == data.count(b"\r\n"):
        # b2a_qp takes the kind of line end from the first one; it is CRLF here or there is none.
        text = binascii.b2a_qp(data, quotetabs=False, istext=True)
        if b"\r\n" not in data:
            text = text.replace(b"\n", b"\r\n")
    else:
        text = b"\r\n".join(_qp_line(line) for line in data.split(b"\r\n"))
    marks = [b"From ", *(b"--" + boundary for boundary in guard)]
    if not any(mark in text for mark in marks):
        return text
    return _LINE_OF_OTHERS.sub(lambda found: _covered(found[0], marks), text)


def _covered(line: bytes, marks: Sequence[bytes]) -> bytes:
    """An encoded line whose begin is encoded further where it is one of `marks`, again in short lines."""
    if not line.startswith(tuple(marks)):
        return line
    if len(line) + 2 <= LONGEST_ENCODED:
        return b"=%02X" % line[0] + line[1:]
    content, soft = (line[:-1], b"=") if line.endswith(b"=") else (line, b"")
    lines: list[bytes] = []
    while any(content.startswith(mark) for mark in marks):
        tokens = _TOKEN.findall(content)
        tokens[0] = b"=%02X" % tokens[0][0]
        if tokens[-1] in (b" ", b"\t"):
            tokens[-1] = b"=%02X" % tokens[-1][0]
        room, count = LONGEST_ENCODED - 1, 0
        while count < len(tokens) and len(tokens[count]) <= room:
            room -= len(tokens[count])
            count += 1
        lines.append(b"".join(tokens[:count]))
        content = b"".join(tokens[count:])
    return b"=\r\n".join([*lines, content] if content else lines) + soft


def _qp_line(line: bytes) -> bytes:
    """One line that holds a bare CR, which is no line end and so encoded."""
    return binascii.b2a_qp(line, quotetabs=False, istext=False).replace(b"\n", b"\r\n")


@dataclass(slots=True)
class Survey:
    """What a stream of octets is like: enough to choose a transfer encoding for it."""

    size: int = 0
    high: int = 0
    specials: int = 0
    lines: int = 0
    longest: int = 0
    bare_cr: bool = False
    nul: bool = False
    _column: int = 0
    _open_cr: bool = False

    @classmethod
    def of(cls, octets: Iterable[bytes]) -> "Survey":
        """Look at all of it once."""
        survey = cls()
        for piece in octets:
            survey._add(piece)
        survey.longest = max(survey.longest, survey._column)
        survey.bare_cr = survey.bare_cr or survey._open_cr
        return survey

    def _add(self, piece: bytes) -> None:
        self.size += len(piece)
        if not piece.isascii():
            self.high += len(piece) - len(piece.translate(None, _HIGH))
        self.specials += len(piece) - len(piece.translate(None, _SPECIAL))
        self.nul = self.nul or b"\0" in piece
        # A CR at the end of one piece may belong to the LF that begins the next.
        joined = b"\r" + piece if self._open_cr else piece
        self._open_cr = joined.endswith(b"\r")
        self.bare_cr = self.bare_cr or joined.count(b"\r") - self._open_cr != joined.count(b"\r\n")
        first, *more = map(len, piece.split(b"\n"))
        self.lines += len(more)
        self._column += first
        if more:
            self.longest = max(self.longest, self._column, *more[:-1])
            self._column = more[-1]

    @property
    def plain(self) -> bool:
        """Fit to stand as it is: lines short enough, no bare CR, no NUL."""
        return self.longest <= LONGEST_LINE + 1 and not self.bare_cr and not self.nul

    def shorter(self, octets: Iterable[bytes], *, closing: bool) -> str:
        """quoted-printable or base64, whichever makes these octets shorter; they are read if it is close.

        `closing` says that the base64 ends in a CRLF of its own, being the end of the message.
        """
        in_base64 = base64_length(self.size) - (0 if closing else 2)
        at_least = self.size + 2 * (self.high + self.specials)
        at_most = at_least + 3 * (at_least // (LONGEST_ENCODED - 3) + 1) + 5 * (self.lines + 1)
        if at_least > in_base64:
            return "base64"
        if at_most <= in_base64:
            return "quoted-printable"
        return "quoted-printable" if sum(map(len, encoded(octets, "quoted-printable"))) <= in_base64 else "base64"


_HIGH = bytes(range(128, 256))
_SPECIAL = b"=\x7f" + bytes(o for o in range(32) if o not in b"\t\r\n")
