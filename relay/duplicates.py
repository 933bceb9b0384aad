"""Duplicates: a mail that its tracker sends again since it never heard our 250 is kept once, and both get 250.

1. The same mail is one with the same Message-ID, envelope, client and content; its Date and the trace of its
   way may differ. Message-ID alone is no proof: Trac sends one to its text and its HTML readers (example 43).
   A mail without Message-ID is never a duplicate.
2. While the first is on its way to the disk, the second waits: when the first can not be kept, the second is
   tried like any other. So 250 is never said for what is not durable (promise 1).
3. What was kept is known for `duplicate_window`, by a hash in memory: it costs the disk nothing. A restart
   forgets it, and then a mail may be sent twice (promise 3).
"""

import asyncio
import hashlib
import struct
from array import array
from collections.abc import Awaitable, Callable

from relay.entry import Entry
from relay.message import Message, at_hand, pieces

MOST = 50_000
"""Mails that are remembered at most; of more the oldest are forgotten before their time."""
_MAY_DIFFER = frozenset(("date", "received"))
_KEY = 16
"""Octets of a key."""
_RECORD = struct.Struct(f"={_KEY}s15sd")
"""Key, id, when."""
_NONE = -1


class Kept:
    """The keys of the last `most` mails that were kept, with id and time, in tables of a fixed size.

    An object for each would be 258 octets, and thousands of small ones that live for minutes, made among
    others that live for milliseconds, keep the allocator from ever giving back what lies between them.

    A record is overwritten when its turn comes again. A bucket's records hang together from the newest to
    the oldest; which bucket is a key's, nobody outside can know: Python's hash of octets is seeded by chance.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._records = bytearray(_RECORD.size * most)
        self._mask = (1 << most.bit_length()) - 1
        self._newest = array("i", [_NONE]) * (self._mask + 1)
        """By bucket the number of its newest record."""
        self._older = array("i", [_NONE]) * most
        """By record the number of the next older one of its bucket."""
        self._added = 0

    def find(self, key: bytes, after: float) -> str | None:
        """The id that was added last under this key, if later than `after`."""
        at = self._newest[hash(key) & self._mask]
        while at != _NONE:
            known, name, when = _RECORD.unpack_from(self._records, at * _RECORD.size)
            if known == key:
                return name.rstrip(b"\0").decode() if when > after else None
            at = self._older[at]
        return None

    def add(self, key: bytes, name: str, when: float) -> None:
        """Remember a key of 16 octets, an id of up to 15 ASCII characters (`entry.new_id`) and the time."""
        at = self._added % self._most
        if self._added >= self._most:
            self._forget(at)
        self._added += 1
        _RECORD.pack_into(self._records, at * _RECORD.size, key, name.encode(), when)
        bucket = hash(key) & self._mask
        self._older[at], self._newest[bucket] = self._newest[bucket], at

    def _forget(self, oldest: int) -> None:
        """Take the oldest record of all out of its bucket; there, too, it is the last."""
        start = oldest * _RECORD.size
        bucket = hash(bytes(self._records[start : start + _KEY])) & self._mask
        newer, at = _NONE, self._newest[bucket]
        while at != oldest:
            newer, at = at, self._older[at]
        if newer == _NONE:
            self._newest[bucket] = _NONE
        else:
            self._older[newer] = _NONE


class Duplicates:
    """What was kept a short while ago: `most` mails."""

    def __init__(self, most: int = MOST) -> None:
        self._kept = Kept(most)
        self._under_way: dict[bytes, asyncio.Future[None]] = {}

    async def once(self, key: bytes, window: float, keep: Callable[[], Awaitable[str]]) -> tuple[str, bool]:
        """The id by which the mail is kept, and whether it already was. Raises what `keep` does."""
        if not key or window <= 0:
            return await keep(), False
        while (other := self._under_way.get(key)) is not None:
            await asyncio.wait([other])
        loop = asyncio.get_running_loop()
        if (known := self._kept.find(key, loop.time() - window)) is not None:
            return known, True
        done = self._under_way[key] = loop.create_future()
        try:
            kept = await keep()
            self._kept.add(key, kept, loop.time())
            return kept, False
        finally:
            del self._under_way[key]
            done.set_result(None)


async def key_of(entry: Entry, message: Message) -> bytes:
    """What tells this mail from every other one, in 16 octets; b"" when nothing does."""
    if not entry.message_id:
        return b""
    envelope, client = entry.envelope, entry.client
    sender = None if envelope.reverse_path is None else envelope.reverse_path.key
    recipients = sorted(recipient.address.key for recipient in envelope.recipients)
    whose = sender, recipients, sorted(entry.refused_paths), client.listener, client.address, client.uid, client.user
    fields = [field.raw for field in message.fields if field.name not in _MAY_DIFFER]
    digest = hashlib.blake2b(repr(whose).encode("utf-8", "surrogateescape"), digest_size=_KEY)
    digest.update(b"".join([*fields, b"\0"]))  # no mail that we keep holds one
    if at_hand(message.body):
        _add(digest, message)
    else:
        await asyncio.to_thread(_add, digest, message)
    return digest.digest()


def _add(digest: "hashlib.blake2b", message: Message) -> None:
    for piece in pieces(message.body):
        digest.update(piece)
