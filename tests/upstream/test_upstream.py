"""One attempt at a next hop that does its worst. Rows of the table of library faults carry their number."""

import asyncio
from dataclasses import replace

import pytest

from relay.entry import Cause, Disposition
from relay.message import BytesBody, Message, parse_bytes
from relay.routing import Route

RELAYED, DEFERRED, REFUSED = Disposition.RELAYED, Disposition.DEFERRED, Disposition.REFUSED


def ends(attempt):
    return [outcome.disposition for outcome in attempt.outcomes]


@pytest.mark.parametrize("features", [("PIPELINING",), ()])
def test_a_mail_and_its_dots(stage, run, features):
    async def story():
        async with stage.peer(features=features) as peer:
            attempt = await stage.attempt(stage.hop(peer), stage.mail("a@example.org", "b@example.org"))
            assert ends(attempt) == [RELAYED, RELAYED]
            assert [str(o.reply) for o in attempt.outcomes] == ["250 2.0.0 kept"] * 2
            assert attempt.outcomes[0].host == f"localhost[127.0.0.1]:{peer.port}"
            assert peer.mails == [(("a@example.org", "b@example.org"), b"Subject: hi\r\n\r\nhello\r\n.dot\r\n")]

    run(story)


def test_pipelining_sends_the_envelope_in_one_write(stage, run):
    async def story():
        async with stage.peer() as peer:
            await stage.attempt(stage.hop(peer), stage.mail("a@example.org", "b@example.org"))
            assert peer.commands[1:5] == [
                "MAIL FROM:<bot@example.com> SIZE=28",
                "RCPT TO:<a@example.org>",
                "RCPT TO:<b@example.org>",
                "DATA",
            ]

    run(story)


STAGES = ["greeting", "EHLO", "MAIL", "RCPT", "DATA", "dot"]


@pytest.mark.parametrize("features", [("PIPELINING",), ()])
@pytest.mark.parametrize("fault", ["DROP", "RESET", "STALL", "GARBAGE", "FLOOD", "421 4.3.2 later", "450 4.2.1 later"])
@pytest.mark.parametrize("at", STAGES)
def test_faults_defer_and_only_the_dot_is_ambiguous(stage, run, at, fault, features):
    """Every transient fault at every stage: the mail waits, and another attempt with a healthy hop succeeds."""

    async def story():
        async with stage.peer(features=features, script={at: fault}) as peer, stage.upstreams() as upstreams:
            route, mail = Route(stage.hop(peer)), stage.mail("a@example.org", "b@example.org")
            attempt = await upstreams.attempt(route, mail)
            assert ends(attempt) == [DEFERRED, DEFERRED], attempt
            unclear = at == "dot" and not fault.startswith("4")
            assert [o.ambiguous for o in attempt.outcomes] == [unclear, unclear]
            assert all(o.reply.transient and str(o.reply).isprintable() for o in attempt.outcomes)
            peer.script.clear()
            peer.mails.clear()
            if at in ("greeting", "EHLO") or fault.startswith("421"):
                await asyncio.sleep(1.1)  # the hop is left alone for a moment
            assert ends(await upstreams.attempt(route, mail)) == [RELAYED, RELAYED]
            assert len(peer.mails) == 1

    run(story)


@pytest.mark.parametrize("features", [("PIPELINING",), ()])
@pytest.mark.parametrize("at", ["MAIL", "DATA", "dot"])
def test_5xx_at_mail_data_and_dot_refuses_everybody(stage, run, at, features):
    async def story():
        async with stage.peer(features=features, script={at: "554 5.7.1 no"}) as peer:
            attempt = await stage.attempt(stage.hop(peer), stage.mail("a@example.org", "b@example.org"))
            assert ends(attempt) == [REFUSED, REFUSED]
            assert {str(o.reply) for o in attempt.outcomes} == {"554 5.7.1 no"}
            assert peer.mails == []

    run(story)


@pytest.mark.parametrize("features", [("PIPELINING",), ()])
def test_promise_2_a_2xx_to_data_has_taken_nothing(stage, run, features):
    """Found by fuzzing: it counted as the answer to the whole mail, of which not one octet had been sent."""

    async def story():
        async with (
            stage.peer(features=features, script={"DATA": "250 2.0.0 ok"}) as peer,
            stage.upstreams() as upstreams,
        ):
            route, mail = Route(stage.hop(peer)), stage.mail("a@example.org", "b@example.org")
            attempt = await upstreams.attempt(route, mail)
            assert ends(attempt) == [DEFERRED, DEFERRED]
            assert {str(o.reply) for o in attempt.outcomes} == {
                "451 4.5.0 the server is out of step: it answered DATA with 250 2.0.0 ok"
            }
            assert not any(o.ambiguous for o in attempt.outcomes)
            peer.script.clear()
            assert ends(await upstreams.attempt(route, mail)) == [RELAYED, RELAYED]
            assert (len(peer.mails), peer.connections) == (1, 2), "over a connection of its own"

    run(story)


@pytest.mark.parametrize("at", ["greeting", "EHLO"])
def test_5xx_before_any_mail_defers(stage, run, at):
    async def story():
        async with stage.peer(script={at: "554 5.7.1 go away", "HELO": "554 5.7.1 go away"}) as peer:
            attempt = await stage.attempt(stage.hop(peer))
            assert ends(attempt) == [DEFERRED]
            assert "554 5.7.1 go away" in attempt.outcomes[0].reply.text

    run(story)


@pytest.mark.parametrize("features", [("PIPELINING",), ()])
def test_B5_C13_each_recipient_has_its_own_answer(stage, run, features):
    async def story():
        script = {
            "RCPT:b@example.org": "550 5.1.1 unknown",
            "RCPT:c@example.org": "450 4.2.1 full",
            "RCPT:d@example.org": "552 too many",
        }
        async with stage.peer(features=features, script=script) as peer:
            attempt = await stage.attempt(stage.hop(peer), stage.mail(*(f"{x}@example.org" for x in "abcde")))
            assert ends(attempt) == [RELAYED, REFUSED, DEFERRED, DEFERRED, RELAYED]
            assert str(attempt.outcomes[1].reply) == "550 5.1.1 unknown"
            assert [o.cause for o in attempt.outcomes] == [Cause.PEER] * 5
            assert peer.mails[0][0] == (
                "a@example.org",
                "b@example.org",
                "c@example.org",
                "d@example.org",
                "e@example.org",
            )

    run(story)


@pytest.mark.parametrize("features", [("PIPELINING",), ()])
def test_B5_a_drop_in_the_middle_keeps_the_answers_so_far(stage, run, features):
    async def story():
        script = {"RCPT:a@example.org": "550 5.1.1 unknown", "RCPT:c@example.org": "DROP"}
        async with stage.peer(features=features, script=script) as peer:
            attempt = await stage.attempt(stage.hop(peer), stage.mail(*(f"{x}@example.org" for x in "abc")))
            assert ends(attempt) == [REFUSED, DEFERRED, DEFERRED]

    run(story)


@pytest.mark.parametrize("features", [("PIPELINING",), ()])
def test_nobody_accepted_sends_no_content_and_the_connection_lives(stage, run, features):
    async def story():
        async with (
            stage.peer(features=features, script={"RCPT": "550 5.1.1 no"}) as peer,
            stage.upstreams() as upstreams,
        ):
            route = Route(stage.hop(peer))
            assert ends(await upstreams.attempt(route, stage.mail())) == [REFUSED]
            peer.script.clear()
            assert ends(await upstreams.attempt(route, stage.mail())) == [RELAYED]
            assert b"hello" in peer.mails[-1][1]
            assert [m for m in peer.mails if m[1]] == [peer.mails[-1]]
            assert peer.connections == 1

    run(story)


@pytest.mark.parametrize("code", ["250 ok", "251 forwarded", "252 maybe", "200 odd", "299 odder"])
@pytest.mark.parametrize("at", ["MAIL", "RCPT", "dot"])
def test_C6_any_2xx_is_success(stage, run, at, code):
    async def story():
        async with stage.peer(script={at: code}) as peer:
            assert ends(await stage.attempt(stage.hop(peer))) == [RELAYED]

    run(story)


def test_a_server_without_esmtp(stage, run):
    async def story():
        async with stage.peer(script={"EHLO": "500 what?"}) as peer:
            assert ends(await stage.attempt(stage.hop(peer))) == [RELAYED]
            assert peer.commands[1] == "HELO relay.example.com"
            assert peer.commands[2] == "MAIL FROM:<bot@example.com>"

    run(story)


def test_many_mails_over_one_connection(stage, run):
    async def story():
        async with stage.peer() as peer, stage.upstreams() as upstreams:
            for _ in range(20):
                assert ends(await upstreams.attempt(Route(stage.hop(peer)), stage.mail())) == [RELAYED]
            assert (peer.connections, len(peer.mails)) == (1, 20)

    run(story)


def test_side_by_side(stage, run):
    async def story():
        async with stage.peer() as peer, stage.upstreams() as upstreams:
            attempts = await asyncio.gather(
                *(upstreams.attempt(Route(stage.hop(peer)), stage.mail(f"a{n}@example.org")) for n in range(60))
            )
            assert [ends(a) for a in attempts] == [[RELAYED]] * 60
            assert sorted(m[0] for m in peer.mails) == sorted((f"a{n}@example.org",) for n in range(60))
            assert peer.connections <= 20

    run(story)


def test_an_idle_connection_that_died_is_replaced(stage, run):
    async def story():
        async with stage.peer() as peer, stage.upstreams() as upstreams:
            route = Route(stage.hop(peer))
            await upstreams.attempt(route, stage.mail())
            for task in peer.tasks:
                task.cancel()
            await asyncio.sleep(0.05)
            assert ends(await upstreams.attempt(route, stage.mail())) == [RELAYED]
            assert peer.connections == 2

    run(story)


def test_B2_a_cancelled_attempt_leaves_nothing_for_the_next(stage, run):
    async def story():
        async with stage.peer(script={"dot": "STALL"}) as peer, stage.upstreams() as upstreams:
            route = Route(stage.hop(peer))
            task = asyncio.create_task(upstreams.attempt(route, stage.mail()))
            while "DATA" not in peer.commands:
                await asyncio.sleep(0.01)
            task.cancel()
            [link] = [link for hop in upstreams._hops.values() for link in hop.pool.links]
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not link.usable, "it is closed at once"
            peer.script.clear()
            attempt = await upstreams.attempt(route, stage.mail("b@example.org"))
            assert ends(attempt) == [RELAYED]
            assert peer.mails[-1][0] == ("b@example.org",)
            assert peer.connections == 2

    run(story)


# --- dead hops -----------------------------------------------------------------------------------------


def test_a_dead_hop_is_not_hammered_by_a_backlog(stage, run):
    async def story():
        async with stage.peer() as peer:
            pass
        async with stage.upstreams() as upstreams:
            for _ in range(50):
                attempt = await upstreams.attempt(Route(stage.hop(peer)), stage.mail())
                assert ends(attempt) == [DEFERRED]
                assert attempt.outcomes[0].cause is Cause.CONNECT
                assert "connect to localhost[127.0.0.1]" in attempt.outcomes[0].reply.text

    run(story)


def test_a_name_that_does_not_resolve_defers(stage, run):
    async def story():
        async with stage.peer() as peer:
            attempt = await stage.attempt(stage.hop(peer, server="no-such-host.invalid"))
            assert ends(attempt) == [DEFERRED]
            assert attempt.outcomes[0].cause is Cause.DNS

    run(story)


def test_a_unix_socket(stage, run, tmp_path):
    async def story():
        async with stage.peer() as peer:
            path = str(tmp_path / "s")
            server = await asyncio.start_unix_server(peer._serve, path)
            attempt = await stage.attempt(stage.hop(peer, server=f"unix:{path}"))
            assert ends(attempt) == [RELAYED]
            assert attempt.outcomes[0].host == f"unix:{path}"
            server.close()

    run(story)


def test_bodies_are_read_again_for_each_attempt(stage, run):
    async def story():
        mail = replace(stage.mail(), message=Message(parse_bytes(b"Subject: x\r\n\r\n").fields, BytesBody(b"once\r\n")))
        async with stage.peer(script={"dot": "450 later"}) as peer, stage.upstreams() as upstreams:
            await upstreams.attempt(Route(stage.hop(peer)), mail)
            peer.script.clear()
            await upstreams.attempt(Route(stage.hop(peer)), mail)
            assert peer.mails[-1][1] == b"Subject: x\r\n\r\nonce\r\n"

    run(story)
