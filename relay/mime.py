"""MIME: re-encode the text parts of a message; leave signed, encrypted and attached parts alone.

Only the transfer encoding changes, never the charset: it works on octets. Parts of multipart/signed
and multipart/encrypted, message/*, pkcs7-mime and everything with a file name keep every octet. What
can not be read cleanly stays as it came, with a note. Large bodies stream (promise 9): the result is
a Body that produces its octets when they are read.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from relay import charsets
from relay.message import Body, BytesBody, Field, Message, pieces
from relay.patch import Edit, Literal, Recode, patched
from relay.scan import Part, TooComplex, scan
from relay.transfer import LONGEST_ENCODED, Survey, Undecodable, canonical, decoded

SMALL = 262144
"""Octets up to which a part is re-encoded at once instead of while it is read."""

_NAMES = {"qp": "quoted-printable", "base64": "base64"}
_IDENTITY = ("7bit", "8bit", "binary")
_WIDE = ("utf-16", "utf-32", "ucs-2", "ucs-4", "iso-10646")


@dataclass(frozen=True, slots=True)
class Encoded:
    """A re-encoded message, and in words what stayed as it was although it should have changed."""

    message: Message
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Change:
    """A part whose content becomes `recode`, with `scheme` as its transfer encoding."""

    part: Part
    scheme: str
    recode: Recode | None


def reencode(message: Message, encoding: str) -> Encoded:
    """Every text part in `encoding`: base64, qp, none or auto (notification-rules, mime_encoding)."""
    try:
        parts = scan(message)
    except TooComplex:
        return Encoded(message, ("the body has too many parts or levels: left as it is",))
    notes: list[str] = []
    changes: list[_Change] = []
    for part in parts:
        if not part.leaf or part.type.main != "text" or part.sealed or part.named:
            continue
        change = _choose(message, part, encoding, notes)
        if change:
            changes.append(change)
    return Encoded(_apply(message, parts, changes), tuple(notes))


def _choose(message: Message, part: Part, encoding: str, notes: list[str]) -> _Change | None:
    """What to do with one text part; None when it already is as it should be, or can not be read."""
    scheme = part.scheme or "7bit"
    if scheme not in (*_IDENTITY, "base64", "quoted-printable"):
        notes.append(f"a part in {scheme!r} is left as it is")
        return None
    wide = part.type.parameters.get("charset", "").lower().startswith(_WIDE)
    if wide:
        if scheme in _IDENTITY:
            return _Change(part, "base64", Recode(message.body, part.body, part.end, scheme, "base64", text=False))
        return None
    try:
        survey = Survey.of(canonical(decoded(pieces(message.body, part.body, part.end), scheme)))
    except Undecodable:
        notes.append("a part that is not the base64 it claims to be is left as it is")
        return None
    wanted = _wanted(encoding, survey, notes)
    if _fits(message, part, scheme, wanted, survey):
        return None if scheme == wanted or (wanted == "7bit" and not part.scheme) else _Change(part, wanted, None)
    return _Change(part, wanted, Recode(message.body, part.body, part.end, scheme, wanted, text=True))


def _wanted(encoding: str, survey: Survey, notes: list[str]) -> str:
    if encoding in _NAMES:
        return _NAMES[encoding]
    if survey.plain and not survey.high:
        return "7bit"
    if encoding == "auto":
        return survey.shorter
    if survey.plain:
        return "8bit"
    notes.append("lines of over 998 octets: quoted-printable instead of none")
    return "quoted-printable"


def _fits(message: Message, part: Part, scheme: str, wanted: str, survey: Survey) -> bool:
    """True when the octets may stay: only the label can need a change."""
    octets = pieces(message.body, part.body, part.end)
    if wanted in _IDENTITY:
        return scheme in _IDENTITY and _canonical_already(octets)
    if scheme != wanted:
        return False
    raw = Survey.of(octets)
    if raw.high or raw.bare_cr or raw.nul or raw.longest > LONGEST_ENCODED + 1:
        return False
    inner = decoded(pieces(message.body, part.body, part.end), scheme)
    return Survey.of(inner).size == survey.size


def _canonical_already(octets: Iterator[bytes]) -> bool:
    last = b""
    for piece in octets:
        if piece.count(b"\n") != piece.count(b"\r\n") + (last == b"\r" and piece.startswith(b"\n")):
            return False
        last = piece[-1:]
    return True


def _apply(message: Message, parts: list[Part], changes: list[_Change]) -> Message:
    """The message with these parts changed, their headers and those of their multiparts made true."""
    if not changes:
        return message
    edits: list[Edit] = []
    top: tuple[Field, ...] = message.fields
    for change in changes:
        part = change.part
        if part.depth == 0:
            top = _top_fields(message, part, change)
        else:
            header = b"".join(f.raw for f in _label(part.fields, change.scheme)) + b"\r\n"
            edits.append(Edit(part.start, part.body, Literal(header)))
        if change.recode:
            recode = replace(change.recode, closing=part.depth == 0)
            edits.append(Edit(part.body, part.end, recode.settled(SMALL)))
    raised = any(change.scheme == "8bit" for change in changes)
    if raised:
        for part in parts:
            if not part.leaf and not part.sealed and part.scheme in ("", "7bit"):
                if part.depth == 0:
                    top = _label(top, "8bit")
                else:
                    header = b"".join(f.raw for f in _label(part.fields, "8bit")) + b"\r\n"
                    edits.append(Edit(part.start, part.body, Literal(header)))
    top = tuple(field for field in top if field.name not in ("content-length", "lines"))
    return replace(message, fields=top, body=patched(message.body, edits), separator=message.separator or b"\r\n")


def _top_fields(message: Message, part: Part, change: _Change) -> tuple[Field, ...]:
    """The message's own header with the new label, and what makes it MIME when it was not."""
    fields = message.fields
    names = {field.name for field in fields}
    if "mime-version" not in names:
        fields = (*fields, Field(b"MIME-Version: 1.0\r\n"))
    if "content-type" not in names:
        body = pieces(message.body, part.body, part.end)
        charset = _guess(decoded(body, part.scheme or "7bit"))
        fields = (*fields, Field(f'Content-Type: text/plain; charset="{charset}"\r\n'.encode()))
    return _label(fields, change.scheme)


def _guess(octets: Iterator[bytes]) -> str:
    """The charset of text that names none: us-ascii, utf-8, or unknown-8bit (RFC 1428)."""
    data = b"".join(octets)[: SMALL * 4]
    for charset in ("us-ascii", "utf-8"):
        try:
            data.decode(charset)
        except UnicodeDecodeError:
            continue
        return charset
    return "unknown-8bit"


def _label(fields: tuple[Field, ...], scheme: str) -> tuple[Field, ...]:
    """With Content-Transfer-Encoding saying `scheme`: in its place, else behind Content-Type, else last."""
    raw = f"Content-Transfer-Encoding: {scheme}\r\n".encode("ascii")
    names = [field.name for field in fields]
    if "content-transfer-encoding" in names:
        at = names.index("content-transfer-encoding")
        return (*fields[:at], Field(raw), *fields[at + 1 :])
    at = names.index("content-type") + 1 if "content-type" in names else len(fields)
    return (*fields[:at], Field(raw), *fields[at:])


def needs_8bit(message: Message) -> bool:
    """True when the body has octets outside ASCII, so that BODY=8BITMIME must be said (RFC 6152)."""
    return not all(piece.isascii() for piece in pieces(message.body))


def needs_encoding(message: Message) -> bool:
    """True when a text part has letters outside ASCII, behind whatever encoding."""
    try:
        parts = scan(message)
    except TooComplex:
        return needs_8bit(message)
    for part in parts:
        if part.leaf and part.type.main == "text" and not part.named:
            try:
                text = decoded(pieces(message.body, part.body, part.end), part.scheme)
                if not all(piece.isascii() for piece in text):
                    return True
            except Undecodable:
                return True
    return False


def seven_bit(message: Message) -> Message | None:
    """The message in ASCII octets, for a hop without 8BITMIME; None when what is 8-bit must not be touched.

    Text becomes quoted-printable or base64, whichever is shorter, other parts base64 (RFC 6152 3).
    """
    try:
        parts = scan(message)
    except TooComplex:
        return None
    changes: list[_Change] = []
    for part in parts:
        if not part.leaf or all(p.isascii() for p in pieces(message.body, part.body, part.end)):
            continue
        if part.sealed or part.scheme not in ("", *_IDENTITY) or part.type.kind == "application/pkcs7-mime":
            return None
        text = part.type.main == "text" and not part.type.parameters.get("charset", "").lower().startswith(_WIDE)
        survey = Survey.of(pieces(message.body, part.body, part.end))
        wanted = survey.shorter if text and not part.named else "base64"
        text = text and not part.named
        changes.append(
            _Change(part, wanted, Recode(message.body, part.body, part.end, part.scheme or "7bit", wanted, text=text))
        )
    changed = _apply(message, parts, changes)
    changed = _relabel_multiparts(changed)
    return None if needs_8bit(changed) else changed


def _relabel_multiparts(message: Message) -> Message:
    """Multiparts that declare 8bit or binary say 7bit, now that it is true."""
    edits: list[Edit] = []
    fields = message.fields
    for part in scan(message):
        if not part.leaf and part.scheme in ("8bit", "binary") and not part.sealed:
            if part.depth == 0:
                fields = _label(fields, "7bit")
            else:
                header = b"".join(f.raw for f in _label(part.fields, "7bit")) + b"\r\n"
                edits.append(Edit(part.start, part.body, Literal(header)))
    return (
        replace(message, fields=fields, body=patched(message.body, edits))
        if edits or fields != message.fields
        else message
    )


def text_of(message: Message, limit: int = 65536) -> str:
    """The first text/plain part as text with \\n line ends, from its first `limit` octets; never fails."""
    try:
        parts = scan(message)
    except TooComplex:
        return ""
    for part in parts:
        if part.leaf and part.type.kind == "text/plain" and not part.named:
            return text_in(message.body, part, limit)
    return ""


def text_in(body: Body, part: Part, limit: int) -> str:
    """A part's content as text with \\n line ends, from its first `limit` octets; never fails."""
    raw = body.read(part.body, min(part.end, part.body + limit))
    scheme = part.scheme
    if scheme == "base64" and part.end - part.body > limit:
        raw = raw[: len(raw) // 78 * 78]
    try:
        data = b"".join(decoded(pieces(BytesBody(raw)), scheme))
    except Undecodable:
        data = raw
    codec = charsets.known(part.type.parameters.get("charset", "utf-8")) or "latin-1"
    try:
        text = data.decode(codec, "replace")
    except LookupError:
        text = data.decode("latin-1")
    return text.replace("\r\n", "\n").replace("\r", "\n")
