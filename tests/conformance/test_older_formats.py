"""Spools that earlier versions wrote: they open, and every mail in them lives on."""

import shutil
from dataclasses import replace
from pathlib import Path

from relay.entry import State
from relay.spool import Wanted

DATA = Path(__file__).resolve().parents[1] / "data"


def laid_out(case, version):
    """A copy of the kept spool of that version, closed to others as a spool must be."""
    shutil.copytree(DATA / f"spool-{version}", case.folder)
    for path in (case.folder, *case.folder.rglob("*")):
        path.chmod(0o700 if path.is_dir() else 0o600)


def test_a_spool_of_format_1(sqlite, run):
    """One mail never tried, one with its body in a file, one tried, one held, one done, a remembered fact."""
    laid_out(sqlite, 1)
    sqlite.clock.now = 1_700_000_100.0

    async def story():
        async with sqlite.open() as spool:
            assert await spool.counts() == {State.QUEUED: 3, State.HELD: 1, State.DONE: 1}
            assert await spool.recall("event:x") == "0new00000000001"
            by_id = {entry.id: entry async for entry in spool.browse(Wanted(limit=9, states=tuple(State)))}
            tried = by_id["0tried000000003"]
            assert tried.refused_paths == ("<a b@x>",)
            assert [str(o.reply) for o in tried.attempts[0].outcomes] == [
                "250 2.0.0 queued as 1",
                "450 4.2.1 mailbox busy",
            ]
            assert (by_id["0held0000000004"].reason, by_id["0held0000000004"].envelope.reverse_path) == (
                "by an administrator",
                None,
            )
            assert by_id["0done0000000005"].done_at == 1_700_000_003.0
            claims = await spool.claim(Wanted(limit=9), 0)
            assert sorted(c.entry.id for c in claims) == ["0big00000000002", "0new00000000001", "0tried000000003"]
            for claim in claims:
                octets = claim.body.read(0, claim.body.size)
                assert len(octets) == claim.entry.size
                assert octets.startswith(b"Subject: ")
            await spool.settle(claims, *((replace(c.entry, project="Harbour"), None) for c in claims))
        async with sqlite.open() as spool:
            assert await spool.counts() == {State.QUEUED: 3, State.HELD: 1, State.DONE: 1}
            assert (await spool.peek("0new00000000001"))[0].project == "Harbour"

    run(story())
