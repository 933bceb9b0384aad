"""Gitea and Forgejo (`X-Gitea-*` fields, one mail per person, all of one event with one Message-ID).

They write GitLab's and GitHub's fields as well, so that filters for those fit: their own ones are looked for first.
Answers are read at the Reply-To that a mail carries, never at its From.
"""

import re

from relay.dialects.facts import Facts, Text, decoded, display_name, person
from relay.message import Message

_EVENT = re.compile(r"<([^<>@\s]+/(?:issues|pulls)/\d+(?:/(\w+)/\d+)?)@")
_EVENTS = {None: "new", "comment": "comment"}


def recognises(message: Message) -> bool:
    """X-Gitea-Reason, or X-Gitea-Repository, stands in every mail about an issue or a pull request."""
    return message.has("x-gitea-reason", "x-gitea-repository")


def facts(message: Message, text: Text) -> Facts:
    """The repository is the project. Who reported and who owns is not said."""
    found = _EVENT.search(message.text("message-id"))
    return Facts(
        "gitea",
        decoded(message, "x-gitea-repository"),
        message.text("x-gitea-issue-id") or message.text("x-gitlab-issue-iid"),
        updater=person(decoded(message, "x-gitea-sender") or display_name(message)),
        event=_EVENTS.get(found[2], "change") if found else "",
        event_key=found[1] if found else "",
    )
