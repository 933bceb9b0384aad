"""Draft: a mail's octets while they arrive; small ones in memory, large ones in a file of their own."""

import os
import zlib

from relay.errors import SpoolError, SpoolFull
from relay.message import Body, BytesBody
from relay.spool.files import BodyFiles, FileBody, spool_fault

SMALL = 262144
"""Octets up to which a mail stays in memory and in the database."""
HELD = 16 << 20
"""Octets that all drafts together hold in memory; beyond, those of more than a page go into files, too."""
_PAGE = 4096
STRIDE = 1 << 20
"""Octets of a large mail after which the room is looked at again."""


class FileDraft:
    """A draft that moves from memory into a file when it grows beyond SMALL; without `files` it stays."""

    def __init__(self, files: BodyFiles | None) -> None:
        self._files = files
        self._octets = bytearray()
        self._body: BytesBody | None = None
        self._fd = -1
        self._doubts = self._held = 0
        self.name = ""
        self.size = 0
        self.crc = 0
        self.taken = False
        self._broken = False
        self._looked = 0

    def write(self, data: bytes) -> None:
        """Append. Raises SpoolFull when the disk is full, SpoolError on other faults."""
        self.size += len(data)
        self.crc = zlib.crc32(data, self.crc)
        try:
            if self._fd >= 0:
                self._append(data)
                return
            self._octets += data
            if (files := self._files) is not None:
                self._held += len(data)
                files.held += len(data)
                if self.size > SMALL or (files.held > HELD and self.size > _PAGE):
                    self._move_to_file(files)
        except OSError as fault:
            self._broken = True
            error = spool_fault(fault)
            if self._files is not None and isinstance(error, SpoolFull):
                self._files.room.full(error)
            raise error from fault
        except SpoolFull:
            self._broken = True
            raise

    def _move_to_file(self, files: BodyFiles) -> None:
        self._doubts = files.doubts
        self.name, self._fd = files.create()
        self._append(bytes(self._octets))
        self._let_go()

    def _let_go(self) -> None:
        self._octets = bytearray()
        if self._files is not None:
            self._files.held -= self._held
            self._held = 0

    def _append(self, data: bytes) -> None:
        if self.size - self._looked >= STRIDE and self._files is not None:
            self._looked = self.size
            self._files.room.check(STRIDE)
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]

    @property
    def octets(self) -> bytes | None:
        """All octets of a small draft; None for one in a file."""
        return None if self.name else self._in_memory().data

    def body(self) -> Body:
        """What was written."""
        if self.name and self._files is not None:
            return FileBody(self._files, self.name, self.size)
        return self._in_memory()

    def _in_memory(self) -> BytesBody:
        if self._body is None or self._body.size != len(self._octets):
            self._body = BytesBody(bytes(self._octets))
        return self._body

    def sync(self) -> None:
        """Make a file draft survive a power cut: its octets, then its name. Raises SpoolError.

        Once only: what a failed write or sync has left is never tried again.
        """
        if self._broken:
            raise SpoolError("spool: a part of this mail could not be written")
        if not self.name or self._files is None:
            return
        self._broken = True
        try:
            self._files.sync(self._fd, self._doubts)
        except OSError as fault:
            raise spool_fault(fault) from fault
        finally:
            os.close(self._fd)
            self._fd = -1

    def discard(self) -> None:
        """Forget it and leave no file behind; does nothing once the spool has taken it."""
        if self.taken:
            return
        self._broken = True  # a sync that found no thread may still come
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if self.name and self._files is not None:
            self._files.remove(self.name)
        self._let_go()

    def __del__(self) -> None:
        self._let_go()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
