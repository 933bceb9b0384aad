"""Trac, 0.10 to 1.6 (`X-Trac-*` fields)."""

from relay.dialects.facts import Facts, Text, decoded
from relay.message import Message


def recognises(message: Message) -> bool:
    """Every release writes X-Trac-Version and X-Trac-Project; a broken one at least its X-Mailer."""
    return any(message.get(name) for name in ("x-trac-version", "x-trac-project", "x-trac-ticket-id"))


def facts(message: Message, text: Text) -> Facts:
    """Project and ticket; batch mails have no ticket."""
    return Facts("trac", decoded(message, "x-trac-project"), message.text("x-trac-ticket-id"))
