"""Options: declared once, in the room that owns them, as dataclass fields with default, parser and one-line doc.

The reference, `check`, the redaction of secrets and the test of the shipped config.ini all come from
these declarations; `config.py` knows sections, not options.
"""

import dataclasses
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from relay import address as addresses
from relay.address import Address, AddressError, parse

Parser = Callable[[str], Any]


def option(default: Any, doc: str, parse: Parser, *, name: str = "", secret: bool = False, shown: str = "") -> Any:
    """A dataclass field that config.ini sets.

    `default` is the value itself, `parse` turns the text of the file into a value or raises
    ValueError with a sentence that says what was wrong, `name` is the option's name where it is not
    the field's, `shown` the default as the reference prints it, where `default` alone does not say it.
    """
    metadata = {"doc": doc, "parse": parse, "name": name, "secret": secret, "shown": shown}
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True)
class Secret:
    """A value that never shows itself: not in repr, str, a log or an error. `reveal()` gives it."""

    _value: str

    def reveal(self) -> str:
        """The secret itself; only for the moment of its use."""
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __repr__(self) -> str:
        return "Secret('***')" if self._value else "Secret('')"

    __str__ = __repr__


def text(value: str) -> str:
    """Any text, as it stands."""
    return value


def path(value: str) -> str:
    """A path; a relative one is relative to the folder of config.ini."""
    if "\0" in value:
        raise ValueError("a path holds no NUL")
    return value.strip()


def secret(value: str) -> Secret:
    """A secret: shown nowhere."""
    return Secret(value)


def boolean(value: str) -> bool:
    """Strict: yes/true/enabled/on/1 or no/false/disabled/off/0, any case."""
    word = value.strip().lower()
    if word in ("yes", "true", "enabled", "on", "1"):
        return True
    if word in ("no", "false", "disabled", "off", "0"):
        return False
    raise ValueError(f"{value!r} is neither true nor false")


def trac_boolean(value: str) -> bool:
    """Trac's own reading: yes/true/enabled/on or a non-zero number; every other word is false."""
    word = value.strip().lower()
    if word in _TRUE:
        return True
    try:
        return bool(float(word))
    except ValueError:
        return False


_TRUE, _FALSE = ("yes", "true", "enabled", "on"), ("no", "false", "disabled", "off", "")


def is_trac_word(value: str) -> bool:
    """True for what somebody writes who means true or false: Trac's words and their contraries, a number, nothing."""
    word = value.strip().lower()
    if word in (*_TRUE, *_FALSE):
        return True
    try:
        float(word)
    except ValueError:
        return False
    return True


def domain(value: str) -> str:
    """A domain as it is written, or nothing; a leading @ is understood."""
    value = value.strip().removeprefix("@")
    try:
        return addresses.parse_domain(value) if value else ""
    except AddressError as fault:
        raise ValueError(f"{value!r} is not a domain: {fault}") from fault


def ascii_domain(value: str) -> str:
    """The same in lower-case A-labels, as domains are compared."""
    return addresses.ascii_domain(domain(value))


def integer(low: int, high: int) -> Parser:
    """A whole number from `low` to `high`."""

    def parse_integer(value: str) -> int:
        if not re.fullmatch(r"[+-]?\d{1,18}", value.strip()) or not low <= int(value) <= high:
            raise ValueError(f"{value!r} is not a whole number from {low} to {high}")
        return int(value)

    return parse_integer


_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_OCTETS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def duration(value: str) -> float:
    """Seconds; with s, m, h, d or w behind the number: 90, 90s, 1m, 1.5h, 5d."""
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,6})?)\s*([smhdw]?)", value.strip().lower())
    if not found:
        raise ValueError(f"{value!r} is no duration such as 90s, 5m, 1h or 5d")
    return float(found[1]) * _SECONDS[found[2]]


def at_least(least: str) -> Parser:
    """A duration no shorter than `least`: with less, what it is for would not work at all."""
    seconds = duration(least)

    def parse_duration(value: str) -> float:
        if duration(value) < seconds:
            raise ValueError(f"{value!r} is shorter than {least}")
        return duration(value)

    return parse_duration


def duration_or_off(value: str) -> float | None:
    """A duration, or off (None)."""
    return None if value.strip().lower() == "off" else duration(value)


def size(value: str) -> int:
    """Octets; with K, M or G (of 1024) behind the number: 50M."""
    found = re.fullmatch(r"(\d{1,15})\s*([kmg]?)b?", value.strip().lower())
    if not found:
        raise ValueError(f"{value!r} is no size such as 4096, 50M or 1G")
    return int(found[1]) * _OCTETS[found[2]]


def some_size(value: str) -> int:
    """A size that is not 0: nobody's limit, but nothing at all."""
    if not (octets := size(value)):
        raise ValueError(f"{value!r} would let nothing through; there is no value for `no limit`")
    return octets


def choice(*words: str) -> Parser:
    """One of `words`, any case."""

    def parse_choice(value: str) -> str:
        word = value.strip().lower()
        if word not in words:
            raise ValueError(f"{value!r} is none of {', '.join(filter(None, words))}")
        return word

    return parse_choice


def listed(parse_one: Parser) -> Parser:
    """A list, split at commas and blanks, of what `parse_one` reads."""

    def parse_list(value: str) -> tuple[Any, ...]:
        return tuple(parse_one(part) for part in re.split(r"[,\s]+", value.strip()) if part)

    return parse_list


def address(value: str) -> Address | None:
    """One address or bare name, or nothing; `Name <a@b>` gives a@b."""
    value = value.strip()
    bracketed = re.fullmatch(r'(?:"(?:[^"\\]|\\.)*"|[^<>"@,;]*)\s*<([^<>]*)>', value)
    try:
        return parse(bracketed[1].strip() if bracketed else value) if value else None
    except AddressError as fault:
        raise ValueError(f"{value!r} is not an address: {fault}") from fault


_SEPARATORS = re.compile(r"[,;\s]+")
_NAMED = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^<>"@,;]*?)\s*<\s*([^<>]*?)\s*>')
_QUOTED_LOCAL = re.compile(r'"(?:[^"\\]|\\.)*"@[^\s,;]+')
_WORD = re.compile(r'[^\s,;<>"]+')


def address_list(value: str) -> tuple[Address, ...]:
    """Addresses and logins, separated by commas, semicolons or blanks; `Name <a@b>` is one address.

    Whatever does not parse whole is refused here, at configuration time, not dropped when mail is sent.
    """
    found: list[Address] = []
    at = 0
    while at < len(value):
        if separator := _SEPARATORS.match(value, at):
            at = separator.end()
            continue
        part = _QUOTED_LOCAL.match(value, at) or _NAMED.match(value, at) or _WORD.match(value, at)
        if not part:
            raise ValueError(f"{value[at:].strip()!r} is not an address")
        inner = part[1] if part.re is _NAMED else part[0]
        try:
            found.append(parse(inner))
        except AddressError as fault:
            raise ValueError(f"{part[0].strip()!r} is not an address: {fault}") from fault
        at = part.end()
    return tuple(found)
