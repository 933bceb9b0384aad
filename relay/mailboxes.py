"""Mailboxes: the address lists of header fields (RFC 5322 3.4), read tolerantly and written strictly.

Reading is linear and never fails. An entry whose address is not exactly one valid address has none:
never a part of what was written (`alice@evil.test)bob@good.test` is nobody).
"""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

from relay import encoded_word
from relay.address import Address, AddressError, parse
from relay.immutable import immutable
from relay.message import Message

LONGEST_LINE = 76

_TOKEN = re.compile(
    r"""(?P<quoted>"(?:[^"\\]|\\.)*"?)"""
    r"""|(?P<angle><(?:[^<>"]|"(?:[^"\\]|\\.)*")*>?)"""
    r"""|(?P<comment>\()"""
    r"""|(?P<mark>[,;:])"""
    r"""|(?P<blank>\s+)"""  # any blank at all: one of Unicode's that was skipped would join what it parts
    r"""|(?P<text>(?:@\[[A-Za-z0-9:.]{1,64}\]|[^"<(,;:\s])+)""",  # a colon in a literal names no group
    re.DOTALL,
)


_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"?', re.DOTALL)
_PAIR = re.compile(r"\\(.)", re.DOTALL)


@immutable
class Mailbox:
    """A display name, decoded, and an address; None when there is no valid one."""

    display: str
    address: Address | None


_SHORT = 256
"""Characters of a value that is worth remembering: trackers write the same few over and over."""


def read(value: str) -> Sequence[Mailbox]:
    """Every mailbox of an unfolded field value, those of groups included."""
    return _read_short(value) if len(value) <= _SHORT else _read(value)


def written(message: Message, *names: str) -> list[Mailbox]:
    """Every mailbox in the fields of these names, field by field."""
    return [box for name in names for field in message.get_all(name) for box in read(field.text)]


def _read(value: str) -> tuple[Mailbox, ...]:
    found: list[Mailbox] = []
    words: list[str] = []
    angle: str | None = None
    at = 0
    while at < len(value):
        token = _TOKEN.match(value, at)
        if token is None:  # a stray ) and the like are matched by text; nothing else is left
            at += 1
            continue
        at = token.end()
        match token.lastgroup:
            case "comment":
                at = comment_end(value, at)
            case "mark" if token[0] == ":" and angle is None:
                words = []  # the name of a group
            case "mark" if token[0] == ":":
                words.append(":")
            case "mark":
                _finish(found, words, angle)
                words, angle = [], None
            case "angle":
                angle = token[0] if angle is None else "<><>"
            case "blank":
                words.append(" ")
            case _:
                words.append(token[0])
    _finish(found, words, angle)
    return tuple(found)


_read_short = lru_cache(512)(_read)


def comment_end(value: str, at: int) -> int:
    """Where the comment ends (RFC 5322 3.2.2) whose opening parenthesis stands before `at`."""
    depth = 1
    while at < len(value) and depth:
        octet = value[at]
        if octet == "\\":
            at += 1
        elif octet in "()":
            depth += 1 if octet == "(" else -1
        at += 1
    return at


def _finish(found: list[Mailbox], words: list[str], angle: str | None) -> None:
    text = "".join(words).strip()
    if angle is None:
        if text:
            found.append(_bare(text))
        return
    inner = angle[1:].removesuffix(">").strip()
    name = display(text)
    if inner or name:
        found.append(Mailbox(name, _address(inner) if angle.endswith(">") else None))


def _bare(text: str) -> Mailbox:
    address = _address(text)
    return Mailbox("" if address else display(text), address)


def _address(text: str) -> Address | None:
    try:
        return parse(text)
    except AddressError:
        return None


def elements(value: str) -> Iterator[tuple[str, str]]:
    """All of an unfolded value in pieces: phrase or address, and what ends it (`<...>`, a mark, a comment, "")."""
    begin = at = 0
    while at < len(value):
        token = _TOKEN.match(value, at)
        end = token.end() if token else at + 1
        if token and token.lastgroup in ("angle", "mark", "comment"):
            end = comment_end(value, end) if token.lastgroup == "comment" else end
            yield value[begin:at], value[at:end]
            begin = end
        at = end
    if begin < at:
        yield value[begin:at], ""


def display(text: str) -> str:
    """A phrase as text: quoted strings unquoted, encoded words decoded even where they stand in quotes."""
    text = _QUOTED.sub(lambda m: _PAIR.sub(r"\1", m[1]) if "\\" in m[1] else m[1], text) if '"' in text else text
    return encoded_word.decode(re.sub(r"\s+", " ", text)).strip()


def write(mailboxes: Sequence[Mailbox], first: int) -> str:
    """The value of a field whose name took `first` columns, folded; mailboxes without address are left out."""
    lines, column = [""], first
    shown = [_one(box, first) for box in mailboxes if box.address]
    for number, text in enumerate(shown):
        comma = "," if number < len(shown) - 1 else ""
        head = text.split("\r\n", 1)[0]
        if lines[-1] and column + 1 + len(head) + len(comma) > LONGEST_LINE:
            lines.append("")
            column = 0
        lines[-1] += (" " if lines[-1] else "") + text + comma
        column = len(lines[-1].rsplit("\r\n", 1)[-1]) + (first if len(lines) == 1 and "\r\n" not in lines[-1] else 1)
    return "\r\n ".join(lines)


def _one(box: Mailbox, first: int) -> str:
    address = box.address.wire_form if box.address else ""
    if not box.display:
        return address
    name = encoded_word.encode_phrase(box.display, first)
    column = len(name.rsplit("\r\n", 1)[-1]) + (0 if "\r\n" in name else first)
    glue = "\r\n " if "=?" in name and column + len(address) + 4 > LONGEST_LINE else " "
    return f"{name}{glue}<{address}>"
