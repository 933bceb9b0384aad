"""Transfer encodings (RFC 2045 6), streamed: octets in pieces in, octets in pieces out.

Text is brought to canonical form first: every line ends in CRLF. No function here holds more than a
few pieces of a body.
"""

import binascii
import re
from collections.abc import Iterable, Iterator
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
_LONE = re.compile(rb"\r*\n")
_FROM = re.compile(rb"(?m)^From ([^\r\n]*)")


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
            cut = len(data) - 2
            while cut > 0 and b"=" in data[cut - 2 : cut]:
                cut -= 1
        rest = data[cut:]
        if cut:
            yield binascii.a2b_qp(data[:cut])
    if rest:
        yield binascii.a2b_qp(rest)


def canonical(octets: Iterable[bytes]) -> Iterator[bytes]:
    """Lines end in CRLF: bare LF and runs of CR before LF are mended; a CR elsewhere stays."""
    rest = b""
    for piece in octets:
        data = rest + piece
        cut = len(data.rstrip(b"\r"))
        data, rest = data[:cut], data[cut:]
        if data:
            yield _LONE.sub(b"\r\n", data)
    if rest:
        yield rest


def encoded(octets: Iterable[bytes], scheme: str) -> Iterator[bytes]:
    """`octets` in `scheme`; base64 and quoted-printable in lines of at most LONGEST_ENCODED columns.

    base64 ends in CRLF; the others end as the content does.
    """
    if scheme == "base64":
        return _to_base64(octets)
    if scheme == "quoted-printable":
        return _to_qp(octets)
    return iter(octets)


def _to_base64(octets: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for piece in octets:
        data = rest + piece
        cut = len(data) - len(data) % 57
        rest = data[cut:]
        for at in range(0, cut, _BLOCK):
            yield _base64_lines(data[at : min(at + _BLOCK, cut)])
    if rest:
        yield _base64_lines(rest)


def _base64_lines(data: bytes) -> bytes:
    text = binascii.b2a_base64(data, newline=False)
    lines = [text[at : at + LONGEST_ENCODED] for at in range(0, len(text), LONGEST_ENCODED)]
    lines.append(b"")
    return b"\r\n".join(lines)


def _to_qp(octets: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for piece in octets:
        data = rest + piece
        cut = data.rfind(b"\r\n") + 2 if b"\r\n" in data else 0
        rest = data[cut:]
        if cut:
            yield qp(data[:cut])
        if len(rest) > PIECE:
            # An endless line: a soft break between two pieces of it. A CR may belong to the next LF.
            cut = len(rest) - 1 if rest.endswith(b"\r") else len(rest)
            yield qp(rest[:cut]) + b"=\r\n"
            rest = rest[cut:]
    if rest:
        yield qp(rest)


def qp(data: bytes) -> bytes:
    """Canonical text in quoted-printable; ends as `data` ends."""
    if data.count(b"\r") == data.count(b"\r\n"):
        # b2a_qp takes the kind of line end from the first one; it is CRLF here or there is none.
        text = binascii.b2a_qp(data, quotetabs=False, istext=True)
        if b"\r\n" not in data:
            text = text.replace(b"\n", b"\r\n")
    else:
        text = b"\r\n".join(_qp_line(line) for line in data.split(b"\r\n"))
    return _FROM.sub(_quote_from, text) if b"From " in text else text


def _quote_from(found: re.Match[bytes]) -> bytes:
    """`From ` at a line's begin would become `>From ` in an mbox."""
    rest = found[1]
    return (
        b"=46rom " + rest
        if rest and len(rest) + 7 <= LONGEST_ENCODED
        else b"=46rom =\r\n" + rest
        if rest
        else b"=46rom=20"
    )


def _qp_line(line: bytes) -> bytes:
    """One line that holds a bare CR, which b2a_qp would leave as it is."""
    tokens = [bytes((o,)) if (33 <= o <= 126 and o != 61) or o in b" \t" else b"=%02X" % o for o in line]
    if tokens and tokens[-1] in (b" ", b"\t"):
        tokens[-1] = b"=%02X" % tokens[-1][0]
    lines, column = [b""], 0
    for token in tokens:
        if column + len(token) > LONGEST_ENCODED - 1:
            lines.append(b"")
            column = 0
        lines[-1] += token
        column += len(token)
    return b"=\r\n".join(lines)


@dataclass(slots=True)
class Survey:
    """What a stream of octets is like: enough to choose a transfer encoding for it."""

    size: int = 0
    high: int = 0
    specials: int = 0
    longest: int = 0
    bare_cr: bool = False
    nul: bool = False
    ends_line: bool = False
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
        self.specials += piece.count(b"=")
        self.nul = self.nul or b"\0" in piece
        # A CR at the end of one piece may belong to the LF that begins the next.
        joined = b"\r" + piece if self._open_cr else piece
        self._open_cr = joined.endswith(b"\r")
        self.bare_cr = self.bare_cr or joined.count(b"\r") - self._open_cr != joined.count(b"\r\n")
        first, *more = piece.split(b"\n")
        self._column += len(first)
        for line in more:
            self.longest = max(self.longest, self._column)
            self._column = len(line)
        self.ends_line = piece.endswith(b"\n")

    @property
    def plain(self) -> bool:
        """Fit to stand as it is: lines short enough, no bare CR, no NUL."""
        return self.longest <= LONGEST_LINE + 1 and not self.bare_cr and not self.nul

    @property
    def shorter(self) -> str:
        """quoted-printable or base64, whichever makes it shorter."""
        as_qp = self.size + 2 * (self.high + self.specials) + self.size // LONGEST_ENCODED
        return "quoted-printable" if as_qp <= (self.size + 2) // 3 * 4 * 78 // 76 else "base64"


_HIGH = bytes(range(128, 256))
