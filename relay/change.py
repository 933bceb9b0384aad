"""Change: a message with some of its parts changed, and every header that speaks of them made true.

Large parts are not made here: their octets are made when the message is read (promise 9).
"""

import codecs
from bisect import bisect_left
from collections.abc import Iterator, Sequence

from relay.immutable import immutable
from relay.message import Field, Message, pieces
from relay.patch import Edit, Literal, Recode, patched
from relay.scan import Part
from relay.transfer import canonical, decoded

SMALL = 262144
"""Octets up to which a part is re-encoded at once instead of while it is read."""
_WIDE = ("utf-16", "utf-32", "ucs-2", "ucs-4", "iso-10646")


@immutable
class Change:
    """What becomes of one part: its content `recode`, its transfer encoding `scheme`, its header `fields`.

    None and "" leave that as it is.
    """

    part: Part
    scheme: str = ""
    recode: Recode | None = None
    fields: tuple[Field, ...] | None = None


def is_wide(part: Part) -> bool:
    """True for text in a charset whose line ends are no CR and LF octets."""
    return part.type.parameters.get("charset", "").lower().startswith(_WIDE)


def content(message: Message, part: Part) -> Iterator[bytes]:
    """The text behind the transfer encoding, in canonical form. Raises Undecodable."""
    return canonical(decoded(pieces(message.body, part.body, part.end), part.scheme))


def recode(message: Message, part: Part, wanted: str, *, text: bool) -> Recode:
    """The part's content in the transfer encoding `wanted`; `text` asks for canonical line ends."""
    closing = part.end == message.body.size
    return Recode(message.body, part.body, part.end, part.scheme, wanted, text, part.within, closing)


def apply(message: Message, parts: Sequence[Part], changes: Sequence[Change], further: Sequence[Edit] = ()) -> Message:
    """The message with these changes, and `further` outside its parts. `parts` are all of it, as `scan` found them."""
    if not changes and not further:
        return message
    edits: list[Edit] = list(further)
    top: tuple[Field, ...] = message.fields
    for change in changes:
        part = change.part
        if part.depth == 0:
            top = _top_fields(message, part, change)
        else:
            fields = part.fields if change.fields is None else change.fields
            edits.append(_header(part, _labelled(fields, change.scheme)))
        if change.recode:
            edits.append(Edit(part.body, part.end, change.recode.settled(SMALL)))
    for part in _raised(parts, changes):
        if part.depth == 0:
            top = _labelled(top, "8bit")
        else:
            edits.append(_header(part, _labelled(part.fields, "8bit")))
    if message.has("content-length", "lines"):
        top = tuple(field for field in top if field.name not in ("content-length", "lines"))
    return Message(top, patched(message.body, edits), message.separator or b"\r\n")


def _header(part: Part, fields: tuple[Field, ...]) -> Edit:
    return Edit(part.start, part.body, Literal(b"".join(field.raw for field in fields) + b"\r\n"))


def _raised(parts: Sequence[Part], changes: Sequence[Change]) -> list[Part]:
    """The multiparts that must say 8bit now, because something within them does (RFC 2045 6.4)."""
    eight = [change.part.body for change in changes if change.scheme == "8bit"]
    multiparts = [part for part in parts if not part.leaf and not part.sealed and part.scheme in ("", "7bit")]
    return [part for part in multiparts if bisect_left(eight, part.body) < bisect_left(eight, part.end)]


def _top_fields(message: Message, part: Part, change: Change) -> tuple[Field, ...]:
    """The message's own header with the new label, and what makes it MIME when it was not."""
    fields = message.fields
    names = {field.name for field in fields}
    if "mime-version" not in names:
        fields = (*fields, Field(b"MIME-Version: 1.0\r\n"))
    if "content-type" not in names:
        charset = _guess(content(message, part))
        fields = (*fields, Field(f'Content-Type: text/plain; charset="{charset}"\r\n'.encode()))
    return _labelled(fields, change.scheme)


def _guess(octets: Iterator[bytes]) -> str:
    """The charset of text that names none: us-ascii, utf-8, or unknown-8bit (RFC 1428)."""
    utf8 = codecs.getincrementaldecoder("utf-8")()
    ascii_only = True
    try:
        for piece in octets:
            ascii_only = ascii_only and piece.isascii()
            utf8.decode(piece)
        utf8.decode(b"", final=True)
    except UnicodeDecodeError:
        return "unknown-8bit"
    return "us-ascii" if ascii_only else "utf-8"


def _labelled(fields: tuple[Field, ...], scheme: str) -> tuple[Field, ...]:
    """With Content-Transfer-Encoding saying `scheme`, once: in its place, else behind Content-Type, else last."""
    if not scheme:
        return fields
    field = Field(f"Content-Transfer-Encoding: {scheme}\r\n".encode("ascii"))
    names = [field.name for field in fields]
    if "content-transfer-encoding" in names:
        at = names.index("content-transfer-encoding")
        return (*fields[:at], field, *(f for f in fields[at + 1 :] if f.name != "content-transfer-encoding"))
    at = names.index("content-type") + 1 if "content-type" in names else len(fields)
    return (*fields[:at], field, *fields[at:])
