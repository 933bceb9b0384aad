"""What the sqlite engine reads for a claim: never a backlog, however long, of profiles that are left out."""

import asyncio
import contextlib
import sqlite3
from dataclasses import replace

import pytest

from relay.entry import State
from relay.errors import SpoolError
from relay.spool import Wanted, claiming
from relay.spool.leases import LOOK


@pytest.mark.parametrize(
    ("query", "values"),
    [
        (claiming.due([1, 2, 3]), ("b", 2e9, 9)),
        (claiming.NEXT_DUE, ("b", 0.0)),
        (claiming.PROFILES, ()),
        (claiming.BY_ID, ("m7",)),
        (claiming.DUE_AFTER, (0.0, 9)),
    ],
    ids=["due", "next due", "profiles", "by id", "due after"],
)
@pytest.mark.parametrize("analysed", [True, False])
def test_no_query_reads_or_sorts_more_than_it_gives(sqlite, run, query, values, analysed):
    async def story():
        async with sqlite.open() as spool:
            for number in range(300):
                await sqlite.put(spool, f"m{number}", profile="ab"[number % 100 == 0])

    run(story())
    connection = sqlite3.connect(sqlite.folder / "spool.sqlite")
    if analysed:
        connection.execute("ANALYZE")
    plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {query}", values)]
    found = connection.execute(query, values).fetchall()
    connection.close()
    assert found
    assert not any(step.startswith(("SCAN e", "SCAN entries")) or "TEMP B-TREE" in step for step in plan), plan
    if "profile = ?" in query or query == claiming.DUE_AFTER:
        assert any("entries_profile (state=? AND profile=? AND due" in step for step in plan), plan


def test_new_mail_lies_ready(sqlite, run, monkeypatch):
    """What was just kept is claimed without a look at the database; a claim on an empty spool costs none either."""
    looks = []

    async def story():
        async with sqlite.open() as spool:
            await spool.claim(Wanted(), 0)
            real = spool._readers.rows
            monkeypatch.setattr(spool._readers, "rows", lambda *query: looks.append(query) or real(*query))
            await sqlite.put(spool, "a")
            assert [c.entry.id for c in await spool.claim(Wanted(limit=9), 0)] == ["a"]
            assert await spool.claim(Wanted(limit=9), 0) == []

    run(story())
    assert looks == []


def test_older_mail_and_new_mail_take_turns(sqlite, run):
    """A backlog that is due again does not starve what comes in, nor the other way round."""

    async def story():
        async with sqlite.open() as spool:
            for number in range(100):
                await sqlite.put(spool, f"old{number:03}", due=sqlite.clock() - 500 + number)
        async with sqlite.open() as spool:
            [first] = await spool.claim(Wanted(), 0)
            assert first.entry.id == "old000"
            for number in range(10):
                await sqlite.put(spool, f"new{number}")
            names = [c.entry.id for c in await spool.claim(Wanted(limit=20), 0)]
            assert sum(name.startswith("new") for name in names) == 10
            assert [n for n in names if n.startswith("old")] == [f"old{n:03}" for n in range(1, 11)]
            assert len(await spool.claim(Wanted(limit=999), 0)) == 89

    run(story())


def test_what_is_settled_during_a_look_is_not_claimed_by_it(sqlite, run, monkeypatch):
    """The rows of a look may be older than a settlement that was made meanwhile: no mail leaves twice by that."""

    async def story():
        async with sqlite.open() as spool:
            for number in range(10):
                await sqlite.put(spool, f"m{number}")
        async with sqlite.open() as spool:
            claims = await spool.claim(Wanted(limit=5), 0)
            read = asyncio.Event()
            settled = asyncio.Event()
            real = spool._readers.rows

            async def slow(query, values=()):
                rows = await real(query, values)
                if "NOT IN" in query and not read.is_set():
                    read.set()
                    await settled.wait()
                return rows

            monkeypatch.setattr(spool._readers, "rows", slow)
            spool._leases._queues["notification"].stored.clear()
            spool._leases._leases = {c.entry.id: spool._leases._leases[c.entry.id] for c in claims}
            spool._leases.due("notification", 0.0)
            monkeypatch.setattr(type(spool._leases), "rows", property(lambda _: []))
            looking = asyncio.create_task(spool.claim(Wanted(limit=99), 0))
            await read.wait()
            await spool.settle(claims, *((replace(c.entry, state=State.DONE), None) for c in claims))
            settled.set()
            assert sorted(c.entry.id for c in await looking) == [f"m{n}" for n in range(5, 10)]

    run(story())


@pytest.mark.parametrize("broken", [False, True])
def test_what_becomes_due_while_the_database_is_looked_at_is_found_by_the_next_claim(sqlite, run, monkeypatch, broken):
    """The look's rows are older than the change: without another look the mail would lie there for a minute."""

    async def story():
        async with sqlite.open() as spool:
            entry = await sqlite.put(spool, "m1", due=sqlite.clock() + 3600)
            read = spool._read_mended

            async def read_slowly(query, values):
                rows = await read(query, values)
                if query == claiming.NEXT_DUE:
                    monkeypatch.setattr(spool, "_read_mended", read)
                    if broken:
                        raise SpoolError("a fault of the disk")
                    [claim] = await spool.claim(Wanted(id="m1"), 0)
                    await spool.settle([claim], (replace(entry, due=sqlite.clock()), None))
                return rows

            monkeypatch.setattr(spool, "_read_mended", read_slowly)
            with pytest.raises(SpoolError) if broken else contextlib.nullcontext():
                assert await spool.claim(Wanted(), 0) == []
            if broken:
                sqlite.clock.now += 3600
            assert [claim.entry.id for claim in await spool.claim(Wanted(), 0)] == ["m1"]

    run(story())


def test_who_looks_all_the_time_hides_nothing_from_others(sqlite, run):
    """A look that began before a change must not take the row it knows; one that begins after it must."""

    async def story():
        async with sqlite.open() as spool:
            entry = await sqlite.put(spool, "m1", due=sqlite.clock() + 3600)
            spool._leases.begin_look()  # another administrator's, that has no end
            [claim] = await spool.claim(Wanted(id="m1"), 0)
            await spool.settle([claim], (replace(entry, due=sqlite.clock()), None))
            assert [claim.entry.id for claim in await spool.claim(Wanted(), 0)] == ["m1"]

    run(story())


def test_what_was_found_before_a_fault_waits_for_no_end_of_a_lease(sqlite, run, monkeypatch):
    """A fault within a claim: nobody has heard of what it had found, and a lease is 15 minutes."""
    names = [f"m{n:03}" for n in range(LOOK + 8)]

    async def story():
        async with sqlite.open() as spool:
            for name in names:
                await sqlite.put(spool, name)
        async with sqlite.open() as spool:
            read, looks = spool._read_mended, []

            async def fail_at_the_second_look(query, values):
                looks.extend(["NOT IN"] * ("NOT IN" in query))
                if len(looks) == 2:
                    raise SpoolError("a fault of the disk")
                return await read(query, values)

            monkeypatch.setattr(spool, "_read_mended", fail_at_the_second_look)
            claims = await spool.claim(Wanted(limit=99), 0)
            monkeypatch.setattr(spool, "_read_mended", read)
            claims += await spool.claim(Wanted(limit=99), 0)
            assert sorted(claim.entry.id for claim in claims) == names

    run(story())


def test_what_was_found_before_a_bad_row_that_can_not_be_set_aside_is_claimed(sqlite, run, monkeypatch):
    async def story():
        async with sqlite.open() as spool:
            for number in range(6):
                await sqlite.put(spool, f"m{number}")
        connection = sqlite3.connect(sqlite.folder / "spool.sqlite")
        with contextlib.closing(connection), connection:
            connection.execute("UPDATE entries SET crc = crc + 1 WHERE id = 'm3'")
        async with sqlite.open() as spool:

            async def fail(_operation):
                raise SpoolError("a full disk")

            with monkeypatch.context() as patch:
                patch.setattr(spool, "_do", fail)
                with pytest.raises(SpoolError):
                    await spool.claim(Wanted(limit=99), 0)
            claims = await spool.claim(Wanted(limit=99), 0)
            claims += await spool.claim(Wanted(limit=99), 0)
            assert sorted(claim.entry.id for claim in claims) == ["m0", "m1", "m2", "m4", "m5"]

    run(story())
