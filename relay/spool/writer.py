"""Writer: the one thread that owns the one connection which writes and checkpoints.

Group commit without a wait window: while a commit waits for the disk, the next operations queue up,
and the next transaction takes all of them. With one connection SQLite's race between a checkpoint
and another writer's commit (mended in 3.51.3) has no second party.

The checkpoint is ours too, after the answers have gone out: SQLite's own would keep quiet about a
disk that fails. After any failed write the thread is in doubt. The kernel tells of one only once and
takes the lost pages for clean, so nothing is believed, read or answered until everything committed
has been written anew from the log, synced, and the log begun afresh.
"""

import asyncio
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from relay import journal
from relay.errors import RelayError, SpoolError, SpoolFull

Operation = Callable[[sqlite3.Connection], Any]
_BATCH = 500
LOG_SIZE = 4 << 20
"""Octets of SQLite's log (-wal) that lead to a checkpoint, and that its file keeps."""
MEND_PAUSE = 1.0
"""Seconds between two attempts to get a failing disk to write."""
_NO_ROOM = (sqlite3.SQLITE_IOERR_SHMSIZE, sqlite3.SQLITE_IOERR_SHMMAP)


def is_full(fault: BaseException) -> bool:
    """True when there is no room for what was to be written."""
    code = getattr(fault, "sqlite_errorcode", 0)
    return isinstance(fault, SpoolFull) or code & 0xFF == sqlite3.SQLITE_FULL or code in _NO_ROOM


def disk_failed(fault: BaseException) -> bool:
    """True when the disk did not do what it was told."""
    return getattr(fault, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_IOERR and not is_full(fault)


def sqlite_fault(fault: sqlite3.Error) -> SpoolError:
    """The spool's own error for one of SQLite's."""
    return SpoolFull("spool: the disk is full") if is_full(fault) else SpoolError(f"spool: {fault}")


@dataclass(frozen=True, slots=True)
class _Asked:
    operation: Operation
    future: "asyncio.Future[Any]"


class Writer:
    """Runs operations in its thread, in the order given, many to a transaction."""

    def __init__(self, database: Path, connect: Callable[[], sqlite3.Connection]) -> None:
        self._database, self._log = database, database.with_name(f"{database.name}-wal")
        self._connect = connect
        self._queue: queue.SimpleQueue[_Asked | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._thread = threading.Thread(target=self._run, name="spool-writer", daemon=True)
        self._closed = False
        self._doubt = False
        self._mend_at = 0.0
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

    # -- in the thread ------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            connection = self._connect()
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
                self._serve(connection, work)
        connection.close()

    def _serve(self, connection: sqlite3.Connection, work: list[_Asked]) -> None:
        """Do the work and answer for it; then keep the log short."""
        done: list[Any]
        if self._certain(connection):
            done = self._transact(connection, [asked.operation for asked in work])
        else:
            done = [SpoolError("spool: the disk fails; nothing is taken until it writes again")] * len(work)
        futures = [asked.future for asked in work]
        self._tell(lambda: _resolve(futures, done))
        if not self._doubt:
            self._checkpoint(connection)

    def _transact(self, connection: sqlite3.Connection, operations: list[Operation]) -> list[Any]:
        """What each operation brought, all in one transaction; when that fails, each in its own."""
        try:
            return self._attempt(connection, operations)
        except Exception as fault:
            if disk_failed(fault):
                self._begin_doubt(fault)
            elif len(operations) > 1:  # one of them poisons the batch
                return [done for operation in operations for done in self._alone(connection, operation)]
            return [sqlite_fault(fault) if isinstance(fault, sqlite3.Error) else fault] * len(operations)

    def _alone(self, connection: sqlite3.Connection, operation: Operation) -> list[Any]:
        if self._doubt:
            return [SpoolError("spool: the disk fails")]
        return self._transact(connection, [operation])

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
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        finally:
            for action in reversed(self.undo):
                action()

    # -- the log, and a disk that fails ---------------------------------------------------------------

    def _checkpoint(self, connection: sqlite3.Connection) -> None:
        """Move what the log holds into the database when it has grown; the next commit then begins it afresh."""
        try:
            if self._log.stat().st_size <= LOG_SIZE:
                return
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except OSError:
            return  # there is no log yet
        except sqlite3.Error as fault:
            if not is_full(fault):  # a full disk lets the log wait; settling has its reserve
                self._begin_doubt(fault)

    def _begin_doubt(self, fault: BaseException) -> None:
        self._doubt = True
        journal.alarm(f"spool {self._database}: {fault}: no mail is taken until the disk writes again")

    def _certain(self, connection: sqlite3.Connection) -> bool:
        """True when everything committed is on disk; in doubt, see to it first."""
        if not self._doubt:
            return True
        if time.monotonic() < self._mend_at:
            return False
        try:
            [(busy, _, _)] = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.Error:
            busy = True
        self._mend_at = time.monotonic() + MEND_PAUSE
        self._doubt = bool(busy)
        if not self._doubt:
            journal.info("", "the spool's disk writes again: all that was committed has been written anew")
        return not self._doubt

    def _tell(self, action: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(action)
        except RuntimeError:
            return  # the loop is gone, and with it whoever waited


def _resolve(futures: "list[asyncio.Future[Any]]", done: list[Any]) -> None:
    for future, result in zip(futures, done, strict=True):
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
