"""Clients that send and read no answers (D9): nothing more is done for them, nothing more is read from them, and in the end they go."""

import asyncio
import socket
from dataclasses import replace

import pytest

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
