"""Spool: the durable store of mail (RFC 5321 6.1), and the engines that keep its promises.

`put` returns when the entry would survive a power cut. A worker *claims* due entries for the time of
a lease, works on them, and *settles* them: replaces them by what follows (retry, report, hold, done),
history included, in one transaction. What every engine must keep is written once, in the conformance
suite.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from relay.entry import Entry, State
from relay.immutable import immutable
from relay.message import Body
from relay.options import at_least, choice, duration, integer, option, path, size
from relay.search import Search, recipients

Clock = Callable[[], float]
"""Wall-clock seconds since 1970."""


@dataclass(frozen=True, slots=True)
class SpoolOptions:
    """[spool]"""

    engine: str = option("sqlite", "How mail is kept: sqlite", choice("sqlite"))
    path: str = option("var/spool", "Folder of the spool; only the relay's user may enter it", path)
    history: float = option(14 * 86400.0, "How long the record of a finished mail is kept", duration, shown="14d")
    lease: float = option(
        900.0, "How long a silent worker keeps its mail from being tried again", at_least("1m"), shown="15m"
    )
    quota: int = option(0, "Octets of mail that may wait in all; 0: as many as the disk takes", size)
    profile_quota: int = option(0, "Octets of mail that may wait of one profile; 0: no limit", size)
    min_free: int | None = option(
        None, "Octets of its disk that new mail leaves free", size, shown="(32M, at most a twentieth of the disk)"
    )
    min_free_inodes: int | None = option(
        None,
        "Below so many files that the disk can still make, mail is refused",
        integer(0, 10**12),
        shown="(1000, at most a twentieth of the disk's)",
    )
    reserve: int | None = option(
        None,
        "Octets kept on the disk so that queued mail is settled when it is full",
        size,
        shown="(8M, at most a twentieth of the disk)",
    )


class Draft(Protocol):
    """A mail's octets while they arrive; small ones in memory, large ones in a file (promise 9)."""

    @property
    def size(self) -> int:
        """Octets written so far."""

    def write(self, data: bytes) -> None:
        """Append. Raises SpoolFull when the disk is full, SpoolError on other faults."""

    def body(self) -> Body:
        """What was written, readable before and after `put`."""

    def discard(self) -> None:
        """Forget it and leave no file behind; does nothing once `put` has taken it."""


@immutable
class Claim:
    """The leased right to work on one entry. `token` fences a worker whose lease ran out."""

    entry: Entry
    body: Body
    token: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which entries: for `claim`, due QUEUED ones unless `id` names one (then even a held one, due or not)."""

    limit: int = 1
    id: str = ""
    profile: str = ""
    without: tuple[str, ...] = ()
    """For `claim`: profiles whose entries are left where they are."""
    states: tuple[State, ...] = ()
    text: str = ""
    """For `browse`: part of an id, Message-ID, address or summary."""
    beyond: str = ""
    """For `browse`: what stands behind the entry of this id in the listing's order: the next page."""
    oldest_first: bool = False
    search: Search = Search()
    """For `browse`: what else must hold."""


def matches(entry: Entry, wanted: Wanted) -> bool:
    """True when `browse` should show this entry."""
    if (wanted.id and entry.id != wanted.id) or wanted.profile not in ("", entry.profile):
        return False
    if not wanted.search.matches(entry):
        return False
    if not wanted.text:
        return True
    places = [entry.id, entry.message_id, entry.summary, str(entry.envelope.reverse_path), *recipients(entry)]
    return any(wanted.text.lower() in place.lower() for place in places)


class Spool(Protocol):
    """The verbs of a spool engine."""

    async def open(self) -> None:
        """Open or create the store; raises SpoolError when it is unusable or in use by another daemon."""

    async def close(self) -> None:
        """Finish what was begun and close."""

    def draft(self) -> Draft:
        """A place for a mail's octets."""

    def room(self, octets: int) -> None:
        """Whether a mail of so many octets would fit, as far as that is known. Raises SpoolFull."""

    async def put(self, entry: Entry, draft: Draft) -> None:
        """Keep it: durable when this returns. Raises SpoolFull or SpoolError; then nothing is kept."""

    async def claim(self, wanted: Wanted, wait: float) -> list[Claim]:
        """Up to `wanted.limit` due entries, oldest due first; waits up to `wait` seconds for the first.

        New mail wakes a waiting claim at once. An entry claimed by a worker that vanished is due
        again when its lease has run out.
        """

    async def extend(self, claim: Claim) -> None:
        """A fresh lease, for work that takes longer. Raises LeaseLost."""

    async def settle(self, claims: Sequence[Claim], *follow_ups: tuple[Entry, Draft | None]) -> None:
        """Replace the claimed entries by `follow_ups`, all in one transaction; durable when it returns.

        A follow-up with a claim's id takes its place (its body stays: no draft); another id is new
        and brings a draft. One in state DONE becomes history and loses its body. A claimed entry
        without a follow-up goes without a trace. Raises LeaseLost, and then changes nothing.
        """

    async def remember(self, key: str, value: str, until: float) -> None:
        """Keep a small fact until then (wall clock): events, report caps, suppressed addresses."""

    async def note(self, key: str, value: str, until: float) -> str:
        """The remembered fact; where there is none, `value` is remembered until then and returned, in one step."""

    async def recall(self, key: str) -> str | None:
        """A remembered fact that has not run out."""

    async def peek(self, name: str) -> tuple[Entry, Body] | None:
        """A queued or held entry and its octets, without a claim; None when it is not there."""

    def browse(self, wanted: Wanted) -> AsyncIterator[Entry]:
        """Entries for listing in the order of their ids (which sort by age), newest first unless `wanted` says
        otherwise; history included when `states` asks for DONE.
        """

    async def due_after(self, at: float, limit: int) -> list[str]:
        """The ids of up to `limit` queued entries, in any order, that are due only after that time.

        Costs what it finds, however many others wait.
        """

    async def counts(self) -> dict[State, int]:
        """How many entries stand in each state."""
