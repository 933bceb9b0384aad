"""GitLab (`X-GitLab-*` fields, one mail per person); it may read the answers to its mail."""

import re

from relay.dialects.facts import Facts, Person, Text, decoded, display_name, only_recipient, person
from relay.message import Message

_EVENT = re.compile(r"<((note|issue|merge_request)_\d+)@")
_WITH_LOGIN = re.compile(r".* \(@([^()\s]+)\)")


def recognises(message: Message) -> bool:
    """X-GitLab-Project, or for mail about no project X-GitLab-NotificationReason."""
    return message.has("x-gitlab-project", "x-gitlab-notificationreason")


def facts(message: Message, text: Text) -> Facts:
    """The project's name and the number of the issue or merge request within it.

    The reason for which the recipient gets the mail says of him alone who he is.
    """
    found = _EVENT.search(message.text("message-id"))
    numbers = (message.text(f"x-gitlab-{kind}-iid") for kind in ("issue", "mergerequest", "epic"))
    recipient = person(only_recipient(message))
    reason = message.text("x-gitlab-notificationreason").lower()
    return Facts(
        "gitlab",
        decoded(message, "x-gitlab-project"),
        next(filter(None, numbers), ""),
        owner=recipient if reason == "assigned" else None,
        updater=recipient if reason == "own_activity" else _author(display_name(message)),
        event={"note": "comment"}.get(found[2], "new") if found else "",
        event_key=found[1] if found else "",
        takes_replies=True,
    )


def _author(display: str) -> Person | None:
    """From's display name: `Name (@login)`, in older releases the name alone, GitLab for its own mail."""
    found = _WITH_LOGIN.fullmatch(display)
    return person(found[1] if found else display, "GitLab")
