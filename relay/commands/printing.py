"""Printing: rows as JSON, and times as people read them."""

import json
import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from relay.journal import escaped


def complain(text: str) -> None:
    """An error: one line on standard error, whatever stands in it."""
    print(f"tracker-relay: {escaped(text)}", file=sys.stderr)


def as_json(rows: Iterable[dict[str, Any]]) -> None:
    """One JSON array, a row on each line, written as the rows come."""
    behind = "[\n"
    for row in rows:
        sys.stdout.write(behind + json.dumps(row, ensure_ascii=False))
        behind = ",\n"
    sys.stdout.write("[]\n" if behind == "[\n" else "\n]\n")


def when(at: float) -> str:
    """A moment, as the log writes it, to the second."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def age(at: float) -> str:
    """How long ago, in four characters and a unit."""
    seconds = max(time.time() - at, 0)
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds / length:4.0f}{unit}"
    return f"{seconds:4.0f}s"
