"""A long run: 1,000,000 mails through one daemon (20,000 unless asked for more). Nothing is lost, doubled, or grows.

Mail as Trac writes it, each an event of its own with a recipient of its own, over connections that come and go; some
large, some deferred by the next hop, some sent again by their client. Who sends and who receives works in this process.

Memory that is no file's: its slope, by least squares, over all that follows a warm-up. It may come to SWAY from there
to the end, which is what the allocator was seen to sway by on a busy machine, and half as much again: a leak is seen
that is above 3.2 octets a mail in 1,000,000, above 20 in 200,000. In fewer than ENOUGH mails tables, caches and
allocator have not come to rest, and only what would be a leak of hundreds of octets is seen.
`--leak N` makes the daemon keep N octets of each mail: then the test has to fail.
"""

import asyncio
import contextlib
import math
import os
import re
import sqlite3
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import pytest

from relay.runner import runner
from relay.spool.writer import LOG_SIZE
from tests.crash.stage import Relay
from tests.soak.load import AGAIN, SECOND_TRY, Counter, Senders, arrived

HISTORY = 30
"""Seconds for which the record of a finished mail is kept here: so that it is pruned while the test looks."""
WARM_UP, ENOUGH = 50_000, 100_000
"""Mails: what the relay remembers of `duplicate_window` is full with the first, all else long before; and those that
it takes to tell a slope.
"""
SWAY, COMING_TO_REST = 3e6, 8e6
"""Octets that the slope may come to over the run, and over one of fewer than ENOUGH mails."""
AT_HAND = 4
"""Descriptors that are open for a moment: a mail's file, a connection that comes or goes while they are counted."""
REPORT = """\
[log]
file = {folder}/lines.log
"""


class Sample:
    """What the daemon holds at one moment."""

    def __init__(self, one, counter, senders):
        pid = one.process.pid
        status = Path(f"/proc/{pid}/status").read_text()
        self.memory = sum(int(re.search(rf"{what}:\s+(\d+) kB", status)[1]) * 1024 for what in ("RssAnon", "VmSwap"))
        """What it has asked for. Pages of its programs and libraries come and go as the machine needs memory."""
        self.threads = int(re.search(r"Threads:\s+(\d+)", status)[1])
        self.descriptors = len(os.listdir(f"/proc/{pid}/fd"))
        self.connections = counter.open + senders.open
        """By what both neighbours see."""
        self.mails, self.cpu, self.ours = counter.arrived, processor_time(pid), time.process_time()
        log = one.spool / "spool.sqlite-wal"
        self.log = log.stat().st_size if log.exists() else 0
        self.database = (one.spool / "spool.sqlite").stat().st_size

    @property
    def own(self):
        """Descriptors that are no connection's."""
        return self.descriptors - self.connections

    def __str__(self):
        return (
            f"{self.mails:>8} mails: {self.memory / 1e6:6.2f} MB, {self.descriptors} descriptors ({self.connections}"
            f" connections), {self.threads} threads, log {self.log / 1e6:.1f} MB, database {self.database / 1e6:.1f} MB"
        )


def processor_time(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def slope(samples):
    """Octets of memory for each further mail, by least squares."""
    mean_x = sum(s.mails for s in samples) / len(samples)
    mean_y = sum(s.memory for s in samples) / len(samples)
    above = sum((s.mails - mean_x) * (s.memory - mean_y) for s in samples)
    return above / (sum((s.mails - mean_x) ** 2 for s in samples) or 1)


class Lines:
    """The daemon's log of a million mails: taken away piece by piece, as logrotate does, and looked through."""

    def __init__(self, folder):
        self.path, self._taken = folder / "lines.log", folder / "lines.log.1"
        self.octets = 0
        self.bad = []

    def look(self):
        """Through the piece that was taken away before; then take the next, which the daemon may still write to."""
        if self._taken.exists():
            text = self._taken.read_text(errors="replace")
            self.octets += len(text)
            self.bad += re.findall(
                r"^.*(?:ALARM|Traceback|fault|held|status=bounced|set aside).*$", text, re.MULTILINE
            )[:10]
            self._taken.unlink()
        if self.path.exists():
            self.path.rename(self._taken)


class Progress:
    """A line for each fortieth of the run."""

    def __init__(self, mails):
        self.mails, self.began, self._next = mails, time.monotonic(), 0

    def show(self, sample):
        if sample.mails >= self._next:
            self._next = sample.mails + self.mails // 40
            took = time.monotonic() - self.began
            left = took / sample.mails * (self.mails - sample.mails) if sample.mails else 0.0
            print(f"{sample} after {took:.0f} s, about {left:.0f} s to go", flush=True)


@pytest.fixture
def mails(request, soak):
    return request.config.getoption("--mails") or (1_000_000 if soak else 20_000)


@pytest.fixture
def leak(request):
    return request.config.getoption("--leak")


async def run_through(folder, mails, leak):
    counter = Counter(mails)
    await counter.start()
    folder.mkdir()
    one = Relay(folder, counter, options=f"history = {HISTORY}s")
    one.config.write_text(
        one.config.read_text().replace(
            "mime_encoding = auto", "mime_encoding = base64\nsmtp_always_bcc = list@example.org"
        )
        + REPORT.format(folder=folder)
    )
    samples, lines = [], Lines(folder)
    leaking = (sys.executable, "-m", "tests.soak.leaking", str(leak)) if leak else ()
    await asyncio.to_thread(one.start, *leaking)
    try:
        senders, progress = Senders(one.port, mails, counter), Progress(mails)
        samples.append(Sample(one, counter, senders))
        finished = asyncio.create_task(senders.finish())
        while not finished.done():
            await asyncio.wait((finished,), timeout=min(max(mails / 400_000, 0.25), 2.5))
            samples.append(Sample(one, counter, senders))
            progress.show(samples[-1])
            lines.look()
        await finished
        await arrived(counter, mails)
        took = time.monotonic() - progress.began
        samples.append(Sample(one, counter, senders))
        rest = await at_rest(one, counter, senders)
        waiting = await asyncio.to_thread(one.waiting)
    finally:
        await asyncio.to_thread(one.stop)
        counter.stop()
    lines.look()
    lines.look()
    print(
        f"{mails} mails in {took:.0f} s ({mails / took:.0f} a second), {counter.deferred} at the second try,"
        f" {senders.again} sent again; {counter.sessions} connections to the next hop\nprocessor: daemon"
        f" {rest.cpu / took:.0%} of one, this test {rest.ours / took:.0%}; {lines.octets / 1e6:.0f} MB of log lines",
        *samples[:: max(len(samples) // 10, 1)],
        rest,
        sep="\n",
    )
    return one, counter, senders, samples, rest, waiting, took, lines


async def at_rest(one, counter, senders):
    """Once the relay has emptied its log, a second after the last mail; on a busy machine later."""
    for _ in range(40):
        await asyncio.sleep(0.5)
        rest = Sample(one, counter, senders)
        if not rest.log:
            break
    return rest


def test_a_long_run(tmp_path, mails, leak):
    one, counter, senders, samples, rest, waiting, took, lines = runner()(run_through(tmp_path / "relay", mails, leak))
    assert (lines.bad, one.log()) == ([], "")
    check_mails(mails, counter, senders, waiting)
    check_descriptors(mails, samples, rest)
    # Where this process, or a reader of the daemon, is kept waiting for a processor, the log is begun afresh later.
    assert max(s.log for s in samples) <= 16 * LOG_SIZE, "SQLite's log grows"
    assert rest.log == 0, "an idle spool has an empty log"
    assert list((one.spool / "bodies").iterdir()) == []
    kept = history_rows(one)
    print(f"history: {kept} records kept of {mails} finished")
    assert kept <= max(2 * HISTORY * mails / took, 2000), "old records are not removed"
    check_memory(mails, samples)


def check_mails(mails, counter, senders, waiting):
    """By what the next hop has seen: each mail whole, once at its reader and once at the list, and no other one."""
    readers, lists = counter.readers, counter.lists
    lost = [n for n in range(mails) if senders.acknowledged[n] and not (readers[n] and lists[n])]
    doubled = [n for n in range(mails) if readers[n] > 1 or lists[n] > 1]
    assert (lost, doubled, counter.damaged, waiting) == ([], [], [], 0)
    assert sum(senders.acknowledged) == sum(readers) == sum(lists) == mails
    assert counter.deferred == len(range(0, mails, SECOND_TRY))
    assert senders.again == mails // AGAIN


def check_memory(mails, samples):
    settled = [s for s in samples if s.mails >= min(mails // 4, WARM_UP)]
    growth, further = slope(settled), settled[-1].mails - settled[0].mails
    least, most = (pick(s.memory for s in settled) / 1e6 for pick in (min, max))
    print(f"memory: {growth:+.2f} octets for each of {further} further mails; {least:.2f} to {most:.2f} MB")
    assert growth * further < (SWAY if mails >= ENOUGH else COMING_TO_REST), f"memory grows: {growth:.2f} octets a mail"


def check_descriptors(mails, samples, rest):
    """Those that are no connection's stay as many; of the connections both ends know.

    Connections are counted a moment before or after the daemon knows of them: so medians are compared.
    """
    own = [s.own for s in samples if s.mails >= min(mails // 4, WARM_UP)]
    first, last = (median(some) for some in (own[: len(own) // 3 + 1], own[-len(own) // 3 - 1 :]))
    print(
        f"descriptors but for {rest.connections} connections: {samples[0].own} at first, {rest.own} at rest,"
        f" {min(own)} to {max(own)} in between; medians of the first and the last third {first:.0f} and {last:.0f}"
    )
    assert rest.own <= samples[0].own + AT_HAND, "descriptors are left open"
    assert last <= first + 1, "descriptors grow"
    assert max(s.threads for s in samples) <= 20


@dataclass
class Sampled:
    """What `check_memory` looks at."""

    mails: int
    memory: float


@pytest.mark.parametrize(
    ("mails", "leak", "seen"),
    [(1_000_000, 20, True), (1_000_000, 4, True), (1_000_000, 0, False), (200_000, 25, True), (200_000, 0, False)],
)
def test_a_leak_is_seen_above_what_sways(mails, leak, seen):
    """Memory that fills for 40,000 mails, then sways by two megabytes in waves, with and without a leak."""
    samples = [
        Sampled(n, 45e6 + min(n, 40_000) * 500 + leak * n + 1e6 * math.sin(n / 9000))
        for n in range(0, mails, mails // 400)
    ]
    with pytest.raises(AssertionError, match="memory grows") if seen else contextlib.nullcontext():
        check_memory(mails, samples)


def history_rows(one):
    connection = sqlite3.connect(one.spool / "spool.sqlite")
    try:
        return connection.execute("SELECT count(*) FROM history").fetchone()[0]
    finally:
        connection.close()
