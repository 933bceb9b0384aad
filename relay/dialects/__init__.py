"""Dialects: how each tracker writes its mail, and the Facts that can be read from it.

Header fields beat body lines; body lines count only for a recognised tracker. A fact that the mail
does not show is empty: nothing is guessed.
"""

from collections.abc import Callable
from dataclasses import dataclass

from relay import encoded_word
from relay.address import Address
from relay.message import Message


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody as the mail shows him: by login, by full name, by address; `cut` when the address was ellipsised."""

    shown: str
    login: str = ""
    name: str = ""
    address: Address | None = None
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """What one mail says about itself. Every field may be empty."""

    tracker: str = ""
    version: str = ""
    project: str = ""
    ticket: str = ""
    summary: str = ""
    event: str = ""
    event_key: str = ""
    reporter: Person | None = None
    owner: Person | None = None
    previous_owner: Person | None = None
    updater: Person | None = None
    root_id: str = ""
    takes_replies: bool = False
    era: str = ""

    @property
    def recognised(self) -> bool:
        """True when a known tracker wrote the mail."""
        return bool(self.tracker)


Text = Callable[[], str]
"""The decoded first text/plain part, read only when a dialect needs it."""


def facts_of(message: Message, text: Text) -> Facts:
    """The facts of a mail, read by the first dialect that recognises it."""
    for name, header, project in (
        ("trac", "x-trac-project", "x-trac-project"),
        ("roundup", "x-roundup-version", "x-roundup-name"),
        ("redmine", "x-redmine-project", "x-redmine-project"),
    ):
        if message.get(header):
            return Facts(tracker=name, project=encoded_word.decode(message.text(project)), takes_replies=name != "trac")
    return Facts()
