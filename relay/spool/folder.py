"""The spool's folder: ours alone, and one process in it at a time."""

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from relay.errors import SpoolError

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
BESIDE = ("", "-wal", "-shm")
"""The files of a SQLite database: itself, its log, the log's index."""


def enter(folder: Path, inner: Sequence[Path], database: Path) -> tuple[int, int]:
    """Make the folders and the database's file, closed to others, and lock them; the descriptors hold the lock.

    All of it survives a power cut when this returns. Raises SpoolError when something there is not
    ours, when others may enter, or when another relay holds the lock.
    """
    held: list[int] = []
    try:
        for path in (folder, *inner):
            make(path)
        held.append(os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC))
        held.append(_file(folder / "lock"))
        # The folder too: a lock file that somebody removed and a second relay made again keeps nobody out.
        for descriptor in held:
            _lock(folder, descriptor, needed=descriptor == held[-1])
        os.close(_file(database))  # SQLite would make it by umask
        for name in BESIDE[1:]:
            beside = database.with_name(database.name + name)
            if os.path.lexists(beside):
                os.close(_file(beside))
        os.fsync(held[0])
    except BaseException as fault:
        for descriptor in held:
            os.close(descriptor)
        if isinstance(fault, OSError):
            raise SpoolError(f"spool {folder}: {os.strerror(fault.errno or 0)}{_remedy(fault)}") from fault
        raise
    return held[0], held[1]


def _remedy(fault: OSError) -> str:
    if fault.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f": give user {os.geteuid()} a folder of its own there (chown), or name another with [spool] path"
    return ""


def _lock(folder: Path, descriptor: int, *, needed: bool) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as fault:
        raise SpoolError(f"spool {folder}: another tracker-relay is using it") from fault
    except OSError:
        if needed:  # NFS locks no folders
            raise


def _file(path: Path) -> int:
    """A file of the spool itself, open. Raises SpoolError unless it is a plain one of ours with one name."""
    try:
        descriptor = os.open(path, _FLAGS, 0o600)
    except OSError as fault:
        if path.is_symlink():
            raise SpoolError(f"spool: {path} is a symbolic link: put the file itself there") from fault
        raise SpoolError(f"spool: {path}: {os.strerror(fault.errno or 0)}") from fault
    status = os.fstat(descriptor)
    text = ""
    if not stat.S_ISREG(status.st_mode):
        text = "is no regular file: move it away"
    elif status.st_uid != os.geteuid():
        text = f"belongs to user {status.st_uid}: chown it to {os.geteuid()}"
    elif status.st_nlink > 1:
        text = "has a second name (hard link): remove that one"
    elif status.st_mode & 0o077:
        os.fchmod(descriptor, 0o600)
    if text:
        os.close(descriptor)
        raise SpoolError(f"spool: {path} {text}")
    return descriptor


def make(path: Path) -> None:
    """A folder that only we may enter; its name is on disk."""
    missing = [folder for folder in (path, *path.parents) if not os.path.lexists(folder)]
    for folder in reversed(missing):
        # The folders above are no secret: the sendmail drop-in's socket lies there, for every local user.
        folder.mkdir(0o700 if folder == path else 0o777, exist_ok=True)
        with contextlib.suppress(PermissionError):  # we may write there, but not read
            sync_folder(folder.parent)
    status = os.lstat(path)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise SpoolError(f"spool {path}: no folder of user {os.geteuid()}: chown it, or name another")
    if status.st_mode & 0o077:
        raise SpoolError(f"spool {path}: others may enter it: chmod 700 {path}")


def sync_folder(path: Path) -> None:
    """Make the names in a folder survive a power cut. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
