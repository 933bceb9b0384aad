"""Place: whether the spool's files still lie where the next start looks for them.

An open file outlasts its name: mail that is kept in one that somebody has removed, moved or replaced is gone with
the process. So it is looked at again and again, and no mail is taken meanwhile. Of the database the writer saves
what is open; a folder that was moved comes back by the hand that has moved it, and all in it is as it was.
"""

import contextlib
import os
import time
from pathlib import Path

from relay import journal
from relay.errors import SpoolError, SpoolGone
from relay.spool import folder
from relay.spool.files import BodyFiles

FRESH = 0.05
"""Seconds for which one look is good."""


class Place:
    """The folder, held open; the folder of large bodies; the database's files, as they were when it was opened."""

    def __init__(self, path: Path, files: BodyFiles) -> None:
        self._path, self._files = path, files
        self._held = -1
        self._known: dict[Path, os.stat_result] = {}
        self._looked = float("-inf")

    def hold(self, descriptor: int) -> None:
        """The folder that is ours, open for as long as the spool is."""
        self._held = descriptor

    def note(self, database: Path) -> None:
        """These are the files that the writer has open from now on."""
        beside = [database.with_name(database.name + name) for name in ("", "-wal")]
        self._known = {path: os.stat(path) for path in beside if path.exists()}

    def moved(self) -> str:
        """What was moved away, or replaced: "" for nothing. A folder of bodies that was removed is made anew."""
        if self._held >= 0 and not self._is_here:
            return "it is not in its place any more: put it back, or restart the relay"
        if self._files.is_removed:
            with contextlib.suppress(OSError, SpoolError):
                folder.make(self._files.path)
                folder.sync_folder(self._path)
                self._files.reopen()
                text = "it was removed, and is made anew; what was in it is set aside when its turn comes"
                journal.alarm(f"spool {self._files.path}: {text}")
        if self._files.is_open and not _is(self._files.path, self._files.status):
            return f"{self._files.path.name} in it is not in its place any more: put it back, or restart the relay"
        return ""

    @property
    def is_whole(self) -> bool:
        """False when the database's files are gone out of a folder that is in its place. One look is good for FRESH."""
        if (now := time.monotonic()) - self._looked < FRESH:
            return True
        if self._gone() and self._is_here:
            return False
        self._looked = now
        return True

    def check(self) -> None:
        """Raises SpoolGone when they are."""
        if not self.is_whole:
            raise SpoolGone(f"spool {self._path}: {' and '.join(self._gone())} gone from under the running relay")

    @property
    def _is_here(self) -> bool:
        return _is(self._path, os.fstat(self._held))

    def _gone(self) -> list[str]:
        return [path.name for path, known in self._known.items() if not _is(path, known)]


def _is(path: Path, known: os.stat_result) -> bool:
    """Whether that file has that name; where nobody may tell, it has."""
    try:
        return os.path.samestat(os.stat(path), known)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
