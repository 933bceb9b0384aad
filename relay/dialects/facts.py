"""Facts: what one mail says about itself, and what a dialect is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

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
    """What one mail says about itself. Every field may be empty: nothing is guessed."""

    tracker: str = ""
    project: str = ""
    ticket: str = ""
    reporter: Person | None = None
    owner: Person | None = None
    updater: Person | None = None
    takes_replies: bool = False
    """True for a tracker that reads the answers to its mail."""

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


def decoded(message: Message, name: str) -> str:
    """A field's text with encoded words decoded, blanks collapsed; "" when there is none."""
    return " ".join(encoded_word.decode(message.text(name)).split())
