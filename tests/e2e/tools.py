"""Ports, waiting, and what to say when a real program is missing."""

import contextlib
import os
import random
import socket
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
USER = "relay user"
PASSWORD = "p%s #;= ä  €"


def missing(what):
    message = f"left out: {what} is missing; run ./test as root on Debian"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


def needs_root():
    """Leave a test out for who is not root."""
    if os.geteuid() != 0:
        missing("root")


ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0 and os.environ.get("CI") != "true", reason="needs root")
"""For a test that only root can do: left out for others, but never in continuous integration."""


def free_port():
    """A port that nobody has, below those that the system gives to clients: no connection takes it meanwhile."""
    while True:
        with contextlib.suppress(OSError), socket.socket() as sock:
            sock.bind(("127.0.0.1", random.randrange(12_000, 32_000)))
            return sock.getsockname()[1]


closed_port = free_port
"""A port on which nobody listens."""


def until(condition, what, seconds=30):
    """Wait for `condition` to be true, bounded; its value."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.05)
    return value


def answers(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False
