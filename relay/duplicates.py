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
from collections.abc import Awaitable, Callable

from relay.entry import Entry
from relay.message import Message, at_hand, pieces

MOST = 50_000
"""Mails that are remembered at most, some 12 MB; of more the oldest are forgotten before their time."""
_MAY_DIFFER = frozenset(("date", "received"))


class Duplicates:
    """What was kept a short while ago."""

    def __init__(self) -> None:
        self._kept: dict[bytes, tuple[float, str]] = {}
        """When, and by which id; the oldest first."""
        self._under_way: dict[bytes, asyncio.Future[None]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    async def once(self, key: bytes, window: float, keep: Callable[[], Awaitable[str]]) -> tuple[str, bool]:
        """The id by which the mail is kept, and whether it already was. Raises what `keep` does."""
        if not key or window <= 0:
            return await keep(), False
        while (other := self._under_way.get(key)) is not None:
            await asyncio.wait([other])
        loop = asyncio.get_running_loop()
        self._forget(loop.time() - window)
        if (known := self._kept.get(key)) is not None:
            return known[1], True
        done = self._under_way[key] = loop.create_future()
        try:
            kept = await keep()
            self._kept[key] = loop.time(), kept
            return kept, False
        finally:
            del self._under_way[key]
            done.set_result(None)

    def _forget(self, before: float) -> None:
        while self._kept:
            oldest = next(iter(self._kept))
            if len(self._kept) < MOST and self._kept[oldest][0] > before:
                return
            del self._kept[oldest]


async def key_of(entry: Entry, message: Message) -> bytes:
    """What tells this mail from every other one; b"" when nothing does."""
    if not entry.message_id:
        return b""
    envelope, client = entry.envelope, entry.client
    sender = None if envelope.reverse_path is None else envelope.reverse_path.key
    recipients = sorted(recipient.address.key for recipient in envelope.recipients)
    whose = sender, recipients, sorted(entry.refused_paths), client.listener, client.address, client.uid, client.user
    fields = [field.raw for field in message.fields if field.name not in _MAY_DIFFER]
    digest = hashlib.blake2b(repr(whose).encode("utf-8", "surrogateescape"), digest_size=16)
    digest.update(b"".join([*fields, b"\0"]))  # no mail that we keep holds one
    if at_hand(message.body):
        _add(digest, message)
    else:
        await asyncio.to_thread(_add, digest, message)
    return digest.digest()


def _add(digest: "hashlib.blake2b", message: Message) -> None:
    for piece in pieces(message.body):
        digest.update(piece)
