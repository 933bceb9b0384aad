"""Stranded: mail that waits longer than any pause, since it came or was deferred when the clock stood too far ahead.

A clock that leaps ahead and comes back soon shows only in what it has left behind: that is looked for, not the leap.
"""

from dataclasses import replace

from relay import journal
from relay.spool import Clock, Spool, Wanted

PAGE = 500
"""Stranded mails that are looked up at a time."""


SLACK = 60.0
"""Seconds beyond the longest pause from which on a mail counts as stranded: it may just have been deferred."""


async def free_stranded(spool: Spool, clock: Clock, longest: float) -> bool:
    """Make due now what is due only after the `longest` pause; True when there was any. Raises nothing.

    What is left is being worked on.
    """
    any_freed = False
    try:
        freed = True
        while freed:
            freed = False
            for entry_id in await spool.due_after(clock() + longest + SLACK, PAGE):
                for claim in await spool.claim(Wanted(id=entry_id), 0):
                    entry = replace(claim.entry, due=clock())
                    await spool.settle([claim], (entry, None))
                    journal.info(entry.id, "due again: its next try was set by a clock that was ahead")
                    freed = any_freed = True
    except Exception as fault:
        journal.fault("search for stranded mail", fault)
    return any_freed
