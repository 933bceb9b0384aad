"""Changes: what becomes of an entry by an administrator's word. Pure; None where it is so already."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from relay import retry
from relay.entry import Cause, Disposition, Entry, Outcome, State
from relay.reply import Reply

ADMINISTRATOR = "administrator"
"""The rule that answers for a recipient who was dropped or bounced by hand."""
EXPORTED = "exported to "
"""How the reason of an entry begins that waits here while its copy is elsewhere."""
EXPORTED_EVENT = "exported"
"""The last event of an entry that has ended here because its copy is elsewhere."""


@dataclass(frozen=True, slots=True)
class Word:
    """Who says it, when (wall-clock seconds since 1970), and where to, for an export."""

    by: str
    now: float
    to: str = ""
    because: str = ""
    """In place of a person: what has happened."""

    def __str__(self) -> str:
        if self.because:
            return self.because
        return f"by an administrator ({self.by})" if self.by else "by an administrator"


def hold(entry: Entry, word: Word) -> Entry | None:
    """Kept back until it is released."""
    if entry.state is State.HELD:
        return None
    return replace(entry, state=State.HELD, reason=str(word)).with_event(word.now, "held", str(word))


def release(entry: Entry, word: Word) -> Entry | None:
    """Held mail is queued again, due now, with a new lifetime."""
    return None if entry.state is not State.HELD else try_now(entry, word)


def try_now(entry: Entry, word: Word) -> Entry:
    """Due now, be it held or waiting for its next try."""
    kind = "released" if entry.state is State.HELD else "retry"
    if word.because and entry.events and (entry.events[-1].kind, entry.events[-1].text) == (kind, str(word)):
        entry = replace(entry, events=entry.events[:-1])  # a next hop that falls and rises all day is one line
    return replace(entry, state=State.QUEUED, reason="", due=word.now).with_event(word.now, kind, str(word))


def drop(entry: Entry, word: Word) -> Entry:
    """Every recipient that has no answer yet ends as dropped by the administrator (promise 2)."""
    return _ended(entry, word, "dropped", Disposition.DROPPED, Reply(250, "2.0.0", "dropped by an administrator"))


def bounce(entry: Entry, word: Word) -> Entry:
    """Every recipient that has no answer yet is refused; a report follows, which names no user of ours."""
    return _ended(entry, word, "bounced", Disposition.REFUSED, Reply(550, "5.0.0", "returned by an administrator"))


def set_aside(entry: Entry, word: Word) -> Entry:
    """Held here while a copy of it is taken elsewhere: it can neither be lost nor be sent twice."""
    reason = f"{EXPORTED}{word.to}"
    return replace(entry, state=State.HELD, reason=reason).with_event(word.now, "held", f"{reason} {word}")


def removed(entry: Entry, word: Word) -> Entry | None:
    """The copy is safe: the entry ends here. None for one that was not set aside."""
    if entry.state is not State.HELD or not entry.reason.startswith(EXPORTED):
        return None
    return _ended(entry, word, EXPORTED_EVENT, Disposition.DROPPED, Reply(250, "2.0.0", entry.reason))


def restored(entry: Entry, before: Mapping[str, Any], word: Word) -> Entry | None:
    """The copy failed: its `state`, `reason` and `due` are what they were before it was set aside."""
    if entry.state is not State.HELD or not entry.reason.startswith(EXPORTED):
        return None
    held = before.get("state") == State.HELD
    back = replace(entry, state=State.HELD if held else State.QUEUED, reason=str(before.get("reason") or ""))
    return replace(back, due=float(before.get("due") or word.now)).with_event(
        word.now, "restored", f"the export failed, {word}"
    )


MEANT: dict[str, tuple[State, ...]] = {"hold": (State.QUEUED,), "release": (State.HELD,), "retry": (State.QUEUED,)}
"""Whom a change means that names no ids and no states; both states, where nothing stands here."""

CHANGES: dict[str, Callable[[Entry, Word], Entry | None]] = {
    "hold": hold,
    "release": release,
    "retry": try_now,
    "drop": drop,
    "bounce": bounce,
}
PAST = {
    "hold": "held",
    "release": "released",
    "retry": "due now",
    "drop": "dropped",
    "bounce": "bounced",
    "set-aside": "exported",
    "remove": "removed",
    "restore": "restored",
}


def _ended(entry: Entry, word: Word, kind: str, disposition: Disposition, reply: Reply) -> Entry:
    outcomes = [_outcome(origin, address, disposition, reply) for origin, address in _open(entry).items()]
    done = replace(entry, state=State.DONE, reason="", done_at=word.now, answered=(*entry.answered, *outcomes))
    return done.with_event(word.now, kind, str(word))


def _open(entry: Entry) -> dict[str, str]:
    """Everybody without an answer, by origin: as accepted, as rules added or completed them, and refused paths."""
    known = {outcome.origin for outcome in entry.answered}
    people = {r.origin: str(r.address) for r in entry.envelope.recipients}
    people |= {o.origin: o.address for o in retry.refused_paths(entry)}
    people |= {o.origin: o.address for attempt in entry.attempts for o in attempt.outcomes}
    return {origin: address for origin, address in people.items() if origin not in known}


def _outcome(origin: str, address: str, disposition: Disposition, reply: Reply) -> Outcome:
    return Outcome(origin, address, disposition, reply, cause=Cause.RULE, rule=ADMINISTRATOR)
