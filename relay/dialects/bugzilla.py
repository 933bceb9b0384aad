"""Bugzilla (`X-Bugzilla-*` fields, one mail per person)."""

import re

from relay.dialects.facts import Facts, Text, decoded
from relay.message import Message

_TICKET = re.compile(r"\[Bug (\d+)\]", re.IGNORECASE)


def recognises(message: Message) -> bool:
    """X-Bugzilla-Reason or -Type stand in every mail about a bug."""
    return any(message.get(name) for name in ("x-bugzilla-reason", "x-bugzilla-type", "x-bugzilla-product"))


def facts(message: Message, text: Text) -> Facts:
    """The product is the project; the bug's number stands in the subject."""
    found = _TICKET.search(decoded(message, "subject"))
    return Facts("bugzilla", decoded(message, "x-bugzilla-product"), found[1] if found else "")
