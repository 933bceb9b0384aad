"""Named file: one that the configuration or a command line names, read whole, but within bounds and without waiting.

A device without end, a pipe that nobody writes to and a file of gigabytes are a mistake of whoever wrote the name: he
is told so in one line. What a shell puts in a command's place, `<(zcat mail.eml.gz)`, is a pipe with a writer.
"""

import errno
import os
import select
import stat

LONGEST = 16 << 20
"""Octets of a configuration, a file of passwords, certificates, recipients: far more than any has."""
PATIENCE = 10.0
"""Seconds that a pipe may be silent while somebody has it open for writing."""


def read(path: str | os.PathLike[str], longest: int = LONGEST, *, pipes: bool = False) -> bytes:
    """All of its octets; with `pipes`, also what a program that runs meanwhile writes into a pipe.

    Raises OSError, whose `strerror` says what is wrong with the file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK)
    try:
        status = os.fstat(descriptor)
        if pipes and stat.S_ISFIFO(status.st_mode):
            return _drained(path, descriptor, longest)
        _look(path, status, longest)
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read(longest + 1)
        if len(data) > longest:  # one in /proc has no size, and one may grow
            raise _too_large(path, longest)
        return data
    finally:
        os.close(descriptor)


def _drained(path: str | os.PathLike[str], descriptor: int, longest: int) -> bytes:
    data = bytearray()
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    while len(data) <= longest:
        try:
            piece = os.read(descriptor, 1 << 16)
        except BlockingIOError:  # there is a writer
            if not poll.poll(PATIENCE * 1000):
                text = f"a pipe through which nothing came for {PATIENCE:g} seconds"
                raise OSError(errno.ETIMEDOUT, text, str(path)) from None
            continue
        if not piece and not data:
            raise OSError(errno.EINVAL, "a pipe that nobody writes to", str(path))
        if not piece:
            return bytes(data)
        data += piece
    raise _too_large(path, longest)


def look(path: str | os.PathLike[str], longest: int = LONGEST) -> None:
    """Raises OSError, as `read`, for a file that nobody should be told to read: a library opens it by itself."""
    _look(path, os.stat(path), longest)


def _look(path: str | os.PathLike[str], status: os.stat_result, longest: int) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "no regular file", str(path))
    if status.st_size > longest:
        raise _too_large(path, longest)


def _too_large(path: str | os.PathLike[str], longest: int) -> OSError:
    return OSError(errno.EFBIG, f"larger than {longest} octets: is it the right file?", str(path))
