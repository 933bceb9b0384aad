"""Addresses that can not be listened on: which, why, and what to do about it."""

import re
from dataclasses import replace

import pytest

from relay.admission import Listen
from relay.errors import ConfigError
from relay.listening import Listener


def test_an_address_in_use_is_named(stage, run):
    async def story():
        async with stage.listening() as listener:
            stage.options = replace(stage.options, listen=tuple(listener.addresses))
            port = listener.addresses[0].port
            text = f"[listener] listen: 127.0.0.1:{port}: Address already in use: end the program that has it "
            text += f"(ss -ltnp 'sport = :{port}'), or name another"
            with pytest.raises(ConfigError, match=f"^{re.escape(text)}$"):
                await Listener(stage.setting()).start()

    run(story)


@pytest.mark.parametrize(
    ("listen", "said"),
    [
        (
            Listen("192.0.2.1", 2525),
            "192.0.2.1:2525: Cannot assign requested address: no address of this host: name one",
        ),
        (Listen("host.invalid", 2525), "host.invalid:2525: Name or service not known"),
        (Listen(path="/nonexistent/x.sock"), "unix:/nonexistent/x.sock: No such file or directory: make the folder"),
    ],
)
def test_an_address_that_can_not_be_had_says_what_to_do(stage, run, listen, said):
    async def story():
        stage.options = replace(stage.options, listen=(listen,))
        with pytest.raises(ConfigError) as refused:
            await Listener(stage.setting()).start()
        assert str(refused.value).startswith(f"[listener] listen: {said}")
        assert "Unknown error" not in str(refused.value)

    run(story)


@pytest.mark.parametrize(
    ("listen", "advice"),
    [
        (Listen("127.0.0.1", 25), "ports below 1024 are root's: name a higher one, or let systemd open it"),
        (Listen("127.0.0.1", 2525), "tracker-relay doctor looks for the policy that forbids it"),
        (Listen(path="/x.sock"), "give this user the folder (chown), or name another"),
    ],
)
def test_permission_denied_has_another_remedy_for_each_kind_of_address(stage, run, monkeypatch, listen, advice):
    async def refuse(*_):
        raise PermissionError(13, "error while attempting to bind")

    monkeypatch.setattr(Listener, "_bind", refuse)

    async def story():
        stage.options = replace(stage.options, listen=(listen,))
        with pytest.raises(ConfigError, match=f": Permission denied: {re.escape(advice)}"):
            await Listener(stage.setting()).start()

    run(story)


@pytest.mark.parametrize("folder", [False, True], ids=["file", "folder"])
def test_what_lies_where_the_socket_should_be_is_named(stage, run, tmp_path, folder):
    path = tmp_path / "s.sock"
    path.mkdir() if folder else path.write_text("mine")

    async def story():
        stage.options = replace(stage.options, listen=(Listen(path=str(path)),))
        with pytest.raises(ConfigError) as refused:
            await Listener(stage.setting()).start()
        told = f"unix:{path}: what lies there is not a socket: move it away, or name another path"
        assert str(refused.value) == f"[listener] listen: {told}"

    run(story)
    assert path.is_dir() or path.read_text() == "mine"
