"""Suppression: dead addresses, to which no mail goes until an administrator takes them off the list again.

The list is one fact in the spool, so that it outlasts a restart. It works on what the rules make of a mail,
so it is heeded at each attempt, by queued mail too. Nobody comes on it by himself: a server's refusal is
reported, and a person decides.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from relay import journal
from relay.address import AddressError, parse
from relay.errors import RelayError
from relay.spool import Clock, Spool

VERBS = ("suppressed", "suppress", "unsuppress")
"""The requests that are answered here."""
MOST = 10_000
"""Addresses on the list at most: each mail is compared with it, and each change writes it anew."""
_KEY = "suppressed"
_FOR_EVER = 9e15
_REASON = 500
"""Characters of a reason at most."""


@dataclass(frozen=True, slots=True)
class Suppressed:
    """An address on the list: since when (seconds since 1970), by whom, and why."""

    address: str
    at: float
    by: str
    reason: str


@dataclass(slots=True)
class Suppression:
    """`changed` hears of the keys to compare recipients with, whenever there are others."""

    spool: Spool
    clock: Clock
    changed: Callable[[frozenset[tuple[str, str]]], None]
    _listed: dict[tuple[str, str], Suppressed] = field(default_factory=dict)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Each change writes the whole list: of two at once, one would write without what the other brought."""

    async def open(self) -> None:
        """Remember who was on the list before a restart. Raises SpoolError."""
        listed = [Suppressed(**row) for row in json.loads(await self.spool.recall(_KEY) or "[]")]
        self._listed = {parse(one.address).key: one for one in listed}
        self._tell()

    async def answer(self, request: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """One request of VERBS, a line for each address. Raises RelayError with a sentence."""
        match request["do"]:
            case "suppress":
                async with self._turn:
                    lines = await self._suppress(request)
            case "unsuppress":
                async with self._turn:
                    lines = await self._unsuppress(request)
            case _:
                lines = [asdict(one) for one in self._listed.values()]
        for line in lines:
            yield line

    async def _suppress(self, request: dict[str, Any]) -> list[dict[str, Any]]:
        by, reason = str(request.get("by", "")), str(request.get("reason", ""))[:_REASON]
        listed, lines = dict(self._listed), []
        for text in _addresses(request):
            key = _key(text)
            if key in listed:
                lines.append({"address": text, "result": "already", "text": "is suppressed already"})
                continue
            listed[key] = Suppressed(text, self.clock(), by, reason)
            lines.append({"address": text, "result": "done", "text": "suppressed"})
        if len(listed) > MOST:
            raise RelayError(f"that would be {len(listed)} suppressed addresses, {MOST} may be: clear some first")
        await self._keep(listed, f"more addresses suppressed by {by}")
        return lines

    async def _unsuppress(self, request: dict[str, Any]) -> list[dict[str, Any]]:
        everything = bool(request.get("all"))
        listed, lines = dict(self._listed), []
        for text in [one.address for one in listed.values()] if everything else _addresses(request):
            found = listed.pop(_key(text), None)
            result = ("done", "gets mail again") if found else ("unknown", "is not suppressed")
            lines.append({"address": text, "result": result[0], "text": result[1]})
        await self._keep(listed, f"addresses suppressed no more, by {request.get('by', '')}")
        return lines

    async def _keep(self, listed: dict[tuple[str, str], Suppressed], said: str) -> None:
        """Durable first, then heeded."""
        number = abs(len(listed) - len(self._listed))
        if not number:
            return
        value = json.dumps([asdict(one) for one in listed.values()], ensure_ascii=False)
        await self.spool.remember(_KEY, value, _FOR_EVER)
        self._listed = listed
        self._tell()
        journal.info("", f"{number} {said}; {len(listed)} in all")

    def _tell(self) -> None:
        self.changed(frozenset(self._listed))


def _addresses(request: dict[str, Any]) -> list[str]:
    given = request.get("addresses")
    if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
        raise RelayError("addresses is no list of addresses")
    return given


def _key(text: str) -> tuple[str, str]:
    try:
        return parse(text).key
    except AddressError as fault:
        raise RelayError(f"{text!r} is not an address: {fault}") from fault
