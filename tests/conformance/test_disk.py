"""A disk that fails, and who may touch the spool: promise 1 where the disk does not keep its own."""

import asyncio
import errno
import os
import sqlite3
from dataclasses import replace

import pytest

from relay.entry import State
from relay.errors import SpoolError
from relay.spool import Wanted, leases, room, writer
from tests.e2e.tools import needs_root

BIG = b"x" * 400_000


@pytest.fixture(autouse=True)
def nothing_ready(monkeypatch):
    """Every claim reads the disk: new mail does not lie ready in memory."""
    monkeypatch.setattr(leases, "FRESH", 0)


class Connection(sqlite3.Connection):
    """Every statement is noted; the next one that begins with `fails` raises what SQLite would for a failed fsync."""

    fails = ""
    code = sqlite3.SQLITE_IOERR_FSYNC
    said = []

    def execute(self, sql, *values):
        self.said.append(sql)
        if self.fails and sql.startswith(self.fails):
            type(self).fails = ""
            self.said.append("FAILED")
            fault = sqlite3.OperationalError("disk I/O error")
            fault.sqlite_errorcode = self.code
            raise fault
        return super().execute(sql, *values)

    def commit(self):
        self.execute("COMMIT")


@pytest.fixture
def planted(monkeypatch):
    """The class of the spool's connections; its `fails` is reset."""
    real = sqlite3.connect
    monkeypatch.setattr(Connection, "said", [])
    monkeypatch.setattr(Connection, "fails", "")
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: real(*a, **{"factory": Connection, **k}))
    return Connection


def alarms(caplog):
    return [record.getMessage() for record in caplog.records if "ALARM" in record.getMessage()]


def test_promise_1_a_failed_sync_is_never_believed_again(sqlite, run, planted, caplog):
    """Who was in that commit is refused, and before the next one all that was committed is written anew."""

    async def story():
        async with sqlite.open() as spool:
            await sqlite.put(spool, "before")
            planted.fails = "COMMIT"
            names = [f"m{n}" for n in range(9)]
            results = await asyncio.gather(*(sqlite.put(spool, name) for name in names), return_exceptions=True)
            answered = {name for name, result in zip(names, results, strict=True) if not isinstance(result, SpoolError)}
            assert len(answered) < 9
            await sqlite.put(spool, "after")
            assert {e.id async for e in spool.browse(Wanted(limit=99))} == {"before", "after"} | answered

    run(story())
    assert len(alarms(caplog)) == 1
    assert "no mail is taken until the disk writes again" in alarms(caplog)[0]
    behind = planted.said[planted.said.index("FAILED") + 1 :]
    assert behind[:2] == ["ROLLBACK", "PRAGMA wal_checkpoint(TRUNCATE)"]


def test_promise_1_a_transaction_that_has_ended_before_its_commit_is_no_success(sqlite, run):
    """SQLite ends one by itself after some faults, and the module's `commit` then does nothing, without a word."""

    async def story():
        async with sqlite.open() as spool:
            lost = spool._do(lambda connection: connection.execute("ROLLBACK"))
            results = await asyncio.gather(sqlite.put(spool, "a"), lost, return_exceptions=True)
            kept = [entry.id async for entry in spool.browse(Wanted(limit=9))]
            assert isinstance(results[1], SpoolError)
            assert kept == ([] if isinstance(results[0], SpoolError) else ["a"])

    run(story())


def test_while_the_disk_fails_nothing_is_taken_and_it_mends_by_itself(sqlite, run, planted, caplog, monkeypatch):
    monkeypatch.setattr(writer, "MEND_PAUSE", 1.5)

    async def story():
        async with sqlite.open() as spool:
            await sqlite.put(spool, "before")
            planted.fails = "COMMIT"
            with pytest.raises(SpoolError, match="disk I/O error"):
                await sqlite.put(spool, "refused")
            planted.fails = "PRAGMA wal_checkpoint(TRUNCATE)"
            with pytest.raises(SpoolError, match="the disk fails"):
                await sqlite.put(spool, "refused")
            with pytest.raises(SpoolError, match="the disk fails"):
                await spool.claim(Wanted(), 0)
            await asyncio.sleep(1.6)
            assert [c.entry.id for c in await spool.claim(Wanted(limit=9), 0)] == ["before"]
            await sqlite.put(spool, "after")

    run(story())
    assert len(alarms(caplog)) == 1


def test_a_checkpoint_that_fails_is_noticed(sqlite, run, planted, caplog, monkeypatch):
    monkeypatch.setattr(writer, "LOG_MOST", 0)

    async def story():
        async with sqlite.open() as spool:
            planted.fails = "PRAGMA wal_checkpoint(PASSIVE)"
            await sqlite.put(spool, "a")
            await sqlite.put(spool, "b")
            assert "PRAGMA wal_checkpoint(TRUNCATE)" in planted.said

    run(story())
    assert len(alarms(caplog)) == 1


def test_a_full_disk_is_no_failing_one(sqlite, run, planted, caplog, monkeypatch):
    monkeypatch.setattr(Connection, "code", sqlite3.SQLITE_FULL)

    async def story():
        async with sqlite.open() as spool:
            planted.fails = "COMMIT"
            with pytest.raises(SpoolError, match="full"):
                await sqlite.put(spool, "a")
            await sqlite.put(spool, "a")

    run(story())
    assert alarms(caplog) == []


def test_a_large_mail_begun_before_another_ones_failed_sync_is_refused(sqlite, run, monkeypatch, caplog):
    """The kernel has told one of them about a lost write, and takes the pages for clean."""

    async def story():
        async with sqlite.open() as spool:
            first, second = spool.draft(), spool.draft()
            first.write(BIG)
            second.write(BIG)
            real = os.fsync

            def fsync(fd):
                monkeypatch.setattr(os, "fsync", real)
                raise OSError(errno.EIO, "planted")

            monkeypatch.setattr(os, "fsync", fsync)
            for name, draft in (("a", first), ("b", second)):
                with pytest.raises(SpoolError):
                    await spool.put(sqlite.entry(name, size=len(BIG)), draft)
                with pytest.raises(SpoolError):
                    await spool.put(sqlite.entry(name, size=len(BIG)), draft)
                draft.discard()
            await sqlite.put(spool, "c", octets=BIG)
            assert [c.entry.id for c in await spool.claim(Wanted(limit=9), 0)] == ["c"]
            assert len(list((sqlite.folder / "bodies").iterdir())) == 1

    run(story())
    assert len(alarms(caplog)) == 1


def test_a_file_that_will_not_go_spoils_no_settlement(sqlite, run, monkeypatch):
    async def story():
        async with sqlite.open() as spool:
            await sqlite.put(spool, "a", octets=BIG)
            [claim] = await spool.claim(Wanted(), 0)

            def unlink(*a, **k):
                raise OSError(errno.EIO, "planted")

            with monkeypatch.context() as patch:
                patch.setattr(os, "unlink", unlink)
                await spool.settle([claim], (replace(claim.entry, state=State.DONE), None))
            assert await spool.claim(Wanted(limit=9), 0) == []
        async with sqlite.open():
            assert list((sqlite.folder / "bodies").iterdir()) == [], "the next start sweeps it"

    run(story())


def test_the_log_stays_small(sqlite, run, monkeypatch):
    """10,000 mails through the spool: SQLite's log is begun afresh again and again, and empty after closing."""
    monkeypatch.setattr(writer, "LOG_MOST", writer.LOG_SIZE)

    async def story():
        sizes = []
        async with sqlite.open() as spool:
            for _ in range(20):
                await asyncio.gather(*(sqlite.put(spool, octets=b"y" * 2500) for _ in range(500)))
                claims = await spool.claim(Wanted(limit=500), 0)
                await spool.settle(claims, *((replace(c.entry, state=State.DONE), None) for c in claims))
                sizes.append((sqlite.folder / "spool.sqlite-wal").stat().st_size)
        assert max(sizes[1:]) < 3 * writer.LOG_SIZE
        assert not (sqlite.folder / "spool.sqlite-wal").exists()

    run(story())


@pytest.mark.parametrize(("bound", "scarce"), [("LOG_MOST", 0), ("LOG_SCARCE", 1 << 62)], ids=["roomy", "scarce"])
def test_the_log_is_moved_into_the_database_behind_a_burst_of_mail_not_in_it(
    sqlite, run, planted, monkeypatch, bound, scarce
):
    """Everybody waits for a checkpoint: in a burst only a log of LOG_MOST octets leads to one, less on a scarce disk."""
    checkpoint = "PRAGMA wal_checkpoint(PASSIVE)"
    monkeypatch.setattr(room, "SCARCE", scarce)
    monkeypatch.setattr(writer, "LOG_SIZE", 100_000)
    monkeypatch.setattr(writer, bound, 1_000_000)
    monkeypatch.setattr(writer, "QUIET", 0.2)
    monkeypatch.setattr(writer, "IDLE", 60.0)

    async def story():
        log = sqlite.folder / "spool.sqlite-wal"
        async with sqlite.open() as spool:
            while log.stat().st_size < 600_000:
                await sqlite.put(spool, octets=b"y" * 20_000)
            assert checkpoint not in planted.said
            [claim] = await spool.claim(Wanted(), 0)
            await asyncio.sleep(writer.QUIET * 1.5)
            await spool.settle([claim], (replace(claim.entry, state=State.DONE), None))
            async with asyncio.timeout(5):  # no new mail came, and the log is over LOG_SIZE: behind the answer
                while planted.said.count(checkpoint) == 0:
                    await asyncio.sleep(0.001)
            grown = log.stat().st_size
            while planted.said.count(checkpoint) == 1 and grown < 3_000_000:
                grown = log.stat().st_size
                await sqlite.put(spool, octets=b"y" * 20_000)
            assert grown < 1_200_000, "in a burst it is due at LOG_MOST"

    run(story())


def test_one_connection_writes_and_checkpoints(sqlite, run, monkeypatch, caplog):
    """So SQLite's race between a checkpoint and another connection's commit (mended in 3.51.3) has no second party."""
    caplog.set_level("INFO")
    opened = []
    real = sqlite3.connect

    def connect(database, **more):
        opened.append(str(database))
        return real(database, **more)

    monkeypatch.setattr(sqlite3, "connect", connect)

    async def story():
        async with sqlite.open() as spool:
            await sqlite.put(spool, "a")
            await spool.claim(Wanted(), 0)
            await spool.counts()
            await spool.peek("a")

    run(story())
    assert len([name for name in opened if not name.endswith("?mode=ro")]) == 1, opened
    assert len(opened) > 1
    assert f"SQLite {sqlite3.sqlite_version}, format" in caplog.text, "which one is in use is logged"


def test_readers_can_not_write(sqlite, run):
    async def story():
        async with sqlite.open() as spool:
            with pytest.raises(SpoolError, match="readonly"):
                await spool._read("DELETE FROM entries", ())

    run(story())


def test_a_second_daemon_is_refused_even_when_the_lock_file_was_removed(sqlite, run):
    async def story():
        async with sqlite.open():
            (sqlite.folder / "lock").unlink()
            with pytest.raises(SpoolError, match="another tracker-relay is using it"):
                async with sqlite.open():
                    raise AssertionError

    run(story())


@pytest.mark.parametrize("name", ["spool.sqlite", "spool.sqlite-wal", "lock"])
@pytest.mark.parametrize("kind", ["symlink", "hard link", "folder", "fifo"])
def test_nothing_but_a_plain_file_of_ours_is_taken_for_the_spool(sqlite, run, name, kind):
    async def story():
        async with sqlite.open():
            pass
        path, elsewhere = sqlite.folder / name, sqlite.folder.parent / "elsewhere"
        path.unlink(missing_ok=True)
        if kind == "symlink":
            path.symlink_to(elsewhere)
        elif kind == "hard link":
            elsewhere.write_bytes(b"")
            path.hardlink_to(elsewhere)
        elif kind == "folder":
            path.mkdir()
        else:
            os.mkfifo(path)
        with pytest.raises(SpoolError, match=r"symbolic link|second name|no regular file|Is a directory"):
            async with sqlite.open():
                raise AssertionError
        assert not elsewhere.exists() or elsewhere.read_bytes() == b""

    run(story())


def test_files_of_another_user_are_named_with_the_cure(sqlite, run):
    needs_root()

    async def story():
        async with sqlite.open():
            pass
        os.chown(sqlite.folder / "spool.sqlite", 12345, 12345)
        with pytest.raises(SpoolError, match=r"spool\.sqlite belongs to user 12345: chown it to 0"):
            async with sqlite.open():
                raise AssertionError

    run(story())


def test_a_file_that_others_could_read_is_closed_to_them(sqlite, run):
    async def story():
        async with sqlite.open():
            pass
        (sqlite.folder / "spool.sqlite").chmod(0o644)
        async with sqlite.open():
            assert (sqlite.folder / "spool.sqlite").stat().st_mode & 0o777 == 0o600

    run(story())


def test_an_idle_spool_has_an_empty_log(sqlite, run, monkeypatch):
    monkeypatch.setattr(writer, "IDLE", 0.05)
    log = sqlite.folder / "spool.sqlite-wal"

    async def story():
        async with sqlite.open() as spool:
            await sqlite.put(spool)
            assert log.stat().st_size
            await asyncio.sleep(0.1)
            await spool.claim(Wanted(), 0)  # the engine asks twice a second
            await spool.claim(Wanted(), 0)
            assert log.stat().st_size == 0

    run(story())


def test_without_a_thread_a_large_mail_is_refused_and_leaves_nothing(sqlite, run, monkeypatch, caplog):
    """What `asyncio.to_thread` could not begin stays in its queue, and comes when another thread is made."""
    late = []

    async def no_thread(work, *_):
        late.append(work)
        raise RuntimeError("can't start new thread")

    async def story():
        async with sqlite.open() as spool:
            draft = spool.draft()
            draft.write(BIG)
            other = spool.draft()
            other.write(BIG)
            with monkeypatch.context() as patch:
                patch.setattr(asyncio, "to_thread", no_thread)
                with pytest.raises(RuntimeError):
                    await spool.put(sqlite.entry("refused", size=len(BIG)), draft)
                draft.discard()
            assert len(os.listdir(sqlite.folder / "bodies")) == 1
            with pytest.raises(SpoolError):
                late[0]()
            await spool.put(sqlite.entry("other", size=len(BIG)), other)
            assert len(await spool.claim(Wanted(limit=9), 0)) == 1

    run(story())
    assert not alarms(caplog)
