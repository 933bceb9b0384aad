"""What reads beside the writer: by whatever name the spool goes, and never the whole queue for a few of its rows."""

import os
import sqlite3
from dataclasses import replace

import pytest

from relay.entry import State
from relay.spool import Wanted, schema
from relay.spool.database import OWNED


@pytest.mark.parametrize("name", ["a?mode=rwc", "b#c", "d%20e", "f g&h;i", "größe", b"octets \xff"])
def test_a_spool_of_any_name_is_read(sqlite, run, tmp_path, name):
    """Read-only connections are asked for by a URI, in which some characters mean something."""
    folder = tmp_path / os.fsdecode(name)
    case = replace(sqlite, folder=folder)

    async def story():
        async with case.open() as spool:
            await case.put(spool, "a")
            assert [entry.id async for entry in spool.browse(Wanted(limit=9))] == ["a"]
            assert await spool.peek("a")
            assert (await spool.counts())[State.QUEUED] == 1
            assert [claim.entry.id for claim in await spool.claim(Wanted(), 0)] == ["a"]

    run(story())
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


def test_what_is_due_only_later(case, run):
    async def story():
        async with case.open() as spool:
            now = case.clock()
            for number in range(6):
                await case.put(spool, f"m{number}", due=now + number, profile="ab"[number % 2])
            await case.put(spool, "held", due=now + 9, state=State.HELD)
            assert sorted(await spool.due_after(now + 2, 9)) == ["m3", "m4", "m5"]
            assert len(await spool.due_after(now + 2, 2)) == 2
            assert await spool.due_after(now + 5, 9) == []

    run(story())


def test_a_file_that_a_mail_owns_is_found_by_its_index(tmp_path):
    """Looked up for each file at every start: without the index, that reads the whole queue as often."""
    connection = schema.connect(tmp_path / "spool.sqlite", 1 << 20)
    plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {OWNED}", ("x",))]
    connection.close()
    assert len(plan) == 1
    assert "INDEX entries_file (file=?)" in plan[0], plan


def test_a_start_reads_no_row_of_what_waits(sqlite, run, monkeypatch):
    """Of a million queued mails, the start and the first claim read those that are due, and those alone."""

    async def story():
        async with sqlite.open() as spool:
            for number in range(300):
                await sqlite.put(spool, f"m{number}", due=sqlite.clock() + 9 + number, octets=b"x" * 10)
        connection = sqlite3.connect(sqlite.folder / "spool.sqlite")
        connection.execute("UPDATE entries SET entry = X'00'")  # whoever reads one of them finds it broken
        connection.commit()
        connection.close()
        async with sqlite.open() as spool:
            assert await spool.claim(Wanted(limit=99), 0) == []
            assert await spool.due_after(sqlite.clock() + 3600, 99) == []
            assert (await spool.counts())[State.QUEUED] == 300

    run(story())
