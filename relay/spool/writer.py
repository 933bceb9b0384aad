"""Writer: the one connection that writes and checkpoints, and the thread in which it waits for the disk.

Group commit without a wait window: while a commit waits for the disk, the next operations queue up,
and the next transaction takes all of them. Its statements run on the event loop, since they find their
pages in memory and two threads that hand the interpreter to and fro at each statement cost more than
the statements; the commit, and all that may take long, runs in the thread. Never both at once. With one
connection SQLite's race between a checkpoint and another writer's commit (mended in 3.51.3) has no second party.

The checkpoint is ours too, after the answers have gone out, and behind a burst of mail, not in it: SQLite's own
would keep quiet about a disk that fails. After any failed write the thread is in doubt. The kernel tells of one only
once and takes the lost pages for clean, so nothing is believed, read or answered until everything committed has been
written anew from the log, synced, and the log begun afresh. A database that SQLite finds damaged is replaced by what
can be read of it (`rebuild.py`), and the work goes on.
"""

import asyncio
import contextlib
import math
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from relay import journal
from relay.errors import RelayError, SpoolDamaged, SpoolError, SpoolGone
from relay.spool import schema
from relay.spool.faults import disk_failed, is_damaged, is_full, sqlite_fault
from relay.spool.store import Store

Operation = Callable[[sqlite3.Connection], Any]
_BATCH = 500
PATIENCE = 0.01
"""Seconds that an operation for which nobody waits is kept for others to share its commit with."""
LOG_SIZE = 4 << 20
"""Octets of SQLite's log (-wal) that lead to a checkpoint when no new mail comes, and that its file keeps."""
LOG_MOST = 32 << 20
"""Octets that lead to one at any time, and everybody waits for it."""
LOG_SCARCE = 8 << 20
"""The same where room is scarce: as many as the reserve can take when the disk is full."""
QUIET = 0.05
"""Seconds without new mail after which none is coming."""
IDLE = 1.0
"""Seconds without a change after which the log is emptied."""
MEND_PAUSE = 1.0
"""Seconds between two attempts to get a failing disk to write."""
REBUILD_PAUSE = 60.0
"""Seconds after a rebuild before the next: a disk that reads wrong must not be filled with copies."""


@dataclass(frozen=True, slots=True)
class _Asked:
    operation: Operation
    future: "asyncio.Future[Any] | None"
    needed: bool = True
    """False for new mail: on a full disk only what is queued already may use the reserve."""


class Writer:
    """Runs operations in the order given, many to a transaction."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._log = store.path.with_name(f"{store.path.name}-wal")
        self._connection: sqlite3.Connection | None = None
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._waiting: list[_Asked] = []
        self._busy = self._soon = False
        self._patience: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._idle = asyncio.Event()
        self._idle.set()
        self._thread = threading.Thread(target=self._run, name="spool-writer", daemon=True)
        self._closed = False
        self._trouble = ""
        """Why nothing may be believed at the moment."""
        self._damage: BaseException | None = None
        self._mend_at = 0.0
        self._emptied = True
        self._log_due = False
        self._mail_at = -math.inf
        """When new mail was last given (loop time)."""
        self._resting: asyncio.TimerHandle | None = None
        self.commits = 0
        self.after_commit: list[Callable[[], None]] = []
        """Filled by operations; done once their transaction is on disk, forgotten when it fails."""

    @property
    def sound(self) -> bool:
        """False while nothing may be believed: ask for any operation, and it is seen to."""
        return not self._trouble

    async def start(self) -> None:
        """Open the connection. Raises what the store's `connect` raises."""
        self._thread.start()
        await self._ready

    async def stop(self) -> None:
        """Finish every operation given so far, then close."""
        if not self._closed:
            self._closed = True
            if self._resting:
                self._resting.cancel()
            while self._waiting or self._busy:
                self._turn()
                await self._idle.wait()
            self._jobs.put(None)
            await asyncio.to_thread(self._thread.join)

    async def do(self, operation: Operation, *, patient: bool = False, needed: bool = True) -> Any:
        """What `operation` returns, once its transaction is on disk. Raises SpoolError, LeaseLost.

        A `patient` one waits PATIENCE seconds for others to share its commit with; on a full disk room is
        made for a `needed` one. Cancelling the caller does not stop the operation: it happens whole or,
        on a fault, not at all.
        """
        if self._closed:
            raise SpoolError("spool: it is closed")
        future = self._loop.create_future()
        if not needed:
            self._mail_at = self._loop.time()
        self._waiting.append(_Asked(operation, future, needed))
        self._schedule(patient=patient)
        return await future

    def later(self, operation: Operation) -> None:
        """Do this behind everything given so far; nobody hears what came of it. From any thread."""
        self._tell(lambda: self._add(operation))

    def _add(self, operation: Operation) -> None:
        if not self._closed:
            self._waiting.append(_Asked(operation, None))
            self._schedule(patient=False)

    # -- on the loop --------------------------------------------------------------------------------

    def _schedule(self, *, patient: bool) -> None:
        if self._busy or self._soon:
            return
        if not patient:
            self._soon = True
            self._loop.call_soon(self._turn)
        elif self._patience is None:
            self._patience = self._loop.call_later(PATIENCE, self._turn)

    def _turn(self) -> None:
        """The next transaction, with all that waits; while it is on its way to the disk, the next one forms."""
        self._soon = False
        if self._patience:
            self._patience.cancel()
            self._patience = None
        if self._busy or not self._waiting:
            return
        work, self._waiting = self._waiting[:_BATCH], self._waiting[_BATCH:]
        self._busy = True
        self._idle.clear()
        self._log_due = self._log_is_due()
        if (connection := self._connection) is None or self._trouble or self._damage:
            self._jobs.put(lambda: self._answer(work, self._transact(work)))
            return
        try:
            done = self._operate(connection, work)
        except Exception as fault:
            failed = fault
            self._roll_back(connection)
            self._jobs.put(lambda: self._answer(work, self._failed(failed, work)))
        else:
            self._jobs.put(lambda: self._commit(connection, work, done))
            time.sleep(0)  # lets the thread go to the disk now: it would get interpreter and core a millisecond later

    def _free(self) -> None:
        """The thread has let go of the connection."""
        self._busy = False
        if self._waiting:
            self._turn()
        if not self._busy:
            self._idle.set()
            if self._resting:
                self._resting.cancel()
            self._resting = None if self._emptied else self._loop.call_later(IDLE, self._empty_log)

    # -- in the thread ------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._open()
        except BaseException as fault:
            self._tell(lambda fault=fault: self._ready.set_exception(fault))  # type: ignore[misc]
            return
        self._tell(lambda: self._ready.set_result(None))
        while job := self._jobs.get():
            job()
        self._close()

    def _commit(self, connection: sqlite3.Connection, work: list[_Asked], done: list[Any]) -> None:
        """The slow half of a transaction: to the disk."""
        try:
            schema.commit(connection)
        except Exception as fault:
            self._roll_back(connection)
            done = self._failed(fault, work)
        else:
            self._kept()
        self._answer(work, done)

    def _answer(self, work: list[_Asked], done: list[Any]) -> None:
        """Say what became of the work; then keep the log short."""
        futures = [asked.future for asked in work]
        log_is_due = self._log_due and not self._trouble

        def tell() -> None:
            _resolve(futures, done)
            if not log_is_due:
                self._free()

        self._tell(tell)
        if log_is_due:
            self._checkpoint()
            self._tell(self._free)

    def _transact(self, work: list[_Asked]) -> list[Any]:
        """What each operation brought, all in one transaction; when that fails, each in its own."""
        if (connection := self._certain()) is None:
            return [SpoolError(f"spool: {self._trouble}; nothing is taken until that has ended")] * len(work)
        try:
            return self._attempt(connection, work)
        except Exception as fault:
            return self._failed(fault, work)

    def _failed(self, fault: Exception, work: list[_Asked]) -> list[Any]:
        """A transaction failed, and is rolled back: find out why, and do what can be done all the same."""
        if disk_failed(fault):
            self._doubt(fault)
        elif is_damaged(fault) and self._may_let_go(fault):
            self._close()
            self._damage, self._trouble = fault, "its database is damaged"
            return self._transact(work)
        elif len(work) > 1:  # one of them poisons the batch
            return [done for asked in work for done in self._transact([asked])]
        elif is_full(fault) and self._made_room(fault, needed=work[0].needed):
            return self._transact(work)
        return [sqlite_fault(fault) if isinstance(fault, sqlite3.Error) else fault] * len(work)

    def _may_let_go(self, fault: Exception) -> bool:
        """Of files that are gone the connection has the last copy: False when that could not be saved."""
        return self._connection is None or not isinstance(fault, SpoolGone) or self._store.save(self._connection)

    def _made_room(self, fault: Exception, *, needed: bool) -> bool:
        """True when it is worth another try: the reserve is free, and the log can begin afresh in its own file."""
        if relieved := needed and self._store.relieve(fault):
            self._checkpoint()
        return relieved

    def _attempt(self, connection: sqlite3.Connection, work: list[_Asked]) -> list[Any]:
        """One transaction from its begin to the disk."""
        try:
            done = self._operate(connection, work)
            schema.commit(connection)
        except BaseException:
            self._roll_back(connection)
            raise
        self._kept()
        return done

    def _operate(self, connection: sqlite3.Connection, work: list[_Asked]) -> list[Any]:
        """Begin a transaction; an operation that raises a RelayError has changed nothing and spoils nothing."""
        self.after_commit.clear()
        done: list[Any] = []
        connection.execute("BEGIN IMMEDIATE")
        for asked in work:
            try:
                done.append(asked.operation(connection))
            except SpoolDamaged:
                raise
            except RelayError as fault:
                done.append(fault)
        return done

    def _kept(self) -> None:
        """A transaction is on disk."""
        self.commits += 1
        self._emptied = False
        for action in self.after_commit:
            action()

    def _roll_back(self, connection: sqlite3.Connection) -> None:
        with contextlib.suppress(sqlite3.Error):  # what went wrong before it is what counts
            if connection.in_transaction:
                connection.execute("ROLLBACK")

    # -- the log; a disk that fails; a file that is damaged -------------------------------------------

    def _open(self) -> sqlite3.Connection:
        """The connection, over a rebuilt database if need be. Raises what the store's `connect` and `replace` raise."""
        if self._damage is None and self._connection is None:
            try:
                self._connection = self._store.connect()
            except SpoolDamaged as fault:
                self._damage = fault
        if self._damage is not None:
            self._store.replace(self._damage)
            self._damage = None
            self._mend_at = time.monotonic() + REBUILD_PAUSE
        if self._connection is None:
            self._connection = self._store.connect()
        return self._connection

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _log_is_due(self) -> bool:
        most = LOG_SCARCE if self._store.is_scarce else LOG_MOST
        if self._loop.time() - self._mail_at > QUIET:
            most = LOG_SIZE
        with contextlib.suppress(OSError):  # there is no log yet
            return self._log.stat().st_size > most
        return False

    def _checkpoint(self, mode: str = "PASSIVE") -> None:
        """Move what the log holds into the database; the next commit then begins it afresh. TRUNCATE empties it."""
        if self._connection is None:
            return
        try:
            [(busy, _, _)] = self._connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchall()
            self._emptied = mode == "TRUNCATE" and not busy
        except sqlite3.Error as fault:
            if not is_full(fault):  # a full disk lets the log wait; settling has its reserve
                self._doubt(fault)

    def _empty_log(self) -> None:
        """Nothing has changed for a while. The last transaction in a log, if damaged, can not be told from one that
        was cut off and never acknowledged: better that there is none.
        """
        self._resting = None
        if self._busy or self._closed or self._emptied or self._trouble:
            return
        self._busy = True
        self._idle.clear()
        self._jobs.put(self._truncate)

    def _truncate(self) -> None:
        self._checkpoint("TRUNCATE")
        self._tell(self._free)

    def _doubt(self, fault: BaseException) -> None:
        self._trouble = f"the disk fails ({fault})"
        journal.alarm(f"spool {self._store.path}: {fault}: no mail is taken until the disk writes again")

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
        elif future.done():  # nobody waits any more
            continue
        elif isinstance(result, BaseException):
            future.set_exception(result)
        else:
            future.set_result(result)
