"""Direct delivery within bounds: hosts, addresses, attempts at once, connections kept; and what others may look at."""

import asyncio
import contextlib
from types import SimpleNamespace

import pytest

from relay import discovery, upstream
from relay.discovery import Nowhere
from relay.entry import Cause, Disposition
from relay.routing import route
from tests.nameserver import SILENCE

RELAYED, DEFERRED = Disposition.RELAYED, Disposition.DEFERRED

TWO = {
    ("a.test", "MX"): ["10 mx1.a.test.", "20 mx2.a.test."],
    ("mx1.a.test", "A"): ["127.0.0.1"],
    ("mx2.a.test", "A"): ["127.0.0.2"],
}


def test_only_so_many_hosts_are_asked_about_and_so_many_addresses_tried(net):
    many = {("a.test", "MX"): [f"{n} mx{n}.a.test." for n in range(40)]}
    many |= {(f"mx{n}.a.test", "A"): [f"127.0.1.{m}" for m in range(1, 9)] for n in range(40)}

    @net(many)
    async def story(net):
        hosts = await net.discovery.hosts(net.mx, "a.test")
        assert [host.server for host in hosts] == [f"mx{n}.a.test" for n in range(6)]
        assert [len(host.addresses) for host in hosts] == [1] * 6
        assert len({name for name, kind in net.zone.asked if kind == "A"}) == 10


def test_so_many_at_once_for_one_domain_and_in_all(net, monkeypatch):
    monkeypatch.setattr(discovery, "AT_ONCE_PER_DOMAIN", 3)
    records = {(f"d{n}.test", "A"): ["127.0.0.1"] for n in range(4)}

    @net(records)
    async def story(net):
        under_way, most, each = 0, 0, {}
        net.discovery._all = asyncio.Semaphore(5)

        async def carry(route_, mail):
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            each[route_.domain] = each.get(route_.domain, 0) + 1
            assert each[route_.domain] <= 3
            await asyncio.sleep(0.02)
            each[route_.domain] -= 1
            under_way -= 1
            return await net.upstreams.attempt(route_, mail)

        net.discovery.upstreams = SimpleNamespace(attempt=carry)
        async with net.peer(1):
            await asyncio.gather(*(net.one(f"u{n}@d{n % 4}.test") for n in range(24)))
        assert most == 5
        assert net.discovery._each == net.discovery._users == {}, "nothing is left of a domain"


def test_promise_7_a_silent_resolver_keeps_no_server_waiting(net, stage):
    @net({("dead.test", "MX"): SILENCE})
    async def story(net):
        async with stage.peer() as smart_host:
            slow = asyncio.create_task(net.one("eve@dead.test"))
            await asyncio.sleep(0)
            async with asyncio.timeout(0.4):
                attempt = await net.upstreams.attempt(*route(stage.mail(), (stage.hop(smart_host),))[0])
            assert attempt.outcomes[0].disposition is RELAYED
            assert not slow.done()
            assert (await slow).disposition is DEFERRED


def test_the_hosts_are_next_hops_for_others_to_look_at(net):
    """What MTA-STS and DANE start from: the name that a certificate must prove, and whether DNSSEC has proved it."""

    @net(TWO, proven=True)
    async def story(net):
        first, second = await net.discovery.hosts(net.mx, "a.test")
        assert (first.name, first.server, first.port, first.addresses) == ("mx", "mx1.a.test", net.port, ("127.0.0.1",))
        assert second.server == "mx2.a.test"
        assert first.authentic and second.authentic
        with pytest.raises(Nowhere, match=r"no domain b\.test"):
            await net.discovery.hosts(net.mx, "b.test")


def test_hosts_that_dns_has_named_are_forgotten_and_their_connections_closed(net, monkeypatch):
    monkeypatch.setattr(upstream, "MAX_IDLE", 0.3)
    monkeypatch.setattr(upstream, "MOST_FOUND", 3)
    records = {(f"d{n}.test", "A"): [f"127.0.0.{n + 1}"] for n in range(6)}

    @net(records)
    async def story(net):
        async with contextlib.AsyncExitStack() as stack:
            peers = [await stack.enter_async_context(net.peer(n + 1)) for n in range(5)]
            for n in range(5):
                assert (await net.one(f"eve@d{n}.test")).disposition is RELAYED
                links = [link for hop in net.upstreams._hops.values() for link in hop.pool.links]
                assert len(links) <= 3, "few connections are kept, however many domains there are"
            assert (await net.one("eve@d5.test")).cause is Cause.CONNECT
            assert len(net.upstreams._contexts) == 1, "one context for all"
            await asyncio.sleep(1.5)  # the dead one is left alone for a second
            assert net.upstreams._hops == {}
            assert all("QUIT" in peer.commands for peer in peers)
