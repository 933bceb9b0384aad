"""Power cuts: the spool's file system goes down with everything that it had not written, and is mounted again.

The relay is frozen first, so that no reply leaves behind the cut; then the file system is shut down without
flushing anything, log included (EXT4_IOC_SHUTDOWN, XFS_IOC_GOINGDOWN), the relay killed, the file system
unmounted and mounted again, and the relay started: nobody cleans up by hand.
"""

import os
import random
import re
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.crash import stepped
from tests.crash.stage import Clients, arrived, doubled, octets
from tests.crash.test_random import check_doubles
from tests.e2e.tools import until

CARELESS = (sys.executable, Path(stepped.__file__), "--no-sync", "0")


def frozen(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def cut_power(one, disk):
    os.kill(one.process.pid, signal.SIGSTOP)
    until(lambda: frozen(one.process.pid), "the relay is frozen")
    at = time.monotonic()
    disk.cut_power()
    one.kill()
    disk.unmount()
    disk.mount()
    return at


def cut_and_restart(one, disk, sink, cuts, *prefix, seed=1):
    """`cuts` times under load; the times of the cuts, and the tokens acknowledged."""
    dice = random.Random(seed)
    sink.delay = 0.1  # so that there is always a queue
    times, acknowledged = [], []
    for number in range(cuts):
        one.start(*prefix)
        clients = Clients(one.port, 6, prefix=f"c{number}-")
        time.sleep(dice.uniform(0.1, 0.8))
        times.append(cut_power(one, disk))
        clients.stop()
        acknowledged += clients.acknowledged
    sink.delay = 0
    return times, acknowledged


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_promise_1_the_power_is_cut(relay, sink, disk, kind, soak):
    cuts = 50 if soak else 4
    small = disk(kind)
    one = relay(spool=small.inside / "spool", prefix=small.prefix)
    times, acknowledged = cut_and_restart(one, small, sink, cuts)
    one.start()
    arrived(sink, acknowledged, 60)
    twice = check_doubles(sink, times)
    print(f"{kind}: {cuts} cuts, {len(acknowledged)} acknowledged, 0 lost, {len(twice)} doubled")
    assert len(acknowledged) > 3 * cuts, "hardly any load"
    until(lambda: one.waiting() == 0, "an empty queue")
    until(lambda: not list((small.path / "spool" / "bodies").iterdir()), "no file is left behind", 5)
    assert not (small.path / "spool" / "corrupt").exists()


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_this_test_can_fail(relay, sink, disk, kind):
    """The same without a single sync: mail is lost, or the file system itself is empty."""
    small = disk(kind)
    one = relay(spool=small.inside / "spool", prefix=small.prefix)
    sink.delay = 0.5
    _, acknowledged = cut_and_restart(one, small, sink, 1, *CARELESS)
    one.start()
    with pytest.raises(AssertionError, match="LOST"):
        arrived(sink, acknowledged, 3)
    missing = [token for token in acknowledged if token not in sink.taken]
    print(f"{kind}, without syncs: {len(missing)} of {len(acknowledged)} acknowledged mails lost")
    assert not doubled(sink) or missing


def test_promises_1_and_3_the_power_is_cut_over_the_outbox(relay, sink, disk, soak):
    """Spool and outbox on one disk: each acknowledged mail is in the outbox once, whole, with its envelope."""
    small = disk("ext4")
    one = relay(spool=small.inside / "spool", prefix=small.prefix)
    text = one.config.read_text().replace("smtp_server = 127.0.0.1", f"smtp_server =\noutbox = {small.inside}/outbox")
    one.config.write_text(text)
    times, acknowledged = cut_and_restart(one, small, sink, 50 if soak else 3)
    one.start()
    until(lambda: one.waiting() == 0, "an empty queue")
    found = [path.read_bytes() for path in (small.path / "outbox" / "new").iterdir()]
    kept = {re.search(rb"^Subject: crash (\S+)\r$", data, re.M)[1].decode(): data for data in found}
    assert len(kept) == len(found), "none stands there twice"
    missing = set(acknowledged) - set(kept)
    assert not missing, f"LOST: {sorted(missing)[:5]}"
    for token, data in kept.items():
        assert data.partition(b"\r\n\r\n")[2] == octets(token).partition(b"\r\n\r\n")[2], f"CORRUPT: {token}"
    assert len(list((small.path / "outbox" / "envelope").iterdir())) == len(found)
    print(f"outbox: {len(times)} cuts, {len(acknowledged)} acknowledged, 0 lost, 0 doubled")


def test_a_file_system_that_can_not_be_mounted_again_is_no_skip(disk):
    """What a power cut has ruined is a finding; only a machine that can not mount at all leaves these tests out."""
    one = disk("ext4")
    one.unmount()
    with one.image.open("r+b") as file:
        file.write(bytes(1 << 20))
    with pytest.raises(AssertionError, match="ext4 can not be mounted any more"):
        one.mount()
