"""Patch: a body in which some stretches are replaced; its octets are made when they are read (promise 9)."""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol

from relay.immutable import immutable
from relay.message import PIECE, Body, BytesBody, Message, SliceBody, at_hand, pieces
from relay.transfer import (
    IDENTITY,
    LONGEST_LINE,
    base64_length,
    base64_lines,
    canonical,
    decoded,
    encoded,
    is_canonical,
    is_long,
)

_ASCII = ("base64", "quoted-printable")


class Stretch(Protocol):
    """Octets that take the place of others."""

    def octets(self) -> Iterator[bytes]:
        """All of them, in pieces; can be asked for again."""


@immutable
class Literal:
    """These octets."""

    data: bytes

    def octets(self) -> Iterator[bytes]:
        """All of them."""
        yield self.data


@dataclass(frozen=True, slots=True)
class Kept:
    """The octets of `source` from `start` to `stop`; `masked`: with `?` for each outside ASCII."""

    source: Body
    start: int
    stop: int
    masked: bool = False

    def octets(self) -> Iterator[bytes]:
        """All of them, in pieces."""
        return self.within(self.start, self.stop)

    def within(self, first: int, last: int) -> Iterator[bytes]:
        """Those from `first` to `last`, counted as `source` does."""
        found = pieces(self.source, first, last)
        return (piece.translate(_IN_ASCII) for piece in found) if self.masked else found


_IN_ASCII = bytes(range(128)) + b"?" * 128


@immutable
class Recode:
    """The octets of `source` from `start` to `stop`, out of one transfer encoding into another.

    `text` asks for canonical line ends. `guard` are the boundaries that no line may look like.
    `closing` says that this is the end of the message, which must be a line end; without it the line
    end behind the content belongs to a delimiter.
    """

    source: Body
    start: int
    stop: int
    scheme: str
    wanted: str
    text: bool
    guard: tuple[bytes, ...] = ()
    closing: bool = False

    def octets(self) -> Iterator[bytes]:
        """All of them, in pieces."""
        last = b""
        for piece in encoded(self._content(), self.wanted, self.guard):
            if last:
                yield last
            last = piece
        yield self._close(last)

    def _content(self) -> Iterator[bytes]:
        """What is to be encoded."""
        content = decoded(pieces(self.source, self.start, self.stop), self.scheme)
        return canonical(content) if self.text else content

    @property
    def length(self) -> int:
        """How many octets there are; those of base64 need not be made to be counted."""
        if self.wanted != "base64":
            return sum(map(len, self.octets()))
        length = base64_length(sum(map(len, self._content())))
        return length if self.closing or not length else length - 2

    def _close(self, last: bytes) -> bytes:
        if not self.closing:
            return last.removesuffix(b"\r\n") if self.wanted == "base64" else last
        if last.endswith(b"\r\n") or not last:
            return last
        return last + (b"=\r\n" if self.wanted == "quoted-printable" else b"\r\n")

    def settled(self, limit: int) -> Stretch:
        """The octets themselves when there are few, else still the recipe."""
        if self.stop - self.start > limit:
            return self
        if self.wanted == "base64" and self.scheme in ("", *IDENTITY):  # as most mail is: without the steps of a stream
            data = self.source.read(self.start, self.stop)
            if len(data) == self.stop - self.start and (not self.text or is_canonical(data)):
                return Literal(self._close(base64_lines(data)))
        return Literal(b"".join(self.octets()))


@immutable
class Edit:
    """The octets from `start` to `stop` become `stretch`."""

    start: int
    stop: int
    stretch: Stretch


def patched(source: Body, edits: list[Edit]) -> Body:
    """`source` with these edits, which must not overlap; in memory when everything is."""
    stretches: list[Stretch] = []
    at = 0
    for edit in sorted(edits, key=lambda e: (e.start, e.stop)):
        if edit.start > at:
            stretches.append(Kept(source, at, edit.start))
        stretches.append(edit.stretch)
        at = edit.stop
    if at < source.size:
        stretches.append(Kept(source, at, source.size))
    kept = sum(s.stop - s.start for s in stretches if isinstance(s, Kept))
    if kept <= 1 << 18 and not any(isinstance(s, Recode) for s in stretches):
        return BytesBody(b"".join(octets for s in stretches for octets in s.octets()))
    return PatchedBody(stretches)


def apart(message: Message) -> Message:
    """The same message, to be read beside other readers of it, in other threads as well: with a place of its own.

    A PatchedBody keeps its reader's place. Two at one body would each start the other's recipe anew with every
    piece, and in two threads at a time get each other's octets.
    """
    body = _apart(message.body)
    return message if body is message.body else Message(message.fields, body, message.separator)


def _apart(body: Body) -> Body:
    if isinstance(body, PatchedBody):
        return PatchedBody([_stretch_apart(stretch) for stretch in body.stretches], list(body._begins))
    if isinstance(body, SliceBody) and (source := _apart(body.source)) is not body.source:
        return SliceBody(source, body.start)
    return body


def _stretch_apart(stretch: Stretch) -> Stretch:
    if isinstance(stretch, Kept | Recode) and (source := _apart(stretch.source)) is not stretch.source:
        return replace(stretch, source=source)
    return stretch


def is_ascii(body: Body) -> bool:
    """True when no octet of the body is outside ASCII; what was re-encoded for that is not made to be looked at."""
    if not isinstance(body, PatchedBody):
        return all(piece.isascii() for piece in pieces(body))
    stretches = (s for s in body.stretches if not (isinstance(s, Recode) and s.wanted in _ASCII))
    return all(piece.isascii() for s in stretches for piece in s.octets())


def has_long_line(body: Body) -> bool:
    """True when a line of the body is longer than the wire allows; what was re-encoded has none."""
    if isinstance(body, PatchedBody):
        return any(is_long(s.octets()) for s in body.stretches if not isinstance(s, Recode))
    if at_hand(body) and body.size <= PIECE:
        return max(map(len, body.read(0, body.size).split(b"\r\n"))) > LONGEST_LINE
    return is_long(pieces(body))


@dataclass(slots=True)
class PatchedBody:
    """Stretches one behind the other, made as they are read: best from front to back.

    `_begins` are the places of the first stretches, as far as they are known; the octets of a Recode
    are counted by making them, once.
    """

    stretches: list[Stretch]
    _begins: list[int] = field(default_factory=lambda: [0], repr=False)
    _open: int = -1
    """The stretch that is being made: `_source` gives its octets from `_at` on, behind those in `_rest`."""
    _at: int = 0
    _source: Iterator[bytes] | None = field(default=None, repr=False)
    _rest: bytes = field(default=b"", repr=False)

    @property
    def size(self) -> int:
        """Length in octets."""
        while len(self._begins) <= len(self.stretches):
            number = len(self._begins) - 1
            stretch = self.stretches[number]
            length = stretch.length if isinstance(stretch, Recode) else self._length(number)
            self._begins.append(self._begins[-1] + length)
        return self._begins[-1]

    def read(self, start: int, stop: int) -> bytes:
        """The octets from `start` up to `stop`."""
        found: list[bytes] = []
        number = max(bisect_right(self._begins, start) - 1, 0)
        while start < stop and number < len(self.stretches):
            begin = self._begins[number]
            octets = self._within(number, start - begin, stop - begin)
            found.append(octets)
            start += len(octets)
            if start < stop:  # this stretch ends here
                if len(self._begins) == number + 1:
                    self._begins.append(begin + self._length(number))
                number += 1
        return b"".join(found)

    def _within(self, number: int, start: int, stop: int) -> bytes:
        """The octets of one stretch from `start` up to `stop`; fewer only where it ends."""
        stretch = self.stretches[number]
        match stretch:
            case Literal():
                return stretch.data[start:stop]
            case Kept():
                first, last = stretch.start + start, min(stretch.start + stop, stretch.stop)
                return b"".join(stretch.within(first, last))
            case _:
                return self._made(number, start, stop)

    def _length(self, number: int) -> int:
        """How long a stretch is; a Recode must have been read to its end."""
        match self.stretches[number]:
            case Literal(data):
                return len(data)
            case Kept(start=start, stop=stop):
                return stop - start
            case _:
                return self._at

    def _made(self, number: int, start: int, stop: int) -> bytes:
        if self._open != number or self._source is None or start < self._at:
            self._source = (octets for octets in self.stretches[number].octets() if octets)
            self._open, self._at, self._rest = number, 0, b""
        found: list[bytes] = []
        while self._at < stop:
            self._rest = self._rest or next(self._source, b"")
            if not self._rest:
                break
            skip = min(max(start - self._at, 0), len(self._rest))
            take = self._rest[skip : stop - self._at]
            found.append(take)
            self._at += skip + len(take)
            self._rest = self._rest[skip + len(take) :]
        return b"".join(found)
