"""Looking: listings, lives and octets, without a claim on anything."""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from relay.entry import Entry, State
from relay.errors import NoSuchMail, RelayError
from relay.message import Body, pieces
from relay.queue import moving
from relay.queue.changes import EXPORTED, MEANT
from relay.queue.shown import detail
from relay.search import Search, trace_searches
from relay.spool import Spool, Wanted

ALL = (State.QUEUED, State.HELD, State.DONE)
LINE = 200
"""Mails in one line of an answer."""
PIECE = 196608
"""Octets of a mail in one line of an answer."""
NO_LIMIT = 1 << 60

Lines = AsyncIterator[dict[str, Any]]


async def listed(spool: Spool, request: dict[str, Any], now: float, shown: Callable[[Entry], dict[str, Any]]) -> Lines:
    """What the filters find, LINE mails to a line; `spare_exported` leaves out what waits here while its copy moves."""
    rows: list[dict[str, Any]] = []
    async for entry in spool.browse(wanted_by(request, now)):
        if request.get("spare_exported") is True and entry.reason.startswith(EXPORTED):
            continue
        rows.append(shown(entry))
        if len(rows) == LINE:
            yield {"entries": rows}
            rows = []
    yield {"entries": rows}


def id_and_state(entry: Entry) -> dict[str, Any]:
    """What a change needs to know of a mail."""
    return {"id": entry.id, "state": str(entry.state)}


def wanted_by(request: dict[str, Any], now: float) -> Wanted:
    """The filters of a request; `for` names the change that they are for. Raises RelayError."""
    asked = request.get("search") or {}
    try:
        words = {name: str(asked[name]) for name in ("ticket", "project", "profile", "to", "reason") if name in asked}
        older = asked.get("older")
        search = Search(
            ids=tuple(map(str, asked.get("ids", ()))),
            sender=str(asked.get("from", "")),
            received_before=None if older is None else now - float(older),
            **words,
        )
        states = tuple(State(state) for state in request.get("states") or ()) or MEANT.get(str(request.get("for")), ())
        limit = int(request.get("limit") or NO_LIMIT)
    except (ValueError, TypeError, AttributeError, OverflowError) as fault:
        raise RelayError(f"no such filter: {fault}") from fault
    return Wanted(limit=limit, states=states, text=str(request.get("text", "")), search=search)


async def shown(spool: Spool, ids: Sequence[str]) -> Lines:
    """The life of each, an empty list for one that is not known."""
    for name in ids:
        wanted = Wanted(states=ALL, search=Search(ids=(name,)))
        yield {"id": name, "entries": [detail(entry) async for entry in spool.browse(wanted)]}


async def traced(spool: Spool, what: str) -> Lines:
    """Whole lives, by id, Message-ID, address or #TICKET; by a part of any of them when that finds nothing."""
    if not what.strip():
        raise RelayError("name an id, a Message-ID, an address or #TICKET")
    known: set[str] = set()
    for wanted in _traces(what):
        if known and not wanted.search.sender:  # who is known as a recipient may be a sender as well
            break
        async for entry in spool.browse(wanted):
            if entry.id not in known:
                known.add(entry.id)
                yield {"entries": [detail(entry)]}
    if not known:
        raise NoSuchMail(f"nothing is known of {what}")


def _traces(what: str) -> list[Wanted]:
    wanted = [Wanted(limit=NO_LIMIT, states=ALL, search=search) for search in trace_searches(what)]
    return wanted if what.startswith("#") else [*wanted, Wanted(limit=NO_LIMIT, states=ALL, text=what)]


async def forms(spool: Spool, ids: Sequence[str]) -> Lines:
    """The stored form of each, null for one that is not in the queue."""
    for name in ids:
        found = await spool.peek(name)
        yield {"id": name, "entry": moving.form(found[0]) if found else None}


async def octets_of(spool: Spool, name: str) -> Lines:
    """The mail as it was accepted, piece by piece, in base64."""
    found = await spool.peek(name)
    if found is None:
        raise NoSuchMail(f"{name} is not in the queue")
    for start in range(0, found[1].size, PIECE):
        octets = await asyncio.to_thread(_piece, found[1], start)
        yield {"octets": base64.b64encode(octets).decode("ascii")}


def _piece(body: Body, start: int) -> bytes:
    return b"".join(pieces(body, start, min(start + PIECE, body.size)))
