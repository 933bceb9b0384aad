"""Mail over an upstream with tokens: a peer that takes the current one only, and every way in which one goes bad."""

import asyncio
import time

import pytest

from relay.entry import Cause, Disposition
from relay.oauth.client import Grant
from relay.routing import Route
from tests.oauth.test_renewal import put

RELAYED, DEFERRED = Disposition.RELAYED, Disposition.DEFERRED
PERSON = Grant.AUTHORIZATION_CODE


def only(attempt):
    [outcome] = attempt.outcomes
    return outcome


@pytest.mark.parametrize(
    ("offers", "pinned", "used"),
    [
        ("PLAIN LOGIN XOAUTH2", "", "XOAUTH2"),
        ("PLAIN XOAUTH2 OAUTHBEARER", "", "OAUTHBEARER"),
        ("PLAIN XOAUTH2 OAUTHBEARER", "xoauth2", "XOAUTH2"),
    ],
)
def test_a_log_in_with_a_token(mail, client, token_server, run, offers, pinned, used):
    async def story():
        async with mail.peer(auth=offers) as peer:
            upstreams = mail.upstreams()
            attempt = await upstreams.attempt(Route(mail.hop(peer, client(), auth=pinned)), mail.stage.mail())
            assert only(attempt).disposition is RELAYED
            assert [line.split()[1] for line in peer.commands if line.startswith("AUTH")] == [used]
            assert token_server.current.encode() not in peer.clear
            await upstreams.close()

    run(story)


@pytest.mark.parametrize("offers", ["PLAIN LOGIN", ""])
def test_a_server_without_tokens_gets_no_password_and_no_token(mail, client, token_server, run, offers):
    async def story():
        async with mail.peer(auth=offers) as peer:
            outcome = only(await mail.upstreams().attempt(Route(mail.hop(peer, client())), mail.stage.mail()))
            assert (outcome.disposition, outcome.cause, peer.auths) == (DEFERRED, Cause.AUTH, 0)
            assert "offers no AUTH that we know (OAUTHBEARER, XOAUTH2)" in outcome.reply.text

    run(story)


def test_the_token_ends_in_mid_queue(mail, client, store, clock, token_server, run):
    """The mail server takes the new token only; mail that comes with the old one gets out by one renewal."""
    who = client(PERSON)
    token_server.refresh, token_server.current = "refresh-0", "access-0"
    put(store, who, clock)

    async def story():
        mail.keeper.use([])
        async with mail.peer() as peer:
            hop = mail.hop(peer, who)
            mail.keeper.use([hop])
            upstreams = mail.upstreams()
            assert only(await upstreams.attempt(Route(hop), mail.stage.mail())).disposition is RELAYED
            await upstreams.close()
            token_server.current = "another"  # the provider has ended it before its time
            attempts = await asyncio.gather(*(upstreams.attempt(Route(hop), mail.stage.mail()) for _ in range(5)))
            assert {only(a).disposition for a in attempts} == {RELAYED}
            assert len(peer.mails) == 6
            assert len(token_server.forms()) == 1
            await upstreams.close()

    run(story)


@pytest.mark.parametrize("mechanism", ["XOAUTH2", "OAUTHBEARER"])
def test_at_most_one_forced_renewal_and_the_servers_words(mail, client, token_server, run, mechanism):
    async def story():
        async with mail.peer(auth=mechanism) as peer:
            hop = mail.hop(peer, client())
            mail.keeper.use([hop])
            upstreams = mail.upstreams()
            token_server.issue = lambda refresh=True, real=token_server.issue: (
                200,
                real(refresh=refresh)[1] | {"expires_in": 3600},
                setattr(token_server, "current", "never"),
            )[:2]
            for _ in range(3):
                outcome = only(await upstreams.attempt(Route(hop), mail.stage.mail()))
                assert (outcome.disposition, outcome.cause) == (DEFERRED, Cause.AUTH)
                text = outcome.reply.text
                assert "log-in as me@example.com refused: 535 5.7.8 not accepted" in text
                assert '{"status":"401","schemes":"bearer","scope":"https://mail.example.com/"}' in text
                assert "access-" not in text
            assert len(token_server.forms()) == 2  # the first token, and one forced renewal
            assert peer.auths == 2
            assert peer.mails == []

    run(story)


def test_a_revoked_sign_in_defers_as_token_and_leaves_the_mail_server_alone(
    mail, client, store, clock, token_server, run, caplog
):
    who = client(PERSON)
    put(store, who, clock, refresh="revoked", access="revoked-too")

    async def story():
        async with mail.peer() as peer:
            hop = mail.hop(peer, who)
            mail.keeper.use([hop])
            upstreams = mail.upstreams()
            outcome = only(await upstreams.attempt(Route(hop), mail.stage.mail()))
            assert (outcome.disposition, outcome.cause) == (DEFERRED, Cause.AUTH)
            upstreams.forgive(["hop"])
            for _ in range(3):
                outcome = only(await upstreams.attempt(Route(hop), mail.stage.mail()))
                assert (outcome.disposition, outcome.cause) == (DEFERRED, Cause.TOKEN)
                assert outcome.cause.ours_to_mend  # kept, and HELD at its lifetime's end; never bounced
                assert "type: tracker-relay auth login hop" in outcome.reply.text
            assert (peer.auths, peer.connections) == (1, 1)
            put(store, who, clock, access="access-new")
            token_server.current = "access-new"
            assert only(await upstreams.attempt(Route(hop), mail.stage.mail())).disposition is RELAYED
            await upstreams.close()

    run(story)
    assert caplog.text.count("ALARM") == 1
    assert "revoked-too" not in caplog.text


def test_a_token_server_that_is_down_defers_and_does_not_block_the_hop(mail, client, token_server, run):
    token_server.script["token"] = [(503, "")]

    async def story():
        async with mail.peer() as peer:
            hop = mail.hop(peer, client())
            mail.keeper.use([hop])
            upstreams = mail.upstreams()
            started = time.monotonic()
            for _ in range(5):
                outcome = only(await upstreams.attempt(Route(hop), mail.stage.mail()))
                assert (outcome.disposition, outcome.cause) == (DEFERRED, Cause.TOKEN)
            assert time.monotonic() - started < 2
            assert (len(token_server.forms()), peer.connections) == (1, 0)
            mail.keeper._kept[hop.oauth.mark].until = 0.0
            assert only(await upstreams.attempt(Route(hop), mail.stage.mail())).disposition is RELAYED
            await upstreams.close()

    run(story)


def test_promise_6_a_token_crosses_verified_tls_only(mail, client, run, monkeypatch):
    monkeypatch.setattr("relay.tls.is_local", lambda _: False)

    async def story():
        for options in ({"tls": "none"}, {"tls": "opportunistic"}, {"tls": "starttls", "proof": "none"}):
            async with mail.peer(certificate=None if options["tls"] == "none" else mail.tls()) as peer:
                outcome = only(
                    await mail.upstreams().attempt(Route(mail.hop(peer, client(), **options)), mail.stage.mail())
                )
                assert (outcome.disposition, outcome.cause, peer.auths) == (DEFERRED, Cause.TLS, 0)

    run(story)
