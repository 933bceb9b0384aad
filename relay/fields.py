"""Fields: make a header field fit to be sent: in ASCII, in lines of at most 998 octets (RFC 5322 2.1.1).

1. A field that is both already stays byte for byte.
2. Text outside ASCII becomes encoded words where they may stand (RFC 2047 5): in unstructured fields,
   display names, names of groups, comments. Parameters take the form of RFC 2231. A domain takes its
   A-labels.
3. A field that programs read and people do not (Received and the like) loses what is left of it. Local
   parts and message ids can not be written otherwise: they stay, and need SMTPUTF8 (RFC 6532).
4. A long line is broken before a blank, so unfolding gives the same text. One without blanks becomes
   encoded words where the field is unstructured; in a list it gets a blank between two elements, in a
   signature where one means nothing (RFC 6376 3.2); else the field is unfit.
"""

import re
from collections.abc import Iterator
from urllib.parse import quote

from relay import encoded_word, mailboxes
from relay.address import AddressError, parse
from relay.message import Field
from relay.transfer import LONGEST_LINE

_COLUMNS = 76

_SENDERS = ("from", "sender", "reply-to", "to", "cc", "bcc")
_ADDRESSES = frozenset(_SENDERS) | frozenset(f"resent-{name}" for name in _SENDERS) | {"list-id"}
_SHOWN = frozenset(("to", "cc", "reply-to"))
_IDS = frozenset(("message-id", "in-reply-to", "references", "content-id", "resent-message-id"))
_PARAMETERS = frozenset(("content-type", "content-disposition"))
_LINKS = frozenset(f"list-{name}" for name in ("unsubscribe", "post", "help", "archive", "owner", "subscribe"))
_PROGRAMS = frozenset(
    (
        "date",
        "received",
        "return-path",
        "content-transfer-encoding",
        "mime-version",
        "resent-date",
        "auto-submitted",
        "dkim-signature",
        "authentication-results",
    )
)
_STRUCTURED = _ADDRESSES | _IDS | _PARAMETERS | _LINKS | _PROGRAMS
_QUOTED = r'"(?:[^"\\]|\\.)*+"?'
"""One without an end takes all that follows, as `mailboxes` has it: looked for at each quote, it is not linear."""
_OUTSIDE_ASCII = re.compile(r"[^\x00-\x7f]")
_PARAMETER = re.compile(rf";\s*+([A-Za-z0-9!#$%&+\-^_`{{|}}~.]++)\s*+=\s*+({_QUOTED}|[^\s;\"]++)|{_QUOTED}", re.DOTALL)
_MARK = re.compile(rf"{_QUOTED}|\(", re.DOTALL)
_NAME = re.compile(rb"[!-9;-~]++[ \t]*+:[ \t]*+")
_LISTS = _ADDRESSES | _IDS | _LINKS | _PARAMETERS
_SIGNATURES = frozenset(("dkim-signature", "arc-seal", "arc-message-signature"))
_JOINTS = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[,;]|>(?=<)')
"""What a blank may follow in a list: RFC 5322 3.4, 3.6.4."""
_PIECE = 60
"""Columns of one piece of a parameter in the form of RFC 2231 3."""


class Unfit(Exception):
    """this field can not be sent"""


def fit(field: Field) -> Field:
    """The field as it can be sent; itself when it can be already. Raises Unfit."""
    if field.raw.isascii() and _short(field.raw):
        return field
    raw = _folded(_in_ascii(field))
    if not _short(raw):
        raise Unfit(f"{_title(field)} has a line of over {LONGEST_LINE} octets that can not be folded")
    return field if raw == field.raw else Field(raw)


def without_utf8(field: Field) -> Field:
    """A field of recipients for a hop without SMTPUTF8: whose address can not be written otherwise is only shown.

    He becomes a group without members, whose name tells the address (RFC 6858 3.1.8): the others get their mail.
    """
    boxes = mailboxes.read(field.text) if field.name in _SHOWN and not field.raw.isascii() else ()
    if not boxes or not all(box.address for box in boxes):
        return field
    name = field.raw.partition(b":")[0].decode("ascii").rstrip()
    shown = [
        f"{_words(str(box.address), len(name) + 2)}:;"
        if box.address and not box.address.local.isascii()
        else mailboxes.write([box], len(name) + 2).replace("\r\n", "")
        for box in boxes
    ]
    return Field(f"{name}: {encoded_word.fold(', '.join(shown), len(name) + 2)}\r\n".encode())


def _title(field: Field) -> str:
    return field.name if len(field.name) < _COLUMNS else f"a field named {field.name[:20]}..."


def _short(raw: bytes) -> bool:
    return len(raw) <= LONGEST_LINE or all(len(line) <= LONGEST_LINE for line in raw.split(b"\r\n"))


# --- ASCII -----------------------------------------------------------------------------------------------


def _in_ascii(field: Field) -> bytes:
    """Without text outside ASCII, where it can be written otherwise."""
    if field.raw.isascii():
        return field.raw
    name = field.raw.partition(b":")[0].decode("ascii").rstrip()
    if field.name not in _STRUCTURED:
        return _unstructured(name, encoded_word.decode(field.text))
    text = _comments(field.text)
    if field.name in _ADDRESSES:
        text = "".join(_mailboxes(text, len(name) + 2)).lstrip(" ")
    elif field.name in _PARAMETERS:
        text = _PARAMETER.sub(_parameter, text)
    elif field.name in _LINKS:
        text = _OUTSIDE_ASCII.sub(lambda letter: quote(letter[0]), text)
    if field.name in _PROGRAMS or not is_utf8(field.raw):
        text = _OUTSIDE_ASCII.sub("?", text)
    return f"{name}: {encoded_word.fold(text, len(name) + 2)}\r\n".encode()


def is_utf8(raw: bytes) -> bool:
    """Whether a field's octets are UTF-8, so that what stands outside ASCII can stay where it must."""
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _unstructured(name: str, text: str, *, force: bool = False) -> bytes:
    return f"{name}: {encoded_word.encode(text, len(name) + 2, force=force)}\r\n".encode("ascii")


def _words(text: str, first: int) -> str:
    """A phrase in ASCII, not folded."""
    return encoded_word.encode_phrase(text, first).replace("\r\n", "")


def _comments(text: str) -> str:
    """With encoded words in those comments that need them (RFC 2047 5, rule 2)."""
    kept: list[str] = []
    at = 0
    while mark := _MARK.search(text, at) if "(" in text else None:
        end = mailboxes.comment_end(text, mark.end()) if mark[0] == "(" else mark.end()
        inner = text[mark.start() : end]
        if mark[0] == "(" and not inner.isascii():
            inner = f"({_words(encoded_word.decode(inner[1:].removesuffix(')')), 2)})"
        kept += [text[at : mark.start()], inner]
        at = end
    return "".join([*kept, text[at:]])


def _mailboxes(text: str, first: int) -> Iterator[str]:
    """An address list, its display names and names of groups in encoded words, its domains in A-labels."""
    for phrase, rest in mailboxes.elements(text):
        if phrase.isascii():
            yield phrase
        elif phrase.isspace():
            yield " "
        else:
            blank = " " if phrase[0].isspace() else ""
            address = None if rest[:1] in ("<", ":") else _address(phrase.strip())
            yield f"{blank}{address or _words(mailboxes.display(phrase), first)}{' ' if rest[:1] == '<' else ''}"
        address = None if rest.isascii() else _address(rest[1:].removesuffix(">").strip())
        yield f"<{address}>" if address else rest


def _address(text: str) -> str | None:
    """A full address with its domain in A-labels; None for what is none."""
    try:
        address = parse(text)
    except AddressError:
        return None
    return None if address.short else address.wire_form


def _parameter(found: re.Match[str]) -> str:
    """A parameter outside ASCII in the form of RFC 2231 4, in as many pieces as it takes (3)."""
    if found[1] is None or found[2].isascii():
        return found[0]
    value = found[2]
    plain = re.sub(r"\\(.)", r"\1", value[1:].removesuffix('"')) if value.startswith('"') else value
    octets = re.findall(r"%[0-9A-F]{2}|[^%]", quote(plain, safe=""))
    if len(octets) <= _PIECE and sum(map(len, octets)) <= _PIECE:
        return f"; {found[1]}*=utf-8''{''.join(octets)}"
    pieces = ["utf-8''"]
    for octet in octets:
        if len(pieces[-1]) + len(octet) > _PIECE:
            pieces.append("")
        pieces[-1] += octet
    return "".join(f"; {found[1]}*{number}*={piece}" for number, piece in enumerate(pieces))


# --- lines -----------------------------------------------------------------------------------------------


def _folded(raw: bytes) -> bytes:
    """With no line over LONGEST_LINE: broken before a blank, so unfolding gives the same text."""
    if _short(raw):
        return raw
    lines: list[bytes] = []
    for line in raw.removesuffix(b"\r\n").split(b"\r\n"):
        while len(line) > LONGEST_LINE:
            at = _break(line)
            joint = 0 if at else _joint(line, Field(raw).name)
            if not at and not joint:
                return _without_blanks(Field(raw))
            lines.append(line[: at or joint])
            line = line[at:] if at else b" " + line[joint:]  # noqa: PLW2901 - the rest of the same line
        lines.append(line)
    return b"\r\n".join(lines) + b"\r\n"


def _break(line: bytes) -> int:
    """Where to fold: the last blank that leaves text on both sides; 0 when there is none."""
    name = _NAME.match(line)
    begin = name.end() if name else len(line) - len(line.lstrip(b" \t"))
    end = min(LONGEST_LINE + 1, len(line.rstrip(b" \t")))
    at = max(line.rfind(b" ", 0, end), line.rfind(b"\t", 0, end))
    return at if at > begin else 0


def _joint(line: bytes, name: str) -> int:
    """Where a structured field without blanks may have one; 0 when nowhere."""
    end = min(LONGEST_LINE, len(line) - 1)
    if name in _SIGNATURES:  # a blank may stand around any sign of a list, and anywhere in base64
        return max(line.rfind(b":", 0, end), line.rfind(b";", 0, end)) + 1 or end * line[end - 9 : end + 1].isalnum()
    ends = [found.end() for found in _JOINTS.finditer(line, 0, end)] if name in _LISTS else []
    return next((end for end in reversed(ends) if line[end - 1 : end] in b",;>"), 0)


def _without_blanks(field: Field) -> bytes:
    """A long field without blanks: encoded words where the field is unstructured."""
    if field.name in _STRUCTURED:
        raise Unfit(f"{field.name} has a line of over {LONGEST_LINE} octets that can not be folded")
    name = field.raw.partition(b":")[0].decode("ascii").rstrip()
    return _unstructured(name, encoded_word.decode(field.text), force=True)
