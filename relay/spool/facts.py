"""Facts: what a spool remembers until a time: the first mail of an event, what a report has told, a pause."""

import sqlite3

RECALL = "SELECT value FROM facts WHERE key = ? AND until > ?"
"""What is remembered: (key, now)."""
_REMEMBER = "INSERT OR REPLACE INTO facts VALUES (?, ?, ?)"
_FORGET = "DELETE FROM facts WHERE key IN (SELECT key FROM facts WHERE until < ? LIMIT 1000)"
"""What has run out: (now,)."""


def remember(connection: sqlite3.Connection, key: str, value: str, until: float, now: float) -> None:
    """Keep this in place of what was kept under the key; what has run out goes."""
    connection.execute(_REMEMBER, (key, value, until))
    connection.execute(_FORGET, (now,))


def note(connection: sqlite3.Connection, key: str, value: str, until: float, now: float) -> str:
    """What is kept under the key; where there is nothing, `value` is from now on."""
    row = connection.execute(RECALL, (key, now)).fetchone()
    if row is not None:
        return str(row[0])
    remember(connection, key, value, until, now)
    return value
