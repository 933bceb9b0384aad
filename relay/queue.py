"""The queue in an administrator's hand: list, show, cat, hold, release, retry, drop; and trace.

Every change claims the entry first, so it never races with a delivery: a mail that is just being
delivered is left alone, and the answer says so.
"""

import base64
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from relay.entry import Cause, Disposition, Entry, Outcome, State
from relay.errors import RelayError
from relay.mail import Recipient
from relay.reply import Reply
from relay.spool import Spool, Wanted

MAX_ROWS = 1000
"""Entries that one listing shows at most, unless more are asked for."""
ALL = (State.QUEUED, State.HELD, State.DONE)
CHANGES = ("hold", "release", "retry", "drop")


class Queue:
    """The verbs, over a spool. `wake` tells the engine that something became due."""

    def __init__(self, spool: Spool, clock: Callable[[], float], wake: Callable[[], None]) -> None:
        self._spool, self._clock, self._wake = spool, clock, wake

    async def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """One request of the command line. Raises RelayError with a sentence."""
        match request.get("do"):
            case "list":
                return {"entries": [summary(entry) async for entry in self._spool.browse(_wanted(request))]}
            case "show" | "trace":
                return {"entries": await self._traced(str(request.get("what", "")))}
            case "cat":
                return {"octets": base64.b64encode(await self._octets(str(request.get("id", "")))).decode("ascii")}
            case verb if verb in CHANGES:
                ids = request.get("ids")
                if not isinstance(ids, list):
                    raise RelayError("name the ids")
                return {"changed": [await self._change(str(verb), str(name)) for name in ids]}
        raise RelayError(f"no such request: {request.get('do')!r}")

    async def _traced(self, what: str) -> list[dict[str, Any]]:
        """Whole lives, by id, Message-ID, address or #TICKET."""
        if not what:
            raise RelayError("name an id, a Message-ID, an address or #TICKET")
        found = [detail(e) async for e in self._spool.browse(Wanted(limit=MAX_ROWS, states=ALL, text=what))]
        by_id = [row for row in found if row["id"] == what]
        if not found:
            raise RelayError(f"nothing is known of {what}")
        return by_id or found

    async def _octets(self, name: str) -> bytes:
        found = await self._spool.peek(name)
        if found is None:
            raise RelayError(f"{name} is not in the queue")
        _, body = found
        return body.read(0, body.size)

    async def _change(self, verb: str, name: str) -> dict[str, str]:
        if await self._spool.peek(name) is None:
            return {"id": name, "result": "not in the queue"}
        claims = await self._spool.claim(Wanted(id=name), 0)
        if not claims:
            return {"id": name, "result": "is being delivered at this moment: try again"}
        [claim] = claims
        following = CHANGE[verb](claim.entry, self._clock())
        await self._spool.settle([claim], (following or claim.entry, None))
        self._wake()
        return {"id": name, "result": _PAST[verb] if following else f"is {claim.entry.state} already"}


def _hold(entry: Entry, now: float) -> Entry | None:
    if entry.state is State.HELD:
        return None
    return replace(entry, state=State.HELD, reason="by an administrator").with_event(now, "held", "by an administrator")


def _release(entry: Entry, now: float) -> Entry | None:
    if entry.state is not State.HELD:
        return None
    released = replace(entry, state=State.QUEUED, reason="", due=now)
    return released.with_event(now, "released", "by an administrator")


def _retry(entry: Entry, now: float) -> Entry | None:
    due = replace(entry, state=State.QUEUED, reason="", due=now)
    return due.with_event(now, "released" if entry.state is State.HELD else "retry", "by an administrator")


def _drop(entry: Entry, now: float) -> Entry | None:
    """Every recipient that has no answer yet ends as dropped by the administrator (promise 2)."""
    open_ = [r for r in entry.envelope.recipients if entry.outcome(r.origin) is None]
    dropped = replace(
        entry, state=State.DONE, reason="", done_at=now, answered=(*entry.answered, *map(_dropped, open_))
    )
    return dropped.with_event(now, "dropped", "by an administrator")


def _dropped(recipient: Recipient) -> Outcome:
    reply = Reply(250, "2.0.0", "dropped by an administrator")
    return Outcome(
        recipient.origin, str(recipient.address), Disposition.DROPPED, reply, cause=Cause.RULE, rule="administrator"
    )


CHANGE: dict[str, Callable[[Entry, float], Entry | None]] = {
    "hold": _hold,
    "release": _release,
    "retry": _retry,
    "drop": _drop,
}
_PAST = {"hold": "held", "release": "released", "retry": "due now", "drop": "dropped"}


def _wanted(request: dict[str, Any]) -> Wanted:
    states = request.get("states") or [State.QUEUED, State.HELD]
    try:
        return Wanted(
            limit=int(request.get("limit", MAX_ROWS)),
            states=tuple(State(state) for state in states),
            text=str(request.get("text", "")),
        )
    except (ValueError, TypeError) as fault:
        raise RelayError(f"no such filter: {fault}") from fault


def summary(entry: Entry) -> dict[str, Any]:
    """One line of a listing. Times in seconds since 1970."""
    reverse = entry.envelope.reverse_path
    return {
        "id": entry.id,
        "state": str(entry.state),
        "received_at": entry.received_at,
        "due": entry.due,
        "size": entry.size,
        "profile": entry.profile,
        "from": "" if reverse is None else str(reverse),
        "to": [str(r.address) for r in entry.envelope.recipients],
        "attempts": len(entry.attempts),
        "reason": entry.reason,
        "summary": entry.summary,
        "message_id": entry.message_id,
        "done_at": entry.done_at,
    }


def detail(entry: Entry) -> dict[str, Any]:
    """A whole life: what a listing shows, the events, and every attempt with its verbatim replies."""
    return summary(entry) | {
        "client": {"address": entry.client.address, "helo": entry.client.helo, "listener": entry.client.listener},
        "refused_paths": list(entry.refused_paths),
        "events": [{"at": e.at, "kind": e.kind, "text": e.text} for e in entry.events],
        "attempts": [
            {"at": a.at, "upstream": a.upstream, "tls": a.tls, "outcomes": [_outcome(o) for o in a.outcomes]}
            for a in entry.attempts
        ],
        "answered": [_outcome(o) for o in entry.answered],
    }


def _outcome(outcome: Outcome) -> dict[str, Any]:
    return {
        "address": outcome.address,
        "origin": outcome.origin,
        "disposition": str(outcome.disposition),
        "reply": str(outcome.reply),
        "host": outcome.host,
        "cause": str(outcome.cause),
        "rule": outcome.rule,
        "ambiguous": outcome.ambiguous,
    }
