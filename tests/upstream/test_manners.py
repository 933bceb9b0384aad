"""Limits, throttling, and refusals that are about us, over real connections to a scripted next hop."""

import asyncio

import pytest

from relay import journal
from relay.entry import Cause, Disposition
from relay.manners import Manners
from relay.routing import Route

RELAYED, DEFERRED, REFUSED = Disposition.RELAYED, Disposition.DEFERRED, Disposition.REFUSED


def ends(attempt):
    return [outcome.disposition for outcome in attempt.outcomes]


class Facts(dict):
    """What the spool remembers; each write counted."""

    writes = 0

    async def remember(self, key, value, until):
        self.writes += 1
        self[key] = value

    async def recall(self, key):
        return self.get(key)


@pytest.fixture
def alarms(monkeypatch):
    said = []
    monkeypatch.setattr(journal, "alarm", said.append)
    return said


def test_connections_mails_over_each_and_their_age(stage, run):
    async def story():
        async with stage.peer() as peer, stage.upstreams() as upstreams:
            hop = stage.hop(peer, manners=Manners(connections=2, mails=3))
            await asyncio.gather(*(upstreams.attempt(Route(hop), stage.mail()) for _ in range(12)))
            assert len(peer.mails) == 12 and peer.connections in (4, 5)
        async with stage.peer() as peer, stage.upstreams() as upstreams:
            hop = stage.hop(peer, manners=Manners(connections=2))
            await asyncio.gather(*(upstreams.attempt(Route(hop), stage.mail()) for _ in range(30)))
            assert len(peer.mails) == 30 and peer.connections == 2
        async with stage.peer() as peer, stage.upstreams() as upstreams:
            hop = stage.hop(peer, manners=Manners(connections=1, age=0.2))
            for _ in range(3):
                assert ends(await upstreams.attempt(Route(hop), stage.mail())) == [RELAYED]
            assert peer.connections == 1
            await asyncio.sleep(0.25)
            async with asyncio.timeout(1):  # an old one in the only place keeps no mail waiting
                assert ends(await upstreams.attempt(Route(hop), stage.mail())) == [RELAYED]
            assert peer.connections == 2

    run(story)


def test_mails_a_minute_are_counted_for_the_account_whatever_the_next_hops_are_named(stage, run, monkeypatch):
    monkeypatch.setattr("relay.manners.MINUTE", 0.6)
    monkeypatch.setattr("relay.account.MOST_WAIT", 0.9)

    async def story():
        async with stage.peer() as peer, stage.upstreams() as upstreams:
            hops = [stage.hop(peer, manners=Manners(per_minute=4, connections=n)) for n in (5, 6)]
            began = asyncio.get_running_loop().time()
            tries = (upstreams.attempt(Route(hop), stage.mail()) for hop in hops for _ in range(6))
            attempts = await asyncio.gather(*tries)
            done = [attempt for attempt in attempts if ends(attempt) == [RELAYED]]
            assert (len(done), len(peer.mails)) == (8, 8)
            assert 0.55 < asyncio.get_running_loop().time() - began < 1.5
            waiting = [attempt.outcomes[0] for attempt in attempts if attempt not in done]
            assert {outcome.cause for outcome in waiting} == {Cause.TURN}
            assert "takes 4 mails a minute: try again in" in waiting[0].reply.text

    run(story)


def test_recipients_of_a_day_are_counted_across_restarts_and_said_once(stage, run, alarms):
    async def story():
        facts = Facts()
        async with stage.peer() as peer:
            hop = stage.hop(peer, manners=Manners(per_day=10))
            for expected in (RELAYED, RELAYED, RELAYED, DEFERRED):
                async with stage.upstreams() as upstreams:
                    upstreams.memory = facts
                    attempt = await upstreams.attempt(Route(hop), stage.mail(*(f"{x}@example.org" for x in "abc")))
                    assert set(ends(attempt)) == {expected}
            assert attempt.outcomes[0].cause is Cause.PAUSED
            assert "10 recipients of 24 hours" in attempt.outcomes[0].reply.text
            assert len(peer.mails) == 3
            assert len(alarms) == 1 and "recipients_per_day" in alarms[0]

    run(story)


def test_other_limits_of_an_account_count_from_the_next_mail_on_and_forget_no_count(stage, run):
    async def story():
        async with stage.peer() as peer, stage.upstreams() as upstreams:

            async def sent(**limits):
                return ends(await upstreams.attempt(Route(stage.hop(peer, manners=Manners(**limits))), stage.mail()))

            assert [await sent(per_day=2) for _ in range(3)] == [[RELAYED], [RELAYED], [DEFERRED]]
            assert [await sent(per_day=3) for _ in range(2)] == [[RELAYED], [DEFERRED]]
            assert await sent(per_day=2) == [DEFERRED]
            assert await sent(per_day=4, per_minute=1) == [RELAYED]

    run(story)


@pytest.mark.parametrize("script", [{"RCPT": "450 4.2.1 later"}, {"dot": "451 4.3.0 no"}, {"greeting": "421 4.3.2 no"}])
def test_a_server_that_takes_nothing_uses_up_no_share_of_the_day(stage, run, script):
    async def story():
        facts = Facts()
        async with stage.peer(script=dict(script)) as peer:
            route = Route(stage.hop(peer, manners=Manners(per_day=2)))
            async with stage.upstreams() as upstreams:
                upstreams.memory = facts
                for _ in range(4):
                    attempt = await upstreams.attempt(route, stage.mail())
                    assert ends(attempt) == [DEFERRED] and attempt.outcomes[0].cause is not Cause.PAUSED
                    upstreams.forgive(["hop"])
                peer.script.clear()
                assert [ends(await upstreams.attempt(route, stage.mail())) for _ in "ab"] == [[RELAYED], [RELAYED]]
            async with stage.upstreams() as upstreams:
                upstreams.memory = facts
                assert ends(await upstreams.attempt(route, stage.mail())) == [DEFERRED], "two are two after a restart"

    run(story)


@pytest.mark.parametrize("at", ["MAIL", "RCPT", "DATA", "dot"])
def test_a_sender_that_we_may_not_use_holds_his_mail_and_bounces_nothing(stage, run, alarms, at):
    async def story():
        no = "554 5.2.252 SendAsDenied; bot@example.com not allowed to send as x"
        async with stage.peer(script={at: no}) as peer, stage.upstreams() as upstreams:
            route = Route(stage.hop(peer))
            for _ in range(3):
                attempt = await upstreams.attempt(route, stage.mail("a@example.org", "b@example.org"))
                assert ends(attempt) == [DEFERRED, DEFERRED]
                assert {o.cause for o in attempt.outcomes} == {Cause.PAUSED}
                assert str(attempt.outcomes[0].reply) == no
            asked = sum(command.startswith("MAIL") for command in peer.commands)
            assert asked == 1, "one mail has asked, the others wait"
            assert alarms == [f"next hop hop: mail from <bot@example.com> waits, since it says: {no}"]
            assert upstreams.state_of(route.upstream).holds == (alarms[0].removeprefix("next hop hop: "),)
            peer.script.clear()
            other = await upstreams.attempt(route, stage.mail(sender="eve@example.com"))
            assert ends(other) == [RELAYED], "another sender's mail goes on"
            assert ends(await upstreams.attempt(route, stage.mail())) == [DEFERRED]
            upstreams.forgive(["hop"])
            assert ends(await upstreams.attempt(route, stage.mail())) == [RELAYED]
            assert upstreams.state_of(route.upstream).holds == ()

    run(story)


@pytest.mark.parametrize("no", ["550 5.4.5 Daily user sending limit exceeded", "454 Throttling failure: Daily message quota exceeded."])  # fmt: skip
def test_a_days_share_that_is_used_up_holds_all_its_mail(stage, run, alarms, no):
    async def story():
        async with stage.peer(script={"dot": no}) as peer, stage.upstreams() as upstreams:
            route = Route(stage.hop(peer))
            for sender in ("bot@example.com", "eve@example.com", ""):
                attempt = await upstreams.attempt(route, stage.mail(sender=sender))
                assert (ends(attempt), attempt.outcomes[0].cause) == ([DEFERRED], Cause.PAUSED)
            assert sum(command.startswith("MAIL") for command in peer.commands) == 1
            assert len(alarms) == 1

    run(story)


def test_a_recipient_that_is_refused_for_himself_is_refused(stage, run, alarms):
    async def story():
        script = {"RCPT:a@example.org": "550 5.1.1 unknown", "RCPT:b@example.org": "552 5.2.2 over quota"}
        async with stage.peer(script=script) as peer, stage.upstreams() as upstreams:
            route = Route(stage.hop(peer))
            attempt = await upstreams.attempt(route, stage.mail("a@example.org", "b@example.org", "c@example.org"))
            assert ends(attempt)[0] is REFUSED and ends(attempt)[2] is RELAYED
            assert ends(await upstreams.attempt(route, stage.mail())) == [RELAYED]
            assert alarms == []

    run(story)


@pytest.mark.parametrize("at", ["MAIL", "dot"])
def test_too_much_is_a_pause_for_the_next_hop_as_long_as_it_asks(stage, run, at):
    async def story():
        script = {at: "432 4.3.2 Concurrent connections limit exceeded, try again in 2 seconds"}
        async with stage.peer(script=script) as peer, stage.upstreams() as upstreams:
            route = Route(stage.hop(peer))
            assert ends(await upstreams.attempt(route, stage.mail())) == [DEFERRED]
            peer.script.clear()
            attempt = await upstreams.attempt(route, stage.mail())
            assert (ends(attempt), attempt.outcomes[0].cause) == ([DEFERRED], Cause.CONNECT)
            assert sum(command.startswith("MAIL") for command in peer.commands) == 1
            await asyncio.sleep(2.0)
            assert ends(await upstreams.attempt(route, stage.mail())) == [RELAYED]

    run(story)


def test_who_waits_for_a_place_hears_of_the_pause_too(stage, run):
    """One is woken for each mail that ends: he gives up, and no mail of his would wake the others."""

    async def story():
        script = {"MAIL": "450 4.7.0 too many mails, slow down"}
        async with stage.peer(script=script) as peer, stage.upstreams() as upstreams:
            route = Route(stage.hop(peer, manners=Manners(connections=1)))
            async with asyncio.timeout(5):
                attempts = await asyncio.gather(*(upstreams.attempt(route, stage.mail()) for _ in range(20)))
            assert {end for attempt in attempts for end in ends(attempt)} == {DEFERRED}
            assert sum(command.startswith("MAIL") for command in peer.commands) <= 2

    run(story)


def test_greylisting_is_no_reason_to_leave_the_next_hop_alone(stage, run):
    async def story():
        script = {"RCPT:a@example.org": "450 4.7.1 Greylisted, try again in 300 seconds"}
        async with stage.peer(script=script) as peer, stage.upstreams() as upstreams:
            route = Route(stage.hop(peer))
            assert ends(await upstreams.attempt(route, stage.mail("a@example.org"))) == [DEFERRED]
            assert ends(await upstreams.attempt(route, stage.mail("b@example.org"))) == [RELAYED]

    run(story)


def test_a_further_connection_refused_is_no_failure_while_others_stand(stage, run):
    async def story():
        def greeting(peer):
            return "421 4.3.2 too many connections" if peer.connections > 2 else "220 peer ESMTP"

        async with stage.peer(script={"greeting": greeting}, features=()) as peer:
            async with stage.upstreams() as upstreams:
                route = Route(stage.hop(peer))
                await upstreams.attempt(route, stage.mail())
                attempts = await asyncio.gather(*(upstreams.attempt(route, stage.mail()) for _ in range(30)))
                known = peer.connections
                attempts += await asyncio.gather(*(upstreams.attempt(route, stage.mail()) for _ in range(30)))
                assert {end for attempt in attempts for end in ends(attempt)} == {RELAYED}
                assert len(peer.mails) == 61
                assert peer.connections == known, "and for a while it is asked for none"

    run(story)


def test_a_421_for_the_next_mail_on_a_used_connection_is_about_the_connection(stage, run):
    async def story():
        async with stage.peer() as peer, stage.upstreams() as upstreams:
            route = Route(stage.hop(peer))
            await upstreams.attempt(route, stage.mail())
            peer.script["MAIL"] = lambda p: "421 4.4.2 idle for too long" if p.connections == 1 else "250 2.1.0 ok"
            assert ends(await upstreams.attempt(route, stage.mail())) == [RELAYED]
            assert peer.connections == 2

    run(story)


def test_a_password_changed_meanwhile_is_tried_once_a_minute_by_a_long_queue(stage, tls, run, monkeypatch):
    async def story():
        async with stage.peer(certificate=tls(), script={"AUTH": "535 5.7.8 no"}) as peer:
            async with stage.upstreams() as upstreams:
                route = Route(stage.secured(peer))
                attempts = await asyncio.gather(*(upstreams.attempt(route, stage.mail()) for _ in range(200)))
                assert {o.cause for attempt in attempts for o in attempt.outcomes} == {Cause.AUTH}
                assert peer.auths == 1
                upstreams.forgive(["hop"])
                await asyncio.gather(*(upstreams.attempt(route, stage.mail()) for _ in range(200)))
                assert peer.auths == 2, "an administrator's word is one further try"

    run(story)
