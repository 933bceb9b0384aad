"""Roundup (`X-Roundup-*` fields); it reads the answers to its mail."""

import re

from relay.dialects.facts import Facts, Text, decoded
from relay.message import Message

_TICKET = re.compile(r"\[(issue\d+|[a-z]+\d+)\]", re.IGNORECASE)


def recognises(message: Message) -> bool:
    """X-Roundup-Name stands in every mail."""
    return any(message.get(name) for name in ("x-roundup-name", "x-roundup-version"))


def facts(message: Message, text: Text) -> Facts:
    """The tracker's name is the project; the subject begins with the item's designator."""
    found = _TICKET.search(decoded(message, "subject"))
    ticket = message.text("x-roundup-issue-id") or (found[1] if found else "")
    return Facts("roundup", decoded(message, "x-roundup-name"), ticket, takes_replies=True)
