"""Schema: the layout of the spool's database, by version, and how an older one becomes the present one.

Format 2 keeps a checksum of each entry's form and of its octets, counts mails and octets by state and
profile as they come and go, and finds the rows that own a file. Format 1 is brought up when it is opened.
"""

import sqlite3
from pathlib import Path

from relay.errors import SpoolDamaged, SpoolError
from relay.spool.faults import is_damaged

FORMAT = 2
"""PRAGMA user_version of this layout; a later one is refused."""

_FORMAT_1 = """
CREATE TABLE entries (seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, state TEXT NOT NULL, profile TEXT NOT NULL,
    due REAL NOT NULL, size INTEGER NOT NULL, file TEXT NOT NULL DEFAULT '', entry BLOB NOT NULL);
CREATE INDEX entries_due ON entries (state, due);
CREATE TABLE bodies (seq INTEGER PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE history (seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, done_at REAL NOT NULL, entry BLOB NOT NULL);
CREATE INDEX history_done_at ON history (done_at);
CREATE TABLE facts (key TEXT PRIMARY KEY, value TEXT NOT NULL, until REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX facts_until ON facts (until);
CREATE TABLE damaged (id TEXT NOT NULL, reason TEXT NOT NULL, file TEXT NOT NULL, entry BLOB, data BLOB);
"""
_FORMAT_2 = """
ALTER TABLE entries ADD COLUMN crc INTEGER;
ALTER TABLE entries ADD COLUMN body_crc INTEGER;
DROP INDEX entries_due;
CREATE INDEX IF NOT EXISTS entries_profile ON entries (state, profile, due);
CREATE INDEX entries_file ON entries (file) WHERE file <> '';
CREATE TABLE totals (state TEXT NOT NULL, profile TEXT NOT NULL, mails INTEGER NOT NULL, octets INTEGER NOT NULL,
    PRIMARY KEY (state, profile)) WITHOUT ROWID;
INSERT INTO totals SELECT state, profile, count(*), sum(size) FROM entries GROUP BY state, profile;
CREATE TRIGGER entries_come AFTER INSERT ON entries BEGIN
    INSERT INTO totals VALUES (new.state, new.profile, 1, new.size)
        ON CONFLICT DO UPDATE SET mails = mails + 1, octets = octets + excluded.octets;
END;
CREATE TRIGGER entries_go AFTER DELETE ON entries BEGIN
    UPDATE totals SET mails = mails - 1, octets = octets - old.size WHERE state = old.state AND profile = old.profile;
END;
CREATE TRIGGER entries_move AFTER UPDATE OF state, profile ON entries
    WHEN old.state <> new.state OR old.profile <> new.profile BEGIN
    UPDATE totals SET mails = mails - 1, octets = octets - old.size WHERE state = old.state AND profile = old.profile;
    INSERT INTO totals VALUES (new.state, new.profile, 1, new.size)
        ON CONFLICT DO UPDATE SET mails = mails + 1, octets = octets + excluded.octets;
END;
"""
_STEPS = (_FORMAT_1, _FORMAT_2)
"""What leads from each format to the next; 0 is an empty file."""
_KEEP_FILES = "INSERT OR REPLACE INTO facts VALUES ('files', 'keep', 9e15);"
_TABLES = {"entries", "bodies", "history", "facts", "damaged", "totals"}


def connect(database: Path, log_size: int) -> sqlite3.Connection:
    """The connection that writes. `log_size` octets of the log's file stay when it is begun afresh.

    Raises SpoolDamaged when the file is no database of ours any more, SpoolError when it is a later
    format's, or can not be opened.
    """
    # There is no other one that writes. The writer uses it by turns on the loop and in its thread.
    connection = sqlite3.connect(database, isolation_level=None, timeout=0.2, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL").fetchall()
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute("PRAGMA secure_delete = FAST").fetchall()  # zeros only where a page is written anyway
        connection.execute("PRAGMA wal_autocheckpoint = 0")  # the writer does that itself
        connection.execute(f"PRAGMA journal_size_limit = {log_size}").fetchall()
        bring_up(connection)
    except sqlite3.Error as fault:
        connection.close()
        raise opening_fault(database, fault) from fault
    except SpoolError as fault:
        connection.close()
        raise type(fault)(f"spool {database}: {fault}") from fault
    return connection


def commit(connection: sqlite3.Connection) -> None:
    """To the disk, in one step: each return to Python waits for the event loop, and `execute` returns three times."""
    if not connection.in_transaction:  # SQLite has rolled it back; `commit` would say nothing of that
        raise sqlite3.OperationalError("the transaction has ended before its time")
    connection.commit()


def opening_fault(database: Path, fault: sqlite3.Error) -> SpoolError:
    """The spool's own error for one that came while the database was opened."""
    kind = SpoolDamaged if is_damaged(fault) else SpoolError
    return kind(f"spool {database}: {fault}")


def bring_up(connection: sqlite3.Connection) -> None:
    """Make the layout the present one. Raises SpoolDamaged, SpoolError, sqlite3.Error."""
    [(version,)] = connection.execute("PRAGMA user_version").fetchall()
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    if version > FORMAT:
        raise SpoolError(f"it has format {version}, this program reads up to {FORMAT}: use the newer program")
    if version == 0 and tables:
        raise SpoolDamaged("its format is unknown")
    if version < FORMAT:
        steps = "".join(_STEPS[version:])
        if version == 0:
            steps += _KEEP_FILES
        connection.executescript(f"BEGIN IMMEDIATE; {steps} PRAGMA user_version = {FORMAT}; COMMIT;")
    elif not tables >= _TABLES:
        raise SpoolDamaged("tables are missing")


def keep_files(connection: sqlite3.Connection) -> None:
    """Remember that files which no row owns may be mail: the database is new, or was damaged."""
    connection.execute(_KEEP_FILES)


def files_to_keep(connection: sqlite3.Connection) -> bool:
    """Whether `keep_files` was asked for; forgotten with this."""
    return connection.execute("DELETE FROM facts WHERE key = 'files'").rowcount > 0
