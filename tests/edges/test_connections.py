"""Clients that vanish, wait, flood or do not read; sockets, and stopping. Rows of the table of library faults carry their number."""

import asyncio
import contextlib
import socket
import struct
from dataclasses import replace

import pytest

from relay.admission import Listen
from relay.errors import ConfigError
from relay.listening import Listener
from tests.edges.conftest import runner

MAIL = b"Subject: hi\r\n\r\nhello\r\n"
RESET = struct.pack("ii", 1, 0)
"""A linger of no time: close(2) resets the connection."""


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request):
    """Transports differ: whatever concerns them is tried with both."""
    if request.param == "uvloop":
        return runner(pytest.importorskip("uvloop").new_event_loop)
    return runner()


def test_D7_A2_a_half_closed_client_loses_nothing(stage, run):
    """`printf ... | nc -N`: all commands at once, then the end of the stream."""

    async def story():
        stage.spool.gate = asyncio.Event()
        async with stage.listening(), stage.client(hello="") as talk:
            await talk.send(b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.c>\r\nDATA\r\n" + MAIL + b".\r\nQUIT\r\n")
            talk.writer.write_eof()
            await asyncio.sleep(0.1)
            stage.spool.gate.set()
            assert b"queued as id000001" in await talk.closed()
        assert await stage.kept() == [MAIL]

    run(story)


@pytest.mark.parametrize("reset", [False, True])
def test_D7_A2_a_client_that_vanishes_behind_the_dot_has_sent_its_mail(stage, run, reset):
    async def story():
        stage.spool.gate = asyncio.Event()
        async with stage.listening():
            async with stage.client() as talk:
                await talk.say("MAIL FROM:<>", "RCPT TO:<a@b.c>", "DATA")
                await talk.send(MAIL + b".\r\n")
                while not stage.spool.begun:
                    await asyncio.sleep(0.01)
                [session] = stage.listener.sessions
                if reset:
                    talk.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                    talk.writer.transport.abort()
            await asyncio.sleep(0.1)
            assert (session.transport is None) is reset
            stage.spool.gate.set()
            await asyncio.sleep(0.1)
            assert await stage.kept() == [MAIL]
            assert not stage.listener.sessions

    run(story)


def reset_at_once(at, times):
    for _ in range(times):
        with socket.create_connection((at.host, at.port), 20) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


def test_who_resets_before_it_is_greeted_leaves_nothing(stage, run):
    """So a load balancer asks whether the port is alive. uvloop does not know any more who it was."""

    async def story():
        stage.options = replace(stage.options, max_connections=100)
        async with stage.listening() as listener:
            faults = []
            asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
            await asyncio.to_thread(reset_at_once, listener.addresses[0], 90)
            await asyncio.sleep(0.05)
            assert faults == []
            assert not listener.sessions
            assert not listener.crowd._hosts
            async with stage.client() as talk:
                assert (await talk.mail(MAIL + b".\r\n")).startswith("250")

    run(story)


def test_a_client_that_vanishes_before_the_dot_has_sent_nothing(stage, run):
    async def story():
        async with stage.listening():
            async with stage.client() as talk:
                await talk.say("MAIL FROM:<>", "RCPT TO:<a@b.c>", "DATA")
                await talk.send(MAIL)
            await asyncio.sleep(0.1)
        assert stage.spool.begun == 0

    run(story)


def test_D8_A7_the_timer_runs_from_the_last_octet(stage, run):
    async def story():
        stage.options = replace(stage.options, idle_timeout=0.3)
        async with stage.listening(), stage.client() as talk:
            await talk.say("MAIL FROM:<>", "RCPT TO:<a@b.c>", "DATA")
            for _ in range(8):
                await talk.send(b"x\r\n")
                await asyncio.sleep(0.1)
            await talk.send(b".\r\n")
            assert (await talk.reply()).startswith("250")
            assert (await talk.closed()).startswith(b"421 4.4.2")

    run(story)


def talk_blindly(at, octets):
    """A client that sends everything before it reads anything, as a thread; what it read until the end."""
    with socket.create_connection((at.host, at.port), 20) as sock:
        sock.settimeout(20)
        with contextlib.suppress(BrokenPipeError):
            sock.sendall(octets)
        answers = b""
        while piece := sock.recv(65536):
            answers += piece
        return answers


def test_who_is_sent_away_in_the_middle_of_sending_gets_to_read_why(stage, run, monkeypatch):
    """Closed upon unread octets, a connection is reset, and the tracker would try again and again."""
    monkeypatch.setattr("relay.server._OVERRUN", 1 << 20)

    async def story():
        stage.options = replace(stage.options, max_size=1000)
        async with stage.listening() as listener:
            at = listener.addresses[0]
            mail = b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.c>\r\nDATA\r\n" + (b"x" * 76 + b"\r\n") * 200_000
            answers = await asyncio.to_thread(talk_blindly, at, mail)
            assert answers.endswith(b"552 5.3.4 mail is larger than 1000 octets\r\n")
            answers = await asyncio.to_thread(talk_blindly, at, b"FOO\r\n" * 1_000_000)
            assert answers.endswith(b"500 5.5.1 command not recognized\r\n421 4.7.0 too many errors\r\n")
        assert await stage.kept() == []

    run(story)


def test_who_was_sent_away_and_does_not_go_is_cut_off(stage, run, monkeypatch):
    monkeypatch.setattr("relay.connection._GRACE", 0.3)

    async def story():
        async with stage.listening() as listener, stage.client() as talk:
            await talk.send(b"FOO\r\n" * 20)
            assert (await talk.closed()).endswith(b"421 4.7.0 too many errors\r\n")
            for _ in range(40):
                if not listener.sessions:
                    break
                with contextlib.suppress(ConnectionError):
                    await talk.send(b"MAIL FROM:<>\r\n" * 1000)
                await asyncio.sleep(0.05)
            assert not listener.sessions

    run(story)


def test_D10_too_many_connections(stage, run):
    async def story():
        stage.options = replace(stage.options, max_connections=2)
        async with stage.listening(), stage.client(), stage.client():
            async with stage.client(hello=None) as third:
                assert (await third.closed()).startswith(b"421 4.3.2")
        assert not stage.listener.sessions

    run(story)


def test_D11_too_many_errors_end_the_session(stage, run):
    async def story():
        async with stage.listening(), stage.client() as talk:
            await talk.send(b"\r\n" * 30)
            answers = await talk.closed()
            assert answers.count(b"500 5.5.2") == 20, "each has its own reply"
            assert answers.endswith(b"421 4.7.0 too many errors\r\n")

    run(story)


def test_several_addresses_ipv6_and_a_unix_socket(stage, run, tmp_path):
    async def story():
        path = str(tmp_path / "submission.sock")
        stage.options = replace(stage.options, listen=(Listen("127.0.0.1", 0), Listen("::1", 0), Listen(path=path)))
        async with stage.listening() as listener:
            for at in listener.addresses:
                async with stage.client(at=at) as talk:
                    assert (await talk.mail(MAIL + b".\r\n")).startswith("250")
        clients = [entry.client.address for entry, _ in await stage.spool.mails()]
        assert clients == ["127.0.0.1", "::1", "unix"]
        assert not (tmp_path / "submission.sock").exists()

    run(story)


def test_a_stale_socket_is_replaced_and_a_living_one_is_not(stage, run, tmp_path):
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)

    async def story():
        stage.options = replace(stage.options, listen=(Listen(path=path),))
        async with stage.listening():
            with pytest.raises(ConfigError, match=r"listen: unix:.*in use"):
                await Listener(stage.setting()).start()
            async with stage.client() as talk:
                assert talk.greeting.startswith("220")

    run(story)


def test_a_host_outside_allow_is_sent_away(stage, run, caplog):
    refused = "554 5.7.1 this host may not send here"

    async def story():
        stage.options = replace(stage.options, allow=())
        async with stage.listening(), stage.client(hello=None) as talk:
            assert await talk.closed() == f"{refused}\r\n".encode()

    run(story)
    assert caplog.messages == [f"NOQUEUE: client=127.0.0.1, connection: {refused}"]


def test_A8_stopping_sends_idle_clients_away_and_waits_for_a_mail(stage, run):
    async def story():
        stage.spool.gate = asyncio.Event()
        async with stage.listening() as listener, stage.client() as idle, stage.client() as busy:
            mail = asyncio.create_task(busy.mail(MAIL + b".\r\n"))
            while not stage.spool.begun:
                await asyncio.sleep(0.01)
            stopping = asyncio.create_task(listener.stop(5))
            assert (await idle.closed()).startswith(b"421 4.3.2")
            assert not stopping.done()
            stage.spool.gate.set()
            assert (await mail).startswith("250")
            async with asyncio.timeout(2):
                await stopping
            with pytest.raises(OSError):
                await asyncio.open_connection(listener.addresses[0].host, listener.addresses[0].port)

    run(story)


def test_A8_stopping_does_not_hang_on_a_client_in_the_middle_of_data(stage, run):
    async def story():
        async with stage.listening() as listener, stage.client() as talk:
            await talk.say("MAIL FROM:<>", "RCPT TO:<a@b.c>", "DATA")
            async with asyncio.timeout(3):
                await listener.stop(0.2)
        assert await stage.kept() == []

    run(story)


def test_A8_stopping_waits_for_the_rest_of_a_mail(stage, run):
    """One that is sending when the relay is told to stop gets its 250, and then goodbye."""

    async def story():
        async with stage.listening() as listener, stage.client() as talk:
            await talk.say("MAIL FROM:<>", "RCPT TO:<a@b.c>", "DATA")
            await talk.send(MAIL[:10])
            stopping = asyncio.create_task(listener.stop(5))
            await asyncio.sleep(0.05)
            await talk.send(MAIL[10:])
            await asyncio.sleep(0.05)
            assert not stopping.done()
            await talk.send(b".\r\nNOOP\r\n")
            assert (await talk.reply()).startswith("250 2.0.0 queued as")
            assert (await talk.closed()) == b"421 4.3.2 shutting down\r\n"
            async with asyncio.timeout(2):
                await stopping
        assert await stage.kept() == [MAIL]

    run(story)


def test_a_host_has_its_share_and_this_one_is_exempt(stage, run, monkeypatch):
    from relay import crowd

    async def story():
        stage.options = replace(stage.options, max_per_host=2)
        async with stage.listening() as listener, stage.client(), stage.client(), stage.client() as talk:
            assert talk.greeting.startswith("220")
            monkeypatch.setattr(crowd, "_here", lambda client: False)
            async with stage.client(hello=None) as fourth:
                assert (await fourth.closed()) == b"421 4.7.0 too many connections from this host, try again later\r\n"
        assert not listener.sessions
        assert not listener.crowd._hosts

    run(story)


def test_a_flood_of_clients_fills_no_log(stage, run, caplog, monkeypatch):
    monkeypatch.setattr("relay.crowd._PAUSE", 0.5)

    async def story():
        stage.options = replace(stage.options, max_connections=1)
        async with stage.listening(), stage.client():
            for _ in range(50):
                async with stage.client(hello=None) as talk:
                    assert (await talk.closed()).startswith(b"421 4.3.2")
            await asyncio.sleep(0.7)

    with caplog.at_level("INFO", logger="tracker-relay"):
        run(story)
    told = [record.getMessage() for record in caplog.records]
    assert told == [
        "NOQUEUE: client=-, connection: 421 4.3.2 too many connections, try again later",
        "NOQUEUE: client=-, connection (49 clients): 421 4.3.2 too many connections, try again later",
    ]


def test_D8_a_mail_that_never_ends_is_ended(stage, run, monkeypatch):
    """A line a minute keeps a client alive, but not for ever."""
    monkeypatch.setattr("relay.connection._LONGEST_MAIL", 1.5)

    async def story():
        stage.options = replace(stage.options, idle_timeout=1.0)
        async with stage.listening(), stage.client() as talk:
            for _ in range(3):
                assert (await talk.mail(MAIL + b".\r\n")).startswith("250")
                await asyncio.sleep(0.25)
            await talk.say("MAIL FROM:<>", "RCPT TO:<a@b.c>", "DATA")
            with contextlib.suppress(ConnectionError):
                for _ in range(40):
                    await talk.send(b"x\r\n")
                    await asyncio.sleep(0.1)
            assert (await talk.closed()) == b"421 4.4.2 this mail takes too long\r\n"
        assert len(await stage.kept()) == 3

    run(story)


def test_D8_a_session_that_never_ends_is_ended(stage, run, monkeypatch):
    monkeypatch.setattr("relay.connection._LONGEST_SESSION", 1.5)

    async def story():
        stage.options = replace(stage.options, idle_timeout=1.2)
        async with stage.listening(), stage.client() as talk:
            replies = []
            while len(replies) < 60 and not (replies and replies[-1].startswith("421")):
                await asyncio.sleep(0.1)
                replies.append(await talk.say("NOOP"))
            assert replies[-1] == "421 4.4.2 this session takes too long"
            assert replies[0] == "250 2.0.0 ok"

    run(story)


def test_who_is_silent_makes_room_for_who_is_not(stage, run, monkeypatch):
    """An idle crowd keeps nobody from sending; who is within a mail stays."""
    monkeypatch.setattr("relay.crowd._IDLE", 0.3)

    async def story():
        stage.options = replace(stage.options, max_connections=2)
        async with stage.listening() as listener, stage.client() as sending, stage.client() as silent:
            await sending.say("MAIL FROM:<>", "RCPT TO:<a@b.c>", "DATA")
            async with stage.client(hello=None) as third:
                assert (await third.closed()).startswith(b"421 4.3.2 too many"), "nobody has been silent for so long"
            await asyncio.sleep(0.4)
            async with stage.client() as fourth:
                assert fourth.greeting.startswith("220")
                assert await silent.closed() == b"421 4.3.2 idle, and others wait: come again\r\n"
                await sending.send(MAIL + b".\r\n")
                assert (await sending.reply()).startswith("250")
            assert len(listener.sessions) <= 2

    run(story)


def test_what_lies_about_is_bounded_in_all(stage, run, monkeypatch):
    """Each has little that is undone; all of them together would fill the memory."""
    monkeypatch.setattr("relay.connection._MOST_PILED", 300_000)

    async def story():
        async with stage.listening() as listener:
            at = listener.addresses[0]
            greedy = [asyncio.to_thread(talk_blindly, at, b"EHLO x\r\n" + b"HELP\r\n" * 40_000) for _ in range(8)]
            answers = await asyncio.gather(*greedy, return_exceptions=True)
            assert any(b"421 4.3.2 too much to do" in one for one in answers if isinstance(one, bytes))
            async with stage.client() as talk:
                assert (await talk.mail(MAIL + b".\r\n")).startswith("250")
        assert listener.setting.pile.octets == 0

    run(story)
