"""Prepare: an entry becomes its routed, rewritten mails. Pure: it can be repeated for every attempt."""

from dataclasses import dataclass

from relay.address import Address
from relay.entry import Outcome
from relay.mail import Mail, Note
from relay.routing import Route


@dataclass(frozen=True, slots=True)
class Prepared:
    """What is to be tried, and what rules have already decided.

    `settled` are final outcomes that need no attempt: recipients dropped or refused by a named rule.
    """

    routed: tuple[tuple[Route, Mail], ...]
    settled: tuple[Outcome, ...] = ()
    notes: tuple[Note, ...] = ()
    reverse_path: Address | None = None
    """The sender that the rules decided on: who hears of a mail that never reached a route."""
