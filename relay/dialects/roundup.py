"""Roundup (`X-Roundup-*` fields); it reads the answers to its mail.

The body begins with a line of Roundup's own, which says whose mail it is; the user's text follows; then, if
fields changed, a line of ten dashes and a line for each; then the signature between two lines of `_`:

1. From's display name is the author's. The first line counts when it names the same person: an installation
   may be told to leave it out, and then the first line is the user's own.
2. The block of fields is the last one. A new item always has one, a comment only where fields changed: without,
   a user could write it, so whom it names there is `imitable`.
"""

import re

from relay.dialects.facts import Facts, Person, Text, decoded, display_name
from relay.message import Message

_TICKET = re.compile(r"\[([a-z]+\d+)\]", re.IGNORECASE)
_FIRST = (
    ("new", re.compile(r"New submission from (.+?)(?: <([^<>\s]+)>)?:")),
    ("comment", re.compile(r"(.+?)(?: <([^<>\s]+)>)? added the comment:")),
    ("change", re.compile(r"Change by (.+?)(?: <([^<>\s]+)>)?:")),
)
_BLOCK = "-" * 10
_CHANGED = re.compile(r"assignedto: (.*) ->(?: (.*))?")
_SET = re.compile(r"assignedto: (.+)")
_MAX_LINES = 20_000


def recognises(message: Message) -> bool:
    """X-Roundup-Name stands in every mail."""
    return message.has("x-roundup-name", "x-roundup-version")


def facts(message: Message, text: Text) -> Facts:
    """The tracker's name is the project; the subject begins with the item's designator."""
    found = _TICKET.search(decoded(message, "subject"))
    ticket = message.text("x-roundup-issue-id") or (found[1] if found else "")
    project = decoded(message, "x-roundup-name")
    lines = text().split("\n")[:_MAX_LINES]
    event, updater = _author(lines, display_name(message), project)
    previous, owner = _assigned(lines, event)
    by_header = decoded(message, "x-roundup-issue-assignedto")
    return Facts(
        "roundup",
        project,
        ticket,
        reporter=updater if event == "new" else None,
        owner=Person(by_header) if by_header else owner,
        updater=updater,
        previous_owner=previous,
        event=event,
        event_key=message.text("message-id"),  # the same in each recipient's mail, where there is one for each
        takes_replies=True,
    )


def _author(lines: list[str], display: str, project: str) -> tuple[str, Person | None]:
    """What happened and who did it; by the address where the mail shows one, since that is Roundup's own record."""
    by_header = Person(display) if display not in ("", project) else None
    first = next((line.strip() for line in lines if line.strip()), "")
    for event, pattern in _FIRST:
        found = pattern.fullmatch(first)
        if found and (by_header is None or _same_name(found[1], display)):
            return event, Person(found[2] or found[1])
    return "", by_header


def _same_name(name: str, display: str) -> bool:
    """True when From's display name is that name, behind which an installation may put a tag of its own."""
    name, display = (" ".join(text.split()) for text in (name, display))
    return display == name or display.startswith(f"{name} ")


def _assigned(lines: list[str], event: str) -> tuple[Person | None, Person | None]:
    """The previous and the present owner, out of the last block of fields."""
    starts = [number for number, line in enumerate(lines) if line.rstrip() == _BLOCK]
    if not starts or not event:
        return None, None
    imitable = event == "comment"
    for line in lines[starts[-1] + 1 :]:
        if not line.strip() or line.startswith("___"):
            break
        if found := _CHANGED.fullmatch(line.rstrip()):
            return _somebody(found[1], imitable=imitable), _somebody(found[2], imitable=imitable)
        if event == "new" and (found := _SET.fullmatch(line.rstrip())):
            return None, _somebody(found[1], imitable=False)
    return None, None


def _somebody(login: str | None, *, imitable: bool) -> Person | None:
    return Person(login.strip(), imitable) if login and login.strip() else None
