"""The keeper beside the road: renewals without mail, disks and clocks that fail, faults of its own."""

import pytest

from relay.errors import NoToken
from relay.oauth import stored
from relay.oauth.client import Grant
from relay.oauth.stored import Stored
from relay.options import Secret
from tests.oauth.keeping import access, alarms
from tests.oauth.test_renewal import put


def test_in_the_background_it_is_renewed_without_mail(keeper, hop, store, signed_in, clock, token_server, run, soon):
    signed_in(hop(), age=3000)

    async def story():
        keeper.use([hop()])
        keeper.start()
        await soon(lambda: token_server.current == "access-1" and not keeper._tasks)
        clock.moved += 3000
        keeper.use([hop()])
        await soon(lambda: token_server.current == "access-2" and not keeper._tasks)
        await keeper.stop()

    run(story)
    assert stored.decode(store.load(hop().oauth.mark)).tokens.access.reveal() == "access-2"


def test_short_lives_are_renewed_again_and_again(keeper, hop, token_server, run, soon):
    token_server.lives = 2

    async def story():
        keeper.use([hop(Grant.CLIENT_CREDENTIALS)])
        keeper.start()
        await soon(lambda: token_server.issued >= 3)
        await keeper.stop()

    run(story)
    assert token_server.issued == 3


def test_in_the_background_somebody_who_never_signed_in_is_an_alarm(keeper, hop, token_server, run, soon, caplog):
    async def story():
        keeper.use([hop()])
        keeper.start()
        await soon(lambda: alarms(caplog))
        await keeper.stop()

    run(story)
    assert (
        "the token of notification can not be renewed (type: tracker-relay auth login notification; its mail waits): nobody has signed in yet"
        in alarms(caplog)[0]
    )


def test_a_renewal_under_way_is_stored_before_the_relay_stops(keeper, hop, store, signed_in, token_server, run, soon):
    signed_in(hop(), age=3000)
    token_server.delay = 0.5

    async def story():
        keeper.use([hop()])
        keeper.start()
        await soon(lambda: token_server.asked)
        await keeper.stop()
        assert stored.decode(store.load(hop().oauth.mark)).tokens.access.reveal() == "access-1"

    run(story)


def test_a_store_that_can_not_be_read_defers_and_recovers(keeper, hop, store, signed_in, run, caplog, soon):
    signed_in(hop())
    store.folder.chmod(0o755)

    async def story():
        keeper.use([hop()])
        with pytest.raises(NoToken, match="others may enter it: chmod 700"):
            await access(keeper, hop())
        keeper.start()
        await soon(lambda: alarms(caplog))
        store.folder.chmod(0o700)
        assert await access(keeper, hop()) == "access-0"
        await keeper.stop()

    run(story)
    assert "chmod 700" in alarms(caplog)[0]


def test_a_disk_that_is_full_keeps_the_old_token_in_use(
    keeper, hop, store, signed_in, token_server, run, monkeypatch, caplog, soon
):
    from relay.tokenstore import StoreFault, TokenStore

    def full(*_):
        raise StoreFault("tokens: No space left on device")

    signed_in(hop(), age=3000)
    monkeypatch.setattr(TokenStore, "store", full)

    async def story():
        keeper.use([hop()])
        assert await access(keeper, hop()) == "access-0"
        await soon(lambda: not keeper._tasks)
        assert await access(keeper, hop()) == "access-0"

    run(story)
    assert "No space left on device" in caplog.text
    assert alarms(caplog) == []  # mail goes on
    assert len(token_server.forms()) == 1


def test_a_clock_that_jumps(keeper, hop, signed_in, clock, token_server, run):
    signed_in(hop())

    async def story():
        keeper.use([hop()])
        assert await access(keeper, hop()) == "access-0"
        clock.moved = -86400
        assert await access(keeper, hop()) == "access-1"
        clock.moved = 86400
        assert await access(keeper, hop()) == "access-2"

    run(story)


def test_a_fault_of_ours_is_no_end(keeper, hop, signed_in, run, monkeypatch, caplog, soon):
    signed_in(hop(), age=4000)

    async def broken(*_):
        raise KeyError("x")

    async def story():
        keeper.use([hop()])
        with monkeypatch.context() as patch:
            patch.setattr(type(keeper.renewal), "renew", broken)
            with pytest.raises(NoToken, match="fault in the relay: KeyError"):
                await access(keeper, hop())
            patch.setattr(type(keeper.renewal), "stored", broken)
            keeper.start()
            await soon(lambda: "fault in keeping of tokens" in caplog.text)
        await keeper.stop()

    run(story)


def test_an_upstream_that_a_reload_took_away_still_gets_its_token(keeper, hop, signed_in, run):
    signed_in(hop())

    async def story():
        keeper.use([])
        assert await access(keeper, hop()) == "access-0"
        assert Secret("access-0") == await keeper.current(hop())

    run(story)


def test_stored_says_nothing(store, clock, hop):
    put(store, hop().oauth, clock)
    assert "access-0" not in repr(stored.decode(store.load(hop().oauth.mark)))
    assert "access-0" not in repr(Stored(None))
