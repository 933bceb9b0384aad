"""OAuth2: the token's state before the session, one log-in with it, and what the server says of it."""

import time

import pytest

from relay import doctor
from relay.doctor.hop import Hop
from relay.doctor.token import token
from relay.oauth.client import Grant
from relay.oauth.replies import Tokens
from relay.oauth.stored import Stored
from relay.options import Secret
from tests.oauth.conftest import client, clock, hop, keeper, mail, renewal, signed_in, store, token_server

__all__ = ["client", "clock", "hop", "keeper", "mail", "renewal", "signed_in", "store", "token_server"]


@pytest.fixture
def looked(renewal, run):
    def look(upstream, *, may_renew=True):
        return run(lambda: token(Hop(upstream, ["notification"]), upstream.oauth, renewal, may_renew=may_renew))

    return look


def test_a_living_token(looked, hop, signed_in, store):
    upstream = hop()
    signed_in(upstream)
    row, held = looked(upstream)
    assert row.level == "ok" and "good until" in row.text and "renewed from" in row.text
    assert held.token.reveal() not in str(row)


def test_nobody_has_signed_in(looked, hop, store):
    row, held = looked(hop())
    assert row.level == "fail" and "nobody has signed in yet" in row.text
    assert row.remedy == "tracker-relay auth login notification"
    assert not held.token


def test_one_that_needs_nobody_is_renewed(looked, hop, token_server):
    row, held = looked(hop(Grant.CLIENT_CREDENTIALS))
    assert row.level == "ok" and row.text.startswith("renewed; good until")
    assert held.token.reveal() == token_server.current


def test_who_is_not_the_relays_user_renews_nothing(looked, hop, token_server, store):
    row, held = looked(hop(Grant.CLIENT_CREDENTIALS), may_renew=False)
    assert (row.level, row.remedy) == ("warn", "sudo tracker-relay doctor")
    assert not held.token and not token_server.asked


def test_the_providers_own_words(looked, hop, token_server):
    token_server.script["token"] = [
        (400, {"error": "invalid_client", "error_description": "AADSTS7000215: bad secret"})
    ]
    row, _ = looked(hop(Grant.CLIENT_CREDENTIALS))
    assert row.level == "fail" and "AADSTS7000215: bad secret" in row.text
    assert "correct the oauth options in [notification]" in row.remedy
    assert "client-hunter2" not in str(row)


def test_a_token_that_the_mail_server_refuses_is_tried_once(mail, client, run, configured):
    """Its words about the token are in the row; no other token is got for a second log-in."""

    async def story():
        made = client(Grant.CLIENT_CREDENTIALS)
        now = time.time()
        config = configured(25, "use_tls = true")
        store = doctor.TokenStore(doctor.loaded.token_folder(config))
        await doctor.Renewal(store, time.time).keep(made, Stored(Tokens(Secret("stale-token-1234"), now, now + 3600)))
        async with mail.peer() as peer:
            upstream = mail.hop(peer, made)
            rows = [row async for row in doctor.examine(config, Hop(upstream, ["notification"]), None)]
        [row] = [row for row in rows if row.check == "auth"]
        assert row.level == "fail" and "535 5.7.8 not accepted" in row.text
        assert '"status":"401"' in row.text
        assert row.remedy.startswith("tracker-relay auth login notification")
        assert peer.auths == 1
        assert "stale-token" not in str(rows)
        assert not mail.server.asked

    run(story)


def test_without_a_token_everything_before_the_log_in_is_looked_at(mail, client, run, configured):
    async def story():
        config = configured(25, "use_tls = true")
        async with mail.peer() as peer:
            upstream = mail.hop(peer, client(Grant.AUTHORIZATION_CODE))
            rows = [row async for row in doctor.examine(config, Hop(upstream, ["notification"]), None)]
        assert [(row.check, str(row.level)) for row in rows] == [
            ("dns", "ok"),
            ("tcp", "ok"),
            ("token", "fail"),
            ("greeting", "ok"),
            ("tls", "ok"),
            ("ehlo", "ok"),
        ]
        assert peer.auths == 0

    run(story)
