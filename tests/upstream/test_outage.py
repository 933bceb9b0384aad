"""A day without the mail server, in simulated time: 10,000 mails in `./test soak`, 300 otherwise.

Everything but the network and the clock is the real thing: engine, retries, pool, canary, queue.
"""

import asyncio
import random

import pytest

from relay.address import parse
from relay.canary import Canary
from relay.delivery import Delivery
from relay.entry import Entry, State, encode, new_id
from relay.mail import Envelope, Mail, Recipient
from relay.message import parse_bytes
from relay.prepare import Prepared
from relay.profiles import DEFAULT
from relay.queue import Parts, Queue
from relay.reports import Reports
from relay.retry import RetryOptions
from relay.routing import Route, Upstream
from relay.spool import SpoolOptions
from relay.spool.memory import MemorySpool
from relay.transaction import Timeouts
from relay.upstream import Upstreams
from tests.upstream.outage import JumpingLoop, Network

BORN = 1_700_000_000.0
HOUR = 3600.0
HOPS = {DEFAULT: Upstream("main", "mail.example.com"), "other": Upstream("other", "mail.example.net")}


class House:
    """The relay without listener, configuration and network."""

    def __init__(self, monkeypatch):
        self.network, self.dice = Network(), random.Random(20)
        monkeypatch.setattr(Upstreams, "_connect", lambda _self, _hop, upstream: self.network.connect(upstream))
        monkeypatch.setattr("relay.delivery.POLL", 5.0)
        self.spool = MemorySpool(SpoolOptions(), self.clock)
        self.upstreams = Upstreams(Timeouts(), "relay.example.com", self.clock)
        reports = Reports(self.spool, self.an_id, "relay.example.com")
        self.delivery = Delivery(
            self.spool, self.prepare, self.attempt, RetryOptions, self.clock, self.dice.random, reports,
            profiles=lambda: tuple(HOPS),
        )  # fmt: skip
        parts = Parts(
            self.spool, self.clock, self.delivery.wake, self.prepare, reports, RetryOptions, self.upstreams.forgive
        )
        self.queue = Queue(parts)
        self.canary = Canary(self.upstreams, lambda: tuple(HOPS.values()), lambda _hop: False, self.queue.back)
        self.samples = []
        self.longest = 0

    def clock(self):
        return BORN + asyncio.get_running_loop().time()

    def an_id(self):
        return new_id(self.clock(), self.dice.getrandbits(30))

    async def prepare(self, entry, body):
        mail = Mail(entry.envelope, parse_bytes(body.read(0, body.size)))
        return Prepared(((Route(HOPS[entry.profile]), mail),))

    async def attempt(self, route, mail):
        return await self.upstreams.attempt(route, mail)

    async def accept(self, number, profile=DEFAULT):
        octets = b"Subject: [Harbour] #12: Crane jams\r\nMessage-ID: <%d@%s>\r\n\r\nbody\r\n" % (
            number,
            profile.encode(),
        )
        envelope = Envelope(parse("bot@example.com"), (Recipient.accepted(parse("eve@example.org")),))
        now = self.clock()
        draft = self.spool.draft()
        draft.write(octets)
        entry = Entry(self.an_id(), now, envelope, len(octets), profile=profile, due=now)
        await self.spool.put(entry, draft)
        self.delivery.wake()

    async def day(self, mails):
        """The hop is down for 24 hours, in which the mails come; then it is up, and some more come."""
        loop = asyncio.get_running_loop()
        self.network.down.add("main")
        tending = [asyncio.create_task(work()) for work in (self.delivery.run, self._watch)]
        self.canary.start()
        await asyncio.gather(self._tracker(DEFAULT, mails, 24 * HOUR), self._tracker("other", 200, 24 * HOUR))
        await asyncio.sleep(24 * HOUR - loop.time())
        self.network.down.clear()
        await self._tracker(DEFAULT, 60, HOUR, first=mails)
        await asyncio.sleep(HOUR)
        self.canary.stop()
        await self.delivery.drain(10.0)
        for task in tending:
            task.cancel()
        await asyncio.gather(*tending, return_exceptions=True)
        await self.upstreams.close()

    async def _tracker(self, profile, mails, seconds, *, first=0):
        for number in range(first, first + mails):
            await self.accept(number, profile)
            await asyncio.sleep(seconds / mails)

    async def _watch(self):
        while True:
            await asyncio.sleep(HOUR)
            waiters = sum(len(hop.queue) + len(hop.pool.links) for hop in self.upstreams._hops.values())
            self.samples.append((len(asyncio.all_tasks()), self.delivery.under_way, waiters))
            queued = [row.entry for row in list(self.spool._rows.values())[:50]]
            self.longest = max([self.longest, *(len(encode(entry)) for entry in queued)])


@pytest.fixture
def house(monkeypatch):
    return House(monkeypatch)


def test_a_day_without_the_mail_server(house, soak, caplog):
    mails = 10_000 if soak else 300
    caplog.set_level("WARNING", "tracker-relay")
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        runner.run(house.day(mails))
    network, up_at = house.network, 24 * HOUR

    taken = [(at, int(mid.strip("<>").partition("@")[0])) for at, name, mid in network.taken if name == "main"]
    assert sorted(number for _, number in taken) == list(range(mails + 60)), "all delivered, each once"
    waited = [number for _, number in taken if number < mails]
    late = max(abs(place - number) for place, number in enumerate(waited) if place >= 60)
    assert late <= 100, "the oldest first, but for those that are under way, or were due just as it rose"
    done = max(at for at, number in taken if number < mails)
    assert done - up_at < 120 + mails * network.pace / 20 * 1.6, (
        "within two minutes, and the time that the mail itself takes"
    )

    knocks = [at for at, name in network.knocks if name == "main" and at < up_at]
    per_minute = max(sum(1 for other in knocks if at <= other < at + 60) for at in knocks[::10])
    assert per_minute <= 8, "no herd at the door: the first minute has the short pauses"
    assert len(knocks) <= 24 * 60 * 1.5
    loads = [(at, busy) for at, name, busy in network.loads if name == "main" and at >= up_at]
    first = loads[0][0]
    assert max(busy for at, busy in loads if at < first + network.pace) <= 2, "it gets a few at first,"
    assert max(busy for _, busy in loads) <= 20, "then as many as ever"

    fresh = {number: at for at, number in taken if number >= mails}
    waits = [at - (up_at + (number - mails) * 60.0) for number, at in fresh.items()]
    assert max(waits[10:]) < 5, "new mail does not stand behind"

    others = sorted((at, int(mid.strip("<>").partition("@")[0])) for at, name, mid in network.taken if name == "other")
    assert len(others) == 200
    assert max(at - number * 24 * HOUR / 200 for at, number in others) < 2, "one hop's fall slows no other's mail"

    assert max(tasks for tasks, _, _ in house.samples) <= 60, "memory: nothing grows with what waits"
    assert max(under_way for _, under_way, _ in house.samples) <= 96
    assert house.longest < 20_000
    alarms = [r.getMessage() for r in caplog.records if "ALARM" in r.getMessage()]
    assert len(alarms) == 1 and "next hop main can not be used" in alarms[0]
    assert not [e for e in house.spool._rows.values() if e.entry.state is not State.DONE]
