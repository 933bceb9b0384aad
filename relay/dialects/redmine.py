"""Redmine (`X-Redmine-*` fields, one mail per person); it may read the answers to its mail."""

import re

from relay.dialects.facts import Facts, Text, decoded, person
from relay.message import Message

_EVENT = re.compile(r"<redmine\.((journal|issue)-\d+)\.")
_FIRST = re.compile(r".+ #\d+ has been (?:updated|reported) by (.+)")


def recognises(message: Message) -> bool:
    """X-Redmine-Host stands in every mail, X-Redmine-Project in those of a project."""
    return message.has("x-redmine-host", "x-redmine-project")


def facts(message: Message, text: Text) -> Facts:
    """Logins stand in the header; only releases before X-Redmine-Sender name the updater in the first line alone."""
    found = _EVENT.match(message.text("message-id"))
    updater = decoded(message, "x-redmine-sender")
    if not updater:
        first = text().lstrip().partition("\n")[0].strip()
        said = _FIRST.fullmatch(first[:-1]) if first.endswith(".") else None
        updater = said[1] if said else ""
    return Facts(
        "redmine",
        decoded(message, "x-redmine-project"),
        message.text("x-redmine-issue-id"),
        reporter=person(decoded(message, "x-redmine-issue-author"), "anonymous", "Anonymous"),
        owner=person(decoded(message, "x-redmine-issue-assignee")),
        updater=person(updater, "anonymous", "Anonymous"),
        event=("new" if found[2] == "issue" else "change") if found else "",
        event_key=found[1] if found else "",
        takes_replies=True,
    )
