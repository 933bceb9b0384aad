"""Token store: a file per upstream in a folder of the relay's user alone, replaced whole, or not at all.

It keeps MTA-STS policies as well, a file per domain: `what` are the words for a fault.

Two processes may want to renew the same token, the daemon and a command: whoever holds the file's lock
does, and reads the file again first. A lock ends with its process.
"""

import asyncio
import contextlib
import fcntl
import os
import secrets
import stat
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from relay.errors import RelayError

LARGEST = 65536
_LOOK_AGAIN = 0.1
"""Seconds between two looks at a lock that another process holds."""
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class StoreFault(RelayError):
    """the stored tokens can not be read or written"""


@dataclass(frozen=True, slots=True)
class TokenStore:
    """The folder. Its verbs are short but may wait for the disk: not for the event loop, `locked` apart."""

    folder: Path
    what: str = "tokens"

    def path(self, name: str) -> Path:
        """Where it is, for people."""
        return self.folder / _file(name)

    def load(self, name: str) -> bytes | None:
        """What is stored under that name, None for nothing. Raises StoreFault, also for a file that others may read."""
        try:
            with self._entered() as folder:
                file = os.open(_file(name), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
                with open(file, "rb") as opened:
                    self._ours(os.fstat(file), name)
                    return opened.read(LARGEST)
        except FileNotFoundError:
            return None
        except OSError as fault:
            raise self._fault(name, fault) from fault

    def store(self, name: str, data: bytes) -> None:
        """Replace what is stored: on disk, whole, when this returns. Else StoreFault, and the old one is there."""
        draft = f"{_file(name)}.{secrets.token_hex(4)}.new"
        try:
            self._make()
            with self._entered() as folder:
                self._clear(folder, name)
                file = os.open(draft, _NEW, 0o600, dir_fd=folder)
                try:
                    with open(file, "wb") as opened:
                        opened.write(data)
                        opened.flush()
                        os.fsync(file)
                    os.rename(draft, _file(name), src_dir_fd=folder, dst_dir_fd=folder)
                except BaseException:
                    os.unlink(draft, dir_fd=folder)
                    raise
                os.fsync(folder)
        except OSError as fault:
            raise self._fault(name, fault) from fault

    def remove(self, name: str) -> None:
        """Forget what is stored under that name. Raises StoreFault."""
        try:
            with self._entered() as folder:
                self._clear(folder, name)
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(_file(name), dir_fd=folder)
                os.fsync(folder)
        except FileNotFoundError:
            pass  # there is no folder yet
        except OSError as fault:
            raise self._fault(name, fault) from fault

    @contextlib.asynccontextmanager
    async def locked(self, name: str, patience: float) -> AsyncIterator[None]:
        """The right to renew; waits `patience` seconds for it. Raises StoreFault."""
        try:
            self._make()
            with self._entered() as folder:
                flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
                lock = os.open(f"{_file(name)}.lock", flags, 0o600, dir_fd=folder)
        except OSError as fault:
            raise self._fault(name, fault) from fault
        try:
            await self._take(lock, name, patience)
            yield
        finally:
            os.close(lock)

    async def _take(self, lock: int, name: str, patience: float) -> None:
        try:
            async with asyncio.timeout(patience):
                while True:
                    with contextlib.suppress(BlockingIOError):
                        return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    await asyncio.sleep(_LOOK_AGAIN)
        except TimeoutError as fault:
            raise StoreFault(f"tokens of {name}: another process is renewing them and does not end") from fault

    def _make(self) -> None:
        """Make the folder, and those above it, if they are missing."""
        for path in (*reversed(self.folder.parents), self.folder):
            if not path.exists():
                with contextlib.suppress(FileExistsError):
                    os.mkdir(path, 0o700)

    @contextlib.contextmanager
    def _entered(self) -> Iterator[int]:
        """A descriptor of the folder, which must be ours and closed to others."""
        folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            status = os.fstat(folder)
            if status.st_uid != os.geteuid():
                raise StoreFault(f"{self.folder}: it belongs to another user: chown it to the relay's")
            if status.st_mode & 0o077:
                raise StoreFault(f"{self.folder}: others may enter it: chmod 700 {self.folder}")
            yield folder
        finally:
            os.close(folder)

    def _ours(self, status: os.stat_result, name: str) -> None:
        path = self.path(name)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_nlink != 1:
            raise StoreFault(f"{path}: no plain file of the relay's own: remove it, then log in again")
        if status.st_mode & 0o077:
            raise StoreFault(f"{path}: others may read it: remove it, then log in again")

    @staticmethod
    def _clear(folder: int, name: str) -> None:
        """Remove the drafts of a process that was killed."""
        for left in os.listdir(folder):
            if left.startswith(f"{_file(name)}.") and left.endswith(".new"):
                os.unlink(left, dir_fd=folder)

    def _fault(self, name: str, fault: OSError) -> StoreFault:
        return StoreFault(f"{self.what} of {name} in {self.folder}: {os.strerror(fault.errno or 0)}")


def _file(name: str) -> str:
    """A file's name for any upstream's name."""
    return f"{quote(name, safe='')}.json"
