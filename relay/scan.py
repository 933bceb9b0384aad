"""Scan: find the MIME parts of a body (RFC 2046 5.1) in one pass, without the email package.

Linear for every input: delimiters are looked up, not compared one by one, and beyond the limits the
body counts as one untouchable part. So it does where readers would not agree on its parts: a multipart
within another of the same boundary, or of one that is the other's with `--` behind it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from relay.contenttype import ContentType, TooComplex, content_type, without_comments
from relay.message import Body, BytesBody, Field, Message, parse, pieces

__all__ = ["Part", "TooComplex", "scan"]

MAX_DEPTH = 100
MAX_PARTS = 1000
_HEAD = 65536
"""Octets of one part's header that are looked at."""
_USUAL_HEAD = 2048
"""Octets in which the header of a part mostly ends."""
_WITH_PARTS = re.compile("multipart|message")
_MISSPELT = re.compile(r"([78])(?:-| )?bits?")
"""How programs write 7bit and 8bit."""
_WINDOW = 262144
_LINE = 1024


@dataclass(slots=True)
class Part:
    """One part: header from `start`, content from `body` up to `end` (offsets in the message's body).

    `depth` 0 is the message itself, whose header is not in the body. `sealed` says why its octets
    may not be changed ("" when they may). `leaf` is False for a multipart.
    """

    fields: tuple[Field, ...]
    type: ContentType
    start: int
    body: int
    end: int = -1
    depth: int = 0
    sealed: str = ""
    leaf: bool = True
    within: tuple[bytes, ...] = ()
    """The boundaries of the multiparts around it."""

    @property
    def scheme(self) -> str:
        """The declared transfer encoding, lower case; "" for one that is missing, "?" for two that differ."""
        found = {field.text.lower() for field in self.fields if field.name == "content-transfer-encoding"}
        if len(found) > 1:
            return "?"
        scheme = without_comments(found.pop()).strip().rstrip(";").strip() if found else ""
        misspelt = _MISSPELT.fullmatch(scheme)
        return f"{misspelt[1]}bit" if misspelt else scheme

    @property
    def named(self) -> bool:
        """True for an attachment: it has a file name or says so."""
        if "name" in self.type.parameters:
            return True
        dispositions = [field.text.lower() for field in self.fields if field.name == "content-disposition"]
        return any(
            "filename" in text or without_comments(text).lstrip().startswith("attachment") for text in dispositions
        )


@dataclass(slots=True)
class _Level:
    """An open multipart: its boundary, the kind of part a missing Content-Type means, why it is sealed."""

    part: Part
    default: str
    sealed: str
    within: tuple[bytes, ...]


def scan(message: Message) -> list[Part]:
    """Every part of the message, itself first, in order. Raises TooComplex."""
    top = Part(message.fields, content_type(message.fields), 0, 0)
    top.sealed = top.type.kind if top.type.main == "message" else _of_two_types(top)
    parts = [top]
    levels: list[_Level] = []
    by_boundary: dict[bytes, int] = {}
    _open(top, levels, by_boundary)
    if levels:
        _walk(message.body, parts, levels, by_boundary)
    for part in parts:
        if part.end < 0:
            part.end = message.body.size
    return parts


def _walk(body: Body, parts: list[Part], levels: list[_Level], by_boundary: dict[bytes, int]) -> None:
    unfinished: list[Part] = []
    body = _Ahead(body)
    for at, after, line in _delimiters(body):
        closing = line not in by_boundary
        depth = by_boundary.get(line.removesuffix(b"--") if closing else line)
        if depth is None:
            continue
        while len(levels) > depth + 1:
            del by_boundary[_boundary(levels.pop().part)]
        end = _before(body, at)
        while unfinished and unfinished[-1].depth > levels[depth].part.depth:
            _finish(unfinished.pop(), end)
        if closing:
            del by_boundary[_boundary(levels.pop().part)]
            continue
        if len(parts) > MAX_PARTS:
            raise TooComplex
        part = _part(body, after, levels[-1])
        parts.append(part)
        unfinished.append(part)
        _open(part, levels, by_boundary)


def _boundary(part: Part) -> bytes:
    return part.type.parameters.get("boundary", "").rstrip().encode("utf-8", "replace")


def _before(body: Body, at: int) -> int:
    """Where the content before a delimiter ends: the line end in front is the delimiter's (RFC 2046 5.1.1)."""
    tail = body.read(max(at - 2, 0), at)
    return at - (2 if tail == b"\r\n" else 1 if tail.endswith(b"\n") else 0)


def _finish(part: Part, end: int) -> None:
    if end < part.body:  # the delimiter stood in what looked like its header
        part.body, part.sealed = max(end, part.start), part.sealed or "a part without a body"
    part.end = max(end, part.body)


def _open(part: Part, levels: list[_Level], by_boundary: dict[bytes, int]) -> None:
    """Note a multipart's boundary, if its parts may be looked at."""
    kind = part.type
    sealed = levels[-1].sealed if levels else ""
    part.sealed = part.sealed or sealed
    if kind.main != "multipart":
        return
    part.leaf = False
    boundary = _boundary(part)
    if any(mark in by_boundary for mark in (boundary, boundary + b"--", boundary.removesuffix(b"--"))):
        raise TooComplex  # its lines could be another's, so readers do not agree on the parts
    if not boundary or part.scheme not in ("", "7bit", "8bit", "binary"):
        part.leaf, part.sealed = True, part.sealed or "a multipart that can not be read"
        return
    if part.depth >= MAX_DEPTH:
        raise TooComplex
    if kind.kind in ("multipart/signed", "multipart/encrypted"):
        part.sealed = part.sealed or kind.kind
    default = "message/rfc822" if kind.kind == "multipart/digest" else "text/plain"
    levels.append(_Level(part, default, part.sealed, (*part.within, boundary)))
    by_boundary[boundary] = len(levels) - 1


def _part(body: Body, start: int, level: _Level) -> Part:
    head = parse(BytesBody(body.read(start, start + _USUAL_HEAD)))
    if not head.separator:
        head = parse(BytesBody(body.read(start, start + _HEAD)))
    kind = content_type(head.fields, level.default)
    begin = start + len(head.header_bytes)
    part = Part(head.fields, kind, start, begin, depth=level.part.depth + 1, sealed=level.sealed, within=level.within)
    if not head.separator:
        part.sealed = part.sealed or "a part without a body"
    elif any(not field.name for field in head.fields):
        part.sealed = part.sealed or "a part with a broken header"
    part.sealed = part.sealed or (kind.kind if kind.main == "message" else _of_two_types(part))
    return part


def _of_two_types(part: Part) -> str:
    """Why a part may not be changed that one reader could take for a multipart and another for none."""
    said = {field.text: field.text.lower() for field in part.fields if field.name == "content-type"}
    return "two content types" if len(said) > 1 and any(map(_WITH_PARTS.match, said.values())) else ""


class _Ahead:
    """A body read from front to back, which keeps what was read last: small steps back cost nothing."""

    def __init__(self, source: Body) -> None:
        self.source, self.size = source, source.size
        self._at, self._data = 0, b""

    def read(self, start: int, stop: int) -> bytes:
        """The octets from `start` up to `stop`."""
        end = self._at + len(self._data)
        if start < self._at or start > end:
            return self.source.read(start, stop)
        if stop > end:
            keep = max(min(start - self._at, len(self._data)) - 2, 0)
            self._data = self._data[keep:] + b"".join(pieces(self.source, end, min(stop, self.size)))
            self._at += keep
        return self._data[start - self._at : stop - self._at]


def _delimiters(body: Body) -> Iterator[tuple[int, int, bytes]]:
    """Lines that begin with two hyphens: where each starts, where the next one starts, the text behind the hyphens."""
    at, size = 0, body.size
    carry = b"\n"  # the body begins on a new line
    while at < size:
        window = carry + body.read(at, at + _WINDOW)
        base = at - len(carry)
        found = window.find(b"\n--")
        while found >= 0:
            start = base + found + 1
            end = window.find(b"\n", found + 1)
            if end < 0:
                line = body.read(start, start + _LINE)
                end = line.find(b"\n")
                line, after = (line[:end], start + end + 1) if end >= 0 else (line, start + len(line))
            else:
                line, after = window[found + 1 : min(end, found + _LINE)], base + end + 1
            yield start, after, line[2:].rstrip()
            found = window.find(b"\n--", found + 3)
        at = base + len(window)
        carry = window[-2:]
