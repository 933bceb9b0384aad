"""Fakes for the engine: a spool in memory with every verb's promises, a clock set by hand, scripted attempts."""

import asyncio
import itertools
import os
from dataclasses import dataclass, field, replace

import pytest

from relay.address import parse
from relay.delivery import Delivery
from relay.entry import Attempt, Cause, Client, Disposition, Entry, Outcome, State, decode, encode
from relay.errors import LeaseLost, SpoolError
from relay.mail import Envelope, Mail, Recipient
from relay.message import BytesBody, parse_bytes
from relay.prepare import Prepared
from relay.reply import Reply
from relay.reports import Reports
from relay.retry import RetryOptions
from relay.routing import Route, Upstream
from relay.spool import Claim

BORN = 1_700_000_000.0
MAIL = b"Subject: [Harbour] #12: Crane jams\r\nTo: undisclosed-recipients: ;\r\nBcc: spy@example.org\r\n\r\nbody\r\n"
UP = Upstream("up", "mx.example.org")


class Clock:
    def __init__(self, now=BORN):
        self.now = now

    def __call__(self):
        return self.now


class FakeDraft:
    def __init__(self):
        self.data, self.discarded = b"", False

    @property
    def size(self):
        return len(self.data)

    def write(self, data):
        self.data += data

    def body(self):
        return BytesBody(self.data)

    def discard(self):
        self.discarded = True


class FakeSpool:
    """The Spool protocol over dicts. `faults` are raised by the next calls of a verb, in turn."""

    def __init__(self, clock, lease=300.0):
        self.clock, self.lease = clock, lease
        self.rows, self.bodies, self.leases = {}, {}, {}
        self.tokens = itertools.count(1)
        self.facts, self.drafts, self.settled = {}, [], []
        verbs = ("claim", "settle", "extend", "remember", "recall", "due_after", "draft")
        self.faults = {verb: [] for verb in verbs}
        self.extended = 0

    def _fault(self, verb):
        if self.faults[verb]:
            fault = self.faults[verb].pop(0)
            if fault is not None:
                raise fault

    def add(self, entry, data=MAIL):
        self.rows[entry.id] = encode(entry)
        self.bodies[entry.id] = data

    def entry(self, entry_id):
        return decode(self.rows[entry_id])

    def entries(self, *states):
        return [e for e in map(decode, self.rows.values()) if not states or e.state in states]

    def leased(self, entry_id):
        _, until = self.leases.get(entry_id, (0, 0.0))
        return until > self.clock()

    def draft(self):
        self._fault("draft")
        self.drafts.append(FakeDraft())
        return self.drafts[-1]

    async def put(self, entry, draft):
        self.add(entry, draft.data)

    async def claim(self, wanted, wait):
        assert wait == 0
        await asyncio.sleep(0)
        self._fault("claim")
        found = [
            e
            for e in sorted(self.entries(), key=lambda e: e.due)
            if not self.leased(e.id)
            and (e.id == wanted.id if wanted.id else e.state is State.QUEUED and e.due <= self.clock())
            and e.profile not in wanted.without
        ]
        return [self.take(e.id) for e in found[: wanted.limit]]

    def take(self, entry_id):
        token = next(self.tokens)
        self.leases[entry_id] = (token, self.clock() + self.lease)
        return Claim(self.entry(entry_id), BytesBody(self.bodies[entry_id]), token)

    async def extend(self, claim):
        await asyncio.sleep(0)
        self._fault("extend")
        self._check(claim)
        self.extended += 1
        self.leases[claim.entry.id] = (claim.token, self.clock() + self.lease)

    def _check(self, claim):
        if self.leases.get(claim.entry.id, (0, 0))[0] != claim.token:
            raise LeaseLost

    async def settle(self, claims, *follow_ups):
        await asyncio.sleep(0)
        self._fault("settle")
        for claim in claims:
            self._check(claim)
        ids = {claim.entry.id for claim in claims}
        for claim in claims:
            del self.leases[claim.entry.id]
            del self.rows[claim.entry.id]
        for entry, draft in follow_ups:
            assert (draft is None) == (entry.id in ids)
            self.rows[entry.id] = encode(entry)
            if draft is not None:
                self.bodies[entry.id] = draft.data
        self.settled.append([entry for entry, _ in follow_ups])

    async def remember(self, key, value, until):
        self._fault("remember")
        self.facts[key] = (value, until)

    async def recall(self, key):
        await asyncio.sleep(0)
        self._fault("recall")
        value, until = self.facts.get(key, (None, 0.0))
        return value if until > self.clock() else None

    async def due_after(self, at, limit):
        self._fault("due_after")
        return [e.id for e in self.entries(State.QUEUED) if e.due > at][:limit]

    async def counts(self):
        return {state: len(self.entries(state)) for state in State}


@dataclass
class House:
    """One engine with its fakes. `answers` maps an address to what its next attempts bring, in turn.

    An answer is a Disposition with Reply, an exception, or an async function of (route, mail); the
    last one stays. `tried` lists (time, addresses) of each attempt.
    """

    clock: Clock = field(default_factory=Clock)
    answers: dict = field(default_factory=dict)
    tried: list = field(default_factory=list)
    schedule: RetryOptions = field(default_factory=RetryOptions)
    prepared: object = None
    options: dict = field(default_factory=dict)

    def __post_init__(self):
        self.spool = FakeSpool(self.clock)
        self.ids = itertools.count(1)
        self.engine = Delivery(
            spool=self.spool,
            prepare=self.prepare,
            attempt=self.attempt,
            schedule=lambda: self.schedule,
            clock=self.clock,
            jitter=lambda: 0.0,
            reports=Reports(self.spool, lambda: f"report{next(self.ids)}", "gw.example.com"),
            **self.options,
        )

    async def prepare(self, entry, body):
        return self.prepared(entry, body) if callable(self.prepared) else self.plain(entry, body)

    def plain(self, entry, body):
        """Prepares one route for everybody, and nothing rewritten."""
        envelope = replace(entry.envelope, reverse_path=None) if entry.report else entry.envelope
        mail = Mail(envelope, parse_bytes(body.read(0, body.size)))
        return Prepared(((Route(UP), mail),)) if envelope.recipients else Prepared(())

    async def attempt(self, route, mail):
        addresses = [str(r.address) for r in mail.envelope.recipients]
        self.tried.append((self.clock() - BORN, addresses))
        await asyncio.sleep(0)
        outcomes = []
        for recipient in mail.envelope.recipients:
            script = self.answers.get(str(recipient.address), [OK])
            answer = script.pop(0) if len(script) > 1 else script[0]
            if isinstance(answer, BaseException):
                raise answer
            if callable(answer):
                return await answer(route, mail)
            outcomes.append(replace(answer, origin=recipient.origin, address=str(recipient.address)))
        return Attempt(self.clock(), route.upstream.name, tuple(outcomes), "", (0.0, 0.0, 0.25, 0.5))

    def relayed(self, mail):
        """What an attempt brings that relays `mail` to everybody."""
        outcomes = (replace(OK, origin=r.origin, address=str(r.address)) for r in mail.envelope.recipients)
        return Attempt(self.clock(), "up", tuple(outcomes))

    def split(self, entry, body):
        """Prepares two routes, one for each of two recipients."""
        mail = Mail(entry.envelope, parse_bytes(MAIL))
        one, two = entry.envelope.recipients
        return Prepared(((Route(Upstream("one")), mail.to(one)), (Route(Upstream("two")), mail.to(two))))

    def mail(self, entry_id, *names, **changes):
        recipients = tuple(Recipient.accepted(parse(name)) for name in names)
        entry = Entry(
            entry_id,
            self.clock(),
            Envelope(parse("bot@example.com"), recipients),
            due=self.clock(),
            client=Client("127.0.0.1"),
            size=len(MAIL),
        )
        self.spool.add(replace(entry, **changes))
        self.engine.wake()

    async def quiet(self):
        """Wait until nothing is due and nothing under way; at most five seconds of the real clock."""
        async with asyncio.timeout(5):
            while self.engine._working or any(e.due <= self.clock() for e in self.spool.entries(State.QUEUED)):
                self.engine.wake()
                await asyncio.sleep(0)

    async def until(self, true):
        async with asyncio.timeout(5):
            while not true():
                await asyncio.sleep(0.001)

    async def pass_time(self, seconds):
        """Let the clock jump from due time to due time, until that many seconds have passed."""
        end = self.clock.now + seconds
        await self.quiet()
        while (due := [e.due for e in self.spool.entries(State.QUEUED) if e.due <= end]) and min(due) > self.clock():
            self.clock.now = min(due)
            await self.quiet()
        self.clock.now = end
        await self.quiet()

    def run(self, story):
        """Run `story()` beside the engine, then drain."""

        async def whole():
            async with asyncio.TaskGroup() as group:
                group.create_task(self.engine.run())
                try:
                    await story()
                finally:
                    await self.engine.drain(0.0)

        asyncio.run(whole())


def an_outcome(disposition, code, status, text, **more):
    return Outcome("", "", disposition, Reply(code, status, text), "mx.example.org[192.0.2.1]:25", **more)


OK = an_outcome(Disposition.RELAYED, 250, "2.0.0", "queued")
LATER = an_outcome(Disposition.DEFERRED, 451, "4.7.1", "greylisted")
NEVER = an_outcome(Disposition.REFUSED, 550, "5.1.1", "unknown user")
MAYBE = an_outcome(Disposition.DEFERRED, 451, "4.4.2", "lost after the dot", cause=Cause.CONNECT, ambiguous=True)
NO_LOGIN = an_outcome(Disposition.DEFERRED, 535, "5.7.8", "bad password", cause=Cause.AUTH)


@pytest.fixture
def house(monkeypatch):
    """Makes a House; the pauses of the real clock are short."""
    monkeypatch.setattr("relay.delivery.POLL", 0.02)
    monkeypatch.setattr("relay.delivery.SPOOL_PAUSE", (0.002, 0.004))
    return House


@pytest.fixture
def say():
    """The outcomes that scripts use."""

    class Say:
        ok, later, never, maybe, no_login = OK, LATER, NEVER, MAYBE, NO_LOGIN
        born, mail, upstream = BORN, MAIL, UP
        spool_error, lease_lost = SpoolError, LeaseLost

    return Say


@pytest.fixture
def syscalls(monkeypatch):
    """The calls of os that make a file durable, as they happen: (name, file or folder)."""
    calls, names = [], {}
    real_open, real_fsync, real_rename = os.open, os.fsync, os.rename

    def spy_open(path, flags, mode=0o777, **more):
        descriptor = real_open(path, flags, mode, **more)
        names[descriptor] = str(path)
        return descriptor

    def spy_fsync(descriptor):
        calls.append(("fsync", names[descriptor]))
        real_fsync(descriptor)

    def spy_rename(source, target, **more):
        calls.append(("rename", str(target)))
        real_rename(source, target, **more)

    monkeypatch.setattr(os, "open", spy_open)
    monkeypatch.setattr(os, "fsync", spy_fsync)
    monkeypatch.setattr(os, "rename", spy_rename)
    return calls
