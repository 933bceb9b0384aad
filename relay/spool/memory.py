"""The memory engine: the promises of a spool without a disk. For tests, and as the meaning of the verbs."""

import asyncio
import heapq
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace

from relay.entry import Entry, State
from relay.errors import LeaseLost, SpoolError
from relay.message import Body, BytesBody
from relay.spool.draft import FileDraft
from relay.spool.protocol import Claim, Clock, Draft, SpoolOptions, Wanted, matches


@dataclass(slots=True)
class _Row:
    entry: Entry
    body: Body
    ready: float
    token: int = 0


class MemorySpool:
    """Entries in a dictionary; everything is gone with the process."""

    def __init__(self, options: SpoolOptions, clock: Clock) -> None:
        self._options, self._clock = options, clock
        self._rows: dict[str, _Row] = {}
        self._history: dict[str, Entry] = {}
        self._facts: dict[str, tuple[str, float]] = {}
        self._token = 0
        self._news = asyncio.Event()

    async def open(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close."""

    def draft(self) -> FileDraft:
        """A draft that stays in memory."""
        return FileDraft(None)

    def room(self, octets: int) -> None:
        """As much as there is memory."""

    async def put(self, entry: Entry, draft: Draft) -> None:
        """Keep it."""
        if entry.id in self._rows:
            raise SpoolError(f"spool: the id {entry.id} is taken")
        self._keep(entry, draft)

    def _keep(self, entry: Entry, draft: Draft | None) -> None:
        old = self._rows.pop(entry.id, None)
        if entry.state is State.DONE:
            self._history[entry.id] = entry
            return
        body: Body = BytesBody(draft.body().read(0, draft.size)) if draft else old.body if old else BytesBody(b"")
        self._rows[entry.id] = _Row(entry, body, entry.due)
        self._news.set()

    async def claim(self, wanted: Wanted, wait: float) -> list[Claim]:
        """Up to `wanted.limit` due entries, oldest due first."""
        try:
            async with asyncio.timeout(wait):
                while not (found := self._claim(wanted)):
                    self._news.clear()
                    soonest = min((row.ready for row in self._rows.values()), default=self._clock() + 3600)
                    try:
                        async with asyncio.timeout(max(soonest - self._clock(), 0.001)):
                            await self._news.wait()
                    except TimeoutError:
                        pass
        except TimeoutError:
            return []
        return found

    def _claim(self, wanted: Wanted) -> list[Claim]:
        now = self._clock()
        if wanted.id:
            row = self._rows.get(wanted.id)
            due = [row] if row and (not row.token or row.ready <= now) else []
        else:
            due = [row for row in self._rows.values() if row.ready <= now and self._asked(row.entry, wanted)]
        claims: list[Claim] = []
        for row in heapq.nsmallest(wanted.limit, due, key=lambda row: row.ready):
            self._token += 1
            row.token, row.ready = self._token, now + self._options.lease
            claims.append(Claim(row.entry, row.body, self._token))
        return claims

    @staticmethod
    def _asked(entry: Entry, wanted: Wanted) -> bool:
        right = wanted.profile in ("", entry.profile) and entry.profile not in wanted.without
        return right and entry.state is State.QUEUED

    def _held(self, claim: Claim) -> _Row:
        row = self._rows.get(claim.entry.id)
        if row is None or row.token != claim.token:
            raise LeaseLost
        return row

    async def extend(self, claim: Claim) -> None:
        """A fresh lease."""
        self._held(claim).ready = self._clock() + self._options.lease

    async def settle(self, claims: Sequence[Claim], *follow_ups: tuple[Entry, Draft | None]) -> None:
        """Replace the claimed entries by what follows."""
        for claim in claims:
            self._held(claim)
        kept = {entry.id for entry, _ in follow_ups}
        for claim in claims:
            if claim.entry.id not in kept:
                del self._rows[claim.entry.id]
        for entry, draft in follow_ups:
            self._keep(entry, draft)

    async def remember(self, key: str, value: str, until: float) -> None:
        """Keep a small fact until then."""
        self._facts[key] = (value, until)

    async def note(self, key: str, value: str, until: float) -> str:
        """The remembered fact; where there is none, this one from now on."""
        known = await self.recall(key)
        if known is None:
            await self.remember(key, value, until)
        return value if known is None else known

    async def recall(self, key: str) -> str | None:
        """A remembered fact that has not run out."""
        value, until = self._facts.get(key, ("", 0.0))
        return value if until > self._clock() else None

    async def peek(self, name: str) -> tuple[Entry, Body] | None:
        """A queued or held entry and its octets."""
        row = self._rows.get(name)
        return (row.entry, row.body) if row else None

    async def browse(self, wanted: Wanted) -> AsyncIterator[Entry]:
        """Entries in the order of their ids."""
        states = wanted.states or (State.QUEUED, State.HELD)
        entries = [row.entry for row in self._rows.values()] + list(self._history.values())
        entries.sort(key=lambda e: e.id, reverse=not wanted.oldest_first)
        if wanted.beyond:
            entries = [e for e in entries if e.id != wanted.beyond and (e.id > wanted.beyond) is wanted.oldest_first]
        for entry in [e for e in entries if e.state in states and matches(e, wanted)][: wanted.limit]:
            yield replace(entry)

    async def due_after(self, at: float, limit: int) -> list[str]:
        """The ids of up to `limit` queued entries that are due only after that time."""
        entries = [row.entry for row in self._rows.values()]
        return [e.id for e in entries if e.state is State.QUEUED and e.due > at][:limit]

    async def counts(self) -> dict[State, int]:
        """How many entries stand in each state."""
        entries = [row.entry for row in self._rows.values()]
        counts = {state: sum(e.state is state for e in entries) for state in State}
        return counts | {State.DONE: len(self._history)}
