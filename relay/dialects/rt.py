"""RT: `RT-Ticket` or, in older ones, `X-RT-*` fields; it reads the answers to its mail."""

import re

from relay.dialects.facts import Facts, Text, decoded
from relay.message import Message

_QUEUE = re.compile(r"(?m)^ *Queue: *(\S.*?) *$")


def recognises(message: Message) -> bool:
    """The ticket field stands in every mail about a ticket."""
    return any(message.get(name) for name in ("rt-ticket", "x-rt-ticket"))


def facts(message: Message, text: Text) -> Facts:
    """`rtname #12` in the ticket field; the queue is the project, where the body names it."""
    ticket = decoded(message, "rt-ticket") or decoded(message, "x-rt-ticket")
    queue = _QUEUE.search(text()[:4000])
    name, _, number = ticket.rpartition("#")
    return Facts("rt", queue[1] if queue else name.strip(), number.strip(), takes_replies=True)
