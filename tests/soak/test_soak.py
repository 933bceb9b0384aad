"""A long run: 1,000,000 mails through one daemon (20,000 unless asked for more). Nothing is lost, doubled, or grows."""

import asyncio
import os
import re
import sqlite3
import time
from pathlib import Path

import pytest

from relay.spool.writer import LOG_MOST
from tests.crash.stage import Relay
from tests.soak.load import Counter, Senders, arrived

HISTORY = 30
"""Seconds for which the record of a finished mail is kept here: so that it is pruned while the test looks."""


class Sample:
    """What the daemon holds at one moment."""

    def __init__(self, one, mails):
        pid = one.process.pid
        status = Path(f"/proc/{pid}/status").read_text()
        self.mails = mails
        self.memory = int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024
        self.descriptors = len(os.listdir(f"/proc/{pid}/fd"))
        self.threads = int(re.search(r"Threads:\s+(\d+)", status)[1])
        log = one.spool / "spool.sqlite-wal"
        self.log = log.stat().st_size if log.exists() else 0
        self.database = (one.spool / "spool.sqlite").stat().st_size

    def __str__(self):
        return (
            f"{self.mails:>8} mails: {self.memory / 1e6:6.1f} MB, {self.descriptors} descriptors, {self.threads} threads, "
            f"log {self.log / 1e6:.1f} MB, database {self.database / 1e6:.1f} MB"
        )


def slope(samples):
    """Octets of memory for each further mail, by least squares."""
    mean_x = sum(s.mails for s in samples) / len(samples)
    mean_y = sum(s.memory for s in samples) / len(samples)
    above = sum((s.mails - mean_x) * (s.memory - mean_y) for s in samples)
    return above / (sum((s.mails - mean_x) ** 2 for s in samples) or 1)


@pytest.fixture
def mails(request, soak):
    return request.config.getoption("--mails") or (1_000_000 if soak else 20_000)


async def run_through(folder, mails):
    counter = Counter(mails)
    await counter.start()
    folder.mkdir()
    one = Relay(folder, counter, options=f"history = {HISTORY}s")
    one.config.write_text(one.config.read_text() + "[log]\nlevel = warning\n")
    samples = []
    await asyncio.to_thread(one.start)
    try:
        began = time.monotonic()
        senders = Senders(one.port, mails, counter)
        finished = asyncio.create_task(senders.finish())
        while not finished.done():
            await asyncio.wait((finished,), timeout=max(mails / 40_000, 0.5))
            samples.append(Sample(one, counter.arrived))
            if len(samples) % 20 == 1:
                print(samples[-1], flush=True)
        await finished
        await arrived(counter, mails)
        took = time.monotonic() - began
        samples.append(Sample(one, counter.arrived))
        await asyncio.sleep(2.5)
        rest = Sample(one, counter.arrived)
        waiting = await asyncio.to_thread(one.waiting)
    finally:
        await asyncio.to_thread(one.stop)
        counter.stop()
    print(
        f"{mails} mails in {took:.0f} s ({mails / took:.0f} a second)",
        *samples[:: max(len(samples) // 10, 1)],
        rest,
        sep="\n",
    )
    return one, counter, senders, samples, rest, waiting, took


def test_a_long_run(tmp_path, mails):
    one, counter, senders, samples, rest, waiting, took = asyncio.run(run_through(tmp_path / "relay", mails))
    lost = sum(1 for n in range(mails) if senders.acknowledged[n] and not counter.times[n])
    doubled = sum(1 for n in range(mails) if counter.times[n] > 1)
    assert (lost, doubled, waiting) == (0, 0, 0)
    assert sum(senders.acknowledged) == mails
    settled = samples[len(samples) // 4 :]
    growth = slope(settled)
    print(f"memory: {growth:+.2f} octets for each further mail; log at rest {rest.log} octets")
    # What an allocator keeps or gives back sways by some MB: over so few mails that is no slope.
    assert growth * mails < max(8e6, 2.0 * mails), "memory grows"
    middle = len(samples) // 2
    assert max(s.descriptors for s in samples[middle:]) <= max(s.descriptors for s in samples[:middle]) + 4
    assert max(s.threads for s in samples) <= 20
    assert max(s.log for s in samples) <= 1.25 * LOG_MOST, "SQLite's log grows"
    assert rest.log == 0, "an idle spool has an empty log"
    assert list((one.spool / "bodies").iterdir()) == []
    assert "ALARM" not in one.log()
    assert "Traceback" not in one.log()
    per_second = mails / took
    kept = history_rows(one)
    print(f"history: {kept} records kept of {mails} finished")
    assert kept <= max(2 * HISTORY * per_second, 2000), "old records are not removed"


def history_rows(one):
    connection = sqlite3.connect(one.spool / "spool.sqlite")
    try:
        return connection.execute("SELECT count(*) FROM history").fetchone()[0]
    finally:
        connection.close()
