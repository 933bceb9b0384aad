"""Pages: rows read out of a damaged SQLite database, page by page, without trusting what links them.

1. The log (-wal) lies over the file: see `log.py`.
2. Pages on the free list hold rows that are gone: they are passed over, as far as the list can be read.
3. Every leaf gives its cells; what can not be read is counted.

The layout is SQLite's published file format (https://sqlite.org/fileformat2.html).
"""

import contextlib
import mmap
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from relay.spool import log as logs

_MAGIC = b"SQLite format 3\x00"
_LEAF, _INDEX_LEAF, _INDEX_INNER = 0x0D, 0x0A, 0x02
_LONGEST = 1 << 30


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table with its number, or (`seq` None) an entry of an index or of a table without numbers."""

    seq: int | None
    values: tuple[Any, ...]


class _Unreadable(ValueError):
    """a cell that can not be read"""


@dataclass(slots=True)
class Pages:
    """A database file under its log; pages are numbered from 1."""

    data: bytes | mmap.mmap
    log: bytes
    logged: logs.Log
    size: int = 4096
    usable: int = 4096
    unreadable: int = 0
    """Cells and pages that could not be read so far."""
    _free: set[int] = field(default_factory=set)

    @classmethod
    def read(cls, database: Path, log: Path) -> "Pages":
        """Both files; a missing one is empty. Raises OSError."""
        data: bytes | mmap.mmap = b""
        with contextlib.suppress(FileNotFoundError), database.open("rb") as file:
            if os.fstat(file.fileno()).st_size:
                data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        octets = log.read_bytes() if log.exists() else b""
        pages = cls(data, octets, logs.read(octets))
        pages._measure()
        return pages

    def _measure(self) -> None:
        self.size = self.logged.page_size or page_size(self.data[:100]) or 4096
        first = self.page(1)
        whole = first[:16] == _MAGIC
        self.usable = self.size - first[20] if whole and first[20] <= 32 else self.size
        if whole:
            self._follow_free_list(first)

    def _follow_free_list(self, first: bytes) -> None:
        [trunk] = struct.unpack_from(">I", first, 32)
        while 0 < trunk <= len(self) and trunk not in self._free:
            self._free.add(trunk)
            page = self.page(trunk)
            following, number = struct.unpack_from(">2I", page)
            self._free.update(struct.unpack_from(f">{min(number, self.size // 4 - 2)}I", page, 8))
            trunk = following

    def __len__(self) -> int:
        return max([len(self.data) // self.size, *self.logged.pages])

    def page(self, number: int) -> bytes:
        """A page's octets, filled up with zeros where the file ends."""
        at = self.logged.pages.get(number)
        octets = (
            self.data[(number - 1) * self.size : number * self.size] if at is None else self.log[at : at + self.size]
        )
        return octets.ljust(self.size, b"\0")

    def rows(self) -> Iterator[Row]:
        """Every row that can be read, of all tables; who belongs where shows in the values."""
        for number in range(1, len(self) + 1):
            if number not in self._free:
                yield from self._rows(self.page(number), 100 if number == 1 else 0)

    def _rows(self, page: bytes, at: int) -> Iterator[Row]:
        kind = page[at]
        if kind not in (_LEAF, _INDEX_LEAF, _INDEX_INNER):
            return
        [cells] = struct.unpack_from(">H", page, at + 3)
        first = at + (12 if kind == _INDEX_INNER else 8)
        for n in range(min(cells, (self.size - first) // 2)):
            [start] = struct.unpack_from(">H", page, first + 2 * n)
            try:
                yield self._cell(page, start, kind)
            except (_Unreadable, struct.error, IndexError, UnicodeDecodeError):
                self.unreadable += 1

    def _cell(self, page: bytes, at: int, kind: int) -> Row:
        if kind == _INDEX_INNER:
            at += 4
        length, at = _varint(page, at)
        seq: int | None = None
        if kind == _LEAF:
            seq, at = _varint(page, at)
        if length > _LONGEST:
            raise _Unreadable
        return Row(seq, _record(self._payload(page, at, length, table=kind == _LEAF)))

    def _payload(self, page: bytes, at: int, length: int, *, table: bool) -> bytes:
        """A cell's octets, collected from its overflow pages too."""
        usable = self.usable
        most = usable - 35 if table else (usable - 12) * 64 // 255 - 23
        local = length
        if length > most:
            least = (usable - 12) * 32 // 255 - 23
            local = least + (length - least) % (usable - 4)
            local = local if local <= most else least
        if at + local > self.size:
            raise _Unreadable
        pieces, left = [page[at : at + local]], length - local
        [following] = struct.unpack_from(">I", page, at + local) if left else (0,)
        while left:
            if not 0 < following <= len(self):
                raise _Unreadable
            page = self.page(following)
            [following] = struct.unpack_from(">I", page)
            pieces.append(page[4 : 4 + min(left, usable - 4)])
            left -= len(pieces[-1])
        return b"".join(pieces)


def page_size(head: bytes) -> int:
    """The page size that a database's first 100 octets name; 0 when they are none."""
    if head[:16] != _MAGIC or len(head) < 100:
        return 0
    [size] = struct.unpack_from(">H", head, 16)
    size = 65536 if size == 1 else size
    return size if size in logs.SIZES else 0


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """SQLite's number of 1 to 9 octets, signed, and where it ends."""
    value = 0
    for n in range(9):
        octet = data[at + n]
        value = value << 8 | octet if n == 8 else value << 7 | octet & 0x7F
        if n == 8 or octet < 0x80:
            return (value - (1 << 64) if value >> 63 else value), at + n + 1
    raise AssertionError("a number ends at its ninth octet")


def _record(payload: bytes) -> tuple[Any, ...]:
    """A record's values. Raises _Unreadable, struct.error, IndexError or UnicodeDecodeError."""
    head, at = _varint(payload, 0)
    if not 0 < head <= len(payload):
        raise _Unreadable
    kinds: list[int] = []
    while at < head:
        kind, at = _varint(payload, at)
        kinds.append(kind)
    values: list[Any] = []
    for kind in kinds:
        value, at = _value(payload, at, kind)
        values.append(value)
    if at != len(payload):
        raise _Unreadable
    return tuple(values)


def _value(payload: bytes, at: int, kind: int) -> tuple[Any, int]:
    if kind in (0, 8, 9):
        return (None if kind == 0 else kind - 8), at
    length = (0, 1, 2, 3, 4, 6, 8, 8)[kind] if 0 < kind < 8 else (kind - 12) // 2
    octets = payload[at : at + length]
    if length < 0 or len(octets) != length:
        raise _Unreadable
    if kind < 7:
        return int.from_bytes(octets, "big", signed=True), at + length
    if kind == 7:
        return struct.unpack(">d", octets)[0], at + length
    return (octets.decode() if kind % 2 else octets), at + length
