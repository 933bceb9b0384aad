"""`systemd:NAME`: the listener serves sockets that somebody else has made."""

import asyncio
import contextlib
import os
import socket
import stat
from dataclasses import replace

import pytest

from relay.admission import Listen
from relay.errors import ConfigError
from relay.listening import Listener

MAIL = b"Subject: hi\r\n\r\nbody\r\n.\r\n"


@pytest.fixture
def listening():
    """A function: a listening socket, as systemd makes them."""
    with contextlib.ExitStack() as stack:

        def make(family=socket.AF_INET, address=("127.0.0.1", 0)):
            made = stack.enter_context(socket.socket(family))
            made.bind(address)
            made.listen(1)
            return made

        yield make


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request):
    """Both loops make servers of foreign sockets in their own way."""

    def run_bounded(story):
        async def bounded():
            async with asyncio.timeout(60):
                return await story()

        factory = pytest.importorskip("uvloop").new_event_loop if request.param == "uvloop" else None
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(bounded())

    return run_bounded


def listener_of(stage, *names, **handed_over):
    stage.options = replace(stage.options, listen=tuple(Listen(name=name) for name in names))
    stage.listener = Listener(stage.setting(), handed_over=handed_over)
    return stage.listener


def test_all_sockets_of_a_name_are_served_with_no_delay_and_stay_their_makers(stage, run, listening, tmp_path):
    path = str(tmp_path / "submission.sock")
    v4 = listening()
    v6 = listening(socket.AF_INET6, ("::1", 0))
    local = listening(socket.AF_UNIX, path)
    kept = [os.dup(sock.fileno()) for sock in (v4, v6, local)]  # systemd's own
    port = v4.getsockname()[1]

    async def story():
        listener = listener_of(stage, "trackers", trackers=[v4, v6, local])
        await listener.start()
        shown = [str(at) for at in listener.addresses]
        assert shown == [f"127.0.0.1:{port}", f"[::1]:{v6.getsockname()[1]}", f"unix:{path}"]
        for at in listener.addresses:
            async with stage.client(at=at) as talk:
                assert (await talk.mail(MAIL)).startswith("250")
                [session] = listener.sessions
                if not at.path:
                    connection = session.transport.get_extra_info("socket")
                    assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY), "44 ms for every mail"
        await listener.stop(1)

    run(story)
    assert stat.S_ISSOCK(os.stat(path).st_mode), "the socket's file is systemd's"
    for number in kept:  # the next start gets them again, and clients that came meanwhile wait in them
        with socket.socket(fileno=number) as sock:
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    entries = run(stage.spool.mails)
    assert [(e.client.address, e.client.listener) for e, _ in entries] == [
        ("127.0.0.1", "systemd:trackers"),
        ("::1", "systemd:trackers"),
        ("unix", "systemd:trackers"),
    ]
    assert entries[2][0].client.uid == os.getuid()


def test_a_host_outside_allow_is_sent_away_here_too(stage, run, listening):
    async def story():
        stage.options = replace(stage.options, allow=())
        listener = listener_of(stage, "a", a=[listening()])
        await listener.start()
        async with stage.client(hello=None) as talk:
            assert (await talk.closed()).startswith(b"554 5.7.1")
        await listener.stop(1)

    run(story)


def test_a_socket_that_is_not_there_is_named(stage, run, listening):
    async def story():
        with pytest.raises(
            ConfigError,
            match=r"^\[listener\] listen: systemd:b: systemd handed over no such socket \(it handed over: a\): see",
        ):
            await listener_of(stage, "b", a=[listening()]).start()
        with pytest.raises(ConfigError, match=r"it handed over: none"):
            await listener_of(stage, "b").start()

    run(story)


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM], ids=["datagram", "accepted"])
def test_a_socket_that_does_not_listen_is_refused(stage, run, kind):
    async def story():
        with socket.socket(socket.AF_INET, kind) as wrong:
            with pytest.raises(ConfigError, match=r"listen: systemd:a: not a listening stream socket: use ListenS"):
                await listener_of(stage, "a", a=[wrong]).start()

    run(story)


def test_a_socket_that_nobody_serves_is_told(stage, run, listening, caplog):
    async def story():
        listener = listener_of(stage, "a", a=[listening()], b=[])
        await listener.start()
        await listener.stop(0)

    run(story)
    assert "nobody serves the socket 'b' from systemd: add systemd:b to listen" in caplog.text


def test_a_submission_socket_from_systemd_is_that_of_the_drop_in_and_is_not_made_again(
    stage, run, listening, tmp_path, caplog
):
    path = str(tmp_path / "submission.sock")
    made = listening(socket.AF_UNIX, path)

    async def story():
        stage.options = replace(stage.options, listen=(Listen(name="a"),))
        stage.listener = Listener(stage.setting(), submission=path, handed_over={"a": [made]})
        await stage.listener.start()
        assert stage.listener.addresses == [Listen(path=path)]
        async with stage.client() as talk:
            assert (await talk.mail(MAIL)).startswith("250")
        await stage.listener.stop(1)

    run(story)
    [(entry, _)] = run(stage.spool.mails)
    assert entry.client.listener == "sendmail"
    assert caplog.text.count("sendmail drop-in") == 0
