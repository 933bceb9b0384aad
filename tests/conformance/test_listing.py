"""Listings: every engine pages through queue and history in one order; sqlite's searches keep no mail waiting."""

import asyncio
import time
from dataclasses import replace

import pytest

from relay.entry import State, encode
from relay.search import Search
from relay.spool import Wanted
from relay.spool.listing import Listing, statement

EVERY = tuple(State)


async def page(spool, **wanted):
    return [entry.id async for entry in spool.browse(Wanted(**{"limit": 3, "states": EVERY, **wanted}))]


async def fill(case, spool, number):
    """Entries e00 to e(number-1); every third is done, every fourth of the rest is held."""
    for n in range(number):
        case.clock.now += 1
        state = State.HELD if n % 4 == 1 else State.QUEUED
        await case.put(spool, f"e{n:02}", state=state, summary=f"Crane {n}")
        if n % 3 == 0:
            [claim] = await spool.claim(Wanted(id=f"e{n:02}"), 0)
            done = case.entry(f"e{n:02}", state=State.DONE, summary=f"Crane {n}")
            await spool.settle([claim], (done, None))


@pytest.mark.parametrize("oldest_first", [False, True])
def test_pages_follow_each_other_without_a_gap(case, run, oldest_first):
    async def story():
        async with case.open() as spool:
            await fill(case, spool, 20)
            expected = sorted((f"e{n:02}" for n in range(20)), reverse=not oldest_first)
            seen, beyond = [], ""
            while rows := await page(spool, beyond=beyond, oldest_first=oldest_first):
                assert len(rows) <= 3
                seen += rows
                beyond = rows[-1]
            assert seen == expected
            held = await page(spool, states=(State.HELD,), limit=99, oldest_first=oldest_first)
            assert held == [e for e in expected if int(e[1:]) % 4 == 1 and int(e[1:]) % 3]
            done = await page(spool, states=(State.DONE,), beyond="e10", limit=2, oldest_first=oldest_first)
            assert done == (["e12", "e15"] if oldest_first else ["e09", "e06"])
            assert await page(spool, id="e07") == ["e07"]
            assert await page(spool, id="e07", states=(State.HELD,)) == []

    run(story())


@pytest.mark.parametrize(
    "text",
    [
        "crane",
        "50% of",
        'say "hi"',
        "back\\slash",
        "größe",
        "GRÖSSE",
        "お願い",
        "under_score",
        "tab\there",
        "x" * 60000,
    ],
)
def test_a_search_finds_what_stands_there(case, run, text):
    """Whatever the engine does to be quick: quotes, wildcards and other scripts are found, and only where they are."""

    async def story():
        async with case.open() as spool:
            summary = 'Crane: 50% of größe, GRÖSSE; say "hi" back\\slash お願い under_score tab\there'
            await case.put(spool, "a", summary=summary)
            await case.put(spool, "b", summary="50 of grosse, say hi underXscore tab here back/slash")
            wanted = [] if len(text) > 1000 else ["a"]
            assert await page(spool, text=text) == wanted

    run(story())


def test_a_search_does_not_make_the_mail_wait(sqlite, run):
    """The engine's own reading has a connection of its own: it goes on while a listing holds the other."""

    async def story():
        async with sqlite.open() as spool:
            await sqlite.put(spool, "a")
            async with spool._readers._listing._reading:
                assert await spool.peek("a")
                assert await spool.recall("x") is None
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.05):
                        await page(spool)
            assert await page(spool) == ["a"]

    run(story())


def test_a_search_that_nobody_waits_for_ends(sqlite, run):
    async def story():
        async with sqlite.open() as spool:
            entry = encode(sqlite.entry("x", summary="Crane " * 30))
            rows = 120_000

            def fill(connection):
                connection.execute(
                    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)"
                    " INSERT INTO history (id, done_at, entry) SELECT printf('%09d', i), i, ? FROM n",
                    (rows, entry),
                )

            await spool._do(fill)
            began = time.process_time()
            assert await page(spool, text="nowhere") == []
            whole = time.process_time() - began
            began = time.process_time()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(whole / 10):
                    await page(spool, text="nowhere")
            assert time.process_time() - began < whole * 0.6
            assert len(await page(spool, states=(State.DONE,))) == 3

    run(story())


def test_no_page_reads_more_than_it_shows(sqlite, run, monkeypatch):
    """100,000 mails or ten: a page costs its own rows."""

    async def story():
        async with sqlite.open() as spool:
            await fill(sqlite, spool, 20)
            read = []
            entries = Listing._entries

            def counted(self, query, values):
                rows = entries(self, query, values)
                read.append(len(rows))
                return rows

            monkeypatch.setattr(Listing, "_entries", counted)
            await page(spool, states=(State.HELD,))
            await page(spool, beyond="e10")
            assert read == [3, 3]

    run(story())


def test_a_long_listing_shows_each_entry_once_whatever_happens_meanwhile(case, run):
    """Longer than a page; entries are settled, finished and added while it is read."""

    async def story():
        async with case.open() as spool:
            for number in range(0, 900, 2):
                await case.put(spool, f"m{number:04}")
            seen = []
            async for entry in spool.browse(Wanted(limit=10_000, states=tuple(State))):
                seen.append(entry.id)
                if len(seen) % 50 == 0:
                    await case.put(spool, f"m{899 - len(seen):04}")
                    for claim in await spool.claim(Wanted(limit=30), 0):
                        done = replace(claim.entry, state=State.DONE, done_at=case.clock())
                        await spool.settle([claim], (done if len(seen) % 3 else claim.entry, None))
            assert len(set(seen)) == len(seen)
            assert set(seen) >= {f"m{number:04}" for number in range(0, 900, 2)}
            assert seen == sorted(seen, reverse=True)

    run(story())


@pytest.mark.parametrize(
    ("search", "found"),
    [
        (Search(), ["c", "b", "a"]),
        (Search(ids=("a", "c", "zz")), ["c", "a"]),
        (Search(to="a_b@example.org"), ["b"]),
        (Search(to="@example.org", ticket="12"), ["a"]),
        (Search(received_before=1_700_000_001.5), ["b", "a"]),
        (Search(to="nobody@example.org"), []),
    ],
)
def test_what_a_search_finds(case, run, search, found):
    async def story():
        async with case.open() as spool:
            await case.put(spool, "a", rcpt="axb@example.org", ticket="12")
            case.clock.now += 1
            await case.put(spool, "b", rcpt="a_b@example.org", ticket="13")
            case.clock.now += 1
            await case.put(spool, "c", rcpt="luc@example.net", summary='A "quoted" \\ Müller')
            assert [e.id async for e in spool.browse(Wanted(limit=9, search=search))] == found

    run(story())


@pytest.mark.parametrize("states", [(), (State.QUEUED,), (State.HELD,), (State.DONE,), tuple(State)])
@pytest.mark.parametrize("search", [Search(), Search(to="eve@example.org"), Search(ids=("a", "b"))])
def test_no_page_sorts_the_queue(sqlite, run, states, search):
    """Every page follows the index on `id`: a long listing costs the same for each of its pages."""

    async def story():
        async with sqlite.open() as spool:
            query, values = statement(Wanted(limit=9, states=states, search=search), "m", 9)
            plan = [row[3] for row in await spool._read(f"EXPLAIN QUERY PLAN {query}", tuple(values))]
            assert not any("TEMP B-TREE" in step for step in plan), plan

    run(story())
