"""django-helpdesk: the subject begins `[queue-12]`."""

import re

from relay.dialects.facts import Facts, Text, decoded, only_recipient, person
from relay.message import Message

_SUBJECT = re.compile(r"(?:^|\s)\[([a-z0-9_-]+)-(\d+)\] ", re.IGNORECASE)
"""Another prefix may stand in front: ours does, when the mail has passed a relay before."""
_BEHIND_OURS = re.compile(r"(?:re:\s*)*+\[([a-z0-9_-]+)\] (?:.*?\s)??\[(\1)-(\d+)\] ", re.IGNORECASE)
"""A queue may be called release-2024: then our own prefix, `[release-2024]`, has the form of the tracker's."""
_OPENED = re.compile(r"\(opened\)$", re.IGNORECASE)
_TO_SUBMITTER = "we have received your helpdesk query"


def recognises(message: Message) -> bool:
    """By X-Mailer and subject: the subject alone would take other programs' mail for it."""
    return "django" in message.text("x-mailer").lower() and _SUBJECT.search(decoded(message, "subject")) is not None


def facts(message: Message, text: Text) -> Facts:
    """The queue is the project. The submitter is known from his own copy of a new ticket's mail."""
    subject = decoded(message, "subject")
    queue, ticket = _queue_and_ticket(message, subject)
    opened = _OPENED.search(subject) is not None
    to_submitter = opened and _TO_SUBMITTER in " ".join(text()[:2000].split())
    return Facts(
        "helpdesk",
        queue,
        ticket,
        reporter=person(only_recipient(message)) if to_submitter else None,
        event="new" if opened else "",
        takes_replies=True,
    )


def _queue_and_ticket(message: Message, subject: str) -> tuple[str, str]:
    """Which queue and ticket the subject names: behind our prefix, where the mail has passed a relay before."""
    ours = _BEHIND_OURS.match(subject) if message.has("x-tracker-relay") else None
    if ours:
        return ours[2], ours[3]
    found = _SUBJECT.search(subject)
    return (found[1], found[2]) if found else ("", "")
