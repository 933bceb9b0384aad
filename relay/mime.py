"""MIME: re-encode the text parts of a message; leave signed, encrypted and attached parts alone.

Only the transfer encoding changes, never the charset: it works on octets. Parts of multipart/signed
and multipart/encrypted, message/*, pkcs7-mime and everything with a file name keep every octet. What
can not be read cleanly stays as it came, with a note. Large bodies stream (promise 9): the result is
a Body that produces its octets when they are read.
"""

from collections.abc import Iterator

from relay import change, charsets
from relay.change import Change, content, recode
from relay.immutable import immutable
from relay.message import Body, BytesBody, Message, pieces
from relay.patch import is_ascii
from relay.scan import Part, TooComplex, scan
from relay.transfer import IDENTITY, LONGEST_ENCODED, Survey, Undecodable, decoded, legal_qp, uncovers

_NAMES = {"qp": "quoted-printable", "base64": "base64"}


@immutable
class Encoded:
    """A re-encoded message, and in words what stayed as it was although it should have changed."""

    message: Message
    notes: tuple[str, ...] = ()


def reencode(message: Message, encoding: str) -> Encoded:
    """Every text part in `encoding`: base64, qp, none or auto (notification-rules, mime_encoding)."""
    try:
        parts = scan(message)
    except TooComplex:
        return Encoded(message, ("the body has too many parts or levels, or unclear ones: left as it is",))
    notes: list[str] = []
    changes: list[Change] = []
    for part in parts:
        if not part.leaf or part.type.main != "text" or part.sealed or part.named:
            continue
        wanted = _choose(message, part, encoding, notes)
        if wanted:
            changes.append(wanted)
    return Encoded(change.apply(message, parts, changes), tuple(notes))


def _choose(message: Message, part: Part, encoding: str, notes: list[str]) -> Change | None:
    """What to do with one text part; None when it already is as it should be, or can not be read."""
    scheme = part.scheme or "7bit"
    if scheme not in (*IDENTITY, "base64", "quoted-printable"):
        notes.append(f"a part in {scheme!r} is left as it is")
        return None
    if change.is_wide(part):
        octets = recode(message, part, "base64", text=False)
        return Change(part, "base64", octets) if scheme in IDENTITY else None
    if encoding in _NAMES and scheme in IDENTITY:  # whatever is in it, it becomes just that
        return Change(part, _NAMES[encoding], recode(message, part, _NAMES[encoding], text=True))
    try:
        survey = Survey.of(content(message, part))
    except Undecodable:
        notes.append("a part that is not the base64 it claims to be is left as it is")
        return None
    wanted = _wanted(encoding, survey, message, part, notes)
    if _fits(message, part, scheme, wanted, survey):
        return None if scheme == wanted or (wanted == "7bit" and not part.scheme) else Change(part, wanted)
    return Change(part, wanted, recode(message, part, wanted, text=True))


def _wanted(encoding: str, survey: Survey, message: Message, part: Part, notes: list[str]) -> str:
    if encoding in _NAMES:
        return _NAMES[encoding]
    bare = survey.plain
    if bare and part.within and part.scheme not in ("", *IDENTITY) and uncovers(content(message, part), part.within):
        notes.append("a line that looks like a delimiter: the part stays encoded")
        bare = False
    if bare and not survey.high:
        return "7bit"
    if encoding == "auto":
        return survey.shorter(content(message, part), closing=part.end == message.body.size)
    if bare:
        return "8bit"
    if not survey.plain:
        notes.append("lines of over 998 octets: quoted-printable instead of none")
    return "quoted-printable"


def _fits(message: Message, part: Part, scheme: str, wanted: str, survey: Survey) -> bool:
    """True when the octets may stay: only the label can need a change."""
    octets = pieces(message.body, part.body, part.end)
    if wanted in IDENTITY:
        return scheme in IDENTITY and _canonical_already(octets)
    if scheme != wanted:
        return False
    raw = Survey.of(octets)
    if raw.high or raw.bare_cr or raw.nul or raw.longest > LONGEST_ENCODED + 1:
        return False
    if scheme == "quoted-printable" and not legal_qp(pieces(message.body, part.body, part.end)):
        return False
    inner = decoded(pieces(message.body, part.body, part.end), scheme)
    return sum(map(len, inner)) == survey.size


def _canonical_already(octets: Iterator[bytes]) -> bool:
    last = b""
    for piece in octets:
        if piece.count(b"\n") != piece.count(b"\r\n") + (last == b"\r" and piece.startswith(b"\n")):
            return False
        last = piece[-1:]
    return True


def encoding_of(message: Message) -> str:
    """The transfer encoding of the first text part that may be re-encoded; "" where there is none."""
    try:
        parts = scan(message)
    except TooComplex:
        return ""
    found = (p for p in parts if p.leaf and p.type.main == "text" and not (p.sealed or p.named))
    return next((part.scheme or "7bit" for part in found), "")


def needs_8bit(message: Message) -> bool:
    """True when the body has octets outside ASCII, so that BODY=8BITMIME must be said (RFC 6152)."""
    return not is_ascii(message.body)


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
    text = charsets.read(data, part.type.parameters.get("charset", ""), cut=part.end - part.body > limit)
    return text.replace("\r\n", "\n").replace("\r", "\n")
