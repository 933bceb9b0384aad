"""Patch: a body in which some stretches are replaced; its octets are made when they are read (promise 9)."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from relay.message import Body, BytesBody, pieces
from relay.transfer import canonical, decoded, encoded


class Stretch(Protocol):
    """Octets that take the place of others."""

    def octets(self) -> Iterator[bytes]:
        """All of them, in pieces; can be asked for again."""


@dataclass(frozen=True, slots=True)
class Literal:
    """These octets."""

    data: bytes

    def octets(self) -> Iterator[bytes]:
        """All of them."""
        yield self.data


@dataclass(frozen=True, slots=True)
class Kept:
    """The octets of `source` from `start` to `stop`."""

    source: Body
    start: int
    stop: int

    def octets(self) -> Iterator[bytes]:
        """All of them, in pieces."""
        return pieces(self.source, self.start, self.stop)


@dataclass(frozen=True, slots=True)
class Recode:
    """The octets of `source` from `start` to `stop`, out of one transfer encoding into another.

    `text` asks for canonical line ends. `closing` says that this is the end of the message, which must
    be a line end; without it the line end behind the content belongs to a delimiter.
    """

    source: Body
    start: int
    stop: int
    scheme: str
    wanted: str
    text: bool
    closing: bool = False

    def octets(self) -> Iterator[bytes]:
        """All of them, in pieces."""
        content = decoded(pieces(self.source, self.start, self.stop), self.scheme)
        last = b""
        for piece in encoded(canonical(content) if self.text else content, self.wanted):
            if last:
                yield last
            last = piece
        yield self._close(last)

    def _close(self, last: bytes) -> bytes:
        if not self.closing:
            return last.removesuffix(b"\r\n") if self.wanted == "base64" else last
        if last.endswith(b"\r\n") or not last:
            return last
        return last + (b"=\r\n" if self.wanted == "quoted-printable" else b"\r\n")

    def settled(self, limit: int) -> Stretch:
        """The octets themselves when there are few, else still the recipe."""
        return Literal(b"".join(self.octets())) if self.stop - self.start <= limit else self


@dataclass(frozen=True, slots=True)
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


@dataclass(slots=True)
class PatchedBody:
    """Stretches one behind the other. Made for one reader that goes from front to back; others pay a restart."""

    stretches: list[Stretch]
    _size: int = -1
    _at: int = 0
    _source: Iterator[bytes] | None = None
    _rest: bytes = field(default=b"", repr=False)

    @property
    def size(self) -> int:
        """Length in octets; counted once, by making them."""
        if self._size < 0:
            self._size = sum(len(octets) for s in self.stretches for octets in s.octets())
        return self._size

    def read(self, start: int, stop: int) -> bytes:
        """The octets from `start` up to `stop`."""
        if self._source is None or start < self._at:
            self._source = (octets for s in self.stretches for octets in s.octets() if octets)
            self._at, self._rest = 0, b""
        found: list[bytes] = []
        while self._at < stop:
            if not self._rest:
                self._rest = next(self._source, b"")
                if not self._rest:
                    break
            if self._at + len(self._rest) <= start:
                self._at += len(self._rest)
                self._rest = b""
                continue
            skip = max(start - self._at, 0)
            take = self._rest[skip : skip + stop - max(start, self._at)]
            found.append(take)
            self._at += skip + len(take)
            self._rest = self._rest[skip + len(take) :]
        return b"".join(found)
