"""Jira (`X-JIRA-FingerPrint`); the subject holds the issue's key."""

import re

from relay.dialects.facts import Facts, Text, decoded
from relay.message import Message

_KEY = re.compile(r"[\[(]?\b([A-Z][A-Z0-9_]+)-(\d+)\b")


def recognises(message: Message) -> bool:
    """Every mail carries the fingerprint field."""
    return any(message.get(name) for name in ("x-jira-fingerprint", "x-atlassian-token"))


def facts(message: Message, text: Text) -> Facts:
    """The key's first half is the project."""
    found = _KEY.search(decoded(message, "subject"))
    return Facts("jira", found[1] if found else "", f"{found[1]}-{found[2]}" if found else "")
