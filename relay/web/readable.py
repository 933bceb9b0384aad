"""Readable: a mail for human eyes. Header fields and text parts decoded to text, HTML as its source, the rest listed.

Nothing of a mail is ever given to a browser as anything but text. Never fails for what a mail contains.
"""

from dataclasses import dataclass

from relay import encoded_word
from relay.contenttype import ContentType, TooComplex, parameters_of
from relay.message import Field, Message
from relay.mime import text_in
from relay.scan import Part, scan

MAX_TEXT = 100_000
"""Octets of one text part that are shown."""
MAX_TEXTS = 300_000
"""Octets of all text parts that are shown."""
MAX_PARTS = 50
MAX_FIELD = 2000
"""Characters of one header field that are shown."""
_TEXTUAL = ("message/delivery-status", "message/disposition-notification")


@dataclass(frozen=True, slots=True)
class Shown:
    """One part. `text` is None for what is only listed; `size` is in octets as it lies in the mail."""

    kind: str
    name: str
    size: int
    text: str | None = None
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Readable:
    """A whole mail; `problem` says why its parts are not told apart."""

    fields: tuple[tuple[str, str], ...]
    parts: tuple[Shown, ...]
    problem: str = ""

    def field(self, name: str) -> str:
        """The first field of that name (any case), "" when there is none."""
        return next((text for known, text in self.fields if known.lower() == name), "")

    @property
    def as_json(self) -> dict[str, object]:
        """For a program."""
        return {
            "header": [{"name": name, "text": text} for name, text in self.fields],
            "parts": [
                {"type": p.kind, "name": p.name, "size": p.size, "text": p.text, "cut": p.cut} for p in self.parts
            ],
            "problem": self.problem,
        }


def readable(message: Message) -> Readable:
    """Decode what can be decoded. Reads the body once; what it returns is bounded."""
    fields = header(message)
    left = MAX_TEXTS

    def show(part: Part) -> Shown:
        nonlocal left
        shown = _shown(message, part, min(left, MAX_TEXT))
        left -= 0 if shown.text is None else min(shown.size, left, MAX_TEXT)
        return shown

    try:
        parts = [part for part in scan(message) if part.leaf]
    except TooComplex:
        whole = Part((), ContentType("text/plain", {}), 0, 0, end=message.body.size)
        problem = "The mail has too many parts or levels to be told apart: this is its body as it stands."
        return Readable(fields, (show(whole),), problem)
    problem = f"Only the first {MAX_PARTS} of {len(parts)} parts are shown." if len(parts) > MAX_PARTS else ""
    return Readable(fields, tuple(map(show, parts[:MAX_PARTS])), problem)


def header(message: Message) -> tuple[tuple[str, str], ...]:
    """Names and decoded values, in order."""
    return tuple((_name(field), _cut(encoded_word.decode(field.text))) for field in message.fields)


def _name(field: Field) -> str:
    return field.raw.partition(b":")[0].strip().decode("ascii", "replace")[:100] if field.name else "(no field)"


def _cut(text: str) -> str:
    return text if len(text) <= MAX_FIELD else text[:MAX_FIELD] + " ..."


def _shown(message: Message, part: Part, limit: int) -> Shown:
    size = max(part.end - part.body, 0)
    kind = part.type.kind or "unreadable type"
    name = _cut(file_name(part))
    if part.named or not (part.type.main == "text" or kind in _TEXTUAL):
        return Shown(kind, name, size)
    return Shown(kind, name, size, text_in(message.body, part, limit), size > limit)


def file_name(part: Part) -> str:
    """What an attachment calls itself; "" when it does not."""
    found: dict[str, str] = {}
    for field in part.fields:
        if field.name in ("content-disposition", "content-type"):
            try:
                parameters = parameters_of(field.text, len(field.text.partition(";")[0]))
            except TooComplex:
                continue
            name = parameters.get("filename" if field.name == "content-disposition" else "name", "")
            found.setdefault(field.name, encoded_word.decode(name))
    return found.get("content-disposition") or found.get("content-type") or ""
