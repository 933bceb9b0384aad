"""The sqlite engine: WAL, synchronous=FULL, one writer thread with group commit.

1. A body above SMALL lies in a file of its own, on disk with its folder before the row that names it.
2. An index on `due` makes claiming cost the same for a thousand rows and for a million.
3. Leases live in memory: the lock makes this process the only one, and after a crash every lease would
   be a dead worker's anyway. So a claim writes nothing, and its token fences all the same.
4. History is a table of its own, so the queue stays small.
5. A row whose checksum differs, or whose octets do, is set aside: it blocks nobody, and nothing of it leaves.
"""

import asyncio
import contextlib
import functools
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

from relay import journal
from relay.entry import Entry, LaterForm, State, encode
from relay.errors import LeaseLost, SpoolDamaged, SpoolError
from relay.message import Body
from relay.spool import claiming, folder, schema
from relay.spool.database import Database
from relay.spool.draft import FileDraft
from relay.spool.files import BodyFiles, spool_fault
from relay.spool.protocol import Claim, Clock, Draft, SpoolOptions, Wanted
from relay.spool.readers import Readers
from relay.spool.row import COLUMNS, Stored
from relay.spool.writer import Writer, sqlite_fault

_PURGE = 100
"""Rows of old history, or old facts, that one operation removes at most."""


class SqliteSpool:
    """Mail in a SQLite database and, above SMALL, in files beside it."""

    def __init__(self, options: SpoolOptions, clock: Clock) -> None:
        self._options, self._clock = options, clock
        self._folder = Path(options.path)
        self._files = BodyFiles(self._folder / "bodies")
        self._database = Database(self._folder, self._files)
        self._locks: tuple[int, ...] = ()
        self._token = 0
        self._leases: dict[str, tuple[int, float]] = {}
        """By id: the token of its last claim, and until when it holds. Touched by the writer's thread only."""
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
        writer = Writer(self._database.path, self._database.connect, self._database.replace)
        self._database.aside.remind()
        try:
            self._files.open()
            await writer.start()
            self._writer = writer
            await self._readers.open()
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

    async def _do(self, operation: Callable[[sqlite3.Connection], Any]) -> Any:
        if self._writer is None:
            raise SpoolError("spool: it is not open")
        return await self._writer.do(operation)

    # -- the verbs ----------------------------------------------------------------------------------

    def draft(self) -> FileDraft:
        """A place for a mail's octets."""
        return FileDraft(self._files)

    async def put(self, entry: Entry, draft: Draft) -> None:
        """Keep it; durable when this returns."""
        assert isinstance(draft, FileDraft)
        try:
            await self._sync(draft)
            await self._do(lambda connection: self._insert(connection, entry, draft))
        except SpoolError:
            draft.taken = False  # not kept: its file is the caller's to discard
            raise
        self._news.set()

    async def _sync(self, draft: FileDraft) -> None:
        draft.taken = True
        if draft.name:
            await asyncio.to_thread(draft.sync)

    def _insert(self, connection: sqlite3.Connection, entry: Entry, draft: FileDraft) -> None:
        """A new row and its body, or, for an entry that is DONE at once, its record."""
        if entry.state is State.DONE:
            self._record(connection, entry)
            draft.taken = False
            return
        form = encode(entry)
        cursor = connection.execute(
            "INSERT INTO entries (id, state, profile, due, size, file, entry, crc, body_crc)"
            " VALUES (?,?,?,?,?,?,?,?,?)",
            (entry.id, entry.state, entry.profile, entry.due, entry.size, draft.name, form, crc32(form), draft.crc),
        )
        if not draft.name:
            connection.execute("INSERT INTO bodies VALUES (?, ?)", (cursor.lastrowid, draft.octets))

    async def claim(self, wanted: Wanted, wait: float) -> list[Claim]:
        """Up to `wanted.limit` due entries, oldest due first; waits up to `wait` seconds for the first."""
        loop = asyncio.get_running_loop()
        until = loop.time() + wait
        while True:
            self._news.clear()
            claims, soonest = await self._do(lambda connection: self._take(connection, wanted))
            left = until - loop.time()
            if claims or left <= 0:
                return list(claims)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left, max(soonest - self._clock(), 0.001))):
                    await self._news.wait()

    def _take(self, connection: sqlite3.Connection, wanted: Wanted) -> tuple[list[Claim], float]:
        now = self._clock()
        leased = {name for name, (_, until) in self._leases.items() if until > now}
        claims: list[Claim] = []
        for _, seq, *row in claiming.rows(connection, wanted, now, len(leased)):
            name = row[0]
            if name in leased or len(claims) == wanted.limit:
                continue
            try:
                entry, body = Stored(*row).whole(self._files)
            except LaterForm as fault:
                journal.warning(name, f"left alone: {fault}; a program that reads it takes it up again")
                connection.execute("UPDATE entries SET state = 'later' WHERE seq = ?", (seq,))
                continue
            except ValueError as fault:
                self._set_aside(connection, seq, name, str(fault))
                continue
            self._token += 1
            self._lease(name, (self._token, now + self._options.lease))
            claims.append(Claim(entry, body, self._token))
        return claims, self._soonest(connection, now)

    def _lease(self, name: str, lease: tuple[int, float]) -> None:
        """Note a lease; taken back with the transaction that it was given in."""
        old = self._leases.get(name, (0, 0.0))
        self._leases[name] = lease
        if self._writer:
            self._writer.undo.append(lambda: self._leases.update({name: old}))

    def _soonest(self, connection: sqlite3.Connection, now: float) -> float:
        """When the next claim may find something: the first due entry that no lease holds, or a lease's end."""
        query = "SELECT id, due FROM entries WHERE state = 'queued' ORDER BY due LIMIT ?"
        times = [until for _, until in self._leases.values()]
        for name, due in connection.execute(query, (len(self._leases) + 1,)):
            if name not in self._leases:
                times.append(due)
                break
        return min(times, default=now + 3600)

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
        until = self._clock() + self._options.lease

        def extend(connection: sqlite3.Connection) -> None:
            self._owned(connection, claim)
            self._leases[claim.entry.id] = (claim.token, until)

        await self._do(extend)

    async def settle(self, claims: Sequence[Claim], *follow_ups: tuple[Entry, Draft | None]) -> None:
        """Replace the claimed entries by `follow_ups` in one transaction. Raises LeaseLost."""
        drafts = [draft for _, draft in follow_ups if isinstance(draft, FileDraft)]
        try:
            for draft in drafts:
                await self._sync(draft)
            await self._do(lambda connection: self._replace(connection, claims, follow_ups))
        except (SpoolError, LeaseLost):
            for draft in drafts:
                draft.taken = False
            raise
        self._news.set()

    def _owned(self, connection: sqlite3.Connection, claim: Claim) -> tuple[int, str]:
        """Row and file of a claimed entry. Raises LeaseLost when another claim has followed."""
        token, _ = self._leases.get(claim.entry.id, (0, 0.0))
        row = connection.execute("SELECT seq, file FROM entries WHERE id = ?", (claim.entry.id,)).fetchone()
        if row is None or token != claim.token:
            raise LeaseLost
        return int(row[0]), str(row[1])

    def _replace(
        self,
        connection: sqlite3.Connection,
        claims: Sequence[Claim],
        follow_ups: Sequence[tuple[Entry, Draft | None]],
    ) -> None:
        owned = {claim.entry.id: self._owned(connection, claim) for claim in claims}
        stay: set[str] = set()
        for entry, draft in follow_ups:
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
                self._insert(connection, entry, draft)
        for name, (seq, file) in owned.items():
            if name not in stay:
                connection.execute("DELETE FROM entries WHERE seq = ?", (seq,))
                connection.execute("DELETE FROM bodies WHERE seq = ?", (seq,))
                if file and self._writer:
                    self._writer.after_commit.append(functools.partial(self._files.remove, file))
        if self._writer:
            self._writer.after_commit.append(lambda: self._release(owned))

    def _release(self, names: Iterable[str]) -> None:
        for name in names:
            self._leases.pop(name, None)

    def _record(self, connection: sqlite3.Connection, entry: Entry) -> None:
        now = self._clock()
        connection.execute(
            "INSERT OR REPLACE INTO history (id, done_at, entry) VALUES (?, ?, ?)",
            (entry.id, entry.done_at or now, encode(entry)),
        )
        connection.execute(
            "DELETE FROM history WHERE seq IN (SELECT seq FROM history WHERE done_at < ? ORDER BY done_at LIMIT ?)",
            (now - self._options.history, _PURGE),
        )

    async def remember(self, key: str, value: str, until: float) -> None:
        """Keep a small fact until then."""
        now = self._clock()

        def remember(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT OR REPLACE INTO facts VALUES (?, ?, ?)", (key, value, until))
            connection.execute(
                "DELETE FROM facts WHERE key IN (SELECT key FROM facts WHERE until < ? LIMIT ?)", (now, _PURGE)
            )

        await self._do(remember)

    async def recall(self, key: str) -> str | None:
        """A remembered fact that has not run out."""
        query = "SELECT value FROM facts WHERE key = ? AND until > ?"
        rows = await self._read(query, (key, self._clock()))
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

    async def counts(self) -> dict[State, int]:
        """How many entries stand in each state."""
        return await self._readers.counts()

    async def _read(self, query: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        return await self._readers.rows(query, values)

    def _damaged(self, found_in: int, why: str) -> None:
        """What a reader found damaged, the writer replaces, unless it has done so already."""

        def damaged(_connection: sqlite3.Connection) -> None:
            if found_in == self._database.rounds:
                raise SpoolDamaged(f"spool {self._database.path}: a reader finds it damaged: {why}")

        if self._writer:
            self._writer.later(damaged)
