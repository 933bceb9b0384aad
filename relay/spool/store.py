"""Store: what the writer writes to, as far as it knows of it."""

import sqlite3
from pathlib import Path
from typing import Protocol


class Store(Protocol):
    """A database that can be opened, saved and replaced. Asked from the writer's thread."""

    path: Path

    def connect(self) -> sqlite3.Connection:
        """The connection that writes. Raises SpoolDamaged, SpoolError, OSError."""

    def replace(self, why: BaseException) -> None:
        """Put what can be read of a damaged database in its place. Raises SpoolError."""

    def save(self, connection: sqlite3.Connection) -> bool:
        """Its files are gone, but open: True when a copy of it is on disk, that `replace` puts in its place."""

    @property
    def is_scarce(self) -> bool:
        """True where a log as long as a burst makes it might soon find no room. Asked on the event loop."""

    def relieve(self, fault: BaseException) -> bool:
        """The disk is full: True when room has been made for settling."""
