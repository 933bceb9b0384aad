"""Scan: find the MIME parts of a body (RFC 2046 5.1) in one pass, without the email package.

Linear for every input: delimiters are looked up, not compared one by one, and beyond the limits the
body counts as one untouchable part.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from relay.message import Body, BytesBody, Field, Message, parse

MAX_DEPTH = 100
MAX_PARTS = 1000
MAX_PARAMETERS = 1000
_HEAD = 65536
"""Octets of one part's header that are looked at."""
_WINDOW = 262144
_LINE = 1024

_TYPE = re.compile(r"\s*([A-Za-z0-9!#$&^_.+-]+)\s*/\s*([A-Za-z0-9!#$&^_.+-]+)\s*")
_PARAMETER = re.compile(r"""[;\s]*([^\s=;"]+)\s*=\s*("(?:[^"\\]|\\.)*"?|[^;\s]*)""", re.DOTALL)
_COMMENT = re.compile(r"\([^()]*\)")


class TooComplex(Exception):
    """the body has more levels, parts or parameters than are looked at"""


@dataclass(frozen=True, slots=True)
class ContentType:
    """type/subtype in lower case, and the parameters; "" for one that does not parse."""

    kind: str
    parameters: dict[str, str]

    @property
    def main(self) -> str:
        """The type without the subtype."""
        return self.kind.partition("/")[0]


def content_type(fields: tuple[Field, ...], default: str = "text/plain") -> ContentType:
    """Read Content-Type; two of them, or one that does not parse, have no kind. Raises TooComplex."""
    found = [field for field in fields if field.name == "content-type"]
    if not found:
        return ContentType(default, {})
    text = found[0].text
    if "(" in text:
        text = _COMMENT.sub(" ", text)
    kind = _TYPE.match(text)
    if kind is None or len(found) > 1:
        return ContentType("", {})
    return ContentType(f"{kind[1]}/{kind[2]}".lower(), parameters_of(text, kind.end()))


def parameters_of(text: str, at: int) -> dict[str, str]:
    """The parameters of a MIME field from `at` on, names in lower case. Raises TooComplex."""
    parameters: dict[str, str] = {}
    while found := _PARAMETER.match(text, at):
        at = max(found.end(), at + 1)
        value = found[2]
        if value.startswith('"'):
            value = re.sub(r"\\(.)", r"\1", value[1:].removesuffix('"'), flags=re.DOTALL)
        parameters.setdefault(found[1].lower(), value)
        if len(parameters) > MAX_PARAMETERS:
            raise TooComplex
    return parameters


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

    @property
    def scheme(self) -> str:
        """The declared transfer encoding, lower case; "" for one that is missing, "?" for two of them."""
        found = [field.text.lower() for field in self.fields if field.name == "content-transfer-encoding"]
        if len(found) > 1:
            return "?"
        return _COMMENT.sub("", found[0]).strip().rstrip(";").strip() if found else ""

    @property
    def named(self) -> bool:
        """True for an attachment: it has a file name or says so."""
        if "name" in self.type.parameters or "name*" in self.type.parameters:
            return True
        dispositions = [field.text.lower() for field in self.fields if field.name == "content-disposition"]
        return any(text.startswith("attachment") or "filename" in text for text in dispositions)


@dataclass(slots=True)
class _Level:
    """An open multipart: its boundary, the kind of part a missing Content-Type means, why it is sealed."""

    part: Part
    default: str
    sealed: str


def scan(message: Message) -> list[Part]:
    """Every part of the message, itself first, in order. Raises TooComplex."""
    top = Part(message.fields, content_type(message.fields), 0, 0)
    top.sealed = top.type.kind if top.type.main == "message" else ""
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
    if not boundary or boundary in by_boundary or part.scheme not in ("", "7bit", "8bit", "binary"):
        part.leaf, part.sealed = True, part.sealed or "a multipart that can not be read"
        return
    if part.depth >= MAX_DEPTH:
        raise TooComplex
    if kind.kind in ("multipart/signed", "multipart/encrypted"):
        part.sealed = part.sealed or kind.kind
    default = "message/rfc822" if kind.kind == "multipart/digest" else "text/plain"
    levels.append(_Level(part, default, part.sealed))
    by_boundary[boundary] = len(levels) - 1


def _part(body: Body, start: int, level: _Level) -> Part:
    head = parse(BytesBody(body.read(start, start + _HEAD)))
    kind = content_type(head.fields, level.default)
    begin = start + len(head.header_bytes)
    part = Part(head.fields, kind, start, begin, depth=level.part.depth + 1, sealed=level.sealed)
    if not head.separator:
        part.sealed = part.sealed or "a part without a body"
    elif any(not field.name for field in head.fields):
        part.sealed = part.sealed or "a part with a broken header"
    if kind.main == "message":
        part.sealed = part.sealed or kind.kind
    return part


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
