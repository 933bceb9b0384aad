"""Readers: connections that only read. They follow when the database is replaced, and tell of damage that they find."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from typing import Any

from relay.entry import Entry, State
from relay.errors import SpoolDamaged, SpoolError
from relay.spool.database import Database
from relay.spool.faults import is_damaged, sqlite_fault
from relay.spool.listing import Listing, connected
from relay.spool.protocol import Wanted

EXAMINE_AFTER, EXAMINED = 5.0, 256 << 20
"""Seconds after the start, and octets up to which the database is examined as a whole."""


class Readers:
    """One connection for single rows, one for listings. `damaged` is told what was found, and in which round."""

    def __init__(self, database: Database, damaged: Callable[[int, str], None]) -> None:
        self._database, self._damaged = database, damaged
        self._reader: sqlite3.Connection | None = None
        self._listing: Listing | None = None
        self._round = 0
        self._reading = asyncio.Lock()
        self.examining: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Connect to the database as it is now, in place of the one that was. Raises sqlite3.Error."""
        await self._close()
        self._round = self._database.rounds
        self._reader = connected(self._database.path)
        self._listing = Listing(self._database.path)

    async def close(self) -> None:
        """Finish the rows that are being read, then close."""
        if self.examining:
            self.examining.cancel()
            await asyncio.wait((self.examining,))
            self.examining = None
        await self._close()

    async def _close(self) -> None:
        if self._listing:
            await self._listing.close()
            self._listing = None
        async with self._reading:
            if self._reader:
                self._reader.close()
                self._reader = None

    async def _followed(self) -> tuple[sqlite3.Connection, Listing]:
        if self._reader and self._round != self._database.rounds:
            await self.open()
        if self._reader is None or self._listing is None:
            raise SpoolError("spool: it is not open")
        return self._reader, self._listing

    async def rows(self, query: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query. Raises SpoolError."""
        reader, _ = await self._followed()
        async with self._reading:
            try:
                return await asyncio.to_thread(lambda: reader.execute(query, values).fetchall())
            except sqlite3.Error as fault:
                if is_damaged(fault):
                    self._damaged(self._round, str(fault))
                raise sqlite_fault(fault) from fault

    async def browse(self, wanted: Wanted) -> AsyncIterator[Entry]:
        """Entries in the order of their ids; history too when `states` asks for DONE."""
        _, listing = await self._followed()
        try:
            async for entry in listing.browse(wanted):
                yield entry
        except SpoolDamaged as fault:
            self._damaged(self._round, str(fault))
            raise

    async def counts(self) -> dict[State, int]:
        """How many entries stand in each state."""
        _, listing = await self._followed()
        try:
            return await listing.counts()
        except SpoolDamaged as fault:
            self._damaged(self._round, str(fault))
            raise

    def examine(self) -> None:
        """Once the start is over, look for what no mail would ever stumble upon: one that an index has lost."""
        self.examining = asyncio.create_task(self._examine())

    async def _examine(self) -> None:
        if self._database.path.stat().st_size > EXAMINED:
            return
        await asyncio.sleep(EXAMINE_AFTER)
        found_in = self._database.rounds
        listing = Listing(self._database.path)
        try:
            found = await listing.examine()
        except SpoolError as fault:
            found = str(fault) if isinstance(fault, SpoolDamaged) else ""
        finally:
            await listing.close()
        if found:
            self._damaged(found_in, found)
