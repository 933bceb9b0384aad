"""The queue's requests over a spool of each engine, without a daemon around it."""

import asyncio
import contextlib
import itertools
import json

import pytest

from relay.address import parse
from relay.entry import Attempt, Cause, Disposition, Entry, Event, Outcome
from relay.mail import Envelope, Recipient
from relay.prepare import Prepared
from relay.queue import Parts, Queue
from relay.reply import Reply
from relay.reports import Reports
from relay.retry import RetryOptions
from relay.spool import ENGINES, SpoolOptions

MAIL = b"Subject: [Harbour] #12: Crane\r\nMessage-ID: <1@x>\r\n\r\nhello\r\n"


class Stage:
    """`report_to` is where reports go; `prepared` is what the rules make of any mail, or raise."""

    def __init__(self, engine, folder):
        self.engine, self.folder = engine, folder
        self.now = 1_700_000_000.0
        self.report_to = parse("admin@example.com")
        self.prepared = Prepared((), reverse_path=parse("bugs@example.com"))
        self.woken = 0
        self.lifted = []
        self._ids = itertools.count(1)

    @contextlib.asynccontextmanager
    async def open(self):
        self.spool = ENGINES[self.engine](SpoolOptions(engine=self.engine, path=str(self.folder)), lambda: self.now)
        await self.spool.open()
        reports = Reports(self.spool, lambda: f"report{next(self._ids)}", "relay.example.com")
        schedule = lambda: RetryOptions(report_to=self.report_to)  # noqa: E731
        lift = lambda names: self.lifted.append(sorted(names))  # noqa: E731
        self.queue = Queue(Parts(self.spool, lambda: self.now, self._wake, self._prepare, reports, schedule, lift))
        try:
            yield self
        finally:
            await self.spool.close()

    def _wake(self):
        self.woken += 1

    async def _prepare(self, entry, body):
        if isinstance(self.prepared, Exception):
            raise self.prepared
        return self.prepared

    async def put(self, name, octets=MAIL, rcpt=("eve@example.org",), **more):
        envelope = Envelope(parse(more.pop("sender", "trac@example.com")), tuple(Recipient.accepted(parse(r)) for r in rcpt))  # fmt: skip
        base = {"received_at": self.now, "due": self.now, "summary": "[Harbour] #12: Crane", "message_id": "<1@x>"}
        accepted = (Event(self.now, "accepted", "from 127.0.0.1"),)
        entry = Entry(**{"id": name, "envelope": envelope, "size": len(octets), "events": accepted, **base, **more})
        draft = self.spool.draft()
        draft.write(octets)
        await self.spool.put(entry, draft)
        return entry

    async def ask(self, do, octets=(), **more):
        """The lines of one answer; the request goes through JSON as it does on the control socket."""

        async def following():
            for piece in octets:
                yield piece

        request = json.loads(json.dumps({"do": do, "by": "root", **more}))
        return [json.loads(json.dumps(line)) async for line in self.queue.answer(request, following())]

    async def change(self, verb, *ids, **more):
        """Result by id."""
        lines = await self.ask(verb, ids=list(ids), **more)
        return {row["id"]: row["result"] for line in lines for row in line["changed"]}

    async def found(self, **search):
        states = search.pop("states", [])
        lines = await self.ask("find", search=search, states=states)
        return [row["id"] for line in lines for row in line["entries"]]

    async def life(self, name):
        [line] = await self.ask("show", ids=[name])
        return line["entries"][-1]

    async def octets(self, name):
        entry_and_body = await self.spool.peek(name)
        return None if entry_and_body is None else entry_and_body[1].read(0, 1 << 30)


def tried(at, *, address="eve@example.org", disposition=Disposition.DEFERRED, reply=None):
    """An attempt with one outcome, by default a deferral."""
    outcome = Outcome(
        f"rcpt:{address}",
        address,
        disposition,
        reply or Reply(450, "4.2.1", "mailbox\nbusy"),
        host="mx.example.net[192.0.2.1]:25",
        cause=Cause.PEER,
    )
    return Attempt(at, "notification", (outcome,), "TLSv1.3 starttls verified", (0.1, 0.2, 0.3, 0.4))


@pytest.fixture(params=sorted(ENGINES))
def stage(request, tmp_path):
    return Stage(request.param, tmp_path / "spool")


@pytest.fixture
def run():
    def run_bounded(story):
        async def bounded():
            async with asyncio.timeout(60):
                return await story()

        return asyncio.run(bounded())

    return run_bounded
