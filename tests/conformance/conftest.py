"""A spool with a clock that the test turns, for every engine."""

import asyncio
import contextlib
import random
from dataclasses import dataclass, field

import pytest

from relay.address import parse
from relay.entry import Entry, new_id
from relay.mail import Envelope, Recipient
from relay.spool import ENGINES, SpoolOptions


@dataclass
class Clock:
    now: float = 1_700_000_000.0

    def __call__(self):
        return self.now


@dataclass
class Case:
    """One engine in one folder; `open()` gives a fresh spool on what is there."""

    engine: str
    folder: object
    clock: Clock = field(default_factory=Clock)
    lease: float = 60.0
    options: dict = field(default_factory=dict)

    @contextlib.asynccontextmanager
    async def open(self):
        options = SpoolOptions(engine=self.engine, path=str(self.folder), lease=self.lease, **self.options)
        spool = ENGINES[self.engine](options, self.clock)
        await spool.open()
        try:
            yield spool
        finally:
            await spool.close()

    def entry(self, id="", *, due=None, rcpt="eve@example.org", **more):
        envelope = Envelope(parse("bot@example.com"), (Recipient.accepted(parse(rcpt)),))
        name = id or new_id(self.clock(), random.getrandbits(30))
        return Entry(name, self.clock(), envelope, due=self.clock() if due is None else due, **more)

    async def put(self, spool, id="", octets=b"Subject: x\r\n\r\nbody\r\n", **more):
        entry = self.entry(id, size=len(octets), **more)
        draft = spool.draft()
        for at in range(0, len(octets), 65536):
            draft.write(octets[at : at + 65536])
        await spool.put(entry, draft)
        return entry


@pytest.fixture(params=sorted(ENGINES))
def case(request, tmp_path):
    return Case(request.param, tmp_path / "spool")


@pytest.fixture
def sqlite(tmp_path):
    return Case("sqlite", tmp_path / "spool")


@pytest.fixture
def run():
    def run_bounded(coroutine):
        async def bounded():
            async with asyncio.timeout(60):
                return await coroutine

        return asyncio.run(bounded())

    return run_bounded
