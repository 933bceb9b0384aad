"""Content-Type: what a part says it is (RFC 2045 5.1), its parameters in the forms of RFC 2231 as well.

Reading is linear. What two readers could read in two ways is read as nothing: a second field that says
something else, a boundary that is given twice with different values.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote_to_bytes

from relay import charsets
from relay.mailboxes import comment_end
from relay.message import Field

MAX_PARAMETERS = 1000

# A blank is one of ASCII: another one in a header is a letter, and leaves as `?`.
_TYPE = re.compile(r"\s*+([A-Za-z0-9!#$&^_.+-]++)\s*+/\s*+([A-Za-z0-9!#$&^_.+-]++)\s*+", re.ASCII)
_BARE_TEXT = re.compile(r"\s*+(?:text)?\s*+(?=;|$)", re.ASCII | re.IGNORECASE)
"""Without a subtype, or with nothing: text/plain to every reader (RFC 1049 5; RFC 2045 5.2)."""
_QUOTED = r'"(?:[^"\\]|\\.)*+"?'
_PARAMETER = re.compile(rf';\s*+([^\s=;"]++)\s*+=\s*+({_QUOTED}|[^;"]*+)([^;]*+)|{_QUOTED}', re.DOTALL | re.ASCII)
_MARK = re.compile(rf"{_QUOTED}|\(", re.DOTALL)
_EXTENDED = re.compile(r"([^*]+)(?:\*(\d{1,4}))?(\*?)", re.ASCII)
_FOLDED_BOUNDARY = re.compile(rb'(?i)boundary\s*+=\s*+"[^"\n]*+\n')
_PAIR = re.compile(r"\\(.)", re.DOTALL)


class TooComplex(Exception):
    """the body has more levels, parts or parameters than are looked at, or parts on which readers do not agree"""


@dataclass(frozen=True, slots=True)
class ContentType:
    """type/subtype in lower case, "" for one that does not parse, and the parameters by name in lower case.

    A boundary that readers could read in two ways is "": it is there, but says nothing.
    """

    kind: str
    parameters: Mapping[str, str]

    @property
    def main(self) -> str:
        """The type without the subtype."""
        return self.kind.partition("/")[0]


def content_type(fields: Sequence[Field], default: str = "text/plain") -> ContentType:
    """Read Content-Type; two that differ, or one that does not parse, have no kind. Raises TooComplex."""
    found = [field for field in fields if field.name == "content-type"]
    if not found:
        return ContentType(default, {})
    if len(found) > 1 and len({field.raw.partition(b":")[2].strip() for field in found}) > 1:
        return ContentType("", {})
    return _remembered(found[0]) if len(found[0].raw) <= _SHORT else _read(found[0])


def _read(field: Field) -> ContentType:
    text = without_comments(field.text)
    found = _TYPE.match(text) or _BARE_TEXT.match(text)
    if found is None:
        return ContentType("", {})
    parameters = parameters_of(text, found.end())
    if _FOLDED_BOUNDARY.search(field.raw):
        parameters["boundary"] = ""  # with the line end in it for some readers, without it for others
    return ContentType(f"{found[1]}/{found[2]}".lower() if found.re is _TYPE else "text/plain", parameters)


_SHORT = 200
"""Octets of a field that is worth remembering: a tracker writes the same few."""
_remembered = lru_cache(1000)(_read)


def without_comments(text: str) -> str:
    """`text` with each comment (RFC 5322 3.2.2) as one blank; what is quoted is no comment."""
    kept: list[str] = []
    at = 0
    while mark := _MARK.search(text, at) if "(" in text else None:
        kept.append(text[at : mark.start()])
        comment = mark[0] == "("
        at = comment_end(text, mark.end()) if comment else mark.end()
        kept.append(" " if comment else mark[0])
    return "".join([*kept, text[at:]])


def parameters_of(text: str, at: int) -> dict[str, str]:
    """The parameters of a MIME field from `at` on, the pieces of RFC 2231 3 put together. Raises TooComplex."""
    plain: dict[str, str] = {}
    pieces: dict[str, dict[int, tuple[str, bool]]] = {}
    for found in _PARAMETER.finditer(text, at):
        if found[1] is None:
            continue
        name, value = found[1].lower(), _value(found[2])
        if name == "boundary" and (found[3].strip() or (" " in value and not found[2].startswith('"'))):
            value = ""
        if len(plain) + len(pieces) >= MAX_PARAMETERS:
            raise TooComplex
        extended = _EXTENDED.fullmatch(name) if "*" in name else None
        if extended is None:
            if name == "boundary" and plain.get(name, value) != value:
                value = ""
            plain[name] = value if name == "boundary" else plain.get(name, value)
            continue
        kept = pieces.setdefault(extended[1], {})
        number = int(extended[2] or 0)
        kept[number] = (value, bool(extended[3])) if number not in kept else ("", False)
        if len(kept) > MAX_PARAMETERS:
            raise TooComplex
    for name, numbered in pieces.items():
        value, clear = _joined(numbered)
        if name == "boundary" and (not clear or plain.get(name, value) != value):
            value = ""
        plain[name] = value
    return plain


def _value(written: str) -> str:
    if written.startswith('"'):
        return _PAIR.sub(r"\1", written[1:].removesuffix('"'))
    return written.rstrip()


def _joined(numbered: dict[int, tuple[str, bool]]) -> tuple[str, bool]:
    """One value of its pieces in order (RFC 2231 3, 4.1), and whether all readers would read it so."""
    clear = sorted(numbered) == list(range(len(numbered)))
    codec, octets = "utf-8", b""
    for number in sorted(numbered):
        value, percent = numbered[number]
        if number == 0 and percent:
            charset, marks, rest = value.partition("'")
            clear = clear and bool(marks) and bool(charsets.known(charset or "us-ascii"))
            value = rest.partition("'")[2] if marks else value
            codec = charsets.known(charset) or "utf-8"
        octets += unquote_to_bytes(value) if percent else value.encode("utf-8", "replace")
    return octets.decode(codec, "replace"), clear
