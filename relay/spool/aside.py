"""Aside: the folder `corrupt` of a spool, where damaged mail waits for a person; nothing there is read again."""

import base64
import contextlib
import json
import os
import re
import sqlite3
import time
from pathlib import Path
from typing import Any

from relay import journal
from relay.errors import SpoolError
from relay.spool import folder
from relay.spool.files import BodyFiles

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Aside:
    """Moves rows of the table `damaged` out of the database, into files that anybody can look at."""

    def __init__(self, spool: Path, files: BodyFiles) -> None:
        self.path = spool / "corrupt"
        self._files = files

    def remind(self) -> None:
        """At each start: say that something lies there."""
        try:
            number = len(os.listdir(self.path))
        except FileNotFoundError:
            return
        if number:
            journal.warning("", f"{self.path}: {number} files of damaged mail were set aside; look, then remove them")

    def empty_table(self, connection: sqlite3.Connection) -> None:
        """Write out what the table `damaged` holds. A row whose files can not be written stays for the next start."""
        rows = connection.execute("SELECT rowid, id, reason, file, entry, data FROM damaged").fetchall()
        for number, name, reason, file, form, data in rows:
            try:
                self._write_out(str(name), str(reason), str(file), _octets(form), _octets(data))
            except (OSError, SpoolError) as fault:
                journal.fault(f"setting aside {name}", fault)
                return
            connection.execute("DELETE FROM damaged WHERE rowid = ?", (number,))

    def _write_out(self, name: str, reason: str, file: str, form: bytes | None, data: bytes | None) -> None:
        """ID.json says what is known, ID.eml holds the octets that are left. Raises OSError, SpoolError."""
        folder.make(self.path)
        name = name if _NAME.fullmatch(name) else f"unnamed-{time.time_ns()}"
        known = {"id": name, "reason": reason, "set_aside_at": time.time(), "entry": _shown(form)}
        self._file(f"{name}.json", json.dumps(known, ensure_ascii=False, indent=1).encode("utf-8", "backslashreplace"))
        if data is not None:
            self._file(f"{name}.eml", data)
        if file:
            self._files.move(file, self.path / f"{name}.eml")
        folder.sync_folder(self.path)

    def _file(self, name: str, octets: bytes) -> None:
        path = self.path / name
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)  # of a start that was cut off; of a link the name goes, and not what it leads to
        with open(os.open(path, _FLAGS, 0o600), "wb") as file:
            file.write(octets)
            file.flush()
            os.fsync(file.fileno())

    def keep_file(self, name: str) -> None:
        """A body file that no row owns any more, after the database was damaged. Raises OSError, SpoolError."""
        folder.make(self.path)
        self._files.move(name, self.path / name)


def _octets(value: Any) -> bytes | None:
    """What stands in a column for octets; after damage that can be anything."""
    return value if isinstance(value, bytes | None) else str(value).encode("utf-8", "backslashreplace")


def _shown(form: bytes | None) -> object:
    """The stored form as JSON where it is that, else in base64."""
    if form is None:
        return None
    try:
        return json.loads(form)
    except (ValueError, RecursionError):
        return {"base64": base64.b64encode(form).decode("ascii")}
