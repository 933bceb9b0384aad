"""Draft: a mail's octets while they arrive; small ones in memory, large ones in a file of their own.

Files are made with O_EXCL and O_NOFOLLOW, mode 0600, in a folder that only we may enter.
"""

import contextlib
import errno
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from relay.errors import SpoolError, SpoolFull
from relay.message import Body, BytesBody

SMALL = 262144
"""Octets up to which a mail stays in memory and in the database."""

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def spool_fault(fault: OSError) -> SpoolError:
    """The spool's own error for an OSError; its text names no path."""
    text = os.strerror(fault.errno or 0)
    return SpoolFull(f"spool: {text}") if fault.errno in _FULL else SpoolError(f"spool: {text}")


@dataclass(frozen=True, slots=True)
class FileBody:
    """A mail that lies in a file of its own."""

    path: Path
    size: int

    def read(self, start: int, stop: int) -> bytes:
        """The octets from `start` up to `stop`. Raises SpoolError when the file is gone or too short."""
        stop = min(stop, self.size)
        if start >= stop:
            return b""
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                octets = os.pread(fd, stop - start, start)
            finally:
                os.close(fd)
        except OSError as fault:
            raise spool_fault(fault) from fault
        if not octets:
            raise SpoolError("spool: a mail's file is shorter than it was")
        return octets


class FileDraft:
    """A draft that moves from memory into `folder` when it grows beyond SMALL."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._octets = bytearray()
        self._fd = -1
        self.name = ""
        self.size = 0
        self.taken = False

    def write(self, data: bytes) -> None:
        """Append. Raises SpoolFull when the disk is full, SpoolError on other faults."""
        self.size += len(data)
        try:
            if self._fd >= 0:
                self._append(data)
                return
            self._octets += data
            if self._folder is not None and self.size > SMALL:
                self._move_to_file()
        except OSError as fault:
            raise spool_fault(fault) from fault

    def _move_to_file(self) -> None:
        assert self._folder is not None
        self.name = f"{secrets.token_hex(12)}.eml"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self._fd = os.open(self._folder / self.name, flags, 0o600)
        self._append(bytes(self._octets))
        self._octets = bytearray()

    def _append(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]

    @property
    def octets(self) -> bytes | None:
        """All octets of a small draft; None for one in a file."""
        return None if self.name else bytes(self._octets)

    def body(self) -> Body:
        """What was written."""
        if self.name and self._folder is not None:
            return FileBody(self._folder / self.name, self.size)
        return BytesBody(bytes(self._octets))

    def sync(self) -> None:
        """Make a file draft survive a power cut: its octets, then its name. Raises SpoolError."""
        if self._fd < 0 or self._folder is None:
            return
        try:
            os.fsync(self._fd)
            folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as fault:
            raise spool_fault(fault) from fault
        finally:
            os.close(self._fd)
            self._fd = -1

    def discard(self) -> None:
        """Forget it and leave no file behind; does nothing once the spool has taken it."""
        if self.taken:
            return
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if self.name and self._folder is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._folder / self.name)
        self._octets = bytearray()

    def __del__(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
