"""Facts: what one mail says about itself, and what a dialect is."""

from collections.abc import Callable
from typing import Protocol

from relay import encoded_word, mailboxes
from relay.immutable import immutable
from relay.message import Message


@immutable
class Person:
    """Somebody as the mail shows him: a login, a full name, an address, or one with `...` for its domain."""

    shown: str
    imitable: bool = False
    """True when the words may be a user's own, which look like the tracker's: nobody is mailed for their sake."""


@immutable
class Facts:
    """What one mail says about itself. Every field may be empty: nothing is guessed."""

    tracker: str = ""
    project: str = ""
    ticket: str = ""
    reporter: Person | None = None
    owner: Person | None = None
    updater: Person | None = None
    """Who caused this event."""
    previous_owner: Person | None = None
    event: str = ""
    """new, change, comment, attachment, batch, or "" when the mail does not say."""
    event_key: str = ""
    """What one event's mails have in common within a ticket: the number of a comment or journal entry."""
    takes_replies: bool = False
    """True for a tracker that reads the answers to its mail."""
    decides_updater: bool = True
    """True for a tracker whose users choose themselves whether they hear of their own changes."""

    @property
    def recognised(self) -> bool:
        """True when a known tracker wrote the mail."""
        return bool(self.tracker)


Text = Callable[[], str]
"""The decoded first text/plain part, read only when a dialect needs it."""


class Dialect(Protocol):
    """How one tracker writes: a module with these two functions."""

    def recognises(self, message: Message) -> bool:
        """True for this tracker's mail; header fields decide."""

    def facts(self, message: Message, text: Text) -> Facts:
        """What such a mail says."""


def person(shown: str, *nobody: str) -> Person | None:
    """Somebody, unless there is nothing or one of the words by which the tracker says that it is nobody."""
    shown = shown.strip()
    return None if not shown or shown in nobody else Person(shown)


def display_name(message: Message) -> str:
    """The name in front of From's address, "" when there is none."""
    field = message.get("from")
    boxes = mailboxes.read(field.text) if field else []
    return boxes[0].display if len(boxes) == 1 else ""


def only_recipient(message: Message) -> str:
    """To's address, where it is just one: whom a mail per person is for."""
    boxes = mailboxes.written(message, "to")
    return str(boxes[0].address) if len(boxes) == 1 and boxes[0].address else ""


def decoded(message: Message, name: str) -> str:
    """A field's text with encoded words decoded, control characters and blanks collapsed; "" when there is none."""
    return " ".join(encoded_word.clean(encoded_word.decode(message.text(name))).split())
