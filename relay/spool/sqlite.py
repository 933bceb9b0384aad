"""The sqlite engine: WAL, synchronous=FULL, one connection that writes, group commit.

1. A body above SMALL lies in a file of its own, on disk with its folder before the row that names it.
2. An index on `due` makes claiming cost the same for a thousand rows and for a million.
3. Leases live in memory (`leases.py`), and new mail lies ready there: a claim writes nothing, and mostly reads nothing.
4. History is a table of its own, so the queue stays small.
5. A row whose checksum differs, or whose octets do, is set aside: it blocks nobody, and nothing of it leaves.
"""

import asyncio
import contextlib
import functools
import math
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

from relay import journal
from relay.entry import Entry, LaterForm, State, encode
from relay.errors import LeaseLost, SpoolDamaged, SpoolError, SpoolGone
from relay.message import Body
from relay.spool import claiming, facts, folder, schema
from relay.spool.database import Database
from relay.spool.draft import FileDraft
from relay.spool.faults import sqlite_fault
from relay.spool.files import BodyFiles, spool_fault
from relay.spool.leases import LOOK, Leases
from relay.spool.protocol import Claim, Clock, Draft, SpoolOptions, Wanted
from relay.spool.readers import Readers
from relay.spool.room import Room
from relay.spool.row import COLUMNS, Stored
from relay.spool.writer import Writer

_LATER = "UPDATE entries SET state = 'later' WHERE seq = ?"
_PURGE = 1000
"""Rows of old history that one operation removes at most."""
PURGE_EVERY = 1.0
"""Seconds between two looks for old history, by the wall clock."""


class SqliteSpool:
    """Mail in a SQLite database and, above SMALL, in files beside it."""

    def __init__(self, options: SpoolOptions, clock: Clock) -> None:
        self._options, self._clock = options, clock
        self._folder = Path(options.path)
        self._room = Room(options)
        self._files = BodyFiles(self._folder / "bodies", self._room)
        self._database = Database(self._folder, self._files, self._room)
        self._room.moved = self._database.place.moved
        self._locks: tuple[int, ...] = ()
        self._leases = Leases(clock, options.lease)
        self._known = -1
        self._purged_at = -math.inf
        self._writer: Writer | None = None
        self._readers = Readers(self._database, self._damaged)
        self._news = asyncio.Event()

    @property
    def commits(self) -> int:
        """Transactions committed so far."""
        return self._writer.commits if self._writer else 0

    # -- opening ------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Create or open the spool. Raises SpoolError when it is in use, foreign, or of a later format."""
        self._locks = folder.enter(self._folder, (self._files.path,), self._database.path)
        self._database.place.hold(self._locks[0])
        writer = Writer(self._database)
        self._database.aside.remind()
        try:
            self._room.prepare()
            self._files.open()
            await writer.start()
            self._writer = writer
            await self._readers.open()
            await self._do(self._note_used)
        except BaseException as fault:
            await self.close()
            if isinstance(fault, OSError):
                raise spool_fault(fault) from fault
            if isinstance(fault, sqlite3.Error):
                raise sqlite_fault(fault) from fault
            raise
        [(waiting,)] = await self._read("SELECT coalesce(sum(mails), 0) FROM totals")
        about = f"SQLite {sqlite3.sqlite_version}, format {schema.FORMAT}"
        journal.info("", f"spool {self._folder}: {waiting} mails in it ({about})")
        self._room.tend()
        self._readers.examine()

    async def close(self) -> None:
        """Finish what was begun, then let go: the writer last, since the last connection empties the log."""
        await self._readers.close()
        if self._writer:
            await self._writer.stop()
            self._writer = None
        self._files.close()
        for descriptor in self._locks:
            os.close(descriptor)
        self._locks = ()

    async def _do(
        self, operation: Callable[[sqlite3.Connection], Any], *, patient: bool = False, needed: bool = True
    ) -> Any:
        if self._writer is None:
            raise SpoolError("spool: it is not open")
        return await self._writer.do(operation, patient=patient, needed=needed)

    # -- the verbs ----------------------------------------------------------------------------------

    def draft(self) -> FileDraft:
        """A place for a mail's octets."""
        return FileDraft(self._files)

    def room(self, octets: int) -> None:
        """Whether a mail of so many octets would fit. Raises SpoolFull."""
        self._room.check(octets, waiting=octets)

    async def put(self, entry: Entry, draft: Draft) -> None:
        """Keep it; durable when this returns."""
        assert isinstance(draft, FileDraft)

        def put(connection: sqlite3.Connection) -> int:
            self._database.place.check()
            self._room.check(0 if draft.name else entry.size, waiting=entry.size, profile=entry.profile)
            seq = self._insert(connection, entry, draft)
            self._note_used(connection)
            return seq

        try:
            await self._sync(draft)
            seq = await self._do(put, needed=False)
        except Exception:
            draft.taken = False  # not kept: its file is the caller's to discard
            raise
        self._offer(entry, draft, seq)
        self._news.set()

    def _offer(self, entry: Entry, draft: FileDraft, seq: int) -> None:
        """New mail is ready for the next claim as it is."""
        if entry.state is State.QUEUED:
            self._leases.offer(entry, draft.body(), seq)

    async def _sync(self, draft: FileDraft) -> None:
        draft.taken = True
        if draft.name:
            await asyncio.to_thread(draft.sync)

    def _note_used(self, connection: sqlite3.Connection) -> None:
        """Where there is a quota: what waits now, once that is on disk."""
        if self._room.limited and self._writer:
            rows = connection.execute("SELECT profile, sum(octets) FROM totals GROUP BY profile").fetchall()
            self._writer.after_commit.append(lambda: self._room.note(dict(rows)))

    def _insert(self, connection: sqlite3.Connection, entry: Entry, draft: FileDraft) -> int:
        """The number of a new row, its body made too; for an entry that is DONE at once its record, and 0."""
        if entry.state is State.DONE:
            self._record(connection, entry)
            draft.taken = False
            return 0
        form = encode(entry)
        cursor = connection.execute(
            "INSERT INTO entries (id, state, profile, due, size, file, entry, crc, body_crc)"
            " VALUES (?,?,?,?,?,?,?,?,?)",
            (entry.id, entry.state, entry.profile, entry.due, entry.size, draft.name, form, crc32(form), draft.crc),
        )
        if not draft.name:
            connection.execute("INSERT INTO bodies VALUES (?, ?)", (cursor.lastrowid, draft.octets))
        return cursor.lastrowid or 0

    async def claim(self, wanted: Wanted, wait: float) -> list[Claim]:
        """Up to `wanted.limit` due entries, oldest due first; waits up to `wait` seconds for the first."""
        if self._writer is None:
            raise SpoolError("spool: it is not open")
        loop = asyncio.get_running_loop()
        until = loop.time() + wait
        while True:
            self._news.clear()
            claims = await self._by_id(wanted.id) if wanted.id else await self._due(wanted)
            left = until - loop.time()
            if claims or left <= 0:
                return claims
            pause = 1.0 if wanted.id else max(self._leases.next_look - self._clock(), 0.001)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left, pause)):
                    await self._news.wait()

    async def _due(self, wanted: Wanted) -> list[Claim]:
        self._room.tend()
        claims: list[Claim] = []
        if self._writer and not (self._writer.sound and self._database.place.is_whole):
            with contextlib.suppress(SpoolGone):  # it was not to be saved; the next time, maybe
                await self._do(lambda _: self._database.place.check())
        if self._known != self._database.rounds:  # a database that was not looked at before: opened, or rebuilt
            self._known = self._database.rounds
            for (profile,) in await self._read_mended(claiming.PROFILES, ()):
                self._leases.due(profile, 0.0)
        while True:
            try:
                for profile in self._leases.to_look(wanted):
                    await self._look(profile)
            except SpoolError:
                if claims:  # they are taken, and nobody else would come for them; the next claim meets the fault
                    return claims
                raise
            more = self._leases.take(wanted, wanted.limit - len(claims))
            claims += more
            if not more or len(claims) >= wanted.limit:
                return claims

    async def _look(self, profile: str) -> None:
        """Make ready what the database holds of a profile; after a fault what was found, and it is looked again."""
        again_at = now = self._clock()
        claims: list[Claim] = []
        began = self._leases.begin_look(profile)
        try:
            rows = await self._read_mended(claiming.due(self._leases.rows), (profile, now, LOOK))
            [(next_due,)] = await self._read_mended(claiming.NEXT_DUE, (profile, now))
            for row in rows:
                if (claim := await self._leased(began, *row)) is not None:
                    claims.append(claim)
            if len(rows) < LOOK:
                again_at = math.inf if next_due is None else next_due
        finally:
            self._leases.looked(profile, claims, again_at)
            self._leases.end_look()

    async def _by_id(self, name: str) -> list[Claim]:
        if claim := self._leases.take_one(name):
            return [claim]
        began = self._leases.begin_look()
        try:
            rows = await self._read_mended(claiming.BY_ID, (name,))
            return [claim for row in rows if (claim := await self._leased(began, *row)) is not None]
        finally:
            self._leases.end_look()

    async def _leased(self, began: int, seq: int, name: str, *row: Any) -> Claim | None:
        """A claim on a row, if it is free, and if it can be read."""
        if not self._leases.free(name, began):
            return None
        try:
            entry, body = Stored(name, *row).whole(self._files)
        except LaterForm as fault:
            journal.warning(name, f"left alone: {fault}; a program that reads it takes it up again")
            await self._do(lambda connection: connection.execute(_LATER, (seq,)))
        except ValueError as fault:
            text = str(fault)
            await self._do(lambda connection: self._set_aside(connection, seq, name, text))
        else:
            return self._leases.lease(entry, body, seq)
        return None

    def _set_aside(self, connection: sqlite3.Connection, seq: int, name: str, reason: str) -> None:
        """A row that can not be read blocks nobody: it moves to `damaged`, for a person to look at."""
        connection.execute(
            "INSERT INTO damaged SELECT e.id, ?, e.file, e.entry, b.data FROM entries e LEFT JOIN bodies b USING (seq)"
            " WHERE e.seq = ?",
            (reason, seq),
        )
        connection.execute("DELETE FROM entries WHERE seq = ?", (seq,))
        connection.execute("DELETE FROM bodies WHERE seq = ?", (seq,))
        journal.warning(name, f"damaged in the spool and set aside into {self._database.aside.path}: {reason}")
        if self._writer:
            self._writer.later(self._database.aside.empty_table)

    async def extend(self, claim: Claim) -> None:
        """A fresh lease. Raises LeaseLost."""
        if not self._leases.extend(claim):
            raise LeaseLost

    async def settle(self, claims: Sequence[Claim], *follow_ups: tuple[Entry, Draft | None]) -> None:
        """Replace the claimed entries by `follow_ups` in one transaction. Raises LeaseLost."""
        drafts = [draft for _, draft in follow_ups if isinstance(draft, FileDraft)]
        try:
            for draft in drafts:
                await self._sync(draft)
            rows = await self._do(lambda connection: self._replace(connection, claims, follow_ups), patient=True)
        except Exception:
            for draft in drafts:
                draft.taken = False
            raise
        self._leases.release(claim.entry.id for claim in claims)
        for (entry, new), seq in zip(follow_ups, rows, strict=True):
            if isinstance(new, FileDraft) and seq:
                self._offer(entry, new, seq)
            elif entry.state is State.QUEUED:
                self._leases.due(entry.profile, entry.due)
        self._news.set()

    def _owned(self, connection: sqlite3.Connection, claim: Claim) -> tuple[int, str]:
        """Row and file of a claimed entry. Raises LeaseLost when another claim has followed."""
        row = connection.execute("SELECT seq, file FROM entries WHERE id = ?", (claim.entry.id,)).fetchone()
        if row is None or self._leases.holds(claim) is None:
            raise LeaseLost
        return int(row[0]), str(row[1])

    def _replace(
        self,
        connection: sqlite3.Connection,
        claims: Sequence[Claim],
        follow_ups: Sequence[tuple[Entry, Draft | None]],
    ) -> list[int]:
        """The new rows' numbers, one for each follow-up; 0 for one that is no new row."""
        rows = [0] * len(follow_ups)
        owned = {claim.entry.id: self._owned(connection, claim) for claim in claims}
        stay: set[str] = set()
        for number, (entry, draft) in enumerate(follow_ups):
            if entry.id in owned and entry.state is not State.DONE:
                stay.add(entry.id)
                connection.execute(
                    "UPDATE entries SET state = ?, profile = ?, due = ?, entry = ?, crc = ? WHERE seq = ?",
                    (entry.state, entry.profile, entry.due, form := encode(entry), crc32(form), owned[entry.id][0]),
                )
            elif entry.id in owned:
                self._record(connection, entry)
            else:
                assert isinstance(draft, FileDraft), "a new entry brings its octets"
                rows[number] = self._insert(connection, entry, draft)
        for name, (seq, file) in owned.items():
            if name not in stay:
                connection.execute("DELETE FROM entries WHERE seq = ?", (seq,))
                connection.execute("DELETE FROM bodies WHERE seq = ?", (seq,))
                if file and self._writer:
                    self._writer.after_commit.append(functools.partial(self._files.remove, file))
        self._note_used(connection)
        return rows

    def _record(self, connection: sqlite3.Connection, entry: Entry) -> None:
        now = self._clock()
        connection.execute(
            "INSERT OR REPLACE INTO history (id, done_at, entry) VALUES (?, ?, ?)",
            (entry.id, entry.done_at or now, encode(entry)),
        )
        if abs(now - self._purged_at) < PURGE_EVERY:
            return
        self._purged_at = now
        connection.execute(
            "DELETE FROM history WHERE seq IN (SELECT seq FROM history WHERE done_at < ? ORDER BY done_at LIMIT ?)",
            (now - self._options.history, _PURGE),
        )

    async def remember(self, key: str, value: str, until: float) -> None:
        """Keep a small fact until then."""
        now = self._clock()
        await self._do(lambda connection: facts.remember(connection, key, value, until, now))

    async def note(self, key: str, value: str, until: float) -> str:
        """The remembered fact; where there is none, this one from now on."""
        now = self._clock()
        return str(await self._do(lambda connection: facts.note(connection, key, value, until, now)))

    async def recall(self, key: str) -> str | None:
        """A remembered fact that has not run out."""
        rows = await self._read(facts.RECALL, (key, self._clock()))
        return rows[0][0] if rows else None

    async def peek(self, name: str) -> tuple[Entry, Body] | None:
        """A queued or held entry and its octets; None when it is not there, or can not be read."""
        for row in await self._read(f"SELECT {COLUMNS} WHERE e.id = ?", (name,)):
            with contextlib.suppress(ValueError):
                return Stored(*row).whole(self._files)
        return None

    def browse(self, wanted: Wanted) -> AsyncIterator[Entry]:
        """Entries in the order of their ids; history too when `states` asks for DONE."""
        return self._readers.browse(wanted)

    async def due_after(self, at: float, limit: int) -> list[str]:
        """The ids of up to `limit` queued entries that are due only after that time."""
        return [name for (name,) in await self._read(claiming.DUE_AFTER, (at, limit))]

    async def counts(self) -> dict[State, int]:
        """How many entries stand in each state."""
        return await self._readers.counts()

    async def _read(self, query: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        return await self._readers.rows(query, values)

    async def _read_mended(self, query: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        """Once more, when the first time has shown damage, and the writer has seen to it."""
        try:
            return await self._read(query, values)
        except SpoolDamaged:
            await self._do(lambda _: None)
            return await self._read(query, values)

    def _damaged(self, found_in: int, why: str) -> None:
        """What a reader found damaged, the writer replaces, unless it has done so already."""

        def damaged(_connection: sqlite3.Connection) -> None:
            if found_in == self._database.rounds:
                raise SpoolDamaged(f"spool {self._database.path}: a reader finds it damaged: {why}")

        if self._writer:
            self._writer.later(damaged)
