"""A next hop named by SRV records: over the wire, with TLS and a log-in, and what a forged answer can not do."""

import asyncio
import time

import pytest

from relay.entry import Cause, Disposition
from relay.manners import Manners
from relay.options import Secret
from relay.routing import Route, Upstream
from relay.services import EITHER
from tests.nameserver import SERVFAIL

RELAYED, DEFERRED = Disposition.RELAYED, Disposition.DEFERRED
IMPLICIT, STARTTLS = ("_submissions._tcp.localhost", "SRV"), ("_submission._tcp.localhost", "SRV")
HERE = {("localhost", "A"): ["127.0.0.1"], ("spare.localhost", "A"): ["127.0.0.2"]}


def hop(stage, tls=EITHER, **more):
    """Of the domain `localhost`, whose certificate the peers have; with a log-in."""
    named = {"server": "srv:localhost", "port": 0, "user": "me", "password": Secret("hunter2"), **more}
    return Upstream("corp", tls=tls, ca_file=str(stage.certificates / "ca.pem"), **named)


async def send(net, upstream):
    attempt = await net.discovery.attempt(Route(upstream), net.stage.mail())
    [outcome] = attempt.outcomes
    assert attempt.upstream == "corp"
    return outcome


def test_RFC_8314_the_implicit_service_is_taken_and_logged_in_to(net, tls):
    @net(HERE)
    async def story(net):
        async with (
            net.stage.peer(certificate=tls(), implicit=True) as secure,
            net.stage.peer(certificate=tls()) as plain,
        ):
            net.zone.records |= {
                IMPLICIT: [f"9 0 {secure.port} localhost."],
                STARTTLS: [f"0 0 {plain.port} localhost."],
            }
            outcome = await send(net, hop(net.stage))
            assert (outcome.disposition, outcome.host) == (RELAYED, f"localhost[127.0.0.1]:{secure.port}")
            assert (secure.auths, plain.connections) == (1, 0)
            assert (await send(net, hop(net.stage, "starttls"))).disposition is RELAYED
            assert (plain.auths, secure.connections) == (1, 1)


@pytest.mark.parametrize("implicit", [["0 0 0 ."], None, SERVFAIL])
def test_starttls_where_the_other_is_not_offered_and_never_less(net, tls, implicit):
    @net(HERE)
    async def story(net):
        async with net.stage.peer(certificate=tls()) as peer:
            net.zone.records |= {IMPLICIT: implicit} if implicit else {}
            net.zone.records[STARTTLS] = [f"0 0 {peer.port} localhost."]
            assert (await send(net, hop(net.stage))).disposition is RELAYED
            assert b"hunter2" not in peer.clear and peer.auths == 1
            peer.starttls = False
            await net.upstreams.close()
            outcome = await send(net, hop(net.stage))
            assert (outcome.disposition, outcome.cause) == (DEFERRED, Cause.TLS)
            assert b"AUTH" not in peer.clear and b"hello" not in peer.clear


def test_promise_6_a_forged_record_gets_neither_password_nor_mail(net, tls):
    """Its certificate is a good one: for its own name."""

    @net({("localhost.evil.test", "A"): ["127.0.0.1"], ("other.localhost", "A"): ["127.0.0.1"]})
    async def story(net):
        async with net.stage.peer(certificate=tls("othername"), implicit=True) as evil:
            net.zone.records[IMPLICIT] = [f"0 0 {evil.port} localhost.evil.test."]
            outcome = await send(net, hop(net.stage))
            assert outcome.disposition is DEFERRED
            assert outcome.reply.text == (
                "DNS names localhost.evil.test, outside of localhost and not proved by DNSSEC:"
                " if that is right, set srv_targets = localhost.evil.test"
            )
            assert evil.connections == 0
            net.zone.records[("_submissions._tcp.localhost", "SRV")] = [f"0 0 {evil.port} other.localhost."]
            net.discovery.resolver._base = None  # forget what is cached
            outcome = await send(net, hop(net.stage))
            assert (outcome.disposition, outcome.cause) == (DEFERRED, Cause.TLS)
            assert evil.auths == 0 and evil.secured == b""


@pytest.mark.parametrize("vouched", ["proven", "srv_targets"])
def test_a_host_outside_of_the_domain_that_is_vouched_for(net, tls, vouched):
    @net(HERE, proven=vouched == "proven")
    async def story(net):
        async with net.stage.peer(certificate=tls(), implicit=True) as peer:
            net.zone.records[("_submissions._tcp.a.test", "SRV")] = [f"0 0 {peer.port} localhost."]
            targets = ("localhost",) if vouched == "srv_targets" else ()
            assert (await send(net, hop(net.stage, server="srv:a.test", targets=targets))).disposition is RELAYED


def test_the_next_host_stands_in_and_a_refused_password_is_said_once(net, tls):
    @net({**HERE, ("localhost", "AAAA"): []})
    async def story(net):
        async with net.peer(1, certificate=tls()) as first:
            net.zone.records[STARTTLS] = [f"0 0 {net.port + 1} localhost.", f"1 0 {net.port} localhost."]
            assert (await send(net, hop(net.stage))).disposition is RELAYED
            assert len(first.mails) == 1
        async with (
            net.peer(1, certificate=tls(), script={"AUTH": "535 5.7.8 no"}) as first,
            net.stage.peer(certificate=tls()) as second,
        ):
            net.discovery.resolver._base = None
            net.zone.records[STARTTLS] = [f"0 0 {net.port} localhost.", f"1 0 {second.port} localhost."]
            await net.upstreams.close()
            outcome = await send(net, hop(net.stage))
            assert (outcome.disposition, outcome.cause) == (DEFERRED, Cause.AUTH)
            assert (first.auths, second.auths) == (1, 0)


@pytest.mark.parametrize(
    "records, said",
    [
        ({}, "localhost offers no _submissions._tcp and no _submission._tcp"),
        ({IMPLICIT: SERVFAIL}, "SRV of _submissions._tcp.localhost: the resolver answers SERVFAIL"),
        ({IMPLICIT: ["0 0 465 gone.localhost."]}, "gone.localhost: no address"),
        ({IMPLICIT: ["0 0 465 b.localhost."], ("b.localhost", "A"): SERVFAIL}, "A of b.localhost: the resolver answers SERVFAIL"),
    ],
)  # fmt: skip
def test_where_dns_names_no_host_the_mail_waits(net, records, said):
    @net(records)
    async def story(net):
        upstream = hop(net.stage)
        outcome = await send(net, upstream)
        assert (outcome.disposition, outcome.cause, outcome.reply.text) == (DEFERRED, Cause.DNS, said)
        state = net.upstreams.state_of(upstream)
        assert (state.trouble, state.cause) == (outcome.reply, Cause.DNS)


def test_how_it_stands_with_all_hosts_of_one(net, tls):
    @net({**HERE, ("localhost", "AAAA"): []})
    async def story(net):
        now = iter(range(100))
        net.upstreams.clock = net.discovery.clock = lambda: float(next(now))
        async with net.peer(1, certificate=tls()):
            net.zone.records[STARTTLS] = [f"0 0 {net.port + 1} localhost.", f"1 0 {net.port} localhost."]
            upstream = hop(net.stage)
            await send(net, upstream)
            state = net.upstreams.state_of(upstream)
            assert (state.connections, state.trouble) == (1, None), "another host has stood in"
            assert state.used_at > 0
        await asyncio.sleep(0.1)  # until the end of its connection is seen
        assert (await send(net, upstream)).disposition is DEFERRED
        assert net.upstreams.state_of(upstream).cause is Cause.CONNECT


def test_a_hop_that_was_down_is_tried_out_by_one_mail_while_another_can_stand_in(stage, run):
    async def story():
        async with stage.peer() as good, stage.upstreams() as upstreams:
            async with stage.peer() as gone:
                pass
            slow = stage.hop(gone, server="127.0.0.1")
            route_ = Route(slow, (stage.hop(good),))
            assert (await upstreams.attempt(route_, stage.mail())).outcomes[0].disposition is DEFERRED
            async with stage.peer(port=gone.port, script={"greeting": "STALL"}) as gone:
                await asyncio.sleep(1.1)  # its first pause is over
                first = asyncio.create_task(upstreams.attempt(route_, stage.mail()))
                while not gone.connections:
                    await asyncio.sleep(0.01)
                began = time.monotonic()
                second = await upstreams.attempt(route_, stage.mail("kim@example.org"))
                assert second.outcomes[0].cause is Cause.CONNECT
                assert time.monotonic() - began < 0.5, "it goes to the other one at once"
                assert gone.connections == 1
                alone = asyncio.create_task(upstreams.attempt(Route(slow), stage.mail("ann@example.org")))
                await asyncio.sleep(0.05)
                assert not alone.done(), "without another one it waits for the answer"
                await first
                await alone
            async with stage.peer(port=gone.port):
                await asyncio.sleep(2.1)
                assert (await upstreams.attempt(route_, stage.mail())).outcomes[0].disposition is RELAYED, "it is back"

    run(story)


def test_what_a_log_in_may_send_in_a_day_is_counted_for_all_hosts_of_its_domain_together(net, tls):
    @net(HERE)
    async def story(net):
        secure = {"certificate": tls(), "implicit": True}
        async with net.stage.peer(**secure) as first, net.stage.peer(**secure) as second:
            net.zone.records[IMPLICIT] = [f"0 0 {first.port} localhost.", f"9 0 {second.port} localhost."]
            limited = hop(net.stage, manners=Manners(per_day=2))
            ends = [await send(net, limited) for _ in range(4)]
            assert [end.disposition for end in ends] == [RELAYED, RELAYED, DEFERRED, DEFERRED]
            assert {end.cause for end in ends[2:]} == {Cause.PAUSED}
            assert (len(first.mails), len(second.mails)) == (2, 0)
