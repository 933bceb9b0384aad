"""Room for mail: what stays free, quotas, the reserve, and that a person hears of it in time, once."""

import os
import sqlite3
from dataclasses import replace
from types import SimpleNamespace

import pytest

from relay.entry import State
from relay.errors import SpoolFull
from relay.spool import SpoolOptions, Wanted
from relay.spool.room import Room

MB = 1 << 20


@pytest.fixture
def disk(monkeypatch):
    """A disk of 10 GB with 5 GB free, as the spool sees it; the test changes it."""
    seen = SimpleNamespace(total=10_240 * MB, free=5_120 * MB, files=100_000, files_free=90_000)

    def statvfs(_path):
        return SimpleNamespace(
            f_frsize=4096, f_blocks=seen.total // 4096, f_bavail=seen.free // 4096,
            f_files=seen.files, f_favail=seen.files_free,
        )  # fmt: skip

    monkeypatch.setattr(os, "statvfs", statvfs)
    monkeypatch.setattr(os, "posix_fallocate", lambda *_: None)
    return seen


@pytest.fixture
def room(tmp_path, disk):
    """A function: a room with these options, its reserve taken, and a clock that moves on at each look."""
    ticks = iter(range(10**6))

    def make(**options):
        one = Room(SpoolOptions(path=str(tmp_path), **options), clock=lambda: float(next(ticks)))
        one.tend()
        return one

    return make


def lines(caplog, level):
    return [r.getMessage() for r in caplog.records if r.levelname == level]


def test_min_free_stays_free(room, disk):
    one = room()
    one.check(50 * MB)
    disk.free = 33 * MB
    one.check()
    with pytest.raises(SpoolFull, match=r"33 MB are free on its disk, min_free is 32 MB"):
        one.check(2 * MB)
    disk.free = 31 * MB
    with pytest.raises(SpoolFull):
        one.check()


def test_a_disk_that_does_not_say_refuses_nothing(tmp_path, monkeypatch):
    """As under a policy that forbids to ask: what does not fit shows itself when it is written."""

    def statvfs(_path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "statvfs", statvfs)
    one = Room(SpoolOptions(path=str(tmp_path), quota=5 * MB))
    one.check(50 * MB)
    assert one.outlook() == ("", "")
    with pytest.raises(SpoolFull, match="quota"):
        one.check(waiting=6 * MB)


@pytest.mark.parametrize(
    ("total", "option", "kept"),
    [(10_240, None, 32), (160, None, 8), (160, 100 * MB, 100), (10_240, 0, 0)],
)
def test_a_small_disk_keeps_a_twentieth_unless_told_otherwise(room, disk, total, option, kept):
    disk.total, disk.free = total * MB, 150 * MB
    one = room(min_free=option)
    disk.free = kept * MB
    one.check()
    if kept:
        disk.free = kept * MB - 4096
        with pytest.raises(SpoolFull):
            one.check()


def test_files_that_can_still_be_made_count_too(room, disk):
    one = room()
    disk.files_free = 999
    with pytest.raises(SpoolFull, match="999 files can still be made on its disk, min_free_inodes is 1000"):
        one.check()
    disk.files = disk.files_free = 0  # a file system that makes them as needed
    one.check()


def test_mails_that_come_between_two_looks_at_the_disk_are_counted(tmp_path, disk):
    one = Room(SpoolOptions(path=str(tmp_path)), clock=lambda: 1.0)
    disk.free = 100 * MB
    one.check(50 * MB)
    with pytest.raises(SpoolFull):
        one.check(50 * MB)


def test_who_watches_hears_early_and_once(room, disk, caplog):
    caplog.set_level("INFO")
    one = room()
    disk.free = 100 * MB
    for _ in range(5):
        one.check()
    [line] = lines(caplog, "WARNING")
    assert "100 MB are left on its disk; below 32 MB (min_free) mail is refused" in line
    disk.free = 20 * MB
    for _ in range(5):
        with pytest.raises(SpoolFull):
            one.check()
    [line] = lines(caplog, "ERROR")
    assert "ALARM" in line
    assert "new mail is refused (452) until there is room" in line
    disk.free = 500 * MB
    for _ in range(5):
        one.check()
    assert [line for line in lines(caplog, "INFO") if "there is room for mail again" in line]
    assert len(lines(caplog, "INFO")) == 1


def test_a_mail_too_large_for_what_is_left_is_no_alarm(room, disk, caplog):
    one = room()
    disk.free = 200 * MB
    with pytest.raises(SpoolFull):
        one.check(190 * MB)
    assert lines(caplog, "ERROR") == []


def test_the_reserve_is_no_room_for_new_mail(room, disk, tmp_path):
    one = room()
    assert sorted(os.listdir(tmp_path / "reserve")) == ["0", "1", "2", "3"]
    disk.free = 0
    assert one.release()
    assert os.listdir(tmp_path / "reserve") == []
    assert not one.release()
    disk.free = 39 * MB  # min_free and a little, but the reserve comes first
    with pytest.raises(SpoolFull, match="8192 kB are missing in the reserve"):
        one.check()
    one.tend()
    assert os.listdir(tmp_path / "reserve") == []
    disk.free = 41 * MB
    one.tend()
    assert len(os.listdir(tmp_path / "reserve")) == 4


def test_a_reserve_that_is_there_already_counts_at_the_next_start(room, disk, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "posix_fallocate", lambda descriptor, _, octets: os.truncate(descriptor, octets))
    room()
    disk.free = 33 * MB
    again = Room(SpoolOptions(path=str(tmp_path)))
    again.prepare()
    again.check()


def test_what_was_said_just_now_is_said_later_if_it_is_still_so(tmp_path, disk, caplog):
    now = [0.0]
    one = Room(SpoolOptions(path=str(tmp_path)), clock=lambda: now[0])
    one.tend()
    for free in (10, 500, 10):
        now[0] += 1
        disk.free = free * MB
        one.tend()
    assert len(lines(caplog, "ERROR")) == 1
    now[0] += 60
    one.tend()
    assert len(lines(caplog, "ERROR")) == 2


def test_a_disk_at_the_edge_is_no_stream_of_lines(tmp_path, disk, caplog):
    caplog.set_level("INFO")
    now = [0.0]
    one = Room(SpoolOptions(path=str(tmp_path)), clock=lambda: now[0])
    one.tend()
    for n in range(500):
        now[0] += 1
        disk.free = (31 + n % 2) * MB
        one.tend()
    assert len(caplog.records) <= 2


def test_a_full_disk_at_the_start_gets_the_reserve_first(room, disk, tmp_path):
    one = room()
    disk.free = 4096
    one.prepare()
    assert os.listdir(tmp_path / "reserve") == []


def test_quota_in_all_and_by_profile(sqlite, run):
    case = replace(sqlite, options={"quota": 10_000, "profile_quota": 6_000})

    async def first():
        async with case.open() as spool:
            await case.put(spool, "a", octets=b"x" * 5_000, profile="one")
            with pytest.raises(SpoolFull, match="5000 octets of mail of profile one wait, profile_quota is 6000"):
                await case.put(spool, "b", octets=b"x" * 2_000, profile="one")
            await case.put(spool, "c", octets=b"x" * 4_000, profile="two")
            with pytest.raises(SpoolFull, match="9000 octets of mail wait, quota is 10000 octets"):
                spool.room(2_000)
            with pytest.raises(SpoolFull):
                await case.put(spool, "d", octets=b"x" * 2_000, profile="three")

    async def second():
        async with case.open() as spool:
            with pytest.raises(SpoolFull):
                spool.room(2_000)
            claims = await spool.claim(Wanted(limit=9), 0)
            await spool.settle(claims, *((replace(c.entry, state=State.DONE), None) for c in claims))
            spool.room(2_000)
            await case.put(spool, "e", octets=b"x" * 2_000, profile="one")

    run(first())
    run(second())


def test_a_report_is_no_new_mail(sqlite, run):
    """A full quota holds back what comes in, never what follows from it."""
    case = replace(sqlite, options={"quota": 1_000})

    async def story():
        async with case.open() as spool:
            await case.put(spool, "a", octets=b"x" * 900)
            [claim] = await spool.claim(Wanted(), 0)
            draft = spool.draft()
            draft.write(b"y" * 900)
            done = replace(claim.entry, state=State.DONE)
            await spool.settle([claim], (done, None), (case.entry("report", size=900), draft))
            assert [c.entry.id for c in await spool.claim(Wanted(limit=9), 0)] == ["report"]

    run(story())


def test_queued_mail_is_settled_from_the_reserve_on_a_full_disk(sqlite, run, monkeypatch, caplog):
    """SQLite says full once: new mail is refused, a settlement is done after the reserve has been given back."""

    class Full(sqlite3.Connection):
        left = 0

        def execute(self, sql, *values):
            if sql == "COMMIT" and Full.left and self.total_changes:
                Full.left -= 1
                fault = sqlite3.OperationalError("database or disk is full")
                fault.sqlite_errorcode = sqlite3.SQLITE_FULL
                raise fault
            return super().execute(sql, *values)

        def commit(self):
            self.execute("COMMIT")

    real = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: real(*a, **{"factory": Full, **k}))

    async def story():
        async with sqlite.open() as spool:
            reserve = sqlite.folder / "reserve"
            assert len(list(reserve.iterdir())) == 4
            await sqlite.put(spool, "a")
            [claim] = await spool.claim(Wanted(), 0)
            Full.left = 1
            with pytest.raises(SpoolFull):
                await sqlite.put(spool, "b")
            assert len(list(reserve.iterdir())) == 4
            Full.left = 1
            await spool.settle([claim], (replace(claim.entry, state=State.DONE), None))
            assert list(reserve.iterdir()) == []

    run(story())
    assert any("the reserve is used to settle what is queued" in line for line in lines(caplog, "ERROR"))
