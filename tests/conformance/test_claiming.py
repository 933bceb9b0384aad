"""What the sqlite engine reads for a claim: never a backlog, however long, of profiles that are left out."""

import sqlite3

import pytest

from relay.spool import Wanted, claiming


class Watched:
    """A connection that notes how each query would be done."""

    def __init__(self, connection):
        self.connection, self.plans = connection, []

    def execute(self, query, values=()):
        plan = self.connection.execute(f"EXPLAIN QUERY PLAN {query}", values)
        self.plans += [row[3] for row in plan]
        return self.connection.execute(query, values)


@pytest.mark.parametrize(
    "wanted",
    [Wanted(), Wanted(profile="b"), Wanted(without=("a",)), Wanted(id="m")],
    ids=["all", "of one", "without", "by id"],
)
@pytest.mark.parametrize("analysed", [True, False])
def test_no_query_reads_or_sorts_more_than_it_gives(sqlite, run, wanted, analysed):
    async def story():
        async with sqlite.open() as spool:
            for number in range(300):
                await sqlite.put(spool, f"m{number}", profile="ab"[number % 100 == 0])

    run(story())
    connection = sqlite3.connect(sqlite.folder / "spool.sqlite")
    if analysed:
        connection.execute("ANALYZE")
    watched = Watched(connection)
    found = claiming.rows(watched, wanted, sqlite.clock(), 0)
    connection.close()
    assert len(found) == (0 if wanted.id else 1)
    assert not any(step.startswith("SCAN e") or "TEMP B-TREE" in step for step in watched.plans), watched.plans
    if wanted.profile or wanted.without:
        assert any("entries_profile (state=? AND profile=? AND due<?)" in step for step in watched.plans), watched.plans
