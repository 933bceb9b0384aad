"""django-helpdesk: the subject begins `[queue-12]`."""

import re

from relay.dialects.facts import Facts, Text, decoded, only_recipient, person
from relay.message import Message

_SUBJECT = re.compile(r"(?:^|\s)\[([a-z0-9_-]+)-(\d+)\] ", re.IGNORECASE)
"""Another prefix may stand in front: ours does, when the mail has passed a relay before."""
_OPENED = re.compile(r"\(opened\)$", re.IGNORECASE)
_TO_SUBMITTER = "we have received your helpdesk query"


def recognises(message: Message) -> bool:
    """By X-Mailer and subject: the subject alone would take other programs' mail for it."""
    return "django" in message.text("x-mailer").lower() and _SUBJECT.search(decoded(message, "subject")) is not None


def facts(message: Message, text: Text) -> Facts:
    """The queue is the project. The submitter is known from his own copy of a new ticket's mail."""
    subject = decoded(message, "subject")
    found = _SUBJECT.search(subject)
    opened = _OPENED.search(subject) is not None
    to_submitter = opened and _TO_SUBMITTER in " ".join(text()[:2000].split())
    return Facts(
        "helpdesk",
        found[1] if found else "",
        found[2] if found else "",
        reporter=person(only_recipient(message)) if to_submitter else None,
        event="new" if opened else "",
        takes_replies=True,
    )
