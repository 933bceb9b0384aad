"""Moving: an entry leaves as its stored form and its octets, and is taken in by another relay once.

The form is the one that the spool keeps, so everything goes along: answers, attempts, history. The id
stays as well: who takes in the same mail again is told that it is here already.
"""

import json
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

from relay import journal
from relay.entry import Entry, State, decode, encode
from relay.errors import DamagedMail
from relay.queue.changes import EXPORTED, EXPORTED_EVENT, Word
from relay.search import Search
from relay.spool import Draft, Spool, Wanted

LONGEST_FORM = 16 << 20
"""Octets of a stored form at most."""
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


def form(entry: Entry) -> dict[str, Any]:
    """The stored form as an object."""
    stored: dict[str, Any] = json.loads(encode(entry).decode("utf-8", "surrogatepass"))
    return stored


def entry_of(stored: Any) -> Entry:
    """The entry of a stored form that came from outside. Raises DamagedMail when it is none."""
    try:
        octets = json.dumps(stored, ensure_ascii=False).encode("utf-8", "surrogatepass")
        entry = decode(octets)
        if decode(encode(entry)) != entry or not _ID.fullmatch(entry.id) or entry.size < 0:
            raise ValueError("values of the wrong kind")
    except (ValueError, TypeError, RecursionError) as fault:
        raise DamagedMail(f"{fault}") from fault
    return entry


async def take_in(
    spool: Spool, request: dict[str, Any], octets: AsyncIterator[bytes], word: Word, wake: Callable[[], None]
) -> AsyncIterator[dict[str, Any]]:
    """Keep one mail: `octets` brings its form (`form` octets of it) and then the mail itself.

    Queued mail is due now; with `hold` it waits for a person. Raises DamagedMail for what is no mail.
    """
    length = request.get("form")
    if not isinstance(length, int) or not 0 < length <= LONGEST_FORM:
        raise DamagedMail(f"a form of {length} octets")
    stored, rest = await _first(octets, length)
    entry = entry_of(_parsed(stored))
    if entry.state is State.DONE:
        raise DamagedMail(f"{entry.id} was finished where it comes from")
    if await _known(spool, entry.id):
        async for _ in octets:
            pass
        yield {"id": entry.id, "result": "already", "text": "is here already: left alone"}
        return
    draft = spool.draft()
    try:
        await _fill(draft, rest, octets)
        if draft.size != entry.size:
            raise DamagedMail(f"{entry.id} has {draft.size} octets, not {entry.size}")
        here = _arrived(entry, word, hold=request.get("hold") is True)
        await spool.put(here, draft)
    finally:
        draft.discard()  # does nothing once the spool has it
    journal.info(here.id, f"imported: {here.events[-1].text}")
    wake()
    yield {"id": entry.id, "result": "done", "text": "imported"}


async def _known(spool: Spool, name: str) -> bool:
    """Whether it is in the queue, or has ended here otherwise than by an export."""
    if await spool.peek(name):
        return True
    past = Wanted(states=(State.DONE,), search=Search(ids=(name,)))
    return any([entry.events[-1:] and entry.events[-1].kind != EXPORTED_EVENT async for entry in spool.browse(past)])


def _arrived(entry: Entry, word: Word, *, hold: bool) -> Entry:
    here = entry.with_event(word.now, "imported", f"from {word.to} {word}" if word.to else str(word))
    if entry.reason.startswith(EXPORTED):
        return replace(here, reason=f"imported; before, it was {entry.reason}: release it if nobody else sends it")
    if hold and entry.state is State.QUEUED:
        return replace(here, state=State.HELD, reason=f"imported {word}")
    return replace(here, due=word.now) if entry.state is State.QUEUED else here


def _parsed(stored: bytes) -> Any:
    try:
        return json.loads(stored)
    except (ValueError, RecursionError) as fault:
        raise DamagedMail(f"{fault}") from fault


async def _first(octets: AsyncIterator[bytes], length: int) -> tuple[bytes, bytes]:
    """The first `length` octets, and what came with them."""
    begun = bytearray()
    async for piece in octets:
        begun += piece
        if len(begun) >= length:
            return bytes(begun[:length]), bytes(begun[length:])
    raise DamagedMail("it ends within a form")


async def _fill(draft: Draft, begun: bytes, octets: AsyncIterator[bytes]) -> None:
    """Write the mail; only lines that end in CRLF are taken, as the listener would take them."""
    last = _checked(draft, begun, b"")
    async for piece in octets:
        last = _checked(draft, piece, last)
    if last == b"\r":
        raise DamagedMail("a mail holds a bare CR")


def _checked(draft: Draft, piece: bytes, last: bytes) -> bytes:
    data = last + piece
    whole, last = (data[:-1], b"\r") if data.endswith(b"\r") else (data, b"")
    lines = whole.count(b"\r\n")
    if whole.count(b"\r") != lines or whole.count(b"\n") != lines or b"\0" in whole:
        raise DamagedMail("a mail holds a bare CR, a bare LF or a NUL octet")
    draft.write(whole)
    return last
