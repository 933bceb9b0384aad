"""TLS handshakes that never end well: what is left of their clients, which asyncio tells us nothing of."""

import asyncio
import gc
import socket
import ssl
import struct
from dataclasses import replace

import pytest
import trustme

from relay import listening
from relay.gate import gate_of
from tests.edges.conftest import runner
from tests.edges.test_chunks import Talking, settled

RESET = struct.pack("ii", 1, 0)


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request):
    if request.param == "uvloop":
        return runner(pytest.importorskip("uvloop").new_event_loop)
    return runner()


@pytest.fixture
def certified(stage, tmp_path):
    trustme.CA().issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "both.pem"))
    stage.options = replace(stage.options, tls_certificate=str(tmp_path / "both.pem"), max_connections=9)
    plain = stage.setting
    stage.setting = lambda: replace(plain(), gate=gate_of(stage.options))
    return stage


def hello():
    """The first words of a client that speaks TLS."""
    out = ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), out, server_hostname="localhost").do_handshake()
    return out.read()


def go(at, before, octets, reset):
    """Eight clients that begin a handshake, and go."""
    for _ in range(8):
        with socket.create_connection((at.host, at.port), 10) as sock, sock.makefile("rb") as replies:
            for line in before:
                replies.readline()
                sock.sendall(line)
            if before:
                assert replies.readline().startswith(b"220 2.0.0")
            sock.sendall(octets)
            if reset:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("octets", [b"", b"no TLS\r\n" * 20, hello()], ids=["nothing", "no TLS", "hello"])
@pytest.mark.parametrize("before", [[b"STARTTLS\r\n"], []], ids=["STARTTLS", "at once"])
def test_who_goes_within_the_handshake_leaves_nothing(certified, run, monkeypatch, before, octets, reset):
    """`max_connections` of them would have kept everybody out for ever."""
    if not before:
        monkeypatch.setattr(listening, "IMPLICIT_PORT", 0)

    async def story():
        async with certified.listening() as listener:
            faults, came, add = [], [], listener.crowd.add
            asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
            listener.crowd.add = lambda session: (came.append(True), add(session))
            await asyncio.to_thread(go, listener.addresses[0], before, octets, reset)
            for _ in range(100):
                if len(came) == 8 and not listener.sessions and not listener.crowd.coming:
                    break
                await asyncio.sleep(0.02)
                gc.collect()
            assert len(came) == 8
            assert not listener.sessions
            assert not listener.crowd.coming
            assert not listener.crowd._hosts
            assert faults == []

    run(story)


def test_from_starttls_on_nothing_is_read_as_commands(certified, monkeypatch):
    """Before the handshake begins, a round of the event loop goes by: what came in it would count as said under TLS."""
    upgrades = []

    async def upgraded(transport, protocol, context):
        upgrades.append(context)
        return transport

    monkeypatch.setattr("relay.connection.upgraded", upgraded)

    async def story():
        talking, reading = Talking(certified), []
        talking.wire.pause_reading = lambda: reading.append(False)
        talking.session.data_received(b"EHLO x\r\nSTARTTLS\r\nMAIL FROM:<>\r\n")
        assert (reading, upgrades) == ([False], [])
        assert talking.wire.said.endswith(b"\r\n220 2.0.0 go ahead\r\n")
        await settled()
        assert len(upgrades) == 1
        assert talking.wire.codes()[-1] == 220
        assert talking.session.secure

    runner()(story)


def test_who_is_within_the_handshake_is_counted(certified, run, monkeypatch):
    monkeypatch.setattr(listening, "IMPLICIT_PORT", 0)

    async def story():
        certified.options = replace(certified.options, max_connections=2)
        async with certified.listening() as listener:
            at = listener.addresses[0]
            with socket.create_connection((at.host, at.port)), socket.create_connection((at.host, at.port)):
                async with asyncio.timeout(10):
                    while not listener.crowd.full(certified.options):
                        await asyncio.sleep(0.01)
                assert not listener.sessions
            async with asyncio.timeout(10):
                while listener.crowd.full(certified.options):
                    await asyncio.sleep(0.01)
                    gc.collect()

    run(story)
