"""Claiming: the rows that a claim may take, the longest due first, profile by profile: an index has their order."""

from collections.abc import Iterable

from relay.spool.row import COLUMNS

BY_ID = f"SELECT e.seq, {COLUMNS} WHERE e.id = ?"
"""The row of one entry, whatever its state."""
NEXT_DUE = "SELECT min(due) FROM entries WHERE state = 'queued' AND profile = ? AND due > ?"
"""When something of a profile will be due, None when nothing is queued for later."""
_LEAP = """WITH RECURSIVE leap (profile) AS (
    SELECT min(profile) FROM entries WHERE state = 'queued'
    UNION ALL
    SELECT (SELECT min(profile) FROM entries WHERE state = 'queued' AND profile > leap.profile)
    FROM leap WHERE leap.profile IS NOT NULL
)"""
PROFILES = f"{_LEAP} SELECT profile FROM leap WHERE profile IS NOT NULL"  # noqa: S608 - constants
"""The profiles that have queued mail, found by leaping over the index."""
DUE_AFTER = f"""{_LEAP} SELECT e.id FROM leap CROSS JOIN entries e INDEXED BY entries_profile
    WHERE e.state = 'queued' AND e.profile = leap.profile AND e.due > ? LIMIT ?"""  # noqa: S608 - constants
"""What is queued for later than that, of every profile: (time, limit)."""


def due(leased: Iterable[int]) -> str:
    """The query for what is due of a profile, without these rows: (profile, now, limit)."""
    others = ",".join(map(str, leased))
    return (
        f"SELECT e.seq, {COLUMNS} WHERE e.state = 'queued' AND e.profile = ? AND e.due <= ? AND e.seq NOT IN ({others})"
        " ORDER BY e.due LIMIT ?"
    )
