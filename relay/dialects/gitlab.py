"""GitLab (`X-GitLab-*` fields, one mail per person); it may read the answers to its mail."""

from relay.dialects.facts import Facts, Text, decoded
from relay.message import Message


def recognises(message: Message) -> bool:
    """X-GitLab-Project, or for mail about no project X-GitLab-NotificationReason."""
    return any(message.get(name) for name in ("x-gitlab-project", "x-gitlab-notificationreason"))


def facts(message: Message, text: Text) -> Facts:
    """The project's name and the number of the issue or merge request within it."""
    numbers = (message.text(f"x-gitlab-{kind}-iid") for kind in ("issue", "mergerequest", "epic"))
    return Facts("gitlab", decoded(message, "x-gitlab-project"), next(filter(None, numbers), ""), takes_replies=True)
