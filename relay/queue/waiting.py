"""Waiting: the mail that waits for a log-in is due once somebody has mended it, not when its pause is over."""

import sys
from collections.abc import Sequence

from relay.entry import Cause, Entry, State
from relay.queue.changes import Word
from relay.queue.changing import Asked, Parts, change
from relay.spool import Wanted


async def due_again(parts: Parts, upstreams: Sequence[str], word: Word) -> int:
    """Make due what could not be sent over one of these next hops for want of a log-in, oldest first; how many."""
    queued = parts.spool.browse(Wanted(limit=sys.maxsize, states=(State.QUEUED,), oldest_first=True))
    ids = [entry.id async for entry in queued if waits(entry, upstreams)]
    asked = Asked("retry", Wanted(states=(State.QUEUED,)), word, {})
    done = 0
    async for line in change(parts, asked, ids):
        done += sum(row["result"] == "done" for row in line["changed"])
    return done


def waits(entry: Entry, upstreams: Sequence[str]) -> bool:
    """True when its last attempt failed at one of these next hops for want of a log-in."""
    last = entry.attempts[-1] if entry.attempts else None
    causes = {outcome.cause for outcome in last.outcomes} if last and last.upstream in upstreams else set()
    return bool(causes & {Cause.TOKEN, Cause.AUTH})
