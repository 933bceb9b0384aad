"""Captured: the mails in the outbox, read from its Maildir as a mail reader would, and never changed.

Names begin with the mail's id, so they sort by age. A folder of 100,000 mails is walked, never sorted
or opened whole; all of it happens in a thread of the caller's.
"""

import contextlib
import heapq
import json
import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from relay.message import Body, Message, parse
from relay.web.readable import header

NAME = re.compile(r"[0-9a-z]{15}\.[0-9a-f]{16}|[0-9a-f]{32}")
"""What `outbox.py` calls its mails; a mail reader adds `:2,` and flags in `cur`."""
HEAD = 65536
"""Octets of a mail that a listing looks at."""
MAX_ENVELOPE = 1 << 20


@dataclass(frozen=True, slots=True)
class MailFile:
    """The octets of one captured mail; the file is opened anew for every piece."""

    path: Path
    size: int

    def read(self, start: int, stop: int) -> bytes:
        """The octets from `start` up to `stop`. Raises OSError."""
        with open(_open(self.path), "rb") as file:
            file.seek(start)
            return file.read(max(min(stop, self.size) - start, 0))


@dataclass(frozen=True, slots=True)
class Captured:
    """One mail in the outbox. `at` is when it was put there, `envelope` as `outbox.py` wrote it."""

    name: str
    at: float
    body: Body
    envelope: dict[str, Any]

    @property
    def recipients(self) -> list[str]:
        """Who would have got it."""
        to = self.envelope.get("to")
        rows = to if isinstance(to, list) else []
        return [str(row["address"]) for row in rows if isinstance(row, dict) and "address" in row]

    @property
    def sender(self) -> str:
        """The reverse-path, "" for the null one."""
        return str(self.envelope.get("from") or "")

    def message(self) -> Message:
        """Parsed; the body is read when it is looked at."""
        return parse(self.body)

    def row(self) -> dict[str, Any]:
        """One line of a listing. Raises OSError."""
        fields = dict(reversed([(name.lower(), text) for name, text in header(parse(self.body, HEAD))]))
        return {
            "name": self.name,
            "id": self.name.partition(".")[0] if "." in self.name else "",
            "at": self.at,
            "size": self.body.size,
            "from": self.sender,
            "to": self.recipients,
            "subject": fields.get("subject", ""),
            "header_from": fields.get("from", ""),
        }


def page(folders: Sequence[Path], before: str, limit: int) -> tuple[list[Captured], bool, int]:
    """The newest mails whose names come before `before` ("" for all), whether there are more, and how many in all."""
    number = 0

    def wanted() -> Iterator[tuple[str, str, str]]:
        nonlocal number
        for found in _files(folders):
            number += 1
            if not before or found[0] < before:
                yield found

    newest = heapq.nlargest(limit + 1, wanted())
    captured = (_captured(*found) for found in newest[:limit])
    return [one for one in captured if one], len(newest) > limit, number


def of_entry(folders: Sequence[Path], entry_id: str) -> list[str]:
    """The names of an entry's captured mails."""
    return sorted(name for name, _, _ in _files(folders) if name.startswith(f"{entry_id}."))


def find(folders: Sequence[Path], name: str) -> Captured | None:
    """One mail by its name; None when there is none (any more). Raises OSError."""
    if not NAME.fullmatch(name):
        return None
    for folder in folders:
        if found := _captured(name, str(folder), str(folder / "new" / name)):
            return found
    seen = (found for found in _files(folders, ("cur",)) if found[0] == name)
    return next((captured for found in seen if (captured := _captured(*found))), None)


def _captured(name: str, folder: str, path: str) -> Captured | None:
    try:
        with _inside(Path(path).parent) as place:
            status = os.lstat(Path(path).name, dir_fd=place)
    except _NOTHING:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return Captured(name, status.st_mtime, MailFile(Path(path), status.st_size), _envelope(Path(folder), name))


def _files(folders: Sequence[Path], inner: Sequence[str] = ("new", "cur")) -> Iterator[tuple[str, str, str]]:
    """Name, folder and path of every mail."""
    for folder in folders:
        for kind in inner:
            for entry in _scan(folder / kind):
                name = entry.name.partition(":")[0]
                if NAME.fullmatch(name):
                    yield name, str(folder), str(folder / kind / entry.name)


def _scan(folder: Path) -> Iterator["os.DirEntry[str]"]:
    try:
        with _inside(folder) as place, os.scandir(place) as entries:
            yield from entries
    except _NOTHING:
        return


_NOTHING = (FileNotFoundError, NotADirectoryError)
"""There is no such folder in the outbox: a link, which would lead out of it, is none, as `outbox.py` has it."""


@contextlib.contextmanager
def _inside(folder: Path) -> Iterator[int]:
    """A folder of the outbox, held open. Raises OSError, NotADirectoryError for a link."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    with _inside(path.parent) as place:
        return os.open(path.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=place)


def _envelope(folder: Path, name: str) -> dict[str, Any]:
    try:
        with open(_open(folder / "envelope" / f"{name}.json"), "rb") as file:
            form = json.loads(file.read(MAX_ENVELOPE))
    except (OSError, ValueError, RecursionError):
        return {}
    return form if isinstance(form, dict) else {}
