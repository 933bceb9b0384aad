"""Changing: claim a mail, put in its place what the administrator's word makes of it, and say what became of it.

`done`, `already` (it is so), `busy` (it is being delivered), `gone` (it has left the queue), `unknown`,
or `other` (it is not any more what the filters asked for).
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from relay import journal
from relay.entry import Attempt, Entry, State
from relay.message import Body
from relay.prepare import Prepared
from relay.queue import changes, moving
from relay.queue.changes import CHANGES, PAST, Word
from relay.reports import Reports
from relay.retry import Decision, RetryOptions
from relay.search import Search
from relay.spool import Claim, Spool, Wanted

SIDE_BY_SIDE = 50
"""Mails that are changed at the same time: they share the waits for the disk."""
FEW = 10
_NOW = ("retry", "release")
"""The changes after which a mail is to leave at once."""
_LAST = 8
"""The last attempts of a mail that are asked which next hops it waits for."""
PATIENCE = 2.0
"""Seconds that a change of a FEW mails waits for one that is being delivered."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a change needs: `wake` tells the engine that something became due.

    `prepare`, `reports` and `schedule` are the engine's: what is bounced is reported as if the next hop
    had refused it. `lift` ends the pause that next hops of these names have after a failure: who says
    "now" means now.
    """

    spool: Spool
    clock: Callable[[], float]
    wake: Callable[[], None]
    prepare: Callable[[Entry, Body], Awaitable[Prepared]]
    reports: Reports
    schedule: Callable[[], RetryOptions]
    lift: Callable[[Collection[str]], None] = lambda _names: None


@dataclass(frozen=True, slots=True)
class Asked:
    """A change: its verb, what must still hold of each mail, who says so, and for `restore` what each was before."""

    verb: str
    wanted: Wanted
    word: Word
    before: Mapping[str, Any]

    def following(self, entry: Entry) -> Entry | None:
        """What becomes of the entry; None when there is nothing to do."""
        match self.verb:
            case "set-aside":
                return changes.set_aside(entry, self.word)
            case "remove":
                return changes.removed(entry, self.word)
            case "restore":
                return changes.restored(entry, self.before.get(entry.id) or {}, self.word)
        return CHANGES[self.verb](entry, self.word)

    def means(self, entry: Entry) -> bool:
        """Whether it still is what the filters found."""
        return self.wanted.search.matches(entry) and entry.state in (self.wanted.states or State)


async def change(parts: Parts, asked: Asked, ids: Sequence[str]) -> AsyncIterator[dict[str, Any]]:
    """Do it to each of these; a line for some of them at a time."""
    patience = PATIENCE if len(ids) <= FEW else 0.0
    lifted: set[str] = set()
    for at in range(0, len(ids), SIDE_BY_SIDE):
        some = ids[at : at + SIDE_BY_SIDE]
        yield {"changed": await asyncio.gather(*(_one(parts, asked, name, patience, lifted) for name in some))}


async def _one(parts: Parts, asked: Asked, name: str, patience: float, lifted: set[str]) -> dict[str, Any]:
    claim = await _claim(parts.spool, name, patience)
    if isinstance(claim, str):
        return _said(name, claim)
    entry = claim.entry
    following = asked.following(entry) if asked.means(entry) else None
    if following is None:
        await parts.spool.settle([claim], (entry, None))
        return _said(name, "already", f"is {entry.state} already") if asked.means(entry) else _said(name, "other")
    if asked.verb == "bounce":
        await _bounce(parts, claim, following)
    else:
        await parts.spool.settle([claim], (following, None))
    _log(entry, following)
    if asked.verb in _NOW:
        _lift(parts, entry, lifted)
    parts.wake()
    told = _said(name, "done", PAST[asked.verb])
    return told | {"entry": moving.form(entry)} if asked.verb == "set-aside" else told


def _lift(parts: Parts, entry: Entry, lifted: set[str]) -> None:
    """End the pauses that kept this mail waiting: of each next hop once, however many mails wait for it.

    So ten thousand mails with a wrong password are one further log-in.
    """
    names = {a.upstream for a in entry.attempts[-_LAST:] if any(not o.disposition.final for o in a.outcomes)} - lifted
    if names:
        lifted |= names
        parts.lift(names)


async def _claim(spool: Spool, name: str, patience: float) -> Claim | str:
    """The right to change it, or the word that says why not."""
    loop = asyncio.get_running_loop()
    until = loop.time() + patience
    while True:
        if claims := await spool.claim(Wanted(id=name), 0):
            return claims[0]
        if await spool.peek(name) is None:
            past = Wanted(states=(State.DONE,), search=Search(ids=(name,)))
            return "gone" if [entry async for entry in spool.browse(past)] else "unknown"
        if loop.time() >= until:
            return "busy"
        await asyncio.sleep(0.1)


async def _bounce(parts: Parts, claim: Claim, following: Entry) -> None:
    """End it with a report, as if the next hop had refused it."""
    entry, reports = claim.entry, parts.reports
    try:
        prepared = await parts.prepare(entry, claim.body)
    except Exception as fault:
        journal.fault(f"bounce of {entry.id}", fault)
        prepared = Prepared(())
    decision = Decision(following, failures=() if entry.report else following.answered[len(entry.answered) :])
    decision, made = await reports.compose(decision, prepared, claim.body, parts.schedule(), parts.clock())
    try:
        await reports.settle(claim, decision.entry, made)
        await reports.remember(made, parts.clock())
    finally:
        reports.forget(made)
    for report in made:
        journal.reported(following, report.entry)


_WORDS = {
    "busy": "is being delivered at this moment: try again",
    "gone": "is not in the queue any more: see trace",
    "unknown": "no mail has this id",
    "other": "is not any more what you asked for: left alone",
}


def _said(name: str, result: str, text: str = "") -> dict[str, Any]:
    return {"id": name, "result": result, "text": text or _WORDS[result]}


def _log(before: Entry, entry: Entry) -> None:
    """The change, and a line per recipient that it has answered for."""
    for event in entry.events[len(before.events) :]:
        journal.info(entry.id, f"{event.kind}: {event.text}")
    if new := entry.answered[len(before.answered) :]:
        waited = max(entry.done_at - entry.received_at, 0.0)
        journal.attempted(entry, Attempt(entry.done_at, "", new, delays=(waited, 0.0, 0.0, 0.0)))
