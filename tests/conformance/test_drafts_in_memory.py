"""Drafts hold little of the memory in all, however many there are."""

import asyncio

from relay.spool import SpoolOptions, create
from relay.spool.draft import HELD, SMALL


def test_many_drafts_go_into_files(tmp_path):
    async def story():
        spool = create(SpoolOptions(path=str(tmp_path / "spool")), lambda: 1e9)
        await spool.open()
        drafts = [spool.draft() for _ in range(200)]
        files = drafts[0]._files
        for draft in drafts:
            for _ in range(250):
                draft.write(b"x" * 1000)
        assert {draft.body().size for draft in drafts} == {250_000}
        held = sum(draft.size for draft in drafts if not draft.name)
        assert 0 < held <= HELD < 200 * SMALL
        assert files.held == held
        drafts[0].discard()
        assert files.held == held - 250_000
        del draft
        drafts.clear()
        assert files.held == 0
        await spool.close()

    asyncio.run(story())
