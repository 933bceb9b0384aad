"""Stranded: mail that waits longer than any pause, since it was deferred when the clock stood too far ahead."""

from dataclasses import replace

from relay import journal
from relay.spool import Clock, Spool, Wanted

PAGE = 500
"""Stranded mails that are looked up at a time."""


async def free_stranded(spool: Spool, clock: Clock, latest: float) -> None:
    """Make due now what is due only after `latest`. Raises nothing; what is left is being worked on."""
    try:
        freed = True
        while freed:
            freed = False
            for entry_id in await spool.due_after(latest, PAGE):
                for claim in await spool.claim(Wanted(id=entry_id), 0):
                    entry = replace(claim.entry, due=clock())
                    await spool.settle([claim], (entry, None))
                    journal.info(entry.id, "due again: its next try was set by a clock that was ahead")
                    freed = True
    except Exception as fault:
        journal.fault("search for stranded mail", fault)
