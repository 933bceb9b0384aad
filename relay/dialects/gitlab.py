"""GitLab (`X-GitLab-*` fields, one mail per person); it may read the answers to its mail."""

import re

from relay.dialects.facts import Facts, Text, decoded
from relay.message import Message

_EVENT = re.compile(r"<((?:note|issue|merge_request)_\d+)@")


def recognises(message: Message) -> bool:
    """X-GitLab-Project, or for mail about no project X-GitLab-NotificationReason."""
    return any(message.get(name) for name in ("x-gitlab-project", "x-gitlab-notificationreason"))


def facts(message: Message, text: Text) -> Facts:
    """The project's name and the number of the issue or merge request within it."""
    found = _EVENT.search(message.text("message-id"))
    numbers = (message.text(f"x-gitlab-{kind}-iid") for kind in ("issue", "mergerequest", "epic"))
    project, ticket = decoded(message, "x-gitlab-project"), next(filter(None, numbers), "")
    return Facts("gitlab", project, ticket, event_key=found[1] if found else "", takes_replies=True)
