"""Listing: what people look at, over a read-only connection of its own, so that no search keeps mail waiting.

1. SQL walks the index on `id` (ids sort by age) from where the last page ended, and narrows down by state and text.
2. Rows are read and decoded in a thread, a chunk at a time; `matches` has the last word.
3. Who gives up waiting stops the search: the statement is interrupted, not left to run.
"""

import asyncio
import contextlib
import os
import re
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from relay.entry import Entry, State, decode
from relay.errors import SpoolError
from relay.search import Search
from relay.spool.faults import sqlite_fault
from relay.spool.protocol import Wanted, matches

CHUNK = 500
"""Rows read at a time at most."""
LONGEST_PATTERN = 1000
"""Characters that SQLite compares; the rest is for `matches` (SQLite refuses a pattern above 50,000)."""
_NOT_AS_STORED = re.compile(r'[^ -~]|["\\]')
"""Characters that the stored JSON writes otherwise, or whose case SQLite does not know."""
_CODE = re.compile(r"unable to get the page\. error code=(\d+)")

T = TypeVar("T")


def connected(database: Path) -> sqlite3.Connection:
    """A connection that only reads, whatever characters the path has. Raises sqlite3.Error."""
    return sqlite3.connect(f"file:{quote(os.fsencode(database))}?mode=ro", uri=True, check_same_thread=False)


class Listing:
    """`browse` and `counts` of the sqlite engine."""

    def __init__(self, database: Path) -> None:
        self._connection = connected(database)
        self._reading = asyncio.Lock()

    async def close(self) -> None:
        """Finish the chunk that is being read, then close."""
        async with self._reading:
            self._connection.close()

    async def browse(self, wanted: Wanted) -> AsyncIterator[Entry]:
        """Entries in the order of their ids, newest first unless `wanted` says otherwise."""
        left, beyond = wanted.limit, wanted.beyond
        while left > 0:
            chunk = CHUNK if wanted.text or wanted.search != Search() else min(CHUNK, left)
            query, values = statement(wanted, beyond, chunk)
            rows = await self._in_thread(lambda query=query, values=values: self._entries(query, values))  # type: ignore[misc]
            for name, entry in rows:
                beyond = name
                if entry is not None and left > 0 and matches(entry, wanted):
                    left -= 1
                    yield entry
            if len(rows) < chunk:
                return

    def _entries(self, query: str, values: list[Any]) -> list[tuple[str, Entry | None]]:
        return [(name, _readable(form)) for name, form in self._connection.execute(query, values).fetchall()]

    async def counts(self) -> dict[State, int]:
        """How many entries stand in each state."""

        def count() -> dict[State, int]:
            rows = self._connection.execute("SELECT state, sum(mails) FROM totals GROUP BY 1").fetchall()
            [(done,)] = self._connection.execute("SELECT count(*) FROM history").fetchall()
            counts = dict(rows)
            return {state: counts.get(state, 0) for state in State} | {State.DONE: done}

        return await self._in_thread(count)

    async def examine(self) -> str:
        """What is wrong with the database as a whole, "" for nothing. Takes its time: seconds for 100 MB."""

        def examine() -> str:
            [(found,)] = self._connection.execute("PRAGMA integrity_check(1)").fetchall()
            last = str(found).splitlines()[-1]
            return "" if found == "ok" or _is_unread(last) else last

        return await self._in_thread(examine)

    async def _in_thread(self, read: Callable[[], T]) -> T:
        async with self._reading:
            reading = asyncio.ensure_future(asyncio.to_thread(read))
            try:
                return await asyncio.shield(reading)
            except asyncio.CancelledError:
                self._connection.interrupt()
                with contextlib.suppress(sqlite3.Error):
                    await reading
                raise
            except sqlite3.Error as fault:
                raise sqlite_fault(fault) from fault


def _is_unread(found: str) -> bool:
    """True for a page that could not be read for want of memory, or by the disk's fault: that says nothing of it."""
    code = _CODE.search(found)
    return code is not None and int(code[1]) & 0xFF != sqlite3.SQLITE_CORRUPT


def statement(wanted: Wanted, beyond: str, chunk: int) -> tuple[str, list[Any]]:
    """SQL for the next `chunk` rows behind the id `beyond` that can match, from queue, history or both in one order."""
    states = wanted.states or (State.QUEUED, State.HELD)
    queued = {state for state in states if state is not State.DONE}
    where, values = ["1"], list[Any]()
    if wanted.id:
        where, values = [*where, "id = ?"], [*values, wanted.id]
    if beyond:
        where, values = [*where, f"id {'>' if wanted.oldest_first else '<'} ?"], [*values, beyond]
    if wanted.text:
        begin = wanted.text[:LONGEST_PATTERN].replace("%", "_")
        pattern = f"%{_NOT_AS_STORED.sub('%', begin)}%"
        where, values = [*where, "CAST(entry AS TEXT) LIKE ?"], [*values, pattern]
    if wanted.search.ids:
        where.append(f"id IN ({', '.join('?' * len(wanted.search.ids))})")
        values += wanted.search.ids
    for literal in wanted.search.literals():
        where, values = [*where, "CAST(entry AS TEXT) LIKE ?"], [*values, f"%{literal}%"]
    selects, bound = list[str](), list[Any]()
    if queued:
        # The plus keeps SQLite from the index on `state`: it would sort the whole queue anew for every chunk.
        one = [f"+state = '{state}'" for state in queued] if len(queued) == 1 else []
        selects.append(f"SELECT id, entry FROM entries WHERE {' AND '.join([*where, *one])}")  # noqa: S608
        bound += values
    if State.DONE in states:
        selects.append(f"SELECT id, entry FROM history WHERE {' AND '.join(where)}")  # noqa: S608
        bound += values
    if not selects:
        raise SpoolError("spool: no state is asked for")
    order = "ASC" if wanted.oldest_first else "DESC"
    return f"{' UNION ALL '.join(selects)} ORDER BY id {order} LIMIT ?", [*bound, chunk]


def _readable(form: bytes) -> Entry | None:
    try:
        return decode(form)
    except ValueError:
        return None
