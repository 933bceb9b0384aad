"""Database: the spool's SQLite file from the start to the first transaction, and again when it turns out damaged.

It runs in the writer's thread, which has the only connection that writes; `is_scarce` and `place` are asked on the
event loop, too.
"""

import sqlite3
import time
from pathlib import Path

from relay import journal
from relay.errors import SpoolError, SpoolGone
from relay.spool import rebuild, schema
from relay.spool.aside import Aside
from relay.spool.files import BodyFiles
from relay.spool.place import Place
from relay.spool.room import Room
from relay.spool.writer import LOG_SIZE

OWNED = "SELECT 1 FROM entries WHERE file = ? AND file <> ''"
"""Whether a queued mail owns a file. The second half lets SQLite use the index of those that own one."""
SAVE_PAUSE = 10.0
"""Seconds after which a copy is tried again."""


class Database:
    """The file, the folder of large bodies beside it, and the folder for what is damaged."""

    def __init__(self, spool: Path, files: BodyFiles, room: Room) -> None:
        self.path = spool / "spool.sqlite"
        self.aside = Aside(spool, files)
        self.rounds = 0
        """How often the file was replaced: a reader's connection of an earlier round reads the old one."""
        self.place = Place(spool, files)
        self._files, self._room = files, room
        self._swept = False
        self._save_at = 0.0

    def connect(self) -> sqlite3.Connection:
        """Open it, brought up and tidy. Raises SpoolDamaged, SpoolError, OSError."""
        if rebuild.finish(self.path, self.aside.path):
            journal.warning("", f"spool {self.path}: a rebuilt database is put in place; the old one is in corrupt")
        rebuild.look(self.path)
        connection = schema.connect(self.path, LOG_SIZE)
        try:
            connection.execute("BEGIN IMMEDIATE")
            # What a later program wrote may be readable now.
            connection.execute("UPDATE entries SET state = 'queued' WHERE state = 'later'")
            self.aside.empty_table(connection)
            if not self._swept:  # later on, a file that no row names may be a mail on its way in
                self._sweep(connection)
            connection.execute("COMMIT")
        except BaseException as fault:
            connection.close()
            if isinstance(fault, sqlite3.Error):
                raise schema.opening_fault(self.path, fault) from fault
            raise
        self._swept = True
        self.place.note(self.path)
        return connection

    def _sweep(self, connection: sqlite3.Connection) -> None:
        """Remove the files that no row names: a crash came before the row. In a new database they may be mail."""
        keep, removed = schema.files_to_keep(connection), 0
        for name in self._files.names():
            if connection.execute(OWNED, (name,)).fetchone():
                continue
            if connection.execute("SELECT 1 FROM damaged WHERE file = ?", (name,)).fetchone():
                continue
            if keep:
                self.aside.keep_file(name)
                journal.alarm(f"spool: {name} belongs to no mail that is known: moved to {self.aside.path}")
            else:
                self._files.remove(name)
                removed += 1
        if removed:
            text = "of mail that was done or not yet taken; of more, where somebody has put an older database here"
            journal.info("", f"spool {self._files.path}: {removed} files that no mail names are removed: {text}")

    @property
    def is_scarce(self) -> bool:
        """True where a log as long as a burst makes it might soon find no room."""
        return self._room.is_scarce

    def relieve(self, fault: BaseException) -> bool:
        """The disk is full and queued mail must be settled: True when the reserve has been given back for that."""
        self._room.full(fault)
        return self._room.release()

    def replace(self, why: BaseException) -> None:
        """Rebuild it. Every connection that writes is closed. Raises SpoolError; it can be tried again."""
        if isinstance(why, SpoolGone):
            self._put_back(why)
            return
        journal.alarm(f"{why}: every mail that can be read is taken into a new database")
        try:
            done = rebuild.rebuild(self.path, self.aside.path)
        except (OSError, sqlite3.Error) as fault:
            raise SpoolError(f"spool {self.path}: it is damaged, and can not be rebuilt: {fault}") from fault
        self.rounds += 1
        journal.alarm(
            f"spool {self.path}: rebuilt: {done.kept} mails kept, {done.aside} set aside, {done.unreadable} places"
            f" unreadable; the damaged files are in {self.aside.path}"
        )

    def save(self, connection: sqlite3.Connection) -> bool:
        """Write what the connection has to a new file, synced; False when that fails: then again after SAVE_PAUSE."""
        if (now := time.monotonic()) < self._save_at:
            return False
        self._save_at = now + SAVE_PAUSE
        try:
            rebuild.save(connection, self.path)
        except (OSError, sqlite3.Error) as fault:
            journal.alarm(f"spool {self.path}: it is gone, and what is open of it can not be written anew: {fault}")
            return False
        return True

    def _put_back(self, why: BaseException) -> None:
        try:
            done = rebuild.finish(self.path, self.aside.path)
        except OSError as fault:
            raise SpoolError(f"spool {self.path}: the saved database can not be put there: {fault}") from fault
        if not done:
            raise SpoolError(f"spool {self.path}: the saved database is gone, too")
        self.rounds += 1
        journal.alarm(f"{why}: all mail that was in it is written anew; what lay in its place is in {self.aside.path}")
