"""Asked: the requests of the command line, answered line by line, so that no answer grows with the queue.

A request is an object with `do`; each line of its answer is an object too.
"""

from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

from relay.entry import Cause
from relay.errors import RelayError
from relay.queue import looking, moving
from relay.queue.changes import PAST, Word
from relay.queue.changing import Asked, Parts, change
from relay.queue.looking import wanted_by
from relay.queue.shown import summary
from relay.queue.waiting import due_again
from relay.spool import Spool

Lines = AsyncIterator[dict[str, Any]]
Octets = AsyncIterator[bytes]
"""What follows a request: the octets of a mail that is brought along."""


class Queue:
    """The requests, answered from a spool with the parts that stand around it."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def answer(self, request: dict[str, Any], octets: Octets) -> Lines:
        """One request, line by line. Raises RelayError with a sentence."""
        verb = str(request.get("do"))
        if look := _LOOKS.get(verb):
            lines = look(self._parts.spool, request, self._parts.clock())
        elif verb == "take-in":
            lines = moving.take_in(self._parts.spool, request, octets, self._word(request), self._parts.wake)
        elif verb in PAST:
            wanted = wanted_by(request, self._parts.clock())
            asked = Asked(verb, wanted, self._word(request), _before(request))
            lines = change(self._parts, asked, _ids(request))
        else:
            raise RelayError(f"no such request: {verb!r}")
        async for line in lines:
            yield line

    async def due_again(self, upstreams: Sequence[str], by: str, causes: Collection[Cause] = tuple(Cause)) -> int:
        """Make due what waits for these next hops, for one of these causes; how many mails."""
        return await due_again(self._parts, upstreams, Word(by, self._parts.clock()), causes)

    async def back(self, upstreams: Sequence[str], because: str, causes: Collection[Cause]) -> int:
        """The same, since these next hops take mail again; no other one's pause ends with it."""
        parts = replace(self._parts, lift=lambda _names: None)
        return await due_again(parts, upstreams, Word("", parts.clock(), because=because), causes)

    def _word(self, request: dict[str, Any]) -> Word:
        return Word(str(request.get("by", "")), self._parts.clock(), str(request.get("to", ""))[:200])


_LOOKS: dict[str, Callable[[Spool, dict[str, Any], float], Lines]] = {
    "list": lambda spool, request, now: looking.listed(spool, request, now, summary),
    "find": lambda spool, request, now: looking.listed(spool, request, now, looking.id_and_state),
    "show": lambda spool, request, _: looking.shown(spool, _ids(request)),
    "trace": lambda spool, request, _: looking.traced(spool, str(request.get("what", ""))),
    "form": lambda spool, request, _: looking.forms(spool, _ids(request)),
    "cat": lambda spool, request, _: looking.octets_of(spool, str(request.get("id", ""))),
}


def _before(request: dict[str, Any]) -> dict[str, Any]:
    """By id what each mail was, for `restore`. Raises RelayError."""
    given = request.get("before") or {}
    were = given.values() if isinstance(given, dict) else [given]
    for was in were:
        due = was.get("due") or 0.0 if isinstance(was, dict) else None
        if not isinstance(due, int | float) or due - due != 0:
            raise RelayError("`before` is no object of objects, each with a time in `due`")
    return given if isinstance(given, dict) else {}


def _ids(request: dict[str, Any]) -> list[str]:
    ids = request.get("ids")
    if not isinstance(ids, list) or not ids:
        raise RelayError("name the ids")
    return list(dict.fromkeys(map(str, ids)))
