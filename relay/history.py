"""History: what preparing has shown of a mail becomes part of its entry's life."""

from dataclasses import replace

from relay import journal
from relay.entry import Entry
from relay.mail import Note
from relay.prepare import Prepared
from relay.profiles import Chosen

NOTES_KEPT = 100
"""Notes of rules that an entry's history keeps at most."""


def noted(entry: Entry, prepared: Prepared, now: float) -> Entry:
    """With project, ticket and profile, and what the rules did and noted that its history does not show yet.

    A new warning is logged, too.
    """
    if (prepared.project, prepared.ticket) != (entry.project, entry.ticket):
        entry = replace(entry, project=prepared.project, ticket=prepared.ticket)
    if prepared.chosen:
        entry = assigned(entry, prepared.chosen, now)
    known = {event.text for event in entry.events if event.kind == "rule"}
    notes = [Note("", text) for text in prepared.changes]
    for note in (*notes, *prepared.notes):
        text = f"{note.rule}: {note.text}" if note.rule else note.text
        if text in known or len(known) >= NOTES_KEPT:
            continue
        known.add(text)
        entry = entry.with_event(now, "rule", text)
        if note.warning:
            journal.warning(entry.id, text)
    return entry


def assigned(entry: Entry, chosen: Chosen, now: float) -> Entry:
    """In the line of its profile; where there are several, its life says which one that is and why."""
    name = chosen.profile.name
    if name != entry.profile:
        entry = replace(entry, profile=name)
    told = next((event.text for event in reversed(entry.events) if event.kind == "profile"), "")
    if not chosen.why or str(chosen) == told:
        return entry
    return entry.with_event(now, "profile", str(chosen))
