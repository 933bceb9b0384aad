"""Encoded words (RFC 2047): text outside ASCII in header fields, read and written.

Reading never fails: what can not be decoded stays as it stands. Writing never lets a control
character through, so no value can become a second field.
"""

import binascii
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import AnyStr

from relay import charsets

LONGEST_WORD = 75
"""Characters in one encoded word at most (RFC 2047 2)."""
LONGEST_LINE = 76
_SINGLE_BLANK = re.compile(r"(?<=[^ \t]) (?=[^ \t])")
"""Columns of a line that holds an encoded word at most (RFC 2047 2)."""

_WORD = re.compile(r"=\?([^?\s]{1,40})\?([bBqQ])\?([^?\s]*)\?=")
_ADJACENT = re.compile(r"[ \t\r\n]+")
_REMEMBERED = 1000
"""Characters of a text that is worth remembering: the cache stays within a few megabytes, whatever is sent."""
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_SURROGATES = re.compile(r"[\ud800-\udfff]")
_TEXT_SAFE = frozenset(range(33, 127)) - frozenset(b"=?_")
_PHRASE_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!*+-/")
_ATOM_PHRASE = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?: [A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")


def decode(text: str) -> str:
    """`text` with its encoded words decoded; blanks between two of them go (RFC 2047 6.2)."""
    if "=?" not in text:
        return text
    return _remembered(text) if len(text) <= _REMEMBERED else _decode(text)


def decodes(text: str) -> bool:
    """True when `decode` understands every encoded word in `text`."""
    words = _WORD.finditer(text) if "=?" in text else ()
    return all(charsets.known(word[1]) and _octets(word[2], word[3]) is not None for word in words)


def _decode(text: str) -> str:
    out: list[str] = []
    run: list[bytes] = []
    charset = ""
    at = 0

    def flush() -> None:
        if run:
            out.append(b"".join(run).decode(charset, "replace"))
            run.clear()

    for found in _WORD.finditer(text):
        octets = _octets(found[2], found[3])
        codec = charsets.known(found[1])
        if octets is None or not codec:
            continue
        gap = text[at : found.start()]
        if gap and not (at and _ADJACENT.fullmatch(gap)):
            flush()
            out.append(gap)
        elif codec != charset:
            flush()
        charset = codec
        run.append(octets)
        at = found.end()
    flush()
    return "".join([*out, text[at:]])


_remembered = lru_cache(1024)(_decode)


def _octets(scheme: str, payload: str) -> bytes | None:
    if not payload.isascii():
        return None
    if scheme in "qQ":
        return binascii.a2b_qp(payload.encode("ascii"), header=True)
    try:
        return binascii.a2b_base64(payload + "=" * (-len(payload) % 4))
    except binascii.Error:
        return None


def clean(text: str) -> str:
    """`text` on one line: runs of control characters become a blank, lone surrogates a question mark."""
    return text if text.isprintable() else _SURROGATES.sub("?", _CONTROLS.sub(" ", text))


def encode(text: str, first: int, *, force: bool = False) -> str:
    """`text` as the value of an unstructured field whose name took `first` columns, folded.

    Plain where it can be: ASCII that nobody could take for an encoded word. `force` encodes anyway
    (a long text without blanks).
    """
    return _encoded(text, first, force=force) if len(text) <= _REMEMBERED else _encode(text, first, force=force)


def _encode(text: str, first: int, *, force: bool) -> str:
    text = clean(text).strip(" ")
    plain = text.isascii() and "=?" not in text and not force and "  " not in text
    if plain and all(len(word) <= 900 for word in text.split(" ")):
        return fold(text, first)
    if text.isascii() and "=?" not in text and not force:
        return _fold_keeping_blanks(text, first)
    return _words(text, first, _TEXT_SAFE)


_encoded = lru_cache(1024)(_encode)


def encode_phrase(text: str, first: int) -> str:
    """`text` as a display name (RFC 5322 3.2.5): atoms, a quoted string or encoded words, never both at once."""
    text = clean(text).strip(" ")
    if text.isascii() and "=?" not in text and len(text) <= 200:
        if _ATOM_PHRASE.fullmatch(text):
            return text
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return _words(text, first, _PHRASE_SAFE)


def fold(text: str, first: int) -> str:
    """Folded at single blanks, so that every line has text, behind a name that took `first` columns."""
    lines, column = [""], first
    for word in _SINGLE_BLANK.split(text):
        if lines[-1] and column + 1 + len(word) > LONGEST_LINE:
            lines.append(word)
            column = 1 + len(word)
        else:
            column += len(word) + (1 if lines[-1] else 0)
            lines[-1] += (" " if lines[-1] else "") + word
    return "\r\n ".join(lines)


def _fold_keeping_blanks(text: str, first: int) -> str:
    """Fold in front of runs of blanks, so that unfolding gives back every blank."""
    parts = re.findall(r" *[^ ]+", text)
    lines, column = [""], first
    for part in parts:
        if lines[-1] and part.startswith(" ") and column + len(part) > LONGEST_LINE:
            lines.append(part)
            column = len(part)
        else:
            lines[-1] += part
            column += len(part)
    if any(len(line) > 900 for line in lines):
        return _words(text, first, _TEXT_SAFE)
    return "\r\n".join(lines)


def _words(text: str, first: int, safe: frozenset[int]) -> str:
    """`text` as encoded words in UTF-8, by whichever of q and b is shorter for all of it."""
    octets = text.encode("utf-8")
    q = [_quoted(char, safe) for char in text]
    if sum(map(len, q)) <= (len(octets) + 2) // 3 * 4:
        return "\r\n ".join(f"=?utf-8?q?{''.join(chunk)}?=" for chunk in _chunks(q, first, 1, 1))
    b = [char.encode("utf-8") for char in text]
    payloads = (
        binascii.b2a_base64(b"".join(chunk), newline=False).decode("ascii") for chunk in _chunks(b, first, 3, 4)
    )
    return "\r\n ".join(f"=?utf-8?b?{payload}?=" for payload in payloads)


def _chunks(letters: Sequence[AnyStr], first: int, per: int, columns: int) -> Iterator[Sequence[AnyStr]]:
    """As many letters as fit into one word each, none cut; `per` units of one take `columns` columns, or begin to."""
    room = LONGEST_WORD - len("=?utf-8?q??=")
    limit = max(min(room, LONGEST_LINE - first - len("=?utf-8?q??=")), 12)
    begin = cost = 0
    for at, letter in enumerate(letters):
        cost += len(letter)
        if (cost + per - 1) // per * columns > limit and at > begin:
            yield letters[begin:at]
            begin, cost, limit = at, len(letter), room - 1
    yield letters[begin:]


@lru_cache(4096)
def _quoted(char: str, safe: frozenset[int]) -> str:
    """One letter in the Q encoding (RFC 2047 4.2)."""
    return "".join("_" if o == 32 else chr(o) if o in safe else f"={o:02X}" for o in char.encode("utf-8"))
