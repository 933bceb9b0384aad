"""Shares: how many entries of each profile may be under way, so that a slow profile never stops another (promise 7)."""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Share:
    """What to claim next: up to `limit` entries, none of the profiles `without`, which have all that they may."""

    limit: int
    without: tuple[str, ...] = ()


def next_share(under_way: Iterable[str], profiles: Collection[str], workers: int) -> Share:
    """What may be claimed while entries of the profiles `under_way` are; `workers` of each at most.

    The limit is so low that no profile gets more than its workers, whosever the claimed entries are.
    Nothing is claimed when every configured profile has all that it may.
    """
    counts = Counter(under_way)
    full = {name for name, count in counts.items() if count >= workers}
    if full.issuperset(profiles):
        return Share(0)
    most = max((count for name, count in counts.items() if name not in full), default=0)
    return Share(workers - most, tuple(sorted(full)))
