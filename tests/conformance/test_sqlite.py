"""What only an engine on disk can show: promise 1 in its strict form, and damage that harms nobody else."""

import asyncio
import errno
import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
import textwrap
import time
from dataclasses import replace

import pytest

from relay.entry import State
from relay.errors import SpoolError, SpoolFull
from relay.spool import Wanted

BIG = b"x" * 400_000


def files(case):
    return sorted(p.name for p in case.folder.rglob("*.eml"))


def test_everything_is_there_after_reopening(sqlite, run):
    async def first():
        async with sqlite.open() as spool:
            await sqlite.put(spool, "a", octets=BIG)
            await sqlite.put(spool, "b")
            await spool.remember("k", "v", sqlite.clock() + 1000)
            [claim] = await spool.claim(Wanted(id="b"), 0)
            await spool.settle([claim], (replace(claim.entry, state=State.DONE), None))

    async def second():
        async with sqlite.open() as spool:
            assert await spool.recall("k") == "v"
            assert (await spool.counts()) == {State.QUEUED: 1, State.HELD: 0, State.DONE: 1}
            [claim] = await spool.claim(Wanted(limit=5), 0)
            assert claim.body.read(0, 1 << 20) == BIG

    run(first())
    run(second())


def test_leases_of_a_dead_daemon_are_free_at_once(sqlite, run):
    async def story():
        async with sqlite.open() as spool:
            await sqlite.put(spool, "a")
            await spool.claim(Wanted(), 0)
        async with sqlite.open() as spool:
            assert [c.entry.id for c in await spool.claim(Wanted(), 0)] == ["a"]

    run(story())


def test_modes_and_pragmas(sqlite, run):
    async def story():
        async with sqlite.open() as spool:
            await sqlite.put(spool, "a", octets=BIG)
            assert stat.S_IMODE(os.stat(sqlite.folder).st_mode) == 0o700
            for path in sqlite.folder.rglob("*"):
                assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path

            def pragmas(connection):
                return [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]

            assert await spool._do(pragmas) == ["wal", 2]

    run(story())


def test_a_large_body_and_its_folder_are_synced_before_the_row(sqlite, run, monkeypatch):
    order = []
    real = os.fsync

    def fsync(fd):
        order.append("folder" if stat.S_ISDIR(os.fstat(fd).st_mode) else "file")
        real(fd)

    async def story():
        async with sqlite.open() as spool:
            monkeypatch.setattr(os, "fsync", fsync)
            insert = spool._insert
            monkeypatch.setattr(spool, "_insert", lambda *a: (order.append("row"), insert(*a))[1])
            await sqlite.put(spool, "a", octets=BIG)

    run(story())
    assert order == ["file", "folder", "row"]


@pytest.mark.parametrize(
    ("number", "error"), [(errno.EIO, SpoolError), (errno.ENOSPC, SpoolFull), (errno.EDQUOT, SpoolFull)]
)
def test_a_failing_fsync_fails_the_put_and_keeps_nothing(sqlite, run, monkeypatch, number, error):
    def fsync(fd):
        raise OSError(number, "planted")

    async def story():
        async with sqlite.open() as spool:
            with monkeypatch.context() as patch:
                patch.setattr(os, "fsync", fsync)
                draft = spool.draft()
                draft.write(BIG)
                with pytest.raises(error) as caught:
                    await spool.put(sqlite.entry("a", size=len(BIG)), draft)
                assert str(sqlite.folder) not in str(caught.value)
                draft.discard()
            assert await spool.claim(Wanted(limit=9), 0) == []
            assert files(sqlite) == []
            await sqlite.put(spool, "b")

    run(story())


def test_group_commit(sqlite, run):
    async def story():
        async with sqlite.open() as spool:
            before = spool.commits
            await asyncio.gather(*(sqlite.put(spool) for _ in range(400)))
            assert spool.commits - before < 200

    run(story())


def test_one_poisoned_operation_spoils_no_other(sqlite, run):
    async def story():
        async with sqlite.open() as spool:
            await sqlite.put(spool, "same")
            puts = [sqlite.put(spool, "same" if n == 25 else f"m{n}") for n in range(50)]
            results = await asyncio.gather(*puts, return_exceptions=True)
            assert [n for n, r in enumerate(results) if isinstance(r, SpoolError)] == [25]
            assert len(await spool.claim(Wanted(limit=99), 0)) == 50

    run(story())


def test_a_claim_in_a_failed_batch_holds_no_lease_of_it(sqlite, run):
    async def story():
        async with sqlite.open() as spool:
            await sqlite.put(spool, "same")
            for number in range(10):
                await sqlite.put(spool, f"m{number}")
            results = await asyncio.gather(
                *(sqlite.put(spool, "same") for _ in range(3)),
                *(spool.claim(Wanted(limit=4), 0) for _ in range(4)),
                *(sqlite.put(spool, "same") for _ in range(3)),
                return_exceptions=True,
            )
            claimed = [c.entry.id for found in results if isinstance(found, list) for c in found]
            assert sorted(claimed) == sorted({"same", *(f"m{n}" for n in range(10))})

    run(story())


def test_a_claim_writes_nothing(sqlite, run):
    async def story():
        async with sqlite.open() as spool:
            await sqlite.put(spool, "a")
            before = await spool._do(lambda connection: connection.total_changes)
            [claim] = await spool.claim(Wanted(), 0)
            await spool.extend(claim)
            assert await spool._do(lambda connection: connection.total_changes) == before

    run(story())


def test_a_second_daemon_is_refused(sqlite, run):
    async def story():
        async with sqlite.open():
            with pytest.raises(SpoolError, match="another tracker-relay is using it"):
                async with sqlite.open():
                    raise AssertionError
        async with sqlite.open():
            pass

    run(story())


def test_a_later_format_is_refused(sqlite, run):
    async def story():
        async with sqlite.open():
            pass
        with sqlite3.connect(sqlite.folder / "spool.sqlite") as connection:
            connection.execute("PRAGMA user_version = 99")
        connection.close()
        with pytest.raises(SpoolError, match="format 99"):
            async with sqlite.open():
                raise AssertionError

    run(story())


@pytest.mark.parametrize("mode", [0o777, 0o750])
def test_a_folder_that_others_may_enter_is_refused(sqlite, run, mode):
    sqlite.folder.mkdir()
    sqlite.folder.chmod(mode)

    async def story():
        with pytest.raises(SpoolError, match="chmod 700"):
            async with sqlite.open():
                raise AssertionError

    run(story())


def test_body_files_go_with_their_entry_and_orphans_at_start(sqlite, run):
    async def story():
        async with sqlite.open() as spool:
            await sqlite.put(spool, "a", octets=BIG)
            await sqlite.put(spool, "b", octets=BIG)
            assert len(files(sqlite)) == 2
            [claim] = await spool.claim(Wanted(id="a"), 0)
            await spool.settle([claim], (replace(claim.entry, state=State.DONE), None))
            assert len(files(sqlite)) == 1
        (sqlite.folder / "bodies" / "orphan.eml").write_bytes(b"x")
        async with sqlite.open() as spool:
            assert len(files(sqlite)) == 1

    run(story())


def test_disk_full_is_spool_full_and_queued_mail_still_leaves(sqlite, run):
    async def story():
        async with sqlite.open() as spool:
            await sqlite.put(spool, "a")

            def limit(connection):
                pages = connection.execute("PRAGMA page_count").fetchone()[0]
                connection.execute(f"PRAGMA max_page_count = {pages}")

            await spool._do(limit)
            with pytest.raises(SpoolFull):
                for _ in range(100):
                    await sqlite.put(spool, octets=b"y" * 200_000)
            claims = await spool.claim(Wanted(id="a"), 0)
            await spool.settle(claims, *((replace(c.entry, due=c.entry.due + 1), None) for c in claims))

    run(story())


def test_old_history_goes(sqlite, run):
    async def story():
        async with sqlite.open() as spool:
            for name in ("a", "b"):
                await sqlite.put(spool, name)
                [claim] = await spool.claim(Wanted(id=name), 0)
                done = replace(claim.entry, state=State.DONE, done_at=sqlite.clock())
                await spool.settle([claim], (done, None))
                sqlite.clock.now += 15 * 86400
            assert [e.id async for e in spool.browse(Wanted(limit=9, states=(State.DONE,)))] == ["b"]

    run(story())


PUTTER = """
import asyncio, itertools, sys, time
from relay.address import parse
from relay.entry import Entry
from relay.mail import Envelope, Recipient
from relay.spool import SpoolOptions, create

async def main(folder, start):
    spool = create(SpoolOptions(path=folder), time.time)
    await spool.open()
    async def one(worker):
        for number in itertools.count():
            octets = b"z" * (300_000 if number % 10 == 9 else 2_000)
            name = f"{start}-{worker}-{number}"
            envelope = Envelope(None, (Recipient.accepted(parse("eve@example.org")),))
            draft = spool.draft()
            draft.write(octets)
            await spool.put(Entry(name, time.time(), envelope, size=len(octets), due=time.time()), draft)
            print(name, flush=True)
    await asyncio.gather(*(one(w) for w in range(5)))

asyncio.run(main(sys.argv[1], sys.argv[2]))
"""


def test_promise_1_kill_9_loses_nothing_that_put_had_returned_for(sqlite, run):
    """Each round: several workers put as fast as they can, the process is killed, every printed id is there."""
    printed = []
    for number in range(5):
        arguments = [sys.executable, "-c", textwrap.dedent(PUTTER), str(sqlite.folder), str(number)]
        process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            printed.append(process.stdout.readline().strip())
            time.sleep(random.uniform(0.02, 0.2))
            process.send_signal(signal.SIGKILL)
            lines = process.stdout.read().split("\n")
            printed += lines[:-1]  # the last one may be cut
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
    sqlite.clock.now = time.time() + 10

    async def story():
        async with sqlite.open() as spool:
            claims = await spool.claim(Wanted(limit=100_000), 0)
            whole = {c.entry.id for c in claims if len(c.body.read(0, 1 << 20)) == c.entry.size}
            assert len(whole) == len(claims)
            assert set(printed) <= whole
            assert len(printed) >= 5
            assert await spool._read("SELECT count(*) FROM damaged", ()) == [(0,)]

    run(story())
