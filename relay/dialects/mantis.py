"""MantisBT (one mail per person): no field of its own in every release; the subject is `[Project 0000012]: summary`.

The body begins with a line that says what happened, then come blocks between rules of `=`. The first lines are
Mantis's own, up to `Summary:`; behind it stand users' texts, each note under a heading between rules of `-`, and
at the very end, where it is shown, the history: the last row of the last table is this event, and its user did it.
Without a history the last note's heading tells, which a note could imitate.
"""

import re

from relay.dialects.facts import Facts, Person, Text, decoded, person
from relay.message import Message

_SUBJECT = re.compile(r"(?:^|\s)\[([^\[\]]+) (\d{7})\]: ")
"""Another prefix may stand in front: ours does, when the mail has passed a relay before."""
_LABEL = re.compile(r"(Reported By|Assigned To|Project):(.*)")
_ROW = re.compile(r"(?P<date>\d{4}-\d\d-\d\d \d\d:\d\d) (?P<rest>\S.*)")
_NOTE = re.compile(r" \(~?(\d+)\) (.+?) \([^()]*\) - .+")
_EVENTS = (("submitted", "new"), ("a note has been added", "comment"))
_MAX_LINES = 20_000


def recognises(message: Message) -> bool:
    """By its subject, and by X-Mailer or the project field where a release writes them."""
    if message.get("x-mantis-project") or "mantis" in message.text("x-mailer").lower():
        return True
    subject = message.text("subject")
    return ("]: " in subject or "=?" in subject) and _SUBJECT.search(decoded(message, "subject")) is not None


def facts(message: Message, text: Text) -> Facts:
    """Project and number out of the subject, people out of the body."""
    found = _SUBJECT.search(decoded(message, "subject"))
    lines = [line.rstrip() for line in text().split("\n")[:_MAX_LINES]]
    cells = _cells(lines)
    reporter = person(cells.get("Reported By", ""))
    first = next((line for line in lines if line), "").lower()
    event = next((event for words, event in _EVENTS if words in first), "change" if cells else "")
    note, updater = _updater(lines)
    return Facts(
        "mantis",
        found[1] if found else cells.get("Project", ""),
        found[2].lstrip("0") if found else "",
        reporter,
        person(cells.get("Assigned To", "")),
        updater=reporter if event == "new" and updater is None else updater,
        event=event,
        event_key=f"note-{note}" if note and event == "comment" else "",
    )


def _cells(lines: list[str]) -> dict[str, str]:
    """What stands in front of the summary."""
    cells: dict[str, str] = {}
    for line in lines:
        if line.startswith("Summary:"):
            break
        if found := _LABEL.fullmatch(line):
            cells[found[1]] = found[2].strip()
    return cells


def _updater(lines: list[str]) -> tuple[str, Person | None]:
    """The last note's number, and who caused the event."""
    notes = [found for line in lines if (found := _NOTE.fullmatch(line))]
    number = notes[-1][1].lstrip("0") if notes else ""
    starts = [at for at, line in enumerate(lines) if line == "Issue History"]
    rows = [found for line in (lines[starts[-1] :] if starts else ()) if (found := _ROW.fullmatch(line))]
    if rows:
        newest = max(enumerate(rows), key=lambda row: (row[1]["date"], row[0]))[1]  # some list the newest first
        return number, person(_column(newest["rest"]))
    return number, Person(notes[-1][2], imitable=True) if notes else None


def _column(rest: str) -> str:
    """The user of a row: a column of 15, wider where the name is longer."""
    return rest[:15] if rest[15:16] == " " and "  " not in rest[:15].rstrip() else re.split(r" {2,}", rest)[0]
