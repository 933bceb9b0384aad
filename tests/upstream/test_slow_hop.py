"""A next hop that hangs and a healthy one in one profile, over real sockets and a real spool (promise 7)."""

import asyncio
import contextlib
import itertools
import time

from relay.address import parse
from relay.delivery import Delivery
from relay.entry import Entry, State
from relay.mail import Envelope, Mail, Recipient
from relay.message import parse_bytes
from relay.prepare import Prepared
from relay.reports import Reports
from relay.retry import RetryOptions
from relay.routing import Route, Upstream
from relay.spool import SpoolOptions, create
from relay.transaction import Timeouts
from relay.upstream import Upstreams
from tests.upstream.outage import JumpingLoop
from tests.upstream.test_outage import House

SLOW, WELL = 300, 50


class Hop:
    """Takes every mail; while `awake` is not set it says nothing, not even a greeting. Notes subjects and times."""

    def __init__(self):
        self.awake, self.subjects, self.times = asyncio.Event(), [], []

    async def start(self):
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self.server.sockets[0].getsockname()[1]

    async def _serve(self, reader, writer):
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            await self.awake.wait()
            writer.write(b"220 hop\r\n")
            content = False
            while line := await reader.readline():
                if content:
                    if line.startswith(b"Subject: "):
                        self.subjects.append(int(line[9:]))
                        self.times.append(time.monotonic())
                    content = line != b".\r\n"
                    writer.write(b"" if content else b"250 kept\r\n")
                else:
                    content = line.upper().startswith(b"DATA")
                    writer.write(b"354 go\r\n" if content else b"250 ok\r\n")
        writer.close()


async def two_hops(folder):
    """300 mails for a hop that hangs, then 50 for one that does not; what was seen."""
    ids, hops = itertools.count(1), {"slow": Hop(), "well": Hop()}
    ways = {name: Upstream(name, "127.0.0.1", await hop.start(), "none") for name, hop in hops.items()}
    hops["well"].awake.set()
    spool = create(SpoolOptions(path=str(folder / "spool")), time.time)
    await spool.open()
    upstreams = Upstreams(Timeouts(), "relay.example.com", time.time)

    async def prepare(entry, body):
        mail = Mail(entry.envelope, parse_bytes(body.read(0, body.size)))
        return Prepared(((Route(ways[mail.envelope.recipients[0].address.local]), mail),))

    reports = Reports(spool, lambda: f"report{next(ids)}", "relay.example.com")
    engine = Delivery(spool, prepare, upstreams.attempt, RetryOptions, time.time, lambda: 0.0, reports)

    async def accept(number, name):
        envelope = Envelope(parse("bot@example.com"), (Recipient.accepted(parse(f"{name}@example.org")),))
        draft = spool.draft()
        draft.write(b"Subject: %d\r\n\r\nbody\r\n" % number)
        now = time.time()
        await spool.put(Entry(f"m{number:04}", now, envelope, draft.size, due=now), draft)
        engine.arrived()

    running = asyncio.create_task(engine.run())
    try:
        for number in range(SLOW):
            await accept(number, "slow")
        for number in range(WELL):
            await accept(SLOW + number, "well")
        accepted = time.monotonic()
        async with asyncio.timeout(15):
            while len(hops["well"].subjects) < WELL:
                await asyncio.sleep(0.01)
        late = max(hops["well"].times) - accepted
        await asyncio.sleep(1.0)
        used = time.process_time()
        await asyncio.sleep(2.0)
        used = time.process_time() - used
        hops["slow"].awake.set()
        async with asyncio.timeout(20):
            while (await spool.counts())[State.DONE] < SLOW + WELL:
                await asyncio.sleep(0.05)
    finally:
        await engine.drain(0.0)
        await running
        await upstreams.close()
        await spool.close()
        for hop in hops.values():
            hop.server.close()
    return late, used, hops["slow"].subjects, hops["well"].subjects


def test_promise_7_a_tarpit_never_slows_another_hop_of_its_profile_and_its_mail_goes_out_in_order(tmp_path):
    late, used, slow, well = asyncio.run(two_hops(tmp_path))
    assert late < 2.0
    assert used < 0.6, "processor time of two seconds in which nothing can be done for the slow one"
    assert sorted(slow) == list(range(SLOW))  # none lost, none twice
    assert sorted(well) == list(range(SLOW, SLOW + WELL))
    places = [abs(number - place) for place, number in enumerate(slow)]
    assert max(places) <= 60, "the oldest first, but for those in hand as it recovered"


def simulated(monkeypatch, pace, mails):
    """Seconds of simulated time that a hop of that pace takes for so many mails that wait as the engine starts."""
    loop = JumpingLoop()

    async def story():
        house = House(monkeypatch)
        house.network.pace = pace
        for number in range(mails):
            await house.accept(number)
        running = asyncio.create_task(house.delivery.run())
        while len(house.network.taken) < mails:
            await asyncio.sleep(0.1)
        end = loop.time()
        await house.delivery.drain(0.0)
        await running
        await house.upstreams.close()
        assert len(set(house.network.taken)) == mails
        return end

    try:
        return loop.run_until_complete(story())
    finally:
        loop.close()


def test_a_fast_hop_with_2000_mails_waiting_keeps_its_throughput(monkeypatch):
    assert simulated(monkeypatch, 0.05, 2000) < 2000 * 0.05 / 20 * 1.1 + 1


def test_a_hop_that_is_slow_and_takes_mail_gets_all_that_it_can_take(monkeypatch):
    """20 connections, five seconds for a mail: those that step back leave no connection idle."""
    assert simulated(monkeypatch, 5.0, 400) < 400 * 5.0 / 20 * 1.1 + 1
