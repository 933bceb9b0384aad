"""The keeper: old tokens are used until they end, renewed in time, and whoever must mend something hears of it."""

import asyncio
import contextlib

import pytest

from relay import tokens
from relay.errors import NoToken
from relay.oauth.client import Grant
from relay.routing import Upstream
from tests.oauth.keeping import access, alarms
from tests.oauth.test_renewal import put


def test_a_fresh_token_is_used_and_nobody_is_asked(keeper, hop, signed_in, token_server, run):
    signed_in(hop(), age=2000)

    async def story():
        keeper.use([hop()])
        assert await access(keeper, hop()) == "access-0"

    run(story)
    assert token_server.asked == []


def test_at_80_percent_it_is_renewed_beside_the_road(keeper, hop, signed_in, token_server, run, soon):
    signed_in(hop(), age=2881)
    token_server.delay = 0.3

    async def story():
        keeper.use([hop()])
        for _ in range(10):
            assert await access(keeper, hop()) == "access-0"  # mail goes on with the old one
        await soon(lambda: token_server.current == "access-1" and not keeper._tasks)
        assert await access(keeper, hop()) == "access-1"
        assert len(token_server.forms()) == 1

    run(story)


def test_an_ended_token_is_waited_for_by_all_together(keeper, hop, signed_in, token_server, run):
    signed_in(hop(), age=3601)
    token_server.delay = 0.2

    async def story():
        keeper.use([hop()])
        assert set(await asyncio.gather(*(access(keeper, hop()) for _ in range(20)))) == {"access-1"}
        assert len(token_server.forms()) == 1

    run(story)


def test_nobody_waits_for_a_token_server_that_hangs(keeper, hop, signed_in, token_server, run, monkeypatch):
    monkeypatch.setattr(tokens, "WAIT", 0.2)
    signed_in(hop(), age=3601)
    token_server.delay = 1.0

    async def story():
        keeper.use([hop()])
        with pytest.raises(
            NoToken,
            match=r"no OAuth2 token for notification \(it is tried again\): the token server has not answered for 0 s",
        ):
            await access(keeper, hop())
        async with asyncio.timeout(30):
            while True:
                with contextlib.suppress(NoToken):
                    assert await access(keeper, hop()) == "access-1"
                    return
                await asyncio.sleep(0.1)

    run(story)


def test_faults_of_the_network_do_not_stop_mail_while_the_old_token_lives(
    keeper, hop, signed_in, token_server, clock, run, caplog, monkeypatch, soon
):
    monkeypatch.setattr(tokens, "FIRST_PAUSE", 0.2)
    signed_in(hop(), age=3000)
    token_server.script["token"] = [(500, ""), b"", (503, {"error": "temporarily_unavailable"})]

    async def story():
        keeper.use([hop()])
        while len(token_server.forms()) < 4:
            assert await access(keeper, hop()) in ("access-0", "access-1")
            await asyncio.sleep(0.02)
        await soon(lambda: not keeper._tasks)
        assert await access(keeper, hop()) == "access-1"

    run(story)
    assert alarms(caplog) == []
    assert "mail goes on for" in caplog.text
    assert "the token of notification is renewed again" not in alarms(caplog)


def test_the_pause_grows(keeper, hop, signed_in, token_server, run):
    signed_in(hop(), age=4000)
    token_server.script["token"] = [(500, "")] * 9

    async def story():
        keeper.use([hop()])
        pauses = []
        for _ in range(9):
            with pytest.raises(NoToken, match=r"\(it is tried again\): the token server answered 500 without a reason"):
                await access(keeper, hop())
            kept = keeper._kept[hop().oauth.mark]
            pauses.append(kept.pause)
            with pytest.raises(NoToken, match="500 without a reason"):
                await access(keeper, hop())  # within the pause nobody is asked
            kept.until = 0.0
        assert pauses == [5, 10, 20, 40, 80, 160, 300, 300, 300]

    run(story)
    assert len(token_server.forms()) == 9


def test_invalid_grant_is_an_alarm_once_and_mail_goes_on_until_the_end(
    keeper, hop, store, clock, token_server, run, caplog, soon
):
    put(store, hop().oauth, clock, refresh="refresh-old", age=3000)

    async def story():
        keeper.use([hop()])
        for _ in range(3):
            assert await access(keeper, hop()) == "access-0"
            await soon(lambda: not keeper._tasks)
        [alarm] = alarms(caplog)
        assert (
            "the token of notification can not be renewed (type: tracker-relay auth login notification; mail goes on for "
            in alarm
        )
        clock.moved += 1000
        for _ in range(3):
            with pytest.raises(
                NoToken,
                match=r"\(type: tracker-relay auth login notification\): invalid_grant: the refresh token is used up",
            ):
                await access(keeper, hop())
        keeper._kept[hop().oauth.mark].until = 0.0
        with pytest.raises(NoToken, match="invalid_grant"):
            await access(keeper, hop())
        assert len(alarms(caplog)) == 2
        assert "its mail waits" in alarms(caplog)[1]

    run(story)
    assert len(token_server.forms()) == 2
    assert "refresh-old" not in caplog.text


def test_a_sign_in_by_a_command_is_seen_at_once(keeper, hop, store, clock, token_server, run):
    put(store, hop().oauth, clock, refresh="refresh-old", age=4000)

    async def story():
        keeper.use([hop()])
        with pytest.raises(NoToken):
            await access(keeper, hop())
        put(store, hop().oauth, clock, access="access-new")
        assert await access(keeper, hop()) == "access-new"

    run(story)


def test_a_sign_in_is_a_new_chance_within_the_pause(keeper, hop, store, clock, token_server, run):
    put(store, hop().oauth, clock, refresh="refresh-old", age=4000)

    async def story():
        keeper.use([hop()])
        with pytest.raises(NoToken):
            await access(keeper, hop())
        token_server.refresh = "refresh-0"
        put(store, hop().oauth, clock, age=4000)  # its access token has ended meanwhile
        assert await access(keeper, hop()) == "access-1"

    run(story)


def test_credentials_that_are_refused_name_the_options(keeper, hop, token_server, run, caplog):
    token_server.script["token"] = [(401, {"error": "invalid_client", "error_description": "client-hunter2 expired"})]

    async def story():
        keeper.use([hop(Grant.CLIENT_CREDENTIALS)])
        with pytest.raises(
            NoToken,
            match=r"\(correct the oauth options of notification, or the application at the provider.s\): invalid_client: \*\*\* expired",
        ):
            await access(keeper, hop(Grant.CLIENT_CREDENTIALS))

    run(story)
    assert len(alarms(caplog)) == 1
    assert "hunter2" not in caplog.text


def test_a_token_that_a_mail_server_refuses_is_renewed_once(keeper, hop, signed_in, token_server, run):
    signed_in(hop())

    async def story():
        keeper.use([hop()])
        old = await keeper.current(hop())
        new = await keeper.refused(hop(), old)
        assert new.reveal() == "access-1"
        assert await keeper.refused(hop(), old) == new  # another connection had the old one, too
        assert await keeper.refused(hop(), new) is None  # not a second time in a row
        assert await keeper.refused(hop(), new) is None
        assert len(token_server.forms()) == 1

    run(story)


def test_a_refused_token_that_can_not_be_renewed_is_dead(keeper, hop, store, clock, token_server, run):
    put(store, hop().oauth, clock, refresh="revoked")

    async def story():
        keeper.use([hop()])
        old = await keeper.current(hop())
        assert await keeper.refused(hop(), old) is None
        with pytest.raises(NoToken, match="invalid_grant"):  # and it is not offered again, young as it is
            await keeper.current(hop())
        put(store, hop().oauth, clock, access="access-new")
        assert await access(keeper, hop()) == "access-new"

    run(story)


def test_a_refused_token_waits_out_a_server_fault(keeper, hop, signed_in, token_server, run):
    signed_in(hop())
    token_server.script["token"] = [(500, "")]

    async def story():
        keeper.use([hop()])
        old = await keeper.current(hop())
        assert await keeper.refused(hop(), old) is None
        assert await keeper.current(hop()) == old
        assert await keeper.refused(hop(), old) is None
        assert len(token_server.forms()) == 1

    run(story)


def test_the_same_token_again_is_no_new_one(keeper, hop, signed_in, token_server, run):
    signed_in(hop())
    token_server.script["token"] = [(200, {"access_token": "access-0"})]

    async def story():
        keeper.use([hop()])
        assert await keeper.refused(hop(), await keeper.current(hop())) is None

    run(story)


def test_upstreams_of_one_client_share_a_token(keeper, hop, token_server, run):
    one, other, third = (
        hop(Grant.CLIENT_CREDENTIALS),
        hop(Grant.CLIENT_CREDENTIALS, "spare"),
        hop(Grant.CLIENT_CREDENTIALS, "x", user="you@example.com"),
    )

    async def story():
        keeper.use([one, other, third, Upstream("plain", "localhost")])
        assert sorted(" and ".join(kept.names) for kept in keeper._kept.values()) == ["notification and spare", "x"]
        assert await access(keeper, one) == await access(keeper, other) == "access-1"
        assert await access(keeper, third) == "access-2"

    run(story)
