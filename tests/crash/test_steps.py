"""kill -9 at every named step of a mail's road: nothing acknowledged is lost, torn or left behind.

The start after one kill is the run that the next one ends: so what was left is worked off under fire.
"""

import contextlib
import itertools
import os
import signal
import sys
import threading
from pathlib import Path

import pytest

from tests.crash import stepped
from tests.crash.stage import arrived, check_greetings, doubled, send
from tests.e2e.tools import until

WRAPPER = Path(stepped.__file__)
WIRE = ("connected", "MAIL", "RCPT", "DATA", "content", "dot", "answered")
"""Stages of the session with the next hop, which does the killing itself."""
UNDER_WAY = 8
"""Mails of one round."""


class Mails:
    """Five small mails, a large one, one that is deferred first and one that is refused, one after the other."""

    def __init__(self, port, mark):
        self.port, self.mark = port, mark
        self.acknowledged = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        for number, kind in enumerate(("S", "L", "S", "later", "refuse", "S", "L", "S")):
            token = f"{kind if len(kind) == 1 else 'S'}{self.mark}-{number}"
            rcpt = None if len(kind) == 1 else f"{kind}-{token}@example.org"
            if send(self.port, token, rcpt):
                self.acknowledged.append((token, kind))

    def join(self):
        self._thread.join(60)
        return self.acknowledged


def killed(process, seconds=20):
    with contextlib.suppress(AssertionError):
        until(lambda: process.poll() is not None, "", seconds)
    return process.poll() == -signal.SIGKILL


def finish(one, sink, acknowledged, kills):
    """A last start, undisturbed: everything acknowledged arrives, and the spool is empty and tidy."""
    one.start()
    arrived(sink, [token for token, kind in acknowledged if kind != "refuse"])
    refused = [token for token, kind in acknowledged if kind == "refuse"]
    until(lambda: all(sink.reports[f"refuse-{token}"] for token in refused), "the reports on refused mail")
    one.check_empty()
    twice = doubled(sink)
    assert len(twice) <= UNDER_WAY * (kills + 1)
    print(f"{kills} kills, {len(acknowledged)} acknowledged, 0 lost, {len(twice)} doubled")
    check_greetings(one.greeted)
    return twice


GROUPS = {
    group: [step for step in stepped.STEPS if step.startswith(group)]
    for group in ("accept", "large", "settle", "defer", "report", "checkpoint", "start", "engine")
}


@pytest.mark.parametrize("group", GROUPS)
def test_promises_1_and_3_killed_at_a_step_inside(relay, sink, group, soak):
    one, acknowledged, kills = relay(), [], 0
    first = 3 if group == "accept" else 1
    for step in GROUPS[group]:
        for times in range(first, 8) if soak else (first,):
            one.start(sys.executable, WRAPPER, step, str(times))
            mails = Mails(one.port, f"{kills}-{times}")
            reached = killed(one.process, 20 if times == first else 3)
            assert reached or times > first, f"{step}: never reached:\n{one.log()[-2000:]}"
            acknowledged += mails.join()
            if not reached:  # one round of mails passes it no further time
                one.kill()
                break
            kills += 1
    if group == "report":
        assert any(kind == "refuse" for _, kind in acknowledged), "killed at another mail's commit"
    twice = finish(one, sink, acknowledged, kills)
    if group == "start":
        assert not twice, "nothing had been answered by the next hop"


def test_promises_1_and_3_killed_at_a_step_of_the_next_hop(relay, sink):
    one, acknowledged = relay(), []
    for number, step in enumerate(WIRE):
        left = itertools.count(1)

        def reached(name, token, step=step, left=left):
            if name == step and next(left) == (1 if step == "connected" else 2):
                os.kill(one.process.pid, signal.SIGKILL)

        one.start()
        sink.step = reached
        mails = Mails(one.port, f"{number}")
        assert killed(one.process), f"{step}: never reached:\n{one.log()[-2000:]}"
        sink.step = lambda name, token: None
        acknowledged += mails.join()
    finish(one, sink, acknowledged, len(WIRE))


def test_promise_3_killed_at_a_step_of_the_outbox(relay, sink):
    """The copy that a second try makes takes the place of the first: not even a double."""
    one, acknowledged = relay(), []
    text = one.config.read_text().replace("smtp_server = 127.0.0.1", "smtp_server =")
    one.config.write_text(text)
    steps = [step for step in stepped.STEPS if step.startswith("outbox")]
    for number, step in enumerate(steps):
        one.start(sys.executable, WRAPPER, step, "1")
        mails = Mails(one.port, f"{number}")
        assert killed(one.process), f"{step}: never reached:\n{one.log()[-2000:]}"
        acknowledged += mails.join()
    one.start()
    one.check_empty()
    folder = one.folder / "var" / "outbox"
    kept = [path.read_bytes() for path in (folder / "new").iterdir()]
    found = [token for token, _ in acknowledged if sum(f"Subject: crash {token}\r\n".encode() in m for m in kept) == 1]
    assert found == [token for token, _ in acknowledged]
    assert len(list((folder / "envelope").iterdir())) == len(kept)
