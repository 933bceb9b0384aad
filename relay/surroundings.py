"""Surroundings: what every session of the listener has in common."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from relay.admission import ListenerOptions
from relay.duplicates import Duplicates
from relay.entry import Entry
from relay.gate import Gate
from relay.limits import Limits
from relay.message import Message
from relay.spool import Spool


@dataclass(slots=True)
class Pile:
    """What lies about for clients that read no answers or ask for too much: octets of theirs and ours, all together."""

    octets: int = 0


@dataclass(slots=True)
class Pulse:
    """Whether clients are talking, by the clock of the event loop."""

    at: float = -math.inf
    """When any of them has last said anything, or was answered for a mail."""
    waiting: int = 0
    """Who waits to hear that a mail is kept: it is we who are silent, not they."""

    @property
    def heard(self) -> float:
        """Until when they were talking: `inf` while they wait for us."""
        return math.inf if self.waiting else self.at


@dataclass(frozen=True, slots=True)
class Setting:
    """What a session needs besides its socket.

    `new_id` and `clock` make ids and wall-clock seconds; `queued` hears of every mail that was kept;
    `assigned` gives a new entry its profile, by the header of its mail. `duplicates` outlasts a reload.
    """

    options: ListenerOptions
    spool: Spool
    new_id: Callable[[], str]
    clock: Callable[[], float]
    hostname: str
    gateway_id: str
    queued: Callable[[], None] = lambda: None
    assigned: Callable[[Entry, Message], Entry] = lambda entry, _message: entry
    duplicates: Duplicates = field(default_factory=Duplicates)
    gate: Gate = field(default_factory=Gate)
    limits: Limits = field(default_factory=Limits)
    pile: Pile = field(default_factory=Pile)
    pulse: Pulse = field(default_factory=Pulse)
