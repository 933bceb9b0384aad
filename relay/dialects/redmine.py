"""Redmine (`X-Redmine-*` fields, one mail per person); it may read the answers to its mail."""

import re

from relay.dialects.facts import Facts, Text, decoded
from relay.message import Message

_EVENT = re.compile(r"redmine\.((?:journal|issue)-\d+)\.")


def recognises(message: Message) -> bool:
    """X-Redmine-Host stands in every mail, X-Redmine-Project in those of a project."""
    return any(message.get(name) for name in ("x-redmine-host", "x-redmine-project"))


def facts(message: Message, text: Text) -> Facts:
    """The project's identifier and the issue's number."""
    return Facts(
        "redmine", decoded(message, "x-redmine-project"), message.text("x-redmine-issue-id"), takes_replies=True
    )
