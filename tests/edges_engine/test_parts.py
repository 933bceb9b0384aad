"""The parts of the daemon: in which order they open, and that a reload takes all of a configuration or nothing."""

import asyncio
import ssl

import pytest

from relay import app, config, control
from relay.listening import Listener
from relay.systemd import Systemd

CONFIG = """[listener]
listen = 127.0.0.1:0
submission =
[spool]
path = spool
[status]
listen =
[notification]
smtp_enabled = true
smtp_from = bot@example.com
"""


@pytest.fixture
def made(tmp_path):
    """A relay that nobody has started."""
    path = tmp_path / "config.ini"
    path.write_text(CONFIG)
    loaded = config.read(path, {})
    assert not loaded.faults
    return app.Relay(loaded.configuration, Systemd({}))


def test_whoever_sees_the_listener_may_ask_the_daemon(made, monkeypatch):
    """A command that finds no control socket opens the spool itself, and finds it in use."""
    answered = []
    real = Listener.start

    async def start(self):
        path = control.socket_path(made.configuration)
        answered.extend(await asyncio.to_thread(lambda: list(control.ask(path, {"do": "upstreams"}))))
        await real(self)

    monkeypatch.setattr(Listener, "start", start)

    async def story():
        stop = asyncio.Event()
        async with asyncio.timeout(20):
            await made.run(stop, lambda relay: stop.set())

    asyncio.run(story())
    assert [row["name"] for row in answered] == ["outbox"]


def test_a_reload_keeps_what_all_clients_share(made):
    """What lies about for those who are connected still counts for those who come now: one bound, not one for each reload."""
    before = made.listener.setting

    async def story():
        assert not made.reload().faults

    asyncio.run(story())
    after = made.listener.setting
    assert after is not before
    assert (after.pile, after.pulse, after.duplicates) == (before.pile, before.pulse, before.duplicates)
    assert after.pile is before.pile
    assert after.pulse is before.pulse


@pytest.mark.parametrize("fault", [FileNotFoundError(2, "gone"), ssl.SSLError("bad key"), UnicodeError("not UTF-8")])
def test_a_reload_that_can_not_make_the_gate_changes_nothing(made, monkeypatch, fault):
    """The files behind it may change between `check` and the moment when they are read for use."""

    def broken(_options):
        raise fault

    monkeypatch.setattr(app, "gate_of", broken)
    before = made.configuration, made.setting, made.gate, made.listener.setting, made.upstreams.timeouts
    made.configuration.path.write_text(CONFIG.replace("bot@", "other@") + "[timeouts]\ncommand = 1m\n")
    reloaded = made.reload()
    assert reloaded.faults == [f"{made.configuration.path}: [listener] tls_certificate, passwd_file: {fault}"]
    after = made.configuration, made.setting, made.gate, made.listener.setting, made.upstreams.timeouts
    assert all(one is other for one, other in zip(before, after, strict=True))
