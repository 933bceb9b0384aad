"""Jira (`X-JIRA-FingerPrint`); the subject holds the issue's key."""

import re

from relay.dialects.facts import Facts, Text, decoded, display_name, person
from relay.message import Message

_KEY = re.compile(r"[\[(]?\b([A-Z][A-Z0-9_]+)-(\d+)\b")
_AUTHOR = re.compile(r"(.+) \(Jira\)", re.IGNORECASE)
_SAYS = "created|commented|assigned|updated|resolved|closed|reopened"
_EVENT = re.compile(rf"(?:re: )*+(?:\[[^\[\]]+\] ){{0,2}}(?:\[({_SAYS})\]|({_SAYS}):) \(", re.IGNORECASE)
"""`[jira] [Created] (KEY-12)`, to Jira 4 `[jira] Created: (KEY-12)`; our own prefix may stand in front of it."""
_EVENTS = {"created": "new", "commented": "comment"}


def recognises(message: Message) -> bool:
    """Every mail carries the fingerprint field."""
    return message.has("x-jira-fingerprint", "x-atlassian-token")


def facts(message: Message, text: Text) -> Facts:
    """The key's first half is the project. Who reported and who owns stands in a body of free layout alone."""
    subject = decoded(message, "subject")
    found, said = _KEY.search(subject), _EVENT.match(subject)
    author = _AUTHOR.fullmatch(display_name(message))
    return Facts(
        "jira",
        found[1] if found else "",
        f"{found[1]}-{found[2]}" if found else "",
        updater=person(author[1]) if author else None,
        event=_EVENTS.get((said[1] or said[2]).lower(), "change") if said else "",
    )
