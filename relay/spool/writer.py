"""Writer: the one thread that owns the one connection which writes and checkpoints.

Group commit without a wait window: while a commit waits for the disk, the next operations queue up,
and the next transaction takes all of them. With one connection SQLite's race between a checkpoint
and another writer's commit (mended in 3.51.3) has no second party.

The checkpoint is ours too, after the answers have gone out: SQLite's own would keep quiet about a
disk that fails. After any failed write the thread is in doubt. The kernel tells of one only once and
takes the lost pages for clean, so nothing is believed, read or answered until everything committed
has been written anew from the log, synced, and the log begun afresh. A database that SQLite finds
damaged is replaced by what can be read of it (`rebuild.py`), and the work goes on.
"""

import asyncio
import contextlib
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from relay import journal
from relay.errors import RelayError, SpoolDamaged, SpoolError, SpoolFull

Operation = Callable[[sqlite3.Connection], Any]
_BATCH = 500
LOG_SIZE = 4 << 20
"""Octets of SQLite's log (-wal) that lead to a checkpoint, and that its file keeps."""
IDLE = 1.0
"""Seconds without a change after which the log is emptied."""
MEND_PAUSE = 1.0
"""Seconds between two attempts to get a failing disk to write."""
REBUILD_PAUSE = 60.0
"""Seconds after a rebuild before the next: a disk that reads wrong must not be filled with copies."""
_NO_ROOM = (sqlite3.SQLITE_IOERR_SHMSIZE, sqlite3.SQLITE_IOERR_SHMMAP)


def is_full(fault: BaseException) -> bool:
    """True when there is no room for what was to be written."""
    code = getattr(fault, "sqlite_errorcode", 0)
    return isinstance(fault, SpoolFull) or code & 0xFF == sqlite3.SQLITE_FULL or code in _NO_ROOM


def disk_failed(fault: BaseException) -> bool:
    """True when the disk did not do what it was told."""
    return getattr(fault, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_IOERR and not is_full(fault)


def is_damaged(fault: BaseException) -> bool:
    """True for what SQLite says of a file that is no database any more, wholly or in part."""
    code = getattr(fault, "sqlite_errorcode", 0) & 0xFF
    return isinstance(fault, SpoolDamaged) or code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def sqlite_fault(fault: sqlite3.Error) -> SpoolError:
    """The spool's own error for one of SQLite's."""
    if is_full(fault):
        return SpoolFull("spool: the disk is full")
    return SpoolDamaged(f"spool: {fault}") if is_damaged(fault) else SpoolError(f"spool: {fault}")


@dataclass(frozen=True, slots=True)
class _Asked:
    operation: Operation
    future: "asyncio.Future[Any] | None"


class Writer:
    """Runs operations in its thread, in the order given, many to a transaction."""

    def __init__(
        self,
        database: Path,
        connect: Callable[[], sqlite3.Connection],
        replace: Callable[[BaseException], None],
    ) -> None:
        """`connect` opens the database, `replace` puts what can be read of a damaged one in its place."""
        self._database, self._log = database, database.with_name(f"{database.name}-wal")
        self._connect, self._replace = connect, replace
        self._connection: sqlite3.Connection | None = None
        self._queue: queue.SimpleQueue[_Asked | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._thread = threading.Thread(target=self._run, name="spool-writer", daemon=True)
        self._closed = False
        self._trouble = ""
        """Why nothing may be believed at the moment."""
        self._damage: BaseException | None = None
        self._mend_at = 0.0
        self._changes, self._changed_at, self._emptied = 0, 0.0, True
        self.commits = 0
        self.after_commit: list[Callable[[], None]] = []
        """Filled by operations; done once their transaction is on disk, forgotten when it fails."""
        self.undo: list[Callable[[], None]] = []
        """Filled by operations; done, last first, when their transaction fails."""

    async def start(self) -> None:
        """Open the connection. Raises what `connect` raises."""
        self._thread.start()
        await self._ready

    async def stop(self) -> None:
        """Finish every operation given so far, then close."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)
            await asyncio.to_thread(self._thread.join)

    async def do(self, operation: Operation) -> Any:
        """What `operation` returns, once its transaction is on disk. Raises SpoolError, LeaseLost.

        Cancelling the caller does not stop the operation: it happens whole or, on a fault, not at all.
        """
        if self._closed:
            raise SpoolError("spool: it is closed")
        future = self._loop.create_future()
        future.add_done_callback(_look)
        self._queue.put(_Asked(operation, future))
        return await asyncio.shield(future)

    def later(self, operation: Operation) -> None:
        """Do this behind everything given so far; nobody hears what came of it. From any thread."""
        self._queue.put(_Asked(operation, None))

    # -- in the thread ------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._open()
        except BaseException as fault:
            self._tell(lambda fault=fault: self._ready.set_exception(fault))  # type: ignore[misc]
            return
        self._tell(lambda: self._ready.set_result(None))
        last = False
        while not last:
            batch = [self._queue.get()]
            while not self._queue.empty() and len(batch) < _BATCH and batch[-1] is not None:
                batch.append(self._queue.get())
            last = batch[-1] is None
            work = [asked for asked in batch if asked is not None]
            if work:
                self._serve(work)
        self._close()

    def _serve(self, work: list[_Asked]) -> None:
        """Do the work and answer for it; then keep the log short."""
        done = self._transact([asked.operation for asked in work])
        futures = [asked.future for asked in work]
        self._tell(lambda: _resolve(futures, done))
        if not self._trouble:
            self._checkpoint()

    def _transact(self, operations: list[Operation]) -> list[Any]:
        """What each operation brought, all in one transaction; when that fails, each in its own."""
        connection = self._certain()
        if connection is None:
            fault = SpoolError(f"spool: {self._trouble}; nothing is taken until that has ended")
            return [fault] * len(operations)
        try:
            return self._attempt(connection, operations)
        except Exception as fault:
            if disk_failed(fault):
                self._doubt(fault)
            elif is_damaged(fault):
                self._close()
                self._damage, self._trouble = fault, "its database is damaged"
                return self._transact(operations)
            elif len(operations) > 1:  # one of them poisons the batch
                return [done for operation in operations for done in self._transact([operation])]
            return [sqlite_fault(fault) if isinstance(fault, sqlite3.Error) else fault] * len(operations)

    def _attempt(self, connection: sqlite3.Connection, operations: list[Operation]) -> list[Any]:
        """One transaction; an operation that raises a RelayError has changed nothing and spoils nothing."""
        self.after_commit.clear()
        self.undo.clear()
        done: list[Any] = []
        try:
            connection.execute("BEGIN IMMEDIATE")
            for operation in operations:
                try:
                    done.append(operation(connection))
                except SpoolDamaged:
                    raise
                except RelayError as fault:
                    done.append(fault)
            connection.execute("COMMIT")
        except BaseException:
            self._roll_back(connection)
            raise
        self.commits += 1
        for action in self.after_commit:
            action()
        return done

    def _roll_back(self, connection: sqlite3.Connection) -> None:
        with contextlib.suppress(sqlite3.Error):  # what went wrong before it is what counts
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        for action in reversed(self.undo):
            action()

    # -- the log; a disk that fails; a file that is damaged -------------------------------------------

    def _open(self) -> sqlite3.Connection:
        """The connection, over a rebuilt database if need be. Raises what `connect` and `replace` raise."""
        if self._damage is None and self._connection is None:
            try:
                self._connection = self._connect()
            except SpoolDamaged as fault:
                self._damage = fault
        if self._damage is not None:
            self._replace(self._damage)
            self._damage = None
            self._mend_at = time.monotonic() + REBUILD_PAUSE
        if self._connection is None:
            self._connection = self._connect()
        return self._connection

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _checkpoint(self) -> None:
        """Move what the log holds into the database when it has grown; the next commit then begins it afresh.

        When nothing has changed for a while, empty it: the last transaction in a log, if damaged, can not
        be told from one that was cut off and never acknowledged.
        """
        connection = self._connection
        if connection is None:
            return
        now, changes = time.monotonic(), connection.total_changes
        if changes != self._changes:
            self._changes, self._changed_at, self._emptied = changes, now, False
        try:
            if self._log.stat().st_size > LOG_SIZE:
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            elif not self._emptied and now - self._changed_at > IDLE:
                [(busy, _, _)] = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
                self._emptied = not busy
        except OSError:
            return  # there is no log yet
        except sqlite3.Error as fault:
            if not is_full(fault):  # a full disk lets the log wait; settling has its reserve
                self._doubt(fault)

    def _doubt(self, fault: BaseException) -> None:
        self._trouble = f"the disk fails ({fault})"
        journal.alarm(f"spool {self._database}: {fault}: no mail is taken until the disk writes again")

    def _certain(self) -> sqlite3.Connection | None:
        """The connection, when everything committed is on disk and readable; see to that first. None: not yet."""
        if not self._trouble and self._connection and self._damage is None:
            return self._connection
        if time.monotonic() < self._mend_at:
            return None
        self._mend_at = time.monotonic() + MEND_PAUSE
        try:
            connection = self._open()
            [(busy, _, _)] = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except (OSError, sqlite3.Error, SpoolError) as fault:
            if not disk_failed(fault):
                self._trouble = str(fault)
            return None
        if busy:
            return None
        if self._trouble:
            journal.info("", "the spool works again: all that was committed has been written anew")
        self._trouble = ""
        return connection

    def _tell(self, action: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(action)
        except RuntimeError:
            return  # the loop is gone, and with it whoever waited


def _resolve(futures: "list[asyncio.Future[Any] | None]", done: list[Any]) -> None:
    for future, result in zip(futures, done, strict=True):
        if future is None:
            if isinstance(result, BaseException):
                journal.fault("the spool's writer", result)
            continue
        if future.done():
            continue
        if isinstance(result, BaseException):
            future.set_exception(result)
        else:
            future.set_result(result)


def _look(future: "asyncio.Future[Any]") -> None:
    """Look at the result, so that an abandoned one is no "exception was never retrieved"."""
    if not future.cancelled():
        future.exception()
