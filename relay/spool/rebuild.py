"""Rebuild: a damaged database becomes a new one with everything that can still be read.

1. Read every page of the old files; each row is kept, set aside with a reason, or not to be read.
2. Write the new database beside the old one, synced, and only then give it the name that says "whole".
3. Move the old files into `corrupt`, then put the new one in their place. A crash in between is
   finished at the next start, from the name. Nothing of the old files is ever removed.
"""

import os
import sqlite3
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from relay.entry import LaterForm, decode
from relay.errors import SpoolDamaged
from relay.spool import folder, schema
from relay.spool import log as logs
from relay.spool.pages import Pages, Row, page_size
from relay.spool.row import checked

_SCRATCH = """
CREATE TEMP TABLE more (seq INTEGER NOT NULL, data BLOB NOT NULL);
CREATE TEMP TABLE bad (seq INTEGER, id TEXT NOT NULL, reason TEXT NOT NULL, file TEXT NOT NULL, entry BLOB);
"""
"""Octets of a number that is taken already, and records to set aside, until all rows are read."""


@dataclass(slots=True)
class Rebuilt:
    """What came of it: mails kept, mails set aside, and cells and log pages that nobody can read."""

    kept: int = 0
    aside: int = 0
    unreadable: int = 0


def look(database: Path) -> None:
    """What SQLite would pass over in silence, or take for a reason to throw the log away. Raises SpoolDamaged."""
    with database.open("rb") as file:
        head = file.read(100)
    log = _beside(database, "-wal")
    logged = logs.read(log.read_bytes()) if log.exists() else logs.Log()
    if logged.damaged:
        raise SpoolDamaged(f"spool {database}: its log is damaged in {logged.damaged} places")
    if logged.pages and page_size(head) != logged.page_size:
        raise SpoolDamaged(f"spool {database}: its head is damaged")


def rebuild(database: Path, aside: Path) -> Rebuilt:
    """Do it. No connection may be open. Raises OSError, sqlite3.Error, SpoolError; the old files are then as before."""
    building = database.with_name("building.sqlite")
    building.unlink(missing_ok=True)
    pages = Pages.read(database, _beside(database, "-wal"))
    os.close(os.open(building, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
    connection = sqlite3.connect(building, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = OFF").fetchall()
        connection.execute("PRAGMA synchronous = OFF")
        schema.bring_up(connection)
        connection.executescript(_SCRATCH)
        connection.execute("BEGIN")
        for row in pages.rows():
            _sort_in(connection, row)
        _join(connection)
        schema.keep_files(connection)
        connection.execute("COMMIT")
        [(kept,)] = connection.execute("SELECT count(*) FROM entries").fetchall()
        [(lost,)] = connection.execute("SELECT count(*) FROM damaged").fetchall()
    finally:
        connection.close()
    with building.open("rb") as file:
        os.fsync(file.fileno())
    building.rename(_whole(database))
    folder.sync_folder(database.parent)
    finish(database, aside)
    return Rebuilt(kept, lost, pages.unreadable + pages.logged.damaged)


def save(connection: sqlite3.Connection, database: Path) -> None:
    """All that an open database holds, into a new file that `finish` puts in place. Raises OSError, sqlite3.Error."""
    building = database.with_name("building.sqlite")
    building.unlink(missing_ok=True)
    os.close(os.open(building, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
    connection.execute("VACUUM INTO ?", (str(building),))
    with building.open("rb") as file:
        os.fsync(file.fileno())
    building.rename(_whole(database))
    folder.sync_folder(database.parent)


def finish(database: Path, aside: Path) -> bool:
    """Put a whole new database in the old one's place; False when there is none. Raises OSError, SpoolError."""
    whole = _whole(database)
    if not whole.exists():
        return False
    folder.make(aside)
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    for name in folder.BESIDE:
        old = _beside(database, name)
        if old.exists():
            old.rename(_free_name(aside / f"{stamp}-{old.name}"))
    folder.sync_folder(aside)
    folder.sync_folder(database.parent)
    whole.rename(database)
    folder.sync_folder(database.parent)
    return True


def _whole(database: Path) -> Path:
    return database.with_name("rebuilt.sqlite")


def _beside(database: Path, name: str) -> Path:
    return database.with_name(database.name + name)


def _free_name(path: Path) -> Path:
    number = 0
    while path.exists():
        number += 1
        path = path.with_name(f"{path.name}.{number}")
    return path


# -- rows -------------------------------------------------------------------------------------------


def _sort_in(connection: sqlite3.Connection, row: Row) -> None:
    """Put a row where it belongs, by the number and kinds of its values."""
    match row.values:
        case (None, str(name), str(state), str(profile), float() | int() as due, int(size), str(file), bytes(form)):
            _entry(connection, row.seq, (name, state, profile, due, size, file, form, None, None))
        case (
            None, str(name), str(state), str(profile), float() | int() as due, int(size), str(file), bytes(form),
            int() | None as crc, int() | None as body_crc,
        ):  # fmt: skip
            _entry(connection, row.seq, (name, state, profile, due, size, file, form, crc, body_crc))
        case (None, bytes(data)) if row.seq is not None:
            _octets(connection, row.seq, data)
        case (None, str(name), float() | int() as done_at, bytes(form)):
            if _is_history(name, form):
                connection.execute(
                    "INSERT OR REPLACE INTO history (id, done_at, entry) VALUES (?, ?, ?)", (name, done_at, form)
                )
        case (str(name), str(reason), str(file), bytes() | None as kept, bytes() | None as data):
            connection.execute("INSERT INTO damaged VALUES (?, ?, ?, ?, ?)", (name, reason, file, kept, data))
        case (str(key), str(value), float() | int() as until) if row.seq is None:
            connection.execute("INSERT OR REPLACE INTO facts VALUES (?, ?, ?)", (key, value, until))
        case _:
            pass  # an index, or the layout itself: both are made anew


def _is_history(name: str, form: bytes) -> bool:
    try:
        return decode(form).id == name
    except ValueError:
        return False


def _octets(connection: sqlite3.Connection, seq: int, data: bytes) -> None:
    try:
        connection.execute("INSERT INTO bodies VALUES (?, ?)", (seq, data))
    except sqlite3.IntegrityError:
        connection.execute("INSERT INTO more VALUES (?, ?)", (seq, data))


def _entry(connection: sqlite3.Connection, seq: int | None, values: tuple[Any, ...]) -> None:
    name, _, _, _, _, file, form, crc, _ = values
    try:
        checked(name, form, crc)
    except LaterForm:
        pass  # whole, and for a later program to read
    except ValueError as fault:
        connection.execute("INSERT INTO bad VALUES (?, ?, ?, ?, ?)", (seq, name, str(fault), file, form))
        return
    try:
        # Twice the same mail: a page that was given up may still hold an older state. A longer life is later.
        connection.execute(
            "INSERT INTO entries (seq, id, state, profile, due, size, file, entry, crc, body_crc)"
            " VALUES (?,?,?,?,?,?,?,?,?,?) ON CONFLICT (id) DO UPDATE SET state = excluded.state,"
            " profile = excluded.profile, due = excluded.due, entry = excluded.entry, crc = excluded.crc"
            " WHERE length(excluded.entry) > length(entries.entry)",
            (seq, *values),
        )
    except sqlite3.IntegrityError:
        reason = "another mail stands in its place"
        connection.execute("INSERT INTO bad VALUES (NULL, ?, ?, ?, ?)", (name, reason, file, form))


def _join(connection: sqlite3.Connection) -> None:
    """Give every entry its octets; set aside who has none, and octets that nobody owns."""
    # A mail in the history is done: what says otherwise is a page that was given up. Its octets go with it.
    connection.execute("DELETE FROM bodies WHERE seq IN (SELECT seq FROM entries WHERE id IN (SELECT id FROM history))")
    connection.execute("DELETE FROM entries WHERE id IN (SELECT id FROM history)")
    for (seq,) in connection.execute("SELECT seq FROM entries WHERE file = ''").fetchall():
        if not _joined(connection, seq):
            reason = "its octets are damaged or gone"
            connection.execute("INSERT INTO bad SELECT seq, id, ?, '', entry FROM entries WHERE seq = ?", (reason, seq))
            connection.execute("DELETE FROM entries WHERE seq = ?", (seq,))
    connection.execute(
        "INSERT INTO damaged SELECT id, reason, file, entry, (SELECT data FROM bodies WHERE seq = bad.seq) FROM bad"
    )
    connection.execute(
        "INSERT INTO damaged SELECT 'body-' || seq, 'its envelope is gone', '', NULL, data FROM bodies WHERE seq NOT IN"
        " (SELECT seq FROM entries WHERE file = '' UNION SELECT seq FROM bad WHERE seq IS NOT NULL)"
    )
    connection.execute("DELETE FROM bodies WHERE seq NOT IN (SELECT seq FROM entries WHERE file = '')")


def _joined(connection: sqlite3.Connection, seq: int) -> bool:
    """True when an entry's octets are there; of several, those that fit."""
    [(size, crc)] = connection.execute("SELECT size, body_crc FROM entries WHERE seq = ?", (seq,)).fetchall()
    query = "SELECT data FROM bodies WHERE seq = ? UNION ALL SELECT data FROM more WHERE seq = ?"
    for (data,) in connection.execute(query, (seq, seq)).fetchall():
        if len(data) == size and crc in (None, zlib.crc32(data)):
            connection.execute("REPLACE INTO bodies VALUES (?, ?)", (seq, data))
            return True
    return False
