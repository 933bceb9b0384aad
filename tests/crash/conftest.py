"""A next hop that compares octets, and relays to kill; all of it ends with the test."""

import pytest

from tests.crash.disk import Disk
from tests.crash.stage import Relay, Sink


@pytest.fixture
def sink():
    one = Sink()
    yield one
    one.stop()


@pytest.fixture
def relay(tmp_path, sink, disk):
    """A function: a relay on a spool of its own."""
    made = []

    def make(**more):
        folder = tmp_path / f"relay{len(made)}"
        folder.mkdir()
        made.append(Relay(folder, sink, **more))
        return made[-1]

    yield make
    for one in made:
        one.stop()
        assert "Traceback" not in one.log(), one.log()[-5000:]


@pytest.fixture
def disk(tmp_path):
    """A function: a small file system of its own."""
    made = []

    def make(kind="tmpfs", *options):
        folder = tmp_path / f"disk{len(made)}"
        folder.mkdir()
        made.append(Disk(folder, kind, *options))
        return made[-1]

    yield make
    for one in made:
        one.close()
