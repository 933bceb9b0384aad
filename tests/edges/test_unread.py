"""Clients that send and read no answers (D9): nothing more is done for them, nothing more is read from them, and in the end they go."""

import asyncio
import socket
from dataclasses import replace

import pytest

from relay.connection import _CHUNK, _PORTION
from tests.edges.conftest import runner
from tests.edges.test_chunks import Talking, settled

MAIL = b"MAIL FROM:<>\r\nRCPT TO:<a@b.c>\r\nDATA\r\nSubject: hi\r\n\r\nhello\r\n.\r\n"
CHATTER = b"EHLO x\r\n" * 900 + MAIL
"""120,000 octets of answers to 7,000 of commands, and a mail, so that it may go on."""


@pytest.fixture(params=["asyncio", "uvloop"])
def either(request):
    if request.param == "uvloop":
        return runner(pytest.importorskip("uvloop").new_event_loop)
    return runner()


def test_D9_a_client_that_does_not_read_is_cut_off(stage, either, monkeypatch):
    monkeypatch.setattr("relay.connection._GRACE", 0.2)

    async def story():
        stage.options = replace(stage.options, idle_timeout=0.5)
        async with stage.listening() as listener:
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            sock.connect((listener.addresses[0].host, listener.addresses[0].port))
            sock.setblocking(False)
            sent = most = 0
            with pytest.raises((TimeoutError, ConnectionError)):
                while sent < 1000:
                    async with asyncio.timeout(0.3):
                        await asyncio.get_running_loop().sock_sendall(sock, CHATTER)
                    sent += 1
                    most = max([most, *(one.transport.get_write_buffer_size() for one in listener.sessions)])
            for _ in range(100):
                if not listener.sessions:
                    break
                await asyncio.sleep(0.05)
            assert not listener.sessions
            sock.close()
        assert most < 1 << 20, "answers that nobody reads are not made"
        assert len(await stage.kept()) < sent, "what it sent was not read"

    either(story)


def test_nothing_is_done_for_a_client_until_it_reads_again(stage, run):
    async def story():
        talking = Talking(stage)
        reading = []
        talking.wire.pause_reading = lambda: reading.append(False)
        talking.wire.resume_reading = lambda: reading.append(True)
        talking.session.pause_writing()
        await talking.send(b"EHLO x\r\n" + MAIL)
        assert (talking.wire.codes(), reading, stage.spool.begun) == ([220], [False], 0)
        talking.session.resume_writing()
        await settled()
        assert talking.wire.codes() == [220, 250, 250, 250, 354, 250]
        assert reading == [False, True]

    run(story)


def test_who_has_said_all_and_does_not_read_gets_its_answers_later(stage, run):
    async def story():
        talking = Talking(stage)
        talking.session.pause_writing()
        await talking.send(b"EHLO x\r\n" + MAIL)
        talking.session.eof_received()
        await settled()
        assert not talking.wire.closed
        talking.session.resume_writing()
        await settled()
        assert talking.wire.codes() == [220, 250, 250, 250, 354, 250]
        assert talking.wire.closed

    run(story)


def test_who_has_said_all_and_reads_slowly_has_more_than_a_moment_for_it(stage, run):
    async def story():
        talking = Talking(stage)
        talking.session.data_received(b"NOOP\r\n" * 30)
        plain = talking.wire.write

        def write(data):
            plain(data)
            talking.session.pause_writing()

        talking.wire.write = write
        talking.session.eof_received()
        assert talking.wire.codes() == [220, *[250] * 30]
        assert not talking.wire.closed
        talking.session.resume_writing()
        assert talking.wire.closed

    run(story)


MUCH = 24 << 20
"""What docs/security.md says that may lie about in all."""
TOO_MUCH = "421 4.3.2 too much to do, try again later"


class Unread(Talking):
    """It reads nothing, and so many octets of answers wait for it."""

    def __init__(self, stage, octets):
        super().__init__(stage)
        self.wire.get_write_buffer_size = lambda: octets
        self.session.pause_writing()

    def sent_away(self):
        return self.wire.closed and self.wire.said.endswith(f"{TOO_MUCH}\r\n".encode())


def test_what_lies_about_is_bounded_to_the_octet_for_all_together(stage, run, caplog):
    setting = stage.setting()
    stage.setting = lambda: setting

    async def story():
        first, second, third = Unread(stage, MUCH - 20), Unread(stage, 3), Unread(stage, 4)
        await first.send(b"NOOP\r\n")
        assert setting.pile.octets == MUCH - 20 + 6
        await first.send(b"NOOP\r\n")
        await second.send(b"NOOP\r\nNO")
        assert setting.pile.octets == MUCH - 20 + 6 + 3 + 8, "counted when it stops to be read from"
        assert not any(one.session.closing for one in (first, second, third))
        await third.send(b"")
        assert setting.pile.octets == MUCH + 1
        assert third.sent_away()
        assert third.session.buffer == b""
        assert not first.session.closing
        assert caplog.messages == [f"NOQUEUE: client=127.0.0.1, session: {TOO_MUCH}"]
        await third.leave()
        first.session.resume_writing()
        assert setting.pile.octets == 11
        await second.leave()
        assert setting.pile.octets == 0

    run(story)


def test_exactly_24_mib_may_lie_about(stage, run):
    async def story():
        one = Unread(stage, MUCH - 6)
        await one.send(b"NOOP\r\n")
        assert not one.session.closing
        assert one.session.setting.pile.octets == MUCH

    run(story)


def listening(talking):
    """Each time that it was read from no longer, or again."""
    heard = []
    talking.wire.pause_reading = lambda: heard.append(False)
    talking.wire.resume_reading = lambda: heard.append(True)
    return heard


def test_who_sends_commands_faster_than_they_are_done_is_not_read_from(stage, run):
    """A mail waits for the disk: 64 KiB behind it are kept, the rest stays in the socket. That is our affair, no pile of his."""

    async def story():
        stage.spool.gate = asyncio.Event()
        talking = Talking(stage)
        heard = listening(talking)
        await talking.send(b"EHLO x\r\n" + MAIL + b"NOOP\r\n" * 10922)
        await talking.send(b"RSET")
        assert (len(talking.session.buffer), heard) == (_CHUNK, [])
        await talking.send(b"\r")
        assert heard == [False]
        assert talking.session.setting.pile.octets == 0
        stage.spool.gate.set()
        for _ in range(200):
            await settled()
        assert heard == [False, True]

    run(story)


def test_a_portion_of_one_client_before_others_get_their_turn(stage, run):
    async def story():
        talking = Talking(stage)
        heard = listening(talking)
        await talking.send(b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.c>\r\nDATA\r\n")
        talking.session._taken = 0
        for _ in range(3):
            for octets in (1, _PORTION - 2, 1):
                talking.session.data_received(b"x" * octets)
            assert heard == []
            talking.session.data_received(b"x")
            assert heard == [False]
            await settled()
            assert heard == [False, True]
            heard.clear()

    run(story)
