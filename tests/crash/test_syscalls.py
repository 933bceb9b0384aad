"""Every call that changes the disk on the accept and settle paths: killed before it, or told that it failed."""

import itertools
import signal
import time

import pytest

from tests.crash.stage import arrived, send
from tests.crash.strace import injected
from tests.crash.test_steps import Mails, finish
from tests.e2e.tools import until

KILLS = {
    "pwrite64": (1, 9, 30),
    "write": (4, 21),
    "fdatasync": (1, 3),
    "fsync": (1, 2),
    "openat": (3,),
    "unlinkat": (1,),
}
"""The numbers that ./test tries; the soak tries all of them."""
ERRORS = [
    ("fdatasync", "EIO", "1"), ("fdatasync", "EIO", "2..4"), ("fdatasync", "ENOSPC", "2"),
    ("pwrite64", "EIO", "1"), ("pwrite64", "EIO", "7"), ("pwrite64", "ENOSPC", "3"), ("pwrite64", "ENOSPC", "12..40"),
    ("fsync", "EIO", "1"), ("fsync", "EIO", "2"), ("fsync", "ENOSPC", "1"),
    ("openat", "EIO", "1+"), ("openat", "EMFILE", "1..3"), ("unlinkat", "EIO", "1"), ("ftruncate", "EIO", "1"),
]  # fmt: skip


def died(process, seconds):
    end = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    return process.poll() == -signal.SIGKILL


def kill_at(one, call, number, mark):
    """One run that is killed before its `number`-th `call`; the mails acknowledged, and whether it came to that."""
    one.start()
    with injected(one.process.pid, call, "signal=KILL", number):
        mails = Mails(one.port, mark)
        reached = died(one.process, 0.1) or (mails.join() is not None and died(one.process, 3))
    if not reached:
        one.kill()
    return mails.join(), reached


@pytest.mark.parametrize("call", KILLS)
def test_promises_1_and_3_killed_before_a_call(relay, sink, call, soak):
    one, acknowledged = relay(), []
    kills = 0
    for number in itertools.count(1) if soak else KILLS[call]:
        some, reached = kill_at(one, call, number, f"{call}{number}")
        acknowledged += some
        if not reached:
            break
        kills += 1
    assert kills >= len(KILLS[call]), f"only {kills} times {call}"
    finish(one, sink, acknowledged, kills + 1)


def test_calls_that_fail_lose_nothing_and_nothing_is_stuck(relay, sink):
    """One relay through all of it: who was refused was told so, all others arrive, without a restart."""
    one, acknowledged, refused = relay().start(), [], 0
    for number, (call, error, when) in enumerate(ERRORS):
        with injected(one.process.pid, call, f"error={error}", when):
            mails = Mails(one.port, f"e{number}")
            some = mails.join()
        refused += 8 - len(some)
        until(lambda number=number: send(one.port, f"Sagain{number}"), f"mail is taken again after {call} {error}", 10)
        assert one.process.poll() is None, f"{call} {error} {when} ended it: {one.log()[-2000:]}"
        acknowledged += some
    late = Mails(one.port, "late").join()
    assert len(late) == 8, one.log()[-3000:]
    sent = [token for token, kind in acknowledged + late if kind != "refuse"]
    arrived(sink, sent)
    until(lambda: one.waiting() == 0, "an empty queue: nothing is stuck")
    print(f"{len(ERRORS)} failures, {len(acknowledged)} acknowledged, {refused} refused, 0 lost")
    assert refused, "an fsync that fails is a refusal"
    assert "ALARM" in one.log()
    assert not (one.spool / "corrupt").exists()
    for token in sink.taken:
        assert all(delivery.whole for delivery in sink.taken[token])


def test_a_disk_that_keeps_failing_takes_no_mail_and_comes_back(relay, sink):
    one = relay().start()
    assert len(Mails(one.port, "before").join()) == 8
    with injected(one.process.pid, "fdatasync", "error=EIO", "1+"):
        assert Mails(one.port, "during").join() == []
        assert one.process.poll() is None
    until(lambda: len(Mails(one.port, f"after{time.monotonic_ns()}").join()) == 8, "mail is taken again", 10)
    assert not any("during" in token for token in sink.taken), "what was refused is not sent"
    assert " 421 " not in one.log()
    assert "451 4.3.0 local trouble, try again later" in one.log()
    until(lambda: one.waiting() == 0, "an empty queue")
