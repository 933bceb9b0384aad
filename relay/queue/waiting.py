"""Waiting: the mail that waits for a log-in is due once somebody has mended it, not when its pause is over."""

import sys
from collections.abc import Collection, Sequence

from relay.entry import Cause, Entry, State
from relay.queue.changes import Word
from relay.queue.changing import Asked, Parts, change
from relay.spool import Wanted

LOG_IN = frozenset((Cause.TOKEN, Cause.AUTH))
"""The causes of mail that waits for a log-in."""


async def due_again(
    parts: Parts, upstreams: Sequence[str], word: Word, causes: Collection[Cause] = tuple(Cause)
) -> int:
    """Make due what could not be sent over one of these next hops for such a cause, oldest first; how many."""
    queued = parts.spool.browse(Wanted(limit=sys.maxsize, states=(State.QUEUED,), oldest_first=True))
    ids = [entry.id async for entry in queued if waits(entry, upstreams, causes)]
    asked = Asked("retry", Wanted(states=(State.QUEUED,)), word, {})
    done = 0
    async for line in change(parts, asked, ids):
        done += sum(row["result"] == "done" for row in line["changed"])
    return done


def waits(entry: Entry, upstreams: Sequence[str], causes: Collection[Cause]) -> bool:
    """True when the last attempt at one of these next hops failed for one of these causes."""
    last = next((attempt for attempt in reversed(entry.attempts) if attempt.upstream in upstreams), None)
    if last is None:
        return False
    return any(not outcome.disposition.final and outcome.cause in causes for outcome in last.outcomes)
