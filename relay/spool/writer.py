"""Writer: the one thread that owns the one connection which writes and checkpoints.

Group commit without a wait window: while a commit waits for the disk, the next operations queue up,
and the next transaction takes all of them. With one connection SQLite's race between a checkpoint
and another writer's commit (mended in 3.51.3) has no second party.
"""

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from typing import Any

from relay.errors import RelayError, SpoolError, SpoolFull

Operation = Callable[[sqlite3.Connection], Any]
_BATCH = 500


def sqlite_fault(fault: sqlite3.Error) -> SpoolError:
    """The spool's own error for one of SQLite's."""
    code = getattr(fault, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return SpoolFull("spool: the disk is full")
    return SpoolError(f"spool: {fault}")


class Writer:
    """Runs operations in its thread, in the order given, many to a transaction."""

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        self._connect = connect
        self._queue: queue.SimpleQueue[tuple[Operation, asyncio.Future[Any]] | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._thread = threading.Thread(target=self._run, name="spool-writer", daemon=True)
        self._closed = False
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
        self._queue.put((operation, future))
        return await asyncio.shield(future)

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
            work = [pair for pair in batch if pair is not None]
            if work:
                self._transact(connection, work)
        connection.close()

    def _transact(self, connection: sqlite3.Connection, work: list[tuple[Operation, asyncio.Future[Any]]]) -> None:
        try:
            done = self._attempt(connection, [operation for operation, _ in work])
        except Exception as fault:
            if len(work) > 1:  # one of them poisons the batch: each on its own
                for pair in work:
                    self._transact(connection, [pair])
                return
            done = [sqlite_fault(fault) if isinstance(fault, sqlite3.Error) else fault]
        futures = [future for _, future in work]
        self._tell(lambda: _resolve(futures, done))

    def _attempt(self, connection: sqlite3.Connection, operations: list[Operation]) -> list[Any]:
        """One transaction; an operation that raises a RelayError has changed nothing and spoils nothing."""
        self.after_commit.clear()
        self.undo.clear()
        done: list[Any] = []
        connection.execute("BEGIN IMMEDIATE")
        try:
            for operation in operations:
                try:
                    done.append(operation(connection))
                except RelayError as fault:
                    done.append(fault)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            for action in reversed(self.undo):
                action()
            raise
        self.commits += 1
        for action in self.after_commit:
            action()
        return done

    def _tell(self, action: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(action)
        except RuntimeError:
            return  # the loop is gone, and with it whoever waited


def _resolve(futures: list[asyncio.Future[Any]], done: list[Any]) -> None:
    for future, result in zip(futures, done, strict=True):
        if future.done():
            continue
        if isinstance(result, BaseException):
            future.set_exception(result)
        else:
            future.set_result(result)


def _look(future: asyncio.Future[Any]) -> None:
    """Look at the result, so that an abandoned one is no "exception was never retrieved"."""
    if not future.cancelled():
        future.exception()
