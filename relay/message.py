"""Message: ordered raw header fields and a body; parsed and written back identically.

A field keeps the exact bytes it arrived with, so whatever no rule touches leaves as it came. The
body is a `Body`: bytes for a small mail, a spool file for a large one; it is read in pieces, so
memory does not grow with the message (promise 9).
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import field as dataclass_field
from functools import lru_cache
from operator import attrgetter
from typing import Protocol

from relay.immutable import immutable

PIECE = 65536
"""Octets in one piece of a body at most."""
MAX_HEADER = 262144
"""Octets in a header at most."""
MAX_FIELDS = 1000
"""Fields in a header at most."""


class Body(Protocol):
    """Octets that can be read more than once, in pieces."""

    @property
    def size(self) -> int:
        """Length in octets."""

    def read(self, start: int, stop: int) -> bytes:
        """The octets from `start` up to `stop` (fewer at the end)."""


@immutable
class BytesBody:
    """A body held in memory. `parsed` is what `parse` made of it: a mail is read more than once on its road."""

    data: bytes
    parsed: "list[Message]" = dataclass_field(default_factory=list, init=False, repr=False, compare=False)

    @property
    def size(self) -> int:
        """Length in octets."""
        return len(self.data)

    def read(self, start: int, stop: int) -> bytes:
        """The octets from `start` up to `stop`."""
        return self.data[start:stop]


@immutable
class SliceBody:
    """The part of another body that begins at `start`."""

    source: Body
    start: int

    @property
    def size(self) -> int:
        """Length in octets."""
        return self.source.size - self.start

    def read(self, start: int, stop: int) -> bytes:
        """The octets from `start` up to `stop`, counted from this slice's begin."""
        return self.source.read(self.start + start, min(self.start + stop, self.source.size))


def at_hand(body: Body) -> bool:
    """True when its octets lie in memory, so that reading them or asking for their number costs no work."""
    return isinstance(body, BytesBody) or (isinstance(body, SliceBody) and at_hand(body.source))


def pieces(body: Body, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
    """The octets of `body` from `start` to `stop` (default: its end), at most PIECE at a time."""
    end = body.size if stop is None else stop
    while start < end:
        piece = body.read(start, min(start + PIECE, end))
        if not piece:
            return
        yield piece
        start += len(piece)


class Field:
    """One header field: `raw` is every octet of it, line ends included; immutable.

    `name` is the field name in lower case, "" for what is no field: the `From ` line of an mbox, or a
    line of blanks, which some programs leave in front. It is read once, since every rule asks for it.
    """

    __slots__ = ("_text", "name", "raw")

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self._text: str | None = None
        head, colon, _ = raw.partition(b":")
        self.name = (_name_of(head) if len(head) < _LONG_NAME else _read_name(head)) if colon else ""

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Field) and self.raw == other.raw)

    def __hash__(self) -> int:
        return hash(self.raw)

    def __repr__(self) -> str:
        return f"Field({self.raw!r})"

    @property
    def value(self) -> bytes:
        """The unfolded value, outer blanks removed (RFC 5322 2.2.3)."""
        value = self.raw.partition(b":")[2]
        return value.replace(b"\r\n", b"").replace(b"\n", b"").strip(b" \t")

    @property
    def text(self) -> str:
        """The value as text: UTF-8 where it is valid, else Latin-1; encoded words stay as they are."""
        if self._text is None:
            value = self.value
            try:
                self._text = value.decode("utf-8")
            except UnicodeDecodeError:
                self._text = value.decode("latin-1")
        return self._text


_LONG_NAME = 80
"""A name of so many octets is not worth remembering."""
_NAME = re.compile(rb"([!-9;-~]+)[ \t]*")


def _read_name(head: bytes) -> str:
    found = _NAME.fullmatch(head)
    return found[1].decode("ascii").lower() if found else ""


_name_of = lru_cache(2048)(_read_name)

_SHORT = 200
"""Octets of a field that is worth remembering: 1,000 of them stay within a megabyte, whatever is sent."""
_remembered = lru_cache(1000)(Field)


def field_of(raw: bytes) -> Field:
    """The Field of these octets. Most fields of a tracker's mail are those of its mail before, read already."""
    return _remembered(raw) if len(raw) <= _SHORT else Field(raw)


@immutable
class Message:
    """Header fields in order, the empty line, the body (RFC 5322). Immutable."""

    fields: tuple[Field, ...]
    body: Body
    separator: bytes = b"\r\n"
    """The empty line between header and body; b"" when the mail has none."""
    _named: dict[str, list[Field]] = dataclass_field(default_factory=dict, init=False, repr=False, compare=False)
    """The fields by name, made when first asked for: rules look fields up some forty times a mail."""
    _header: list[bytes] = dataclass_field(default_factory=list, init=False, repr=False, compare=False)
    """The header in octets, once somebody has asked for it."""

    def _by_name(self) -> dict[str, list[Field]]:
        named = self._named
        if not named:
            for field in self.fields:
                if (name := field.name) in named:
                    named[name].append(field)
                else:
                    named[name] = [field]
        return named

    def get_all(self, name: str) -> list[Field]:
        """Every field of that name, in order; names are case-blind."""
        return self._by_name().get(name.lower(), [])

    def get(self, name: str) -> Field | None:
        """The first field of that name."""
        found = self._by_name().get(name.lower())
        return found[0] if found else None

    def has(self, *names: str) -> bool:
        """True when there is a field of one of these names, in lower case."""
        return not self._by_name().keys().isdisjoint(names)

    def beginning(self, prefix: str) -> list[Field]:
        """Every field whose name begins so, in lower case."""
        named = self._by_name()
        return [field for name in named if name.startswith(prefix) for field in named[name]]

    def text(self, name: str) -> str:
        """The unfolded value of the first field of that name, "" when there is none."""
        found = self._by_name().get(name.lower())
        return found[0].text if found else ""

    def with_fields(self, fields: tuple[Field, ...]) -> "Message":
        """With these fields instead."""
        return Message(fields, self.body, self.separator)

    def _with(self, fields: Iterable[Field], changed: Iterable[tuple[str, list[Field]]]) -> "Message":
        """With these fields; of the names only those in `changed` stand for others than before."""
        made = Message(tuple(fields), self.body, self.separator)
        if self._named:
            made._named.update(self._named)
            made._named.update(changed)
        return made

    def remove(self, *names: str) -> "Message":
        """Without any field of these names; self when there was none."""
        named = self._by_name()
        gone = [lower for name in names if (lower := name.lower()) in named]
        if not gone:
            return self
        made = self._with([f for f in self.fields if f.name not in gone], ())
        for name in gone:
            made._named.pop(name, None)
        return made

    def put(self, name: str, raw: bytes) -> "Message":
        """`raw` (a whole field, CRLF at its end) in place of the first field `name`, else last.

        Further fields of that name go: a second From or Subject would be another reader's truth.
        """
        wanted, made = name.lower(), field_of(raw)
        old = self.get_all(wanted)
        if not old:
            return self._with((*self.fields, made), ((wanted, [made]),))
        at = [field.name for field in self.fields].index(wanted)
        rest = self.fields[at + 1 :]
        if len(old) > 1:
            rest = tuple(field for field in rest if field.name != wanted)
        return self._with((*self.fields[:at], made, *rest), ((wanted, [made]),))

    def prepend(self, *raws: bytes) -> "Message":
        """With these whole fields in front: the place of trace fields (RFC 5321 4.4)."""
        made = [Field(raw) for raw in raws]
        message = self._with((*made, *self.fields), ())
        if message._named:
            for field in reversed(made):
                message._named[field.name] = [field, *message._named.get(field.name, ())]
        return message

    def map_fields(self, change: Callable[[Field], Field]) -> "Message":
        """Every field through `change`; self when none became another."""
        fields = tuple(map(change, self.fields))
        return self if fields == self.fields else self.with_fields(fields)

    @property
    def raws(self) -> list[bytes]:
        """The octets of each field."""
        return [field.raw for field in self.fields]

    @property
    def header_bytes(self) -> bytes:
        """The header as it leaves, the empty line included."""
        if not self._header:
            self._header.append(b"".join(self.raws) + self.separator)
        return self._header[0]

    def pieces(self) -> Iterator[bytes]:
        """The whole message, piece by piece."""
        yield self.header_bytes
        yield from pieces(self.body)

    def __bytes__(self) -> bytes:
        """The whole message; for small mail and tests."""
        return b"".join(self.pieces())


_FIELD = re.compile(rb"[^\n]*+(?:\n[ \t][^\n]*+)*+\n?")
"""A line and those that continue it (RFC 5322 2.2.3)."""
_BLANKS = re.compile(rb"(?:[ \t]++\r?\n)++(?=[!-9;-~]++[ \t]*+:)")
"""Lines of blanks in front of a header: they continue nothing, and end nothing, as other readers take it."""
_WHOLE_FIELD = re.compile(rb"[^\n]*+\n(?:[ \t][^\n]*+\n)*+")
"""The same, ended."""
_READ_NAME = attrgetter("name")


def parse(source: Body, limit: int = MAX_HEADER + 1) -> Message:
    """Read a message; `bytes(parse(x)) == x` for every x.

    The header ends at the first empty line, or before the first line that is no field: the body begins
    there, as other readers take it. One beyond `limit` octets or MAX_FIELDS is cut there: admission
    refuses it. Line ends are CRLF in admitted mail; a bare LF is understood as well.
    """
    if isinstance(source, BytesBody):
        if not source.parsed:
            # Of another body of the same octets: one that is its own source keeps itself, until the collector comes.
            source.parsed.append(_parse(BytesBody(source.data), limit))
        return source.parsed[0]
    return _parse(source, limit)


def _parse(source: Body, limit: int) -> Message:
    head = source.read(0, min(limit, source.size))
    end = head.find(b"\n\r\n") + 1
    if end and not head.startswith((b"\r\n", b"\n")) and head.find(b"\n\n", 0, end) < 0:  # as nearly all mail is
        quick = tuple(map(field_of, _WHOLE_FIELD.findall(head, 0, end)))
        if len(quick) <= MAX_FIELDS and all(map(_READ_NAME, quick)):
            return Message(quick, SliceBody(source, end + 2), b"\r\n")
    fields: list[Field] = []
    start = 0
    if head[:1] in (b" ", b"\t") and (blanks := _BLANKS.match(head)):
        fields.append(Field(blanks[0]))
        start = blanks.end()
    while start < len(head) and len(fields) <= MAX_FIELDS:
        if head.startswith((b"\r\n", b"\n"), start):
            end = head.index(b"\n", start) + 1
            return Message(tuple(fields), SliceBody(source, end), head[start:end])
        end = _FIELD.match(head, start).end()  # type: ignore[union-attr]
        field = Field(head[start:end])
        if not field.name and (fields or not field.raw.startswith((b"From ", b">From "))):
            break
        fields.append(field)
        start = end
    return Message(tuple(fields), SliceBody(source, start), b"")


def parse_bytes(data: bytes) -> Message:
    """`parse` of octets held in memory."""
    return parse(BytesBody(data))
