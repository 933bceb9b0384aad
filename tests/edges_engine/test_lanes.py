"""One slow next hop never slows another of the same profile (promise 7); its own mail waits in the spool, in order."""

import asyncio
import collections
import time
from dataclasses import fields, replace
from types import SimpleNamespace

from relay.delivery import Delivery
from relay.entry import State
from relay.lanes import Lanes
from relay.mail import Mail
from relay.manners import Manners
from relay.message import BytesBody, parse_bytes
from relay.prepare import Prepared
from relay.routing import Route, Upstream

WORKERS = 12


class Hops:
    """Each recipient's domain is a next hop. `gates` of those that hang are set when they recover."""

    def __init__(self, house, **options):
        self.house = house(options={"workers": WORKERS, **options})
        self.house.prepared, self.house.engine.attempt = self.prepared, self.attempt
        self.gates, self.pause, self.left = {}, 0.0, collections.defaultdict(list)
        self.most = collections.Counter()
        self.now = collections.Counter()
        self.claims = self.workers = 0
        claim = self.house.spool.claim

        async def counted(wanted, wait):
            claims = await claim(wanted, wait)
            self.claims += len(claims)
            return claims

        self.house.spool.claim = counted

    def prepared(self, entry, body):
        mail = Mail(entry.envelope, parse_bytes(body.read(0, body.size)))
        hops = {r.address.domain: mail.to(r) for r in entry.envelope.recipients}
        return Prepared(tuple((Route(Upstream(name)), part) for name, part in hops.items()))

    async def attempt(self, route, mail):
        name = route.upstream.name
        self.workers = max(self.workers, len(self.house.engine._working))
        self.now[name] += 1
        self.most[name] = max(self.most[name], self.now[name])
        try:
            if name in self.gates:
                await self.gates[name].wait()
            await asyncio.sleep(self.pause)
        finally:
            self.now[name] -= 1
        self.left[name].append(str(mail.envelope.recipients[0].address.local))
        return self.house.relayed(mail)

    def run(self, story):
        self.house.run(story)
        assert self.workers <= WORKERS
        assert self.house.engine._lanes._busy.total() == 0
        assert not self.house.engine._lanes._places

    def ticking(self):
        """The house's clock goes with the real one."""
        start, real = self.house.clock(), time.monotonic()

        async def tick():
            while True:
                self.house.clock.now = start + time.monotonic() - real
                await asyncio.sleep(0.005)

        return asyncio.get_running_loop().create_task(tick())


def test_promise_7_mail_for_a_hop_that_hangs_leaves_workers_for_another_hop_of_its_profile(house, monkeypatch):
    monkeypatch.setattr("relay.lanes.PATIENCE", 0.05)
    hops = Hops(house)
    h = hops.house
    hops.gates["slow.example"] = asyncio.Event()
    for n in range(60):
        h.mail(f"s{n:02}", f"s{n:02}@slow.example", due=h.clock() - 100 + n)
    for n in range(30):
        h.mail(f"m{n:02}", f"m{n:02}@well.example")

    async def story():
        await h.until(lambda: len(hops.left["well.example"]) == 30)
        await h.until(lambda: sum(e.due > h.clock() for e in h.spool.entries(State.QUEUED)) == 54)
        waiting = [e for e in h.spool.entries(State.QUEUED) if e.due > h.clock()]
        assert all(e.attempts == e.events == () and "keeps this next hop busy" in e.reason for e in waiting)
        dues = sorted(e.due - h.clock() for e in waiting)
        assert 1.0 <= dues[0] <= dues[-1] <= 54 / 20 + 2  # each has a slot, 20 in a second
        claims = hops.claims
        hops.gates["slow.example"].set()
        await h.until(lambda: len(hops.left["slow.example"]) == 60)  # called before their slots: the clock stands still
        assert hops.claims - claims <= 60

    hops.run(story)
    assert hops.most["slow.example"] == 6  # of the 12 workers
    assert hops.left["slow.example"] == [f"s{n:02}" for n in range(60)]


def test_promise_7_several_slow_hops_leave_a_worker_too(house, monkeypatch):
    monkeypatch.setattr("relay.lanes.PATIENCE", 0.05)
    hops = Hops(house)
    h = hops.house
    names = [f"slow{n}.example" for n in range(5)]
    for name in names:
        hops.gates[name] = asyncio.Event()
        for n in range(20):
            h.mail(f"{name}-{n}", f"s{n}@{name}", due=h.clock() - 100)
    for n in range(10):
        h.mail(f"m{n}", f"m{n}@well.example")

    async def story():
        await h.until(lambda: len(hops.left["well.example"]) == 10)
        assert sum(hops.now[name] for name in names) < WORKERS
        for name in names:
            hops.gates[name].set()
        await h.until(lambda: all(len(hops.left[name]) == 20 for name in names))

    hops.run(story)


def test_a_fast_hop_is_never_throttled(house):
    """A long backlog for one hop: nobody steps back, each mail is claimed once."""
    hops = Hops(house)
    h = hops.house
    hops.pause = 0.002
    for n in range(200):
        h.mail(f"m{n:03}", f"m{n:03}@well.example")

    async def story():
        await h.until(lambda: len(hops.left["well.example"]) == 200)
        await h.quiet()

    hops.run(story)
    assert hops.claims == 200


def test_a_mail_for_a_healthy_and_a_slow_hop_reaches_the_healthy_one_at_once_and_only_once(house, monkeypatch):
    monkeypatch.setattr("relay.lanes.PATIENCE", 0.02)
    hops = Hops(house)
    h = hops.house
    hops.gates["slow.example"] = asyncio.Event()
    for n in range(20):
        h.mail(f"s{n:02}", f"s{n:02}@slow.example", due=h.clock() - 100)
    h.mail("both", "a@well.example", "b@slow.example")

    async def story():
        await h.until(lambda: h.spool.entry("both").answered)
        entry = h.spool.entry("both")
        assert [o.address for o in entry.answered] == ["a@well.example"]
        assert len(entry.attempts) == 1  # of the other there was none
        assert entry.state is State.QUEUED
        hops.gates["slow.example"].set()
        await h.until(lambda: len(h.spool.entries(State.DONE)) == 21)

    hops.run(story)
    assert hops.left["well.example"] == ["a"]
    assert hops.left["slow.example"][-1] == "b"


def test_who_was_held_moved_or_dropped_meanwhile_is_not_sent(house, monkeypatch):
    monkeypatch.setattr("relay.lanes.PATIENCE", 0.02)
    hops = Hops(house)
    h = hops.house
    hops.gates["slow.example"] = asyncio.Event()
    for n in range(20):
        h.mail(f"s{n:02}", f"s{n:02}@slow.example", due=h.clock() - 100 + n)

    async def changed(name, **changes):
        [claim] = [h.spool.take(name)]
        await h.spool.settle([claim], *((claim.entry.but(**changes), None) for _ in changes and [0]))

    async def story():
        await h.until(lambda: sum(e.due > h.clock() for e in h.spool.entries(State.QUEUED)) == 14)
        await changed("s10", state=State.HELD)
        await changed("s11")
        await changed("s12", due=h.clock() + 500)
        hops.gates["slow.example"].set()
        await h.until(lambda: len(h.spool.entries(State.DONE)) == 17)
        await asyncio.sleep(0.05)

    hops.run(story)
    assert [e.id for e in h.spool.entries(State.QUEUED, State.HELD)] == ["s10", "s12"]
    assert not {"s10", "s11", "s12"} & set(hops.left["slow.example"])
    assert not h.spool.leases


def test_a_drain_reaches_who_waits_for_room(house):
    hops = Hops(house)
    h = hops.house
    hops.gates["slow.example"] = asyncio.Event()
    for n in range(12):
        h.mail(f"s{n:02}", f"s{n:02}@slow.example")

    async def story():
        await h.until(lambda: len(h.engine._working) == 12)
        await asyncio.sleep(0.02)

    hops.run(story)
    assert len(h.spool.entries(State.QUEUED)) == 12
    assert all(e.due == h.clock() for e in h.spool.entries())


def test_who_has_a_pause_of_his_own_is_not_called_before_it(house, say, monkeypatch):
    """Deferred at one hop, without room at another: the pause of the first counts."""
    monkeypatch.setattr("relay.lanes.PATIENCE", 0.02)
    hops = Hops(house)
    h = hops.house
    hops.gates["slow.example"] = asyncio.Event()
    plain = hops.attempt

    async def attempt(route, mail):
        done = await plain(route, mail)
        if route.upstream.name == "grey.example":
            [r] = mail.envelope.recipients
            return replace(done, outcomes=(replace(say.later, origin=r.origin, address=str(r.address)),))
        return done

    h.engine.attempt = attempt
    for n in range(20):
        h.mail(f"s{n:02}", f"s{n:02}@slow.example", due=h.clock() - 100)
    h.mail("both", "a@grey.example", "b@slow.example")

    async def story():
        await h.until(lambda: h.spool.entry("both").attempts)
        assert h.spool.entry("both").due == h.clock() + 60
        hops.gates["slow.example"].set()
        await h.until(lambda: len(h.spool.entries(State.DONE)) == 20)
        await asyncio.sleep(0.05)

    hops.run(story)
    assert hops.left["grey.example"] == ["a"]


def test_mail_in_a_slot_costs_little_while_its_hop_hangs(house, monkeypatch):
    """With the clock going: no more than SLOTS claims in a second, and what lies in the lane stays bounded."""
    monkeypatch.setattr("relay.lanes.PATIENCE", 0.05)
    hops = Hops(house)
    h = hops.house
    hops.gates["slow.example"] = asyncio.Event()
    for n in range(80):
        h.mail(f"s{n:02}", f"s{n:02}@slow.example", due=h.clock() - 100 + n)

    async def story():
        await h.until(lambda: sum(e.due > h.clock() for e in h.spool.entries(State.QUEUED)) == 74)
        ticking = hops.ticking()
        await asyncio.sleep(1.0)
        claims = hops.claims
        await asyncio.sleep(2.0)
        assert 20 <= hops.claims - claims <= 60
        [lane] = h.engine._lanes._lanes.values()
        assert len(lane.line) <= 74
        ticking.cancel()
        hops.gates["slow.example"].set()
        await h.until(lambda: len(hops.left["slow.example"]) == 80)

    hops.run(story)
    left = hops.left["slow.example"]
    assert max(abs(int(name[1:]) - place) for place, name in enumerate(left)) <= 12  # but for those in a slot just then


def test_who_is_called_and_goes_another_way_keeps_no_place(house, monkeypatch):
    """The configuration was changed; and no more are called than there are workers, however long the spool takes."""
    monkeypatch.setattr("relay.lanes.PATIENCE", 0.02)
    hops = Hops(house)
    h = hops.house
    hops.gates["slow.example"] = asyncio.Event()
    for n in range(60):
        h.mail(f"s{n:02}", f"s{n:02}@slow.example", due=h.clock() - 100 + n)
    settle = h.spool.settle

    async def slow_settle(*args):
        await asyncio.sleep(0.02)
        await settle(*args)

    def moved(entry, body):
        mail = Mail(entry.envelope, parse_bytes(body.read(0, body.size)))
        return Prepared(((Route(Upstream("well.example" if int(entry.id[1:]) % 2 else "slow.example")), mail),))

    async def story():
        await h.until(lambda: sum(e.due > h.clock() for e in h.spool.entries(State.QUEUED)) == 54)
        h.spool.settle = slow_settle
        h.prepared = moved
        hops.gates["slow.example"].set()
        await h.until(lambda: len(h.spool.entries(State.DONE)) == 60)

    hops.run(story)
    assert len(hops.left["well.example"]) == 27


def alone(house, say, *hops, workers=2):
    """Lanes without an engine, and a way to begin an attempt at each hop: (lanes, begin, gates)."""
    made = Hops(house)
    h = made.house
    lanes = Lanes(workers, h.clock, lambda: None)
    gates = {hop: asyncio.Event() for hop in hops}

    async def attempt(route, mail):
        await gates[route.upstream.name].wait()
        return h.relayed(mail)

    def begin(hop, attempt=attempt, name="m", due=0.0):
        h.mail(name, f"a@{hop}", due=due)
        entry = h.spool.entry(name)
        [(route, mail)] = made.prepared(entry, BytesBody(say.mail)).routed
        return asyncio.create_task(lanes.attempt("p", entry, route, mail, attempt))

    return lanes, begin, gates


def test_one_hop_gets_as_many_workers_as_keep_its_connections_busy(house, say):
    """A mail under way on each, and the next one's envelope behind its final dot: else a far hop takes half as many."""

    async def story():
        workers = next(field.default for field in fields(Delivery) if field.name == "workers")
        lanes, begin, gates = alone(house, say, "far.example", workers=workers)
        tasks = [begin("far.example", name=f"m{number}") for number in range(workers)]
        await asyncio.sleep(0.01)
        assert 2 * Manners().connections <= lanes._busy["p"] <= workers // 2
        gates["far.example"].set()
        await asyncio.wait(tasks)

    asyncio.run(story())


def test_room_that_one_hop_leaves_is_room_for_mail_of_another(house, say):
    async def story():
        lanes, begin, gates = alone(house, say, "a.example", "b.example", "c.example")
        tasks = [begin(hop) for hop in gates]
        await asyncio.sleep(0.01)
        assert lanes._busy["p"] == 2
        gates["a.example"].set()
        gates["c.example"].set()
        async with asyncio.timeout(0.3):  # before its patience is at an end
            done = await tasks[2]
        assert done.outcomes[0].reply.code == 250
        gates["b.example"].set()
        await asyncio.wait(tasks)
        assert not lanes._lanes

    asyncio.run(story())


def test_who_is_cancelled_as_he_is_let_in_keeps_no_place(house, say):
    async def story():
        lanes, begin, gates = alone(house, say, "a.example", "b.example")

        async def fails(route, mail):
            await gates["a.example"].wait()
            asyncio.get_running_loop().call_soon(second.cancel)  # before it hears that there is room
            raise ConnectionError

        first = begin("a.example", fails)
        second = begin("a.example")
        await asyncio.sleep(0.01)
        gates["a.example"].set()
        await asyncio.wait([first, second])
        assert second.cancelled()
        assert lanes._busy.total() == 0
        assert not lanes._lanes

    asyncio.run(story())


def test_who_is_in_hand_as_he_is_called_keeps_his_rank(house, say, monkeypatch):
    """His slot came in the same moment: he goes next, not behind all who were due after him."""
    monkeypatch.setattr("relay.lanes.PATIENCE", 0.0)

    async def story():
        lanes, begin, gates = alone(house, say, "a.example")
        busy = begin("a.example", due=0.0)
        await asyncio.sleep(0)
        for number in (1, 2, 3):
            await begin("a.example", name=f"m{number}", due=float(number))
            lanes.ended(f"m{number}", 10.0 + number)
        await begin("a.example", name="m1", due=11.0)
        gates["a.example"].set()
        await busy
        assert await lanes.called(None, {"m1": SimpleNamespace(profile="p")}) == []
        lanes.ended("m1", 14.0)
        assert list(lanes._calls) == ["m2"]
        lanes.ended("m2", 0.0)  # dropped meanwhile
        assert list(lanes._calls) == ["m2", "m1"]

    asyncio.run(story())
