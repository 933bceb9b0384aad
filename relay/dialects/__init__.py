"""Dialects: how each tracker writes its mail, and the Facts that can be read from it.

Header fields beat body lines; body lines count only for a recognised tracker.
"""

from collections.abc import Iterable

from relay.dialects import bugzilla, generic, gitea, gitlab, helpdesk, jira, mantis, redmine, roundup, rt, trac
from relay.dialects.facts import Dialect, Facts, Person, Text
from relay.message import Message

__all__ = ["DIALECTS", "Dialect", "Facts", "Person", "Text", "facts_of", "proves_reporter"]

DIALECTS: tuple[Dialect, ...] = (
    trac,
    roundup,
    redmine,
    bugzilla,
    gitea,
    gitlab,
    rt,
    jira,
    mantis,
    helpdesk,
    generic,
)
"""The first that recognises a mail reads it; generic recognises all."""


def facts_of(message: Message, text: Text) -> Facts:
    """The facts of a mail, read by the first dialect that recognises it."""
    return next(dialect for dialect in DIALECTS if dialect.recognises(message)).facts(message, text)


def proves_reporter(message: Message, facts: Facts, logins: Iterable[str]) -> list[str]:
    """The logins that the mail proves to be the ticket's reporter; only Trac's mail proves any."""
    return trac.proves_reporter(message, facts.ticket, logins) if facts.tracker == "trac" else []
