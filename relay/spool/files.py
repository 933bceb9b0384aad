"""The folder of large bodies, held open: files are made, synced and removed through its descriptor.

A name is never resolved twice (openat), a link is never followed, and what another process has put
there is not ours to read: a regular file of our own, with one name, of the size that was written.
"""

import contextlib
import errno
import os
import secrets
import stat
import time
import zlib
from pathlib import Path

from relay import journal
from relay.errors import BodyDamaged, SpoolError, SpoolFull
from relay.spool.room import QUIET, Room

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_PIECE = 1 << 20


def spool_fault(fault: OSError) -> SpoolError:
    """The spool's own error for an OSError; its text names no path."""
    text = os.strerror(fault.errno or 0)
    return SpoolFull(f"spool: {text}") if fault.errno in _FULL else SpoolError(f"spool: {text}")


class BodyFiles:
    """The files of one spool; open for as long as the spool is."""

    def __init__(self, path: Path, room: Room) -> None:
        self.path, self.room = path, room
        self._folder = -1
        self._alarmed = float("-inf")
        self.held = 0
        """Octets that drafts hold in memory."""
        self.doubts = 0
        """How often a sync has failed. The kernel reports a failed write once, to one of those who ask:
        nothing that was begun before may be believed afterwards."""

    def open(self) -> None:
        """Hold the folder. Raises OSError."""
        self._folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)

    def reopen(self) -> None:
        """Hold the folder that has the name now; what was begun in the old one is gone. Raises OSError."""
        self.doubts += 1
        self.close()
        self.open()

    @property
    def is_open(self) -> bool:
        """Whether the folder is held."""
        return self._folder >= 0

    @property
    def is_removed(self) -> bool:
        """True when the folder that is held has no name any more: nothing can be made there."""
        return self.is_open and os.fstat(self._folder).st_nlink == 0

    @property
    def status(self) -> os.stat_result:
        """Of the folder that is held."""
        return os.fstat(self._folder)

    def close(self) -> None:
        """Let go of it."""
        if self._folder >= 0:
            os.close(self._folder)
            self._folder = -1

    def create(self) -> tuple[str, int]:
        """A new file's name and descriptor. Raises OSError."""
        name = f"{secrets.token_hex(12)}.eml"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        return name, os.open(name, flags, 0o600, dir_fd=self._folder)

    def sync(self, fd: int, doubts: int) -> None:
        """Make a file and its name survive a power cut. `doubts` is the number when the file was made.

        Raises OSError; EIO also when another file's sync has failed since.
        """
        try:
            os.fsync(fd)
            os.fsync(self._folder)
            if not os.fstat(fd).st_nlink:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        except OSError as fault:
            if fault.errno not in _FULL:
                self._doubt(fault)
            raise
        if doubts != self.doubts:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def _doubt(self, fault: OSError) -> None:
        self.doubts += 1
        now = time.monotonic()
        if now - self._alarmed > QUIET:
            self._alarmed = now
            text = f"a large mail could not be written: {os.strerror(fault.errno or 0)}; look at the disk"
            journal.alarm(f"spool {self.path}: {text}")

    def remove(self, name: str) -> None:
        """Remove a file. One that will not go is no fault: the next start sweeps it."""
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=self._folder)

    def move(self, name: str, target: Path) -> None:
        """Move a file out of the folder, if it is there. Raises OSError."""
        with contextlib.suppress(FileNotFoundError):
            os.rename(name, target, src_dir_fd=self._folder)

    def names(self) -> list[str]:
        """What lies in the folder under names that we give."""
        with os.scandir(self._folder) as found:
            return [one.name for one in found if one.name.endswith(".eml") and not one.is_dir(follow_symlinks=False)]

    def find(self, name: str, size: int, crc: int | None) -> "FileBody":
        """The body that was written under this name. Raises ValueError with what is wrong with the file."""
        try:
            status = os.lstat(name, dir_fd=self._folder)
        except OSError as fault:
            raise ValueError(f"its body file {name}: {os.strerror(fault.errno or 0)}") from fault
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"its body file {name} is no regular file")
        if status.st_uid != os.geteuid() or status.st_nlink != 1:
            raise ValueError(f"its body file {name} has another owner, or a second name")
        if status.st_size != size:
            raise ValueError(f"its body file {name} has {status.st_size} octets, not {size}")
        return FileBody(self, name, size, crc)

    def read(self, name: str, start: int, stop: int) -> bytes:
        """Octets of a file. Raises SpoolError when it is gone or too short."""
        try:
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._folder)
            try:
                octets = os.pread(fd, stop - start, start)
            finally:
                os.close(fd)
        except OSError as fault:
            raise spool_fault(fault) from fault
        if not octets:
            raise BodyDamaged(f"spool: its body file {name} is shorter than it was")
        return octets


class FileBody:
    """A mail that lies in a file of its own; the whole is checked before the first octet is given."""

    def __init__(self, files: BodyFiles, name: str, size: int, crc: int | None = None) -> None:
        self._files, self._name, self.size = files, name, size
        self._unchecked = crc

    def read(self, start: int, stop: int) -> bytes:
        """The octets from `start` up to `stop`. Raises BodyDamaged when they are not what was written, SpoolError."""
        if self._unchecked is not None:
            self._check(self._unchecked)
        stop = min(stop, self.size)
        return self._files.read(self._name, start, stop) if start < stop else b""

    def _check(self, wanted: int) -> None:
        found = at = 0
        while at < self.size:
            piece = self._files.read(self._name, at, min(at + _PIECE, self.size))
            found = zlib.crc32(piece, found)
            at += len(piece)
        if found != wanted:
            raise BodyDamaged(f"spool: its body file {self._name} is damaged: its checksum differs")
        self._unchecked = None
