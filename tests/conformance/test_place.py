"""Files that somebody removes, moves or replaces under a running spool: what was acknowledged is there at the next start."""

import asyncio
import shutil
import sqlite3

import pytest

from relay.errors import SpoolError, SpoolFull
from relay.spool import Wanted, database, leases, place, rebuild, room

BIG = b"Subject: big\r\n\r\n" + b"x" * 400_000


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """Every look is a look, and every claim reads the disk."""
    monkeypatch.setattr(place, "FRESH", 0.0)
    monkeypatch.setattr(room, "FRESH", 0.0)
    monkeypatch.setattr(leases, "FRESH", 0)


async def killed(sqlite, run_on):
    """What a process finds that comes after ours was killed: the files by their names, and nothing that was open."""
    after = sqlite.folder.with_name("after")
    await asyncio.to_thread(shutil.copytree, sqlite.folder, after, ignore=shutil.ignore_patterns("control.sock"))
    before, sqlite.folder = sqlite.folder, after
    try:
        async with sqlite.open() as spool:
            return await run_on(spool)
    finally:
        sqlite.folder = before


async def ids(spool):
    claims = await spool.claim(Wanted(limit=100), 0)
    assert all(claim.body.read(0, claim.body.size).startswith(b"Subject: ") for claim in claims)
    return {claim.entry.id for claim in claims}


def alarms(caplog, word):
    return [r.getMessage() for r in caplog.records if "ALARM" in r.getMessage() and word in r.getMessage()]


def remove(*names):
    return lambda folder: [(folder / name).unlink() for name in names]


def replace(folder):
    (folder / "spool.sqlite").rename(folder / "was")
    (folder / "was").unlink()
    sqlite3.connect(folder / "spool.sqlite").close()
    (folder / "spool.sqlite").write_bytes(b"a backup of long ago")


GONE = {
    "database": remove("spool.sqlite"),
    "log": remove("spool.sqlite-wal"),
    "both and the index": remove("spool.sqlite", "spool.sqlite-wal", "spool.sqlite-shm"),
    "replaced": replace,
}


@pytest.mark.parametrize("what", GONE)
@pytest.mark.parametrize("by", ["new mail", "a claim"])
def test_what_was_acknowledged_before_and_after_is_there(sqlite, run, caplog, what, by):
    async def story():
        async with sqlite.open() as spool:
            await sqlite.put(spool, "small")
            await sqlite.put(spool, "big", BIG)
            GONE[what](sqlite.folder)
            later = {"after"} if by == "new mail" else set()
            for name in later:
                await sqlite.put(spool, name)
            assert not await spool.claim(Wanted(limit=1, profile="nobody"), 0)
            assert await killed(sqlite, ids) == {"small", "big"} | later
            assert await ids(spool) == {"small", "big"} | later

    run(story())
    [line] = alarms(caplog, "gone from under the running relay")
    assert "all mail that was in it is written anew" in line
    if what == "replaced":
        [kept] = (sqlite.folder / "corrupt").glob("*-spool.sqlite")
        assert kept.read_bytes() == b"a backup of long ago"


def test_what_can_not_be_saved_at_the_moment_stays_open_and_no_mail_is_taken(sqlite, run, caplog, monkeypatch):
    real, broken = rebuild.save, [True]

    def save(connection, path):
        if broken[0]:
            raise OSError(28, "No space left on device")
        real(connection, path)

    monkeypatch.setattr(rebuild, "save", save)
    monkeypatch.setattr(database, "SAVE_PAUSE", 0.0)

    async def story():
        async with sqlite.open() as spool:
            await sqlite.put(spool, "before")
            (sqlite.folder / "spool.sqlite").unlink()
            with pytest.raises(SpoolError, match="gone from under the running relay"):
                await sqlite.put(spool, "refused")
            [claim] = await spool.claim(Wanted(limit=9), 0)  # it is delivered all the same
            await spool.settle([claim], (claim.entry, None))
            broken[0] = False
            await sqlite.put(spool, "after")
            assert await killed(sqlite, ids) == {"before", "after"}

    run(story())
    assert alarms(caplog, "what is open of it can not be written anew: [Errno 28]")


@pytest.mark.parametrize("new", [False, True], ids=["moved", "moved and made anew"])
def test_a_folder_that_was_moved_takes_no_mail_until_it_is_back(sqlite, run, caplog, new):
    async def story():
        async with sqlite.open() as spool:
            await sqlite.put(spool, "one")
            away = sqlite.folder.with_name("away")
            sqlite.folder.rename(away)
            if new:
                sqlite.folder.mkdir(0o700)
            with pytest.raises(SpoolFull, match="not in its place any more: put it back"):
                spool.room(100)
            with pytest.raises(SpoolFull):
                await sqlite.put(spool, "two")
            [claim] = await spool.claim(Wanted(limit=9), 0)  # what is in it is worked on
            await spool.settle([claim], (claim.entry, None))
            if new:
                assert not list(sqlite.folder.iterdir())
                sqlite.folder.rmdir()
            away.rename(sqlite.folder)
            await sqlite.put(spool, "three")
            assert await killed(sqlite, ids) == {"one", "three"}

    run(story())
    assert len(alarms(caplog, "new mail is refused (452) until that is done")) == 1


def test_a_folder_of_large_mails_that_was_moved_takes_none_until_it_is_back(sqlite, run):
    async def story():
        async with sqlite.open() as spool:
            await sqlite.put(spool, "one", BIG)
            bodies, away = sqlite.folder / "bodies", sqlite.folder / "away"
            bodies.rename(away)
            with pytest.raises(SpoolFull, match="bodies in it is not in its place"):
                spool.room(100)
            away.rename(bodies)
            await sqlite.put(spool, "two", BIG)
            assert await killed(sqlite, ids) == {"one", "two"}

    run(story())


def test_a_folder_of_large_mails_that_was_removed_is_made_anew(sqlite, run, caplog):
    async def story():
        async with sqlite.open() as spool:
            await sqlite.put(spool, "small")
            begun = spool.draft()
            begun.write(BIG)
            shutil.rmtree(sqlite.folder / "bodies")
            with pytest.raises(SpoolError):  # its octets went with the folder
                await spool.put(sqlite.entry("begun", size=len(BIG)), begun)
            begun.discard()
            spool.room(100)
            await sqlite.put(spool, "big", BIG)
            assert await killed(sqlite, ids) == {"small", "big"}

    run(story())
    assert alarms(caplog, "it was removed, and is made anew")


def test_a_large_mail_on_its_way_in_keeps_its_file_when_the_database_is_replaced(sqlite, run):
    async def story():
        async with sqlite.open() as spool:
            await sqlite.put(spool, "one")
            begun = spool.draft()
            begun.write(BIG)
            (sqlite.folder / "spool.sqlite").unlink()
            await sqlite.put(spool, "two")
            await spool.put(sqlite.entry("begun", size=len(BIG)), begun)
            assert await ids(spool) == {"one", "two", "begun"}

    run(story())


def test_a_large_mail_on_its_way_in_keeps_its_file_when_a_damaged_database_is_rebuilt(sqlite, run):
    async def story():
        async with sqlite.open() as spool:
            await sqlite.put(spool, "one")
            begun = spool.draft()
            begun.write(BIG)
            spool._damaged(spool._database.rounds, "so says this test")
            await sqlite.put(spool, "two")
            assert spool._database.rounds == 1
            await spool.put(sqlite.entry("begun", size=len(BIG)), begun)
            assert await ids(spool) == {"one", "two", "begun"}

    run(story())


@pytest.mark.parametrize("forbidden", [PermissionError(13, "Permission denied"), OSError(5, "Input/output error")])
def test_where_nobody_may_look_everything_is_in_its_place(sqlite, run, monkeypatch, forbidden):
    """As under a policy that forbids to ask."""

    def stat(path, **_):
        raise forbidden

    async def story():
        async with sqlite.open() as spool:
            with monkeypatch.context() as patch:
                patch.setattr(place.os, "stat", stat)
                spool.room(100)
                await sqlite.put(spool, "one")
                assert await ids(spool) == {"one"}

    run(story())
