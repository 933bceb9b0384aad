"""django-helpdesk: the subject begins `[queue-12]`."""

import re

from relay.dialects.facts import Facts, Text, decoded
from relay.message import Message

_SUBJECT = re.compile(r"(?:re: *)*\[([a-z0-9_-]+)-(\d+)\] ", re.IGNORECASE)


def recognises(message: Message) -> bool:
    """Its message ids say who wrote them; the subject alone would take other programs' mail for it."""
    return "django" in message.text("x-mailer").lower() and _SUBJECT.match(decoded(message, "subject")) is not None


def facts(message: Message, text: Text) -> Facts:
    """The queue is the project."""
    found = _SUBJECT.match(decoded(message, "subject"))
    return Facts("helpdesk", found[1] if found else "", found[2] if found else "", takes_replies=True)
