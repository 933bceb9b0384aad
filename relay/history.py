"""History: what preparing has shown of a mail becomes part of its entry's life."""

from relay import journal
from relay.entry import Entry, Event
from relay.prepare import Prepared
from relay.profiles import Chosen

NOTES_KEPT = 100
"""Notes of rules that an entry's history keeps at most."""


def noted(entry: Entry, prepared: Prepared, now: float) -> Entry:
    """With project, ticket and profile, and what the rules did and noted that its history does not show yet.

    A new warning is logged, too.
    """
    profile, events = _assigned(entry, prepared.chosen, now) if prepared.chosen else (entry.profile, [])
    known = {event.text for event in entry.events if event.kind == "rule"}
    texts = [(text, False) for text in prepared.changes]
    texts += [(f"{note.rule}: {note.text}" if note.rule else note.text, note.warning) for note in prepared.notes]
    for text, warning in texts:
        if text in known or len(known) >= NOTES_KEPT:
            continue
        known.add(text)
        events.append(Event(now, "rule", text))
        if warning:
            journal.warning(entry.id, text)
    if not events and (profile, prepared.project, prepared.ticket) == (entry.profile, entry.project, entry.ticket):
        return entry
    return entry.but(
        project=prepared.project,
        ticket=prepared.ticket,
        profile=profile,
        events=(*entry.events, *events),
    )


def _assigned(entry: Entry, chosen: Chosen, now: float) -> tuple[str, list[Event]]:
    """Its profile; where there are several, its life says which one that is and why."""
    told = next((event.text for event in reversed(entry.events) if event.kind == "profile"), "")
    said = [] if not chosen.why or str(chosen) == told else [Event(now, "profile", str(chosen))]
    return chosen.profile.name, said
