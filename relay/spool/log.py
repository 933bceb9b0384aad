"""Log: the good copies of pages in SQLite's log (-wal), and whether any that had been on disk is damaged.

SQLite stops reading at the first copy whose checksum is wrong: after a crash that is where writing was
cut off. But a flipped octet in the middle would hide every later commit, acknowledged mails among them,
without a word. The sum that each copy carries lets the next one be checked all the same; and since every
commit waits for the disk, a bad copy in front of a later whole transaction had been on disk: damage.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

SIZES = tuple(1 << n for n in range(9, 17))
"""Page sizes of SQLite."""
_HEAD, _FRAME = 32, 24
_MAGIC = 0x377F0682
_LAST = 0xFFFFFFFE


@dataclass(frozen=True, slots=True)
class Log:
    """The offset of each page's last good copy, and how many copies that had been on disk are damaged."""

    page_size: int = 0
    pages: dict[int, int] = field(default_factory=dict)
    damaged: int = 0


@dataclass(frozen=True, slots=True)
class _Copy:
    page: int
    at: int
    good: bool
    transaction: int


def read(log: bytes) -> Log:
    """Read a whole -wal file."""
    if len(log) < _HEAD:
        return Log()
    magic, _, size, _ = struct.unpack_from(">4I", log)
    size = 65536 if size == 1 else size
    if magic & ~1 != _MAGIC or size not in SIZES:
        return Log()
    copies: list[_Copy] = []
    transaction, last = 0, -1
    for page, at, good, ends in _copies(log, size, ">" if magic & 1 else "<"):
        copies.append(_Copy(page, at, good, transaction))
        if ends:
            last = transaction if good else last
            transaction += 1
    bad = {copy.transaction for copy in copies if not copy.good and copy.transaction <= last}
    if bad == {last}:  # cut off while it was written: nobody was told that it is kept
        last, bad = last - 1, set()
    pages = {copy.page: copy.at for copy in copies if copy.good and copy.transaction <= last}
    damaged = sum(1 for copy in copies if not copy.good and copy.transaction <= last)
    return Log(size, pages, damaged if bad else 0)


def _copies(log: bytes, size: int, order: str) -> Iterator[tuple[int, int, bool, bool]]:
    """Page number, offset of the page, whether it is good, and whether its transaction ends with it."""
    salt = log[16:24]
    sums: tuple[bytes, ...] = (log[24:32],)
    for at in range(_HEAD, len(log) - size - _FRAME + 1, size + _FRAME):
        page, total = struct.unpack_from(">2I", log, at)
        carried = log[at + 16 : at + 24]
        ours = log[at + 8 : at + 16] == salt
        computed = tuple(_sums(log, at, size, order, before) for before in sums) if ours else ()
        good = ours and 0 < page <= _LAST and carried in computed
        # The carried sum may be what is damaged: the next copy may continue from either.
        sums = (carried,) if good else (carried, *computed[:1])
        yield page, at + _FRAME, good, ours and total != 0


def _sums(log: bytes, at: int, size: int, order: str, before: bytes) -> bytes:
    """SQLite's running checksum, continued over a copy's first 8 octets and its page."""
    one, two = struct.unpack(">2I", before)
    words = iter(struct.unpack(f"{order}{size // 4 + 2}I", log[at : at + 8] + log[at + _FRAME : at + _FRAME + size]))
    for even, odd in zip(words, words, strict=True):
        one = one + even + two & 0xFFFFFFFF
        two = two + odd + one & 0xFFFFFFFF
    return struct.pack(">2I", one, two)
