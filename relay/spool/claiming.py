"""Claiming: the rows of the sqlite engine that a claim may take, the longest due first.

To leave out profiles by a condition would read their whole backlog at every claim. So the others are
asked one after the other, each by an index in which its own entries stand in order, and even the
names of the profiles are found by leaping over that index.
"""

import sqlite3
from typing import Any

from relay.spool.protocol import Wanted
from relay.spool.row import COLUMNS

_ROW = f"SELECT e.due, e.seq, {COLUMNS} WHERE"
_PROFILES = """WITH RECURSIVE leap (profile) AS (
    SELECT min(profile) FROM entries WHERE state = 'queued'
    UNION ALL
    SELECT (SELECT min(profile) FROM entries WHERE state = 'queued' AND profile > leap.profile)
    FROM leap WHERE leap.profile IS NOT NULL
) SELECT profile FROM leap WHERE profile IS NOT NULL"""


def rows(connection: sqlite3.Connection, wanted: Wanted, now: float, leased: int) -> list[tuple[Any, ...]]:
    """(due, seq, and what makes a `Stored`) of at most `limit` and `leased` more: some may be leased already."""
    limit = wanted.limit + leased
    if wanted.id:
        return connection.execute(f"{_ROW} e.id = ?", (wanted.id,)).fetchall()
    if not wanted.profile and not wanted.without:
        query = f"{_ROW} e.state = 'queued' AND e.due <= ? ORDER BY e.due LIMIT ?"
        return connection.execute(query, (now, limit)).fetchall()
    profiles = [wanted.profile] if wanted.profile else [name for (name,) in connection.execute(_PROFILES)]
    found: list[tuple[Any, ...]] = []
    for profile in profiles:
        if profile not in wanted.without:
            query = f"{_ROW} e.state = 'queued' AND e.profile = ? AND e.due <= ? ORDER BY e.due LIMIT ?"
            found += connection.execute(query, (profile, now, limit)).fetchall()
    return sorted(found, key=lambda row: row[0])[:limit]
