"""The spool's folder: ours alone, and one process in it at a time."""

import fcntl
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from relay.errors import SpoolError

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


def enter(folder: Path, inner: Sequence[Path], file: Path) -> int:
    """Make the folders and the database's file, closed to others, and lock them; the lock is held by the descriptor.

    Raises SpoolError when they are not ours, when others may enter, or when another relay holds the lock.
    """
    try:
        for path in (folder, *inner):
            _make(path)
        lock = os.open(folder / "lock", _FLAGS, 0o600)
    except OSError as fault:
        raise SpoolError(f"spool {folder}: {os.strerror(fault.errno or 0)}") from fault
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(os.open(file, _FLAGS, 0o600))  # SQLite would make it by umask
    except BlockingIOError as fault:
        os.close(lock)
        raise SpoolError(f"spool {folder}: another tracker-relay is using it") from fault
    except OSError as fault:
        os.close(lock)
        raise SpoolError(f"spool {folder}: {os.strerror(fault.errno or 0)}") from fault
    return lock


def _make(path: Path) -> None:
    # The folders above are no secret: the sendmail drop-in's socket lies there, for every local user.
    path.parent.mkdir(parents=True, exist_ok=True)
    old = os.umask(0o077)
    try:
        path.mkdir(0o700, exist_ok=True)
    finally:
        os.umask(old)
    status = os.lstat(path)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise SpoolError(f"spool {path}: no folder of user {os.geteuid()}: chown it, or name another")
    if status.st_mode & 0o077:
        raise SpoolError(f"spool {path}: others may enter it: chmod 700 {path}")
