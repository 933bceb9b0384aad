"""MTA-STS: what a domain's policy says of its mail servers (RFC 8461), read strictly and without I/O.

A policy is heeded for the domain of a recipient that we deliver to ourselves, never for a configured server,
and never against DANE: where TLSA records name a certificate, they decide (RFC 8461 2).
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from relay.dane import fold, stands_for

LONGEST_AGE = 31_557_600
"""Seconds: a year, the most that `max_age` may say (RFC 8461 3.2)."""
MODES = ("enforce", "testing", "none")
_RECORD = re.compile(rb"v=STSv1[ \t]*(?:;[ \t]*(.*))?", re.DOTALL)
_ID = re.compile(r"[A-Za-z0-9]{1,32}")
_PATTERN = re.compile(r"(?:\*\.)?(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z0-9-]{1,63}")
_FORMAT = 1


def record_id(texts: Sequence[bytes]) -> str:
    """The id in the TXT records of _mta-sts.DOMAIN; "" where they announce no policy (RFC 8461 3.1)."""
    records = [found[1] or b"" for text in texts if (found := _RECORD.fullmatch(text))]
    if len(records) != 1:
        return ""
    for part in records[0].decode("latin-1").split(";"):
        name, _, value = part.partition("=")
        if name.strip(" \t") == "id":
            return value.strip(" \t") if _ID.fullmatch(value.strip(" \t")) else ""
    return ""


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy: its mode, the patterns of its mail servers, and for how many seconds it may be kept."""

    mode: str
    patterns: tuple[str, ...]
    max_age: int

    def names(self, host: str) -> bool:
        """True when one of its patterns stands for that mail server."""
        return any(stands_for(pattern, fold(host)) for pattern in self.patterns)


def read(text: bytes) -> Policy:
    """A policy as it is published (RFC 8461 3.2). Raises ValueError with what is wrong."""
    fields, patterns = _fields(text)
    if fields.get("version") != "STSv1":
        raise ValueError("its version is not STSv1")
    mode, age = fields.get("mode", ""), fields.get("max_age", "")
    if mode not in MODES:
        raise ValueError(f"its mode is {mode[:20]!r}, none of {', '.join(MODES)}")
    if not re.fullmatch(r"\d{1,10}", age, re.ASCII):
        raise ValueError(f"its max_age is {age[:20]!r}")
    if bad := [pattern for pattern in patterns if not _PATTERN.fullmatch(pattern)]:
        raise ValueError(f"mx {bad[0][:60]!r} is no name of a mail server")
    if not patterns and mode != "none":
        raise ValueError("it names no mx")
    return Policy(mode, tuple(patterns), min(int(age), LONGEST_AGE))


def _fields(text: bytes) -> tuple[dict[str, str], list[str]]:
    """The fields, of those that stand there twice the first, and the patterns. Raises ValueError."""
    fields: dict[str, str] = {}
    patterns: list[str] = []
    for line in text.decode("utf-8").replace("\r\n", "\n").split("\n"):
        name, colon, value = (part.strip(" \t") for part in line.partition(":"))
        if line.strip(" \t") and not colon:
            raise ValueError(f"a line without a colon: {line[:60]!r}")
        if name == "mx":
            patterns.append(fold(value))
        else:
            fields.setdefault(name, value)
    return fields, patterns


@dataclass(frozen=True, slots=True)
class Kept:
    """A policy that was fetched: under which id, and when (seconds since 1970)."""

    id: str
    fetched_at: float
    policy: Policy

    def alive(self, now: float) -> bool:
        """True while it may be used, however the domain's web server fares. A clock that was set back ends it."""
        return self.fetched_at - 86400 <= now < self.fetched_at + self.policy.max_age

    def aging(self, now: float) -> bool:
        """True when half of its life is over: fetched anew while there is time, it never lapses (RFC 8461 3.3)."""
        return now >= self.fetched_at + self.policy.max_age / 2


def encode(kept: Kept) -> bytes:
    """The stored form."""
    policy = kept.policy
    form = {"v": _FORMAT, "id": kept.id, "fetched_at": kept.fetched_at, "mode": policy.mode}
    return json.dumps(form | {"mx": policy.patterns, "max_age": policy.max_age}).encode("ascii")


def decode(data: bytes) -> Kept | None:
    """What `encode` has written; None for anything else: it is fetched anew."""
    try:
        form = json.loads(data)
        if form["v"] != _FORMAT:
            return None
        lines = [
            "version: STSv1",
            f"mode: {form['mode']}",
            f"max_age: {form['max_age']}",
            *(f"mx: {p}" for p in form["mx"]),
        ]
        return Kept(str(form["id"]), float(form["fetched_at"]), read("\n".join(lines).encode()))
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError):
        return None
