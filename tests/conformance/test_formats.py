"""A spool of an earlier format opens, complete; archives of all formats are kept in tests/data/spool."""

import sqlite3
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from relay.entry import Disposition, State
from relay.errors import SpoolError
from relay.spool import Wanted, schema

DATA = Path(__file__).parents[1] / "data" / "spool"
LARGE = b"Subject: large\r\n\r\n" + b"0123456789abcdef" * 20_000 + b"\r\n"


@pytest.mark.parametrize("number", range(1, schema.FORMAT))
def test_an_earlier_format_opens_complete(sqlite, run, number):
    sqlite.folder.mkdir(mode=0o700)
    with tarfile.open(DATA / f"format-{number}.tar.gz") as tar:
        tar.extraction_filter = getattr(tarfile, "data_filter", None)  # Python 3.11.4 and later ask for one
        tar.extractall(sqlite.folder)
    (sqlite.folder / "bodies").chmod(0o700)
    sqlite.clock.now = 1_700_000_100.0

    async def story():
        async with sqlite.open() as spool:
            assert (await spool.counts()) == {State.QUEUED: 3, State.HELD: 1, State.DONE: 1}
            claims = {c.entry.id: c for c in await spool.claim(Wanted(limit=9), 0)}
            assert set(claims) == {"queued", "deferred", "large"}
            assert claims["queued"].body.read(0, 999) == b"Subject: queued\r\n\r\nbody of queued\r\n"
            assert claims["large"].body.read(0, 1 << 20) == LARGE
            deferred = claims["deferred"].entry
            assert [r.origin for r in deferred.envelope.recipients] == ["rcpt:eve@example.org", "rcpt:bob@example.org"]
            assert deferred.outcome("rcpt:eve@example.org").disposition is Disposition.RELAYED
            assert len(deferred.attempts[0].outcomes) == 2
            assert await spool.recall("event:x") == "queued"
            done = [replace(c.entry, state=State.DONE) for c in claims.values()]
            await spool.settle(list(claims.values()), *((entry, None) for entry in done))
            assert (await spool.counts()) == {State.QUEUED: 0, State.HELD: 1, State.DONE: 4}
            assert list((sqlite.folder / "bodies").iterdir()) == []
        async with sqlite.open() as spool:
            [held] = [e async for e in spool.browse(Wanted(limit=9, states=(State.HELD,)))]
            assert held.reason == "by an administrator"
            assert await spool._read("PRAGMA user_version") == [(schema.FORMAT,)]
            layout = await spool._read("SELECT type, name, sql FROM sqlite_schema ORDER BY 1, 2")
        async with replace(sqlite, folder=sqlite.folder.parent / "fresh").open() as spool:
            assert await spool._read("SELECT type, name, sql FROM sqlite_schema ORDER BY 1, 2") == layout

    run(story())


def test_the_counts_follow_every_change(sqlite, run):
    async def story():
        async with sqlite.open() as spool:
            for name in ("a", "b", "c", "d"):
                await sqlite.put(spool, name)
            claims = await spool.claim(Wanted(limit=3), 0)
            a, b, c = (claim.entry for claim in claims)
            held = replace(b, state=State.HELD, profile="other")
            await spool.settle(claims, (replace(a, state=State.DONE), None), (held, None), (c, None))
            counted = "SELECT state, profile, count(*), sum(size) FROM entries GROUP BY 1, 2 ORDER BY 1"
            kept = "SELECT state, profile, mails, octets FROM totals WHERE mails ORDER BY 1"
            assert await spool._read(kept, ()) == await spool._read(counted, ())
            assert (await spool.counts()) == {State.QUEUED: 2, State.HELD: 1, State.DONE: 1}

    run(story())


def test_a_later_format_is_refused_and_left_as_it_is(sqlite, run):
    async def story():
        async with sqlite.open() as spool:
            await sqlite.put(spool, "a")
        connection = sqlite3.connect(sqlite.folder / "spool.sqlite")
        connection.execute("PRAGMA user_version = 99")
        connection.close()
        with pytest.raises(SpoolError, match="format 99, this program reads up to"):
            async with sqlite.open():
                raise AssertionError
        assert not (sqlite.folder / "corrupt").exists()

    run(story())
