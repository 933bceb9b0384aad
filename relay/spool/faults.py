"""Faults: what SQLite reports, sorted by what follows from it: no room, a disk that fails, a file that is damaged."""

import sqlite3

from relay.errors import SpoolDamaged, SpoolError, SpoolFull

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
