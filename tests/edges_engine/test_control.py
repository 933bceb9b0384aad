"""The admin socket's last word reaches who asks, whatever he is still saying."""

import asyncio
import os
from types import SimpleNamespace

import pytest

from relay import control, unixsocket
from relay.control import Control
from tests.edges.conftest import runner


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request):
    """Transports differ in how they end."""
    return runner(pytest.importorskip("uvloop").new_event_loop if request.param == "uvloop" else None)


@pytest.mark.parametrize("stranger", [True, False], ids=["a stranger", "no request"])
def test_who_is_refused_reads_why_and_then_the_end_though_he_talks_on(tmp_path, run, monkeypatch, stranger):
    """Closed upon what he said behind it, the socket told him of a broken pipe, or of a reset."""
    if stranger:
        who = SimpleNamespace(uid=os.geteuid() + 1, groups=())
        monkeypatch.setattr(unixsocket, "peer", lambda _: who)

    async def story():
        admin = Control(tmp_path / "control.sock", None)
        await admin.start()
        try:
            reader, writer = await asyncio.open_unix_connection(tmp_path / "control.sock")
            if not stranger:
                writer.write(b"nonsense\n")
            assert b"error" in await reader.readline()
            await asyncio.sleep(0.05)
            for _ in range(20):
                writer.write(b"x" * 10_000)
                await writer.drain()
            assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()
        finally:
            await admin.stop()

    run(story)


def test_who_does_not_hang_up_is_heard_for_a_moment_only(tmp_path, run, monkeypatch):
    monkeypatch.setattr(control, "_FAREWELL", 0.1)

    async def story():
        admin = Control(tmp_path / "control.sock", None)
        await admin.start()
        reader, writer = await asyncio.open_unix_connection(tmp_path / "control.sock")
        writer.write(b"nonsense\n")
        assert b"error" in await reader.read()
        async with asyncio.timeout(5):
            while admin._tasks:
                await asyncio.sleep(0.01)
        writer.close()
        await admin.stop()

    run(story)
