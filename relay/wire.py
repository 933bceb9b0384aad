"""The last rule, `wire`: what the standards demand of every mail that leaves (RFC 5321 4.5.3.1.6, RFC 5322 2.1.1).

Fields are folded at 998 octets; raw 8-bit text in them becomes encoded words (RFC 2047). A field
that needs neither stays byte for byte.
"""

import re
from dataclasses import replace
from urllib.parse import quote

from relay import encoded_word, mailboxes
from relay.mail import Mail, Refusal
from relay.message import Field, Message
from relay.policy import Context

LONGEST_LINE = 998
"""Octets in a line, its CRLF not counted (RFC 5322 2.1.1)."""

_RESENT = ("from", "sender", "reply-to", "to", "cc", "bcc")
_ADDRESS_FIELDS = frozenset(_RESENT) | frozenset(f"resent-{name}" for name in _RESENT)
_STRUCTURED = _ADDRESS_FIELDS | frozenset(
    {
        "date",
        "message-id",
        "in-reply-to",
        "references",
        "received",
        "return-path",
        "content-type",
        "content-transfer-encoding",
        "content-disposition",
        "content-id",
        "mime-version",
        "resent-date",
        "resent-message-id",
        "auto-submitted",
        "list-id",
        "list-unsubscribe",
        "list-post",
        "list-help",
        "list-archive",
        "dkim-signature",
        "authentication-results",
    }
)
_PARAMETER = re.compile(r';\s*([A-Za-z0-9!#$%&+\-^_`{|}~.]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^\s;"]+)')


class _Unfit(Exception):
    """this field can not be sent"""


def wire(mail: Mail, _context: Context) -> Mail:
    """Fold and encode the fields that need it; refuse the mail when one can not be made fit."""
    changed: list[str] = []

    def fit(field: Field) -> Field:
        if field.raw.isascii() and _short(field.raw):
            return field
        raw = _folded(_encoded(field))
        if raw == field.raw:
            return field
        changed.append(field.name)
        return Field(raw)

    try:
        message = _separated(mail.message).map_fields(fit)
    except _Unfit as fault:
        return replace(mail, refusal=Refusal("wire", "5.6.0", str(fault)))
    if changed:
        mail = mail.note("wire", f"folded or encoded: {', '.join(changed)}")
    return mail.with_message(message)


def _separated(message: Message) -> Message:
    """Without an mbox's `From ` line, and with an empty line before the body where it was missing."""
    if any(not field.name for field in message.fields):
        message = replace(message, fields=tuple(field for field in message.fields if field.name))
    if message.body.size and not message.separator:
        message = replace(message, separator=b"\r\n")
    return message


def _short(raw: bytes) -> bool:
    return len(raw) <= LONGEST_LINE or all(len(line) <= LONGEST_LINE for line in raw.split(b"\r\n"))


def _encoded(field: Field) -> bytes:
    """Without raw 8-bit text where encoded words may stand.

    Message ids, addresses and the like can not be encoded: they stay, and need SMTPUTF8 (RFC 6532).
    """
    if field.raw.isascii():
        return field.raw
    name = field.raw.partition(b":")[0].decode("latin-1").rstrip()
    if field.name in _ADDRESS_FIELDS:
        boxes = mailboxes.read(field.text)
        if all(box.address for box in boxes) and boxes:
            return f"{name}: {mailboxes.write(boxes, len(name) + 2)}\r\n".encode()
        return field.raw
    if field.name in ("content-type", "content-disposition"):
        return _encode_parameters(field.text, name)
    if field.name in _STRUCTURED:
        return field.raw
    return _unstructured(field, name)


def _unstructured(field: Field, name: str) -> bytes:
    return f"{name}: {encoded_word.encode(encoded_word.decode(field.text), len(name) + 2)}\r\n".encode()


def _encode_parameters(text: str, name: str) -> bytes:
    """8-bit parameter values in the form of RFC 2231 4."""

    def encode(found: re.Match[str]) -> str:
        value = found[2]
        if value.isascii():
            return found[0]
        plain = re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value
        return f";\r\n {found[1]}*=utf-8''{quote(plain, safe='')}"

    return f"{name}: {_PARAMETER.sub(encode, text)}\r\n".encode()


def _folded(raw: bytes) -> bytes:
    """With no line over LONGEST_LINE: broken before a blank, so unfolding gives the same text."""
    if _short(raw):
        return raw
    field = Field(raw)
    lines: list[bytes] = []
    for line in raw.removesuffix(b"\r\n").split(b"\r\n"):
        while len(line) > LONGEST_LINE:
            at = _break(line)
            if at <= 0:
                return _without_blanks(field)
            lines.append(line[:at])
            line = line[at:]  # noqa: PLW2901 - the rest of the same line
        lines.append(line)
    return b"\r\n".join(lines) + b"\r\n"


def _break(line: bytes) -> int:
    """Where to fold: the last blank that leaves text on both sides; 0 when there is none."""
    at = LONGEST_LINE
    while at > 0:
        at = max(line.rfind(b" ", 0, at + 1), line.rfind(b"\t", 0, at + 1))
        if at > 0 and line[:at].strip() and line[at:].strip() and not line[:at].rstrip().endswith(b":"):
            return at
        at -= 1
    return 0


def _without_blanks(field: Field) -> bytes:
    """A long field without blanks: encoded words where the field is unstructured."""
    if field.name in _STRUCTURED:
        raise _Unfit(f"{field.name} has a line of over {LONGEST_LINE} octets that can not be folded")
    name = field.raw.partition(b":")[0].decode("ascii").rstrip()
    return f"{name}: {encoded_word.encode(field.text, len(name) + 2, force=True)}\r\n".encode()
