"""Bugzilla (`X-Bugzilla-*` fields, one mail per person). Its logins are mail addresses, as a rule."""

import re

from relay.dialects.facts import Facts, Text, decoded, only_recipient, person
from relay.message import Message

_TICKET = re.compile(r"\[Bug (\d+)\]", re.IGNORECASE)
_EVENTS = {"new": "new", "changed": "change"}
_NOBODY = ("nobody", "nobody@mozilla.org", "None")


def recognises(message: Message) -> bool:
    """X-Bugzilla-Reason or -Type stand in every mail about a bug."""
    return message.has("x-bugzilla-reason", "x-bugzilla-type", "x-bugzilla-product")


def facts(message: Message, text: Text) -> Facts:
    """The product is the project. Nothing names the reporter, but he is told that he gets the mail as such."""
    found = _TICKET.search(decoded(message, "subject"))
    reasons = message.text("x-bugzilla-reason").split()
    return Facts(
        "bugzilla",
        decoded(message, "x-bugzilla-product"),
        found[1] if found else "",
        reporter=person(only_recipient(message)) if "Reporter" in reasons else None,
        owner=person(decoded(message, "x-bugzilla-assigned-to"), *_NOBODY),
        updater=person(decoded(message, "x-bugzilla-who")),
        event=_EVENTS.get(message.text("x-bugzilla-type").lower(), ""),
    )
