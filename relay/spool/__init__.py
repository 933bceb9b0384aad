"""Spool: the durable store of mail (RFC 5321 6.1), and the engines that keep its promises.

`put` returns when the entry would survive a power cut. A worker *claims* due entries for the time of
a lease, works on them, and *settles* them: replaces them by what follows (retry, report, hold, done),
history included, in one transaction. What every engine must keep is written once, in the conformance
suite.
"""

from collections.abc import Callable

from relay.spool.memory import MemorySpool
from relay.spool.protocol import Claim, Clock, Draft, Spool, SpoolOptions, Wanted
from relay.spool.sqlite import SqliteSpool

__all__ = ["ENGINES", "Claim", "Clock", "Draft", "Spool", "SpoolOptions", "Wanted", "create"]

ENGINES: dict[str, Callable[[SpoolOptions, Clock], Spool]] = {"memory": MemorySpool, "sqlite": SqliteSpool}


def create(options: SpoolOptions, clock: Clock) -> Spool:
    """The spool that [spool] asks for."""
    return ENGINES[options.engine](options, clock)
