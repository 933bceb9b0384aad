"""The canary: a next hop that falls is an alarm before any mail fails, and what waited is due when it rises."""

import asyncio
import contextlib

import pytest

from relay import canary as room
from relay import journal
from relay.canary import Canary
from relay.entry import Cause, Disposition
from relay.linkfault import LinkFault
from relay.manners import Manners
from relay.options import Secret
from relay.routing import OUTBOX, Route, Upstream


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    for name, seconds in (("TICK", 0.01), ("BEGIN", 0.01), ("AGAIN", 0.03)):
        monkeypatch.setattr(room, name, seconds)


@pytest.fixture
def said(monkeypatch):
    lines = []
    for level in ("alarm", "warning", "info"):
        monkeypatch.setattr(journal, level, lambda *words, level=level: lines.append((level, words[-1])))
    return lines


@contextlib.asynccontextmanager
async def watched(upstreams, *hops, resting=()):
    due = []

    async def due_again(names, why, causes):
        due.append((list(names), why, set(causes)))
        return 7

    canary = Canary(upstreams, lambda: hops, lambda hop: hop.name in resting, due_again)
    canary.start()
    try:
        yield due
    finally:
        canary.stop()


async def until(true):
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.01)


def test_a_look_is_connect_log_in_noop_and_quit_and_is_not_repeated_at_once(stage, tls, run, said):
    async def story():
        async with stage.peer(certificate=tls()) as peer, stage.upstreams() as upstreams:
            hop = stage.secured(peer, manners=Manners(canary=60.0))
            async with watched(upstreams, hop, Upstream(OUTBOX, path="x")) as due:
                await until(lambda: "QUIT" in peer.commands)
                await asyncio.sleep(0.2)
            verbs = [command.split()[0] for command in peer.commands]
            assert verbs == ["EHLO", "STARTTLS", "EHLO", "AUTH", "NOOP", "QUIT"]
            assert (peer.connections, said, due) == (1, [], [])

    run(story)


@pytest.mark.parametrize(
    ("script", "cause"),
    [
        ({"greeting": "421 4.3.2 down"}, "connect"),
        ({"AUTH": "535 5.7.8 wrong"}, "auth"),
        ({"NOOP": "421 4.3.2 no"}, "connect"),
        ({"NOOP": "DROP"}, "connect"),
    ],
)
def test_a_fall_is_one_alarm_and_mail_that_comes_then_waits_at_once(stage, tls, run, said, script, cause):
    async def story():
        async with stage.peer(certificate=tls(), script=script) as peer, stage.upstreams() as upstreams:
            hop = stage.secured(peer, manners=Manners(canary=60.0))
            async with watched(upstreams, hop) as due:
                await until(lambda: said)
                [(level, text)] = said
                assert level == "alarm" and text.startswith(f"next hop hop can not be used ({cause}), its mail waits: ")
                assert upstreams.state_of(hop).trouble is not None
                known = peer.connections
                attempt = await upstreams.attempt(Route(hop), stage.mail())
                assert attempt.outcomes[0].disposition is Disposition.DEFERRED
                assert peer.connections == known, "it is known to be down"
                peer.script.clear()
                upstreams.forgive(["hop"])
                await until(lambda: due)
                assert due == [(["hop"], "next hop hop takes mail again", set(room.WAYS))]
                await until(lambda: said[1:])
                assert said[1:] == [("info", "next hop hop takes mail again; 7 mails are due")]
                assert upstreams.state_of(hop).trouble is None

    run(story)


def test_mail_that_waited_for_a_wrong_password_is_due_as_soon_as_a_reload_has_the_right_one(stage, tls, run, said):
    async def story():
        script = {"AUTH": "535 5.7.8 wrong"}
        async with stage.peer(certificate=tls(), script=script) as peer, stage.upstreams() as upstreams:
            hop = stage.secured(peer, password=Secret("wrong"))
            async with watched(upstreams, hop) as due:
                await until(lambda: said)
                assert due == []
            peer.script.clear()
            async with watched(upstreams, stage.secured(peer)) as due:
                await until(lambda: due)
                assert due == [(["hop"], "next hop hop takes mail again", set(room.WAYS))]
                assert upstreams.state_of(stage.secured(peer)).trouble is None

    run(story)


def test_a_refused_password_is_looked_at_once_a_minute(stage, tls, run, said):
    async def story():
        async with stage.peer(certificate=tls(), script={"AUTH": "535 5.7.8 wrong"}) as peer:
            async with stage.upstreams() as upstreams:
                async with watched(upstreams, stage.secured(peer)):
                    await asyncio.sleep(0.5)
                assert peer.auths == 1

    run(story)


def test_mail_that_leaves_is_proof_enough_and_one_that_rests_is_left_alone(stage, run, said):
    async def story():
        async with stage.peer() as peer, stage.peer() as other, stage.upstreams() as upstreams:
            hop, resting = stage.hop(peer, manners=Manners(canary=0.3)), stage.hop(other)
            never = Upstream("never", "localhost", other.port, manners=Manners(canary=None))
            await upstreams.attempt(Route(hop), stage.mail())
            async with watched(upstreams, hop, Upstream("r", "localhost", resting.port), never, resting=("r",)):
                for _ in range(8):
                    await asyncio.sleep(0.1)
                    await upstreams.attempt(Route(hop), stage.mail())
                assert "NOOP" not in peer.commands
                await until(lambda: "NOOP" in peer.commands)
            assert other.connections == 0

    run(story)


def test_a_hop_that_falls_again_and_again_is_not_an_alarm_each_time(stage, run, said):
    async def story():
        async with stage.peer() as peer, stage.upstreams() as upstreams:
            hop = stage.hop(peer, manners=Manners(canary=0.05))
            async with watched(upstreams, hop):
                for _ in range(3):
                    peer.script["greeting"] = "554 no"
                    await until(lambda: upstreams.state_of(hop).trouble)
                    peer.script.clear()
                    upstreams.forgive(["hop"])
                    await until(lambda: not upstreams.state_of(hop).trouble)
            assert [level for level, text in said if "can not be used" in text] == ["alarm", "warning", "warning"]

    run(story)


def test_one_slow_next_hop_keeps_no_other_from_its_look(stage, run, said):
    async def story():
        async with stage.peer(script={"greeting": "STALL"}) as slow, stage.peer() as peer:
            async with stage.upstreams() as upstreams:
                hop = Upstream("other", "localhost", peer.port, tls="none")
                async with watched(upstreams, stage.hop(slow), hop):
                    await until(lambda: "NOOP" in peer.commands)

    run(story)


def test_a_held_sender_whose_mail_is_taken_again_has_the_rest_due(stage, run, said):
    async def story():
        script = {"MAIL": "550 5.7.60 SMTP; Client does not have permissions to send as this sender"}
        async with stage.peer(script=script) as peer, stage.upstreams() as upstreams:
            hop = stage.hop(peer)
            async with watched(upstreams, hop) as due:
                await until(lambda: "NOOP" in peer.commands)
                await upstreams.attempt(Route(hop), stage.mail())
                peer.script.clear()
                upstreams.forgive(["hop"])
                await upstreams.attempt(Route(hop), stage.mail())
                await until(lambda: due)
                assert due[0][2] == {Cause.PAUSED}

    run(story)


@pytest.mark.parametrize("reply", ["250 ok", "502 5.5.1 what?"])
def test_a_server_that_does_not_know_noop_is_alive_all_the_same(stage, run, reply):
    async def story():
        async with stage.peer(script={"NOOP": reply}) as peer, stage.upstreams() as upstreams:
            await upstreams.probe(stage.hop(peer))
            assert upstreams.state_of(stage.hop(peer)).trouble is None
            peer.script["NOOP"] = "421 4.3.2 busy"
            with pytest.raises(LinkFault, match="to NOOP the server said 421"):
                await upstreams.probe(stage.hop(peer))

    run(story)
