"""Claiming: the rows of the sqlite engine that a claim may take, the longest due first.

To leave out profiles by a condition would read their whole backlog at every claim. So the others are
asked one after the other, each by an index in which its own entries stand in order, and even the
names of the profiles are found by leaping over that index.
"""

import sqlite3
from typing import Any

from relay.spool.protocol import Wanted

INDEX = "CREATE INDEX IF NOT EXISTS entries_profile ON entries (state, profile, due)"

_COLUMNS = (
    "SELECT e.seq, e.id, e.size, e.file, e.entry, b.data, e.due FROM entries e LEFT JOIN bodies b USING (seq) WHERE"
)
_PROFILES = """WITH RECURSIVE leap (profile) AS (
    SELECT min(profile) FROM entries WHERE state = 'queued'
    UNION ALL
    SELECT (SELECT min(profile) FROM entries WHERE state = 'queued' AND profile > leap.profile)
    FROM leap WHERE leap.profile IS NOT NULL
) SELECT profile FROM leap WHERE profile IS NOT NULL"""


def rows(connection: sqlite3.Connection, wanted: Wanted, now: float, leased: int) -> list[tuple[Any, ...]]:
    """(seq, id, size, file, entry, data, due) of at most `limit` and `leased` more: some may be leased already."""
    limit = wanted.limit + leased
    if wanted.id:
        return connection.execute(f"{_COLUMNS} e.id = ?", (wanted.id,)).fetchall()
    if not wanted.profile and not wanted.without:
        query = f"{_COLUMNS} e.state = 'queued' AND e.due <= ? ORDER BY e.due LIMIT ?"
        return connection.execute(query, (now, limit)).fetchall()
    profiles = [wanted.profile] if wanted.profile else [name for (name,) in connection.execute(_PROFILES)]
    found: list[tuple[Any, ...]] = []
    for profile in profiles:
        if profile not in wanted.without:
            query = f"{_COLUMNS} e.state = 'queued' AND e.profile = ? AND e.due <= ? ORDER BY e.due LIMIT ?"
            found += connection.execute(query, (profile, now, limit)).fetchall()
    return sorted(found, key=lambda row: row[-1])[:limit]
