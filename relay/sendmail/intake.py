"""Intake: standard input read to its end before anybody is asked for anything.

A job under cron writes for hours; the relay's line must not wait for it. The first part of the mail
stays in memory, the rest goes into a file without a name, so the size of a mail does not matter.
"""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

from relay.sendmail.lines import Lines

HEAD = 1 << 20
"""Octets kept in memory; the header lies within them (the relay takes one of 256 kB at most)."""
MOST = 1 << 30
"""Octets of a mail that are taken down at most: a program that writes without end shall not fill the disk."""
_PIECE = 1 << 16


class NoRoom(Exception):
    """there is no room for a large mail"""


class TooLarge(Exception):
    """no relay takes a mail of that size"""


@dataclass(slots=True)
class Intake:
    """A mail as lines with CRLF: `head`, then what `pieces` reads from the descriptor `rest`."""

    head: bytes
    rest: int | None = None

    def pieces(self, start: int) -> Iterator[bytes]:
        """The octets from `start`, which lies within `head`. Raises OSError."""
        if start < len(self.head):
            yield self.head[start:]
        at = 0
        while self.rest is not None and (piece := os.pread(self.rest, _PIECE, at)):
            yield piece
            at += len(piece)

    def size(self, start: int) -> int:
        """How many octets `pieces` gives."""
        return len(self.head) - start + (0 if self.rest is None else os.fstat(self.rest).st_size)


def read(descriptor: int, *, dot_ends: bool) -> Intake:
    """Read up to the end, or the dot. Raises OSError when that fails, NoRoom, TooLarge."""
    lines = Lines(dot_ends=dot_ends)
    head = bytearray()
    rest: int | None = None
    more, size = True, 0
    while more and not lines.done:
        chunk = os.read(descriptor, _PIECE)
        more = bool(chunk)
        data = lines.feed(chunk) if chunk else lines.end()
        size += len(chunk)
        if size > MOST:
            raise TooLarge(f"the mail is larger than {MOST} octets")
        if rest is None and len(head) + len(data) <= HEAD:
            head += data
        elif data:
            rest = _nameless() if rest is None else rest
            _write(rest, data)
    return Intake(bytes(head), rest)


def _nameless() -> int:
    """A file of our own that goes with us."""
    fault: OSError | None = None
    for folder in filter(None, (os.environ.get("TMPDIR"), "/var/tmp", "/tmp")):  # noqa: S108 - it has no name
        try:
            return _opened(folder)
        except OSError as refused:
            fault = refused
    raise NoRoom(f"no room for the mail: {fault}") from fault


def _opened(folder: str) -> int:
    flags = os.O_RDWR | os.O_CLOEXEC
    with contextlib.suppress(OSError):
        return os.open(folder, flags | os.O_TMPFILE, 0o600)
    name = f"{folder}/sendmail-{os.getpid()}-{os.urandom(8).hex()}"  # a file system without O_TMPFILE
    made = os.open(name, flags | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    os.unlink(name)
    return made


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(descriptor, view) :]
    except OSError as fault:
        raise NoRoom(f"no room for the mail: {fault.strerror}") from fault
