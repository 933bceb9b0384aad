"""MantisBT: no field of its own in every release; the subject is `[Project 0000012]: summary`."""

import re

from relay.dialects.facts import Facts, Text, decoded
from relay.message import Message

_SUBJECT = re.compile(r"(?:re: *)*\[(.+?) (\d{7})\]: ", re.IGNORECASE)


def recognises(message: Message) -> bool:
    """By its subject, and by X-Mailer or the project field where a release writes them."""
    if message.get("x-mantis-project") or "mantis" in message.text("x-mailer").lower():
        return True
    return _SUBJECT.match(decoded(message, "subject")) is not None


def facts(message: Message, text: Text) -> Facts:
    """Project and number out of the subject."""
    found = _SUBJECT.match(decoded(message, "subject"))
    return Facts("mantis", found[1] if found else "", found[2].lstrip("0") if found else "")
