"""A damaged database: what can be read is kept, the rest set aside, and nothing is lost without an alarm."""

import asyncio
import os
import random
import shutil
import sqlite3
from dataclasses import replace
from unittest import mock

import pytest

from relay.entry import State
from relay.errors import SpoolError
from relay.spool import Wanted, leases, listing, readers, rebuild, writer

BIG = b"Subject: big\r\n\r\n" + b"x" * 400_000


@pytest.fixture(autouse=True)
def nothing_ready(monkeypatch):
    """Every claim reads the disk: new mail does not lie ready in memory."""
    monkeypatch.setattr(leases, "FRESH", 0)


def warnings(caplog, word=""):
    return [r.getMessage() for r in caplog.records if r.levelname in ("WARNING", "ERROR") and word in r.getMessage()]


def body(claim):
    return claim.body.read(0, claim.body.size)


LAST = "m25"
"""What the last transaction settled."""


async def fill(sqlite, folder, *, number=30):
    """A spool with mail of all kinds, copied as a killed daemon leaves it; the octets by id, and the ids done."""
    octets = {f"m{n}": f"Subject: {n}\r\n\r\n".encode() + b"%d" % n * (40 * n * n % 5000) for n in range(number)}
    octets |= {"big": BIG, "large": b"Subject: y\r\n\r\n" + b"y" * 200_000}
    async with sqlite.open() as spool:
        for name, data in octets.items():
            with mock.patch.object(writer, "LOG_SIZE", 0 if name == "m9" else writer.LOG_SIZE):
                await sqlite.put(spool, name, octets=data)  # both files hold some of it
        for n in range(0, number, 5):
            [claim] = await spool.claim(Wanted(id=f"m{n}"), 0)
            await spool.settle([claim], (replace(claim.entry, state=State.DONE, done_at=sqlite.clock()), None))
        shutil.copytree(sqlite.folder, folder)
    return octets, {f"m{n}" for n in range(0, number, 5)}


def kinds(folder):
    return {path.name.removesuffix(".json") for path in (folder / "corrupt").glob("*.json")}


async def check(case, octets, done, caplog):
    """Each mail is whole in the queue, or done, or set aside by name or octets; else an alarm tells of lost places."""
    caplog.clear()
    async with case.open() as spool:
        claims = await spool.claim(Wanted(limit=1000), 0)
        history = {e.id async for e in spool.browse(Wanted(limit=1000, states=(State.DONE,)))}
        found = {}
        for claim in claims:
            assert body(claim) == octets[claim.entry.id], "what is claimed is what was put"
            found[claim.entry.id] = claim
        await spool.settle(claims, *((replace(c.entry, due=case.clock() + 60), None) for c in claims))
    aside = kinds(case.folder)
    kept = {p.read_bytes() for p in (case.folder / "corrupt").glob("*.eml")} if aside else set()
    missing = {
        name for name, data in octets.items()
        if name not in found and name not in history and name not in aside and data not in kept
    }  # fmt: skip
    if missing:
        assert any("places" in line for line in warnings(caplog, "ALARM")), (missing, warnings(caplog))
    again = set(found) & done - {LAST}  # the log's end can not be told from one that was cut off
    assert not again or warnings(caplog, "ALARM"), "what was done is done again only when its record was damaged"
    return found, missing | again


def test_flipped_octets_anywhere(sqlite, tmp_path, caplog, soak):
    """Spools with 1 to 8 octets flipped anywhere in the database or its log."""

    async def story():
        octets, done = await fill(sqlite, tmp_path / "whole")
        whole, lost, rounds = 0, 0, 1000 if soak else 20
        for seed in range(rounds):
            dice = random.Random(seed)
            folder = tmp_path / f"s{seed}"
            shutil.copytree(tmp_path / "whole", folder)
            for _ in range(dice.choice((1, 1, 2, 8))):
                path = folder / dice.choice(("spool.sqlite", "spool.sqlite-wal", "spool.sqlite-wal"))
                data = bytearray(path.read_bytes())
                at = dice.randrange(len(data))
                data[at] ^= 1 << dice.randrange(8)
                path.write_bytes(data)
            found, missing = await check(replace(sqlite, folder=folder), octets, done, caplog)
            whole += len(found)
            lost += len(missing)
            shutil.rmtree(folder)
        assert whole > 0.9 * rounds * (len(octets) - len(done)), (whole, lost)
        print(f"{whole} whole, {lost} lost with an alarm")

    asyncio.run(story())


def _zero_page(number):
    def change(path):
        with path.open("r+b") as file:
            file.seek(number * 4096)
            file.write(bytes(4096))

    return change


def _no_head(path):
    with path.open("r+b") as file:
        file.write(b"\xff" * 100)


DATABASE = {
    "head overwritten": _no_head,
    "schema page zeroed": _zero_page(0),
    "root of the queue zeroed": _zero_page(1),
    "cut in half": lambda path: os.truncate(path, path.stat().st_size // 8192 * 4096),
    "another file": lambda path: path.write_bytes(b"this is no database" * 1000),
}


@pytest.mark.parametrize("what", DATABASE)
def test_what_can_be_read_of_a_broken_database_is_kept_and_the_rest_set_aside(sqlite, run, tmp_path, caplog, what):
    async def story():
        octets, done = await fill(sqlite, tmp_path / "open")
        for name in ("spool.sqlite-wal", "spool.sqlite-shm"):
            assert not (sqlite.folder / name).exists(), "closed: all of it is in the database"
        before = (sqlite.folder / "spool.sqlite").read_bytes()
        DATABASE[what](sqlite.folder / "spool.sqlite")
        found, missing = await check(sqlite, octets, done, caplog)
        if what in ("head overwritten", "schema page zeroed", "root of the queue zeroed"):
            assert set(found) == set(octets) - done, missing
        corrupt = list((sqlite.folder / "corrupt").glob("*-spool.sqlite"))  # beside it its log, if it was found late
        assert len(corrupt) == 1
        assert before[-4096:] == corrupt[0].read_bytes()[-4096:] or what in ("cut in half", "another file")
        if what == "another file":
            assert [p.read_bytes() for p in (sqlite.folder / "corrupt").glob("*.eml")] == [BIG]
        async with sqlite.open() as spool:
            await sqlite.put(spool, "new")

    run(story())
    assert len(warnings(caplog, "were set aside; look")) == 1, "the second start reminds"


@pytest.mark.parametrize("kept_record", [False, True], ids=["by the free list", "by the history"])
def test_mail_that_has_gone_does_not_come_back(sqlite, run, kept_record):
    """Pages that were given up still hold their rows: the free list names them, and the history says what is done."""

    async def story():
        async with sqlite.open() as spool:
            await sqlite.put(spool, "stays")
            for n in range(200):
                await sqlite.put(spool, f"m{n}", octets=b"%d" % n * 500)
            claims = [c for c in await spool.claim(Wanted(limit=999), 0) if c.entry.id != "stays"]
            done = (replace(c.entry, state=State.DONE, done_at=sqlite.clock()) for c in claims)
            await spool.settle(claims, *((entry, None) for entry in done if kept_record))
        with (sqlite.folder / "spool.sqlite").open("r+b") as file:
            if kept_record:
                file.seek(32)
                file.write(bytes(8))  # the free list's begin
            connection = sqlite3.connect(sqlite.folder / "spool.sqlite")
            [(root,)] = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'facts'").fetchall()
            connection.close()
            file.seek((root - 1) * 4096)
            file.write(bytes(4096))
        async with sqlite.open() as spool:
            assert [c.entry.id for c in await spool.claim(Wanted(limit=999), 0)] == ["stays"]
            assert (await spool.counts())[State.DONE] == (200 if kept_record else 0)

    run(story())


def test_an_empty_database_beside_a_log_costs_no_mail(sqlite, run, tmp_path, caplog):
    """SQLite would throw the log away."""

    async def story():
        octets, done = await fill(sqlite, tmp_path / "whole")
        os.truncate(tmp_path / "whole" / "spool.sqlite", 0)
        found, _ = await check(replace(sqlite, folder=tmp_path / "whole"), octets, done, caplog)
        assert set(found) >= {f"m{n}" for n in range(11, 30) if n % 5}
        assert warnings(caplog, "ALARM")

    run(story())


def test_a_database_that_is_gone_leaves_the_large_bodies(sqlite, run, caplog):
    async def story():
        async with sqlite.open() as spool:
            await sqlite.put(spool, "big", octets=BIG)
        (sqlite.folder / "spool.sqlite").unlink()
        async with sqlite.open() as spool:
            assert await spool.claim(Wanted(limit=9), 0) == []
        assert [p.read_bytes() for p in (sqlite.folder / "corrupt").iterdir()] == [BIG]

    run(story())
    assert warnings(caplog, "ALARM")


def test_damage_that_is_met_while_running_is_mended_without_a_restart(sqlite, run, caplog):
    async def story():
        async with sqlite.open() as spool:
            for n in range(50):
                await sqlite.put(spool, f"m{n}", octets=b"x" * 3000)
        _zero_page(1)(sqlite.folder / "spool.sqlite")  # the queue's root
        async with sqlite.open() as spool:
            claims = await spool.claim(Wanted(limit=99), 0)
            assert len(claims) == 50
            await spool.settle(claims, *((replace(c.entry, state=State.DONE), None) for c in claims))
            await sqlite.put(spool, "new")
            assert (await spool.counts()) == {State.QUEUED: 1, State.HELD: 0, State.DONE: 50}

    run(story())
    assert len(warnings(caplog, "ALARM")) == 2


def test_damage_that_a_listing_meets_is_mended(sqlite, run, caplog):
    async def story():
        async with sqlite.open() as spool:
            for n in range(50):
                await sqlite.put(spool, f"m{n}", octets=b"x" * 3000)
            [claim] = await spool.claim(Wanted(id="m0"), 0)
            await spool.settle([claim], (replace(claim.entry, state=State.DONE), None))
        connection = sqlite3.connect(sqlite.folder / "spool.sqlite")
        [(root,)] = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'history'").fetchall()
        connection.close()
        _zero_page(root - 1)(sqlite.folder / "spool.sqlite")
        async with sqlite.open() as spool:
            with pytest.raises(SpoolError, match="malformed"):
                async for _ in spool.browse(Wanted(limit=9, states=(State.DONE,))):
                    raise AssertionError
            await spool.remember("behind", "the rebuild", 9e9)
            assert len(await spool.claim(Wanted(limit=99), 0)) == 49
            assert (await spool.counts()) == {State.QUEUED: 49, State.HELD: 0, State.DONE: 0}

    run(story())
    assert len(warnings(caplog, "ALARM")) == 2


def test_a_mail_that_an_index_has_lost_is_found(sqlite, run, caplog, monkeypatch):
    """No claim would ever meet it: the database is examined as a whole after each start."""
    monkeypatch.setattr(readers, "EXAMINE_AFTER", 0.5)

    async def story():
        async with sqlite.open() as spool:
            for n in range(20):
                await sqlite.put(spool, f"m{n}")
        path = sqlite.folder / "spool.sqlite"
        connection = sqlite3.connect(path)
        [(root,)] = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'entries_profile'").fetchall()
        connection.close()
        data = path.read_bytes()
        at = data.index(b"queued", (root - 1) * 4096)
        path.write_bytes(data[:at] + b"qveued" + data[at + 6 :])
        async with sqlite.open() as spool:
            assert len(await spool.claim(Wanted(limit=99), 0)) == 19
            await spool._readers.examining
            await spool.remember("behind", "the rebuild", 9e9)
            assert len(await spool.claim(Wanted(limit=99), 0)) == 1

    run(story())
    assert "index" in warnings(caplog, "ALARM")[0]


@pytest.mark.parametrize(("code", "damaged"), [(7, False), (10, False), (266, False), (11, True), (779, True)])
def test_a_page_for_which_there_was_no_memory_is_no_damage(sqlite, run, caplog, monkeypatch, code, damaged):
    """What SQLite says then names its own code; a rebuild would not read that page either, and nothing would be taken."""
    found = f"*** in database main ***\nPage 8: unable to get the page. error code={code}"
    monkeypatch.setattr(readers, "EXAMINE_AFTER", 0.01)

    class Connection:
        def execute(self, _):
            return self

        def fetchall(self):
            return [(found,)]

        def close(self):
            pass

    class Listing(listing.Listing):
        def __init__(self, database):
            super().__init__(database)
            self._connection.close()
            self._connection = Connection()

    async def story():
        async with sqlite.open() as spool:
            monkeypatch.setattr(readers, "Listing", Listing)
            await spool._readers.examining
            await spool.remember("behind", "the rebuild", 9e9)
            assert spool._database.rounds == damaged

    run(story())
    assert len(warnings(caplog, "a reader finds it damaged")) == damaged


@pytest.mark.parametrize("step", range(5))
def test_a_crash_while_the_rebuilt_database_is_put_in_place(sqlite, run, tmp_path, caplog, monkeypatch, step):
    class Killed(BaseException):
        pass

    async def story():
        octets, done = await fill(sqlite, tmp_path / "whole")
        case = replace(sqlite, folder=tmp_path / "whole")
        _no_head(case.folder / "spool.sqlite")
        left = [step]
        real = rebuild.Path.rename

        def rename(path, target):
            if left[0] == 0:
                raise Killed
            left[0] -= 1
            return real(path, target)

        monkeypatch.setattr(rebuild.Path, "rename", rename)
        if step < 4:
            with pytest.raises(Killed):
                async with case.open():
                    raise AssertionError
        left[0] = 99
        found, _ = await check(case, octets, done, caplog)
        assert set(found) == set(octets) - done
        assert len(list((case.folder / "corrupt").glob("*-spool.sqlite"))) >= 1

    run(story())
