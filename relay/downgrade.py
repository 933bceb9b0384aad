"""Downgrade: a body made fit for what the wire allows: octets in ASCII, lines of at most 998 octets.

Text becomes quoted-printable; other parts and those with a file name become base64, so their octets
stay (RFC 6152 3). Around the parts, where no reader looks, an octet outside ASCII becomes `?`. Signed
and encrypted parts and whole messages are never changed: mail with such a part that is not fit is not
made fit at all.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import takewhile

from relay import change, fields
from relay.change import Change
from relay.fields import Unfit
from relay.message import Body, Field, Message, pieces
from relay.patch import Edit, Kept, has_long_line, is_ascii
from relay.scan import Part, TooComplex, scan
from relay.transfer import IDENTITY, Undecodable, decoded, is_long


def seven_bit(message: Message) -> Message | None:
    """The message in ASCII octets, for a hop without 8BITMIME; None when what is 8-bit must not be touched."""
    return _changed(message, _in_seven_bits, lambda body: not is_ascii(body), _between)


def short_lines(message: Message) -> Message | None:
    """The message without overlong lines in its body; None when one stands where nothing may be changed."""
    return _changed(message, _in_short_lines, has_long_line)


def _changed(
    message: Message,
    fit: Callable[[Message, Part], Change],
    is_unfit: Callable[[Body], bool],
    further: Callable[[Message, Sequence[Part]], list[Edit]] = lambda _message, _parts: [],
) -> Message | None:
    try:
        parts = scan(message)
        changes = [fit(message, part) for part in parts]
    except (TooComplex, Unfit, Undecodable):
        return None
    changes = [made for made in changes if made != Change(made.part)]
    made = change.apply(message, parts, changes, further(message, parts))
    return None if is_unfit(made.body) else made


def _in_seven_bits(message: Message, part: Part) -> Change:
    header = None if all(field.raw.isascii() for field in part.fields) else _header(part)
    if not part.leaf:
        return Change(part, "7bit" if part.scheme in ("8bit", "binary") and not part.sealed else "", fields=header)
    if all(piece.isascii() for piece in pieces(message.body, part.body, part.end)):
        return Change(part, fields=header)
    if part.scheme not in ("", *IDENTITY, "quoted-printable"):  # which some programs leave half encoded
        raise Unfit
    return replace(_encoded(message, part), fields=header)


def _between(message: Message, parts: Sequence[Part]) -> list[Edit]:
    """What stands before, between and behind the parts of a multipart is shown to nobody: `?` for what is no ASCII."""
    edits: list[Edit] = []
    for number, part in enumerate(parts):
        inner = list(takewhile(partial(_is_within, part), parts[number + 1 :]))
        if part.leaf or part.sealed or not inner:
            continue
        at = part.body
        for child in (child for child in inner if child.depth == part.depth + 1):
            edits += _masked(message, at, child.start, child.within)
            at = child.end
        edits += _masked(message, at, part.end, inner[0].within)
    return edits


def _is_within(part: Part, other: Part) -> bool:
    return other.depth > part.depth


def _masked(message: Message, start: int, stop: int, boundaries: tuple[bytes, ...]) -> list[Edit]:
    if not all(map(bytes.isascii, boundaries)) or all(p.isascii() for p in pieces(message.body, start, stop)):
        return []
    return [Edit(start, stop, Kept(message.body, start, stop, masked=True))]


def _in_short_lines(message: Message, part: Part) -> Change:
    header = _header(part) if is_long(field.raw for field in part.fields) else None
    if not part.leaf or not is_long(pieces(message.body, part.body, part.end)):
        return Change(part, fields=header)
    if part.scheme in ("", *IDENTITY):
        return replace(_encoded(message, part), fields=header)
    if part.scheme not in ("base64", "quoted-printable"):
        raise Unfit
    for _ in decoded(pieces(message.body, part.body, part.end), part.scheme):
        pass  # so that Undecodable is raised here
    return replace(_encoded(message, part), fields=header)


def _header(part: Part) -> tuple[Field, ...] | None:
    """The part's header made fit; that of the message is made so by the rule `wire`. Raises Unfit."""
    if part.depth == 0 or part.sealed:
        return None
    return tuple(fields.fit(field) for field in part.fields)


def _encoded(message: Message, part: Part) -> Change:
    """The part in the encoding for its kind. Raises Unfit for what must not be touched."""
    if part.sealed or part.type.kind == "application/pkcs7-mime":
        raise Unfit
    text = part.type.main == "text" and not part.named and not change.is_wide(part) and part.scheme != "base64"
    scheme = "quoted-printable" if text else "base64"
    return Change(part, scheme, change.recode(message, part, scheme, text=text))
