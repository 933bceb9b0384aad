"""Log lines: written so that whoever says one neither waits nor fails, whatever becomes of the file or of its reader.

1. A file that is gone is made again. While that can not be (its folder is gone, or closed to us), the open one goes on.
2. A pipe or socket whose reader is slow gets what it takes at once; the rest waits in memory, up to KEPT octets.
3. What can be neither written nor kept is lost, and counted: when lines go out again, one tells how many.
"""

import contextlib
import logging
import os
import select
import stat
import threading
import time
from collections import deque
from collections.abc import Callable

KEPT = 1 << 20
"""Octets of lines that wait for a slow reader."""
AGAIN = 1.0
"""Seconds between two tries to make a file that is gone."""
AT_THE_END = 1.0
"""Seconds that the last lines get when the program ends."""
_PIECE = select.PIPE_BUF
"""Octets that a pipe takes at once when it says that it takes any."""
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
_ANEW = os.O_WRONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


class Lines(logging.Handler):
    """Lines into the file at `path`, which may be rotated at any time, or into a `descriptor` of somebody else's.

    `lost` is told of each line that is lost. Raises OSError when the file can not be opened.
    """

    def __init__(self, lost: Callable[[], None], path: str = "", descriptor: int = -1) -> None:
        super().__init__()
        self._lost, self._path = lost, path
        self._kept: deque[bytes] = deque()
        self._octets = self._missing = self._telling = 0
        self._begun = self._torn = self._closing = False
        self._retry_at = 0.0
        self._carrier: threading.Thread | None = None
        self._ours = True
        self._use(os.open(path, _FLAGS, 0o666) if path else self._opened(descriptor))

    def _opened(self, descriptor: int) -> int:
        """A pipe or terminal opened anew: that others have it too forbids to ask it itself not to wait."""
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
            with contextlib.suppress(OSError):
                return os.open(f"/proc/self/fd/{descriptor}", _ANEW)
        self._ours = False
        return descriptor

    def _use(self, descriptor: int) -> None:
        status = os.fstat(descriptor)
        self._descriptor, self._file = descriptor, (status.st_dev, status.st_ino)
        self._can_wait = not stat.S_ISREG(status.st_mode)
        self._torn = False

    def emit(self, record: logging.LogRecord) -> None:
        """One more line. Raises nothing."""
        try:
            line = self._line(record)
        except Exception:  # a library's, with values that do not fit its text
            self._lose()
            return
        self._follow()
        if self._missing and not self._kept:
            self._telling = self._missing
            text = f"{self._missing} lines of the log are missing here: they could not be written"
            line = self._line(logging.LogRecord("tracker-relay", logging.WARNING, "", 0, text, (), None)) + line
        if self._octets + len(line) > KEPT:
            self._lose()
            return
        self._kept.append(line)
        self._octets += len(line)
        self._write(0)
        if self._kept:
            self._carry()

    def _line(self, record: logging.LogRecord) -> bytes:
        return f"{self.format(record)}\n".encode("utf-8", "backslashreplace")

    def _lose(self) -> None:
        self._missing += 1
        self._telling = 0
        self._lost()

    def _follow(self) -> None:
        """Into the file that has the name now."""
        if not self._path:
            return
        with contextlib.suppress(OSError):
            status = os.stat(self._path)
            if (status.st_dev, status.st_ino) == self._file:
                return
        if (now := time.monotonic()) < self._retry_at:
            return
        try:
            descriptor = os.open(self._path, _FLAGS, 0o666)
        except OSError:
            self._retry_at = now + AGAIN
            return
        os.close(self._descriptor)
        self._use(descriptor)

    def _write(self, patience: float) -> None:
        """What waits, as far as it is taken; for each piece within `patience` seconds."""
        while self._kept:
            line = self._kept[0]
            try:
                if self._can_wait and not _takes(self._descriptor, patience):
                    return
                written = os.write(self._descriptor, (b"\n" + line if self._torn else line)[:_PIECE])
            except BlockingIOError:
                return
            except OSError:  # the disk is full, or the reader gone
                self._octets -= len(self._kept.popleft())
                self._torn, self._begun = self._torn or self._begun, False
                self._lose()
                continue
            written, self._torn = written - self._torn, False
            self._octets -= written
            self._begun = written < len(line)
            if self._begun:
                self._kept[0] = line[written:]
            else:
                self._kept.popleft()
                self._missing, self._telling = self._missing - self._telling, 0

    def _carry(self) -> None:
        """Somebody has to write the rest when the reader takes it: no other line may come."""
        if self._carrier is None:
            self._carrier = threading.Thread(target=self._run, name="log-lines", daemon=True)
            try:
                self._carrier.start()
            except RuntimeError:  # no thread is left; the next line tries again
                self._carrier = None

    def _run(self) -> None:
        while self._carried():
            with contextlib.suppress(OSError):
                _takes(self._descriptor, AGAIN)
            time.sleep(0.01)

    def _carried(self) -> bool:
        with self.lock or contextlib.nullcontext():
            self._write(0)
            if not self._kept:
                self._carrier = None
                self._release()
            return bool(self._kept)

    def flush(self) -> None:
        """The end of the program: what waits goes out, if it is taken within AT_THE_END seconds."""
        until = time.monotonic() + AT_THE_END
        with self.lock or contextlib.nullcontext():
            while self._kept and (left := until - time.monotonic()) > 0:
                self._write(left)

    def close(self) -> None:
        """No more lines come; those that wait still go out."""
        with self.lock or contextlib.nullcontext():
            self._closing = True
            self._release()
        super().close()

    def _release(self) -> None:
        if self._closing and self._ours and not self._kept and self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _takes(descriptor: int, seconds: float) -> bool:
    """Whether it takes a piece within that time, or has come to its end, which the writing shows."""
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return bool(poll.poll(seconds * 1000))
