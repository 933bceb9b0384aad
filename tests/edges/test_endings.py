"""The ends of a session: timers that rest while the relay works, clients that vanish with work undone. Without a socket."""

import asyncio
import gc
import logging
import weakref
from dataclasses import replace

import pytest

from relay.reply import Reply
from relay.server import Session
from tests.edges.test_chunks import Talking, Wire, settled

BEGUN = b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.c>\r\nDATA\r\n"
MAIL = b"Subject: hi\r\n\r\nhello\r\n.\r\n"


def test_no_timer_runs_while_a_mail_waits_for_the_disk(stage, run, monkeypatch):
    """It would be answered 421, and sent again; it is we who are slow."""
    monkeypatch.setattr("relay.connection._LONGEST_MAIL", 0.04)

    async def story():
        stage.options = replace(stage.options, idle_timeout=0.05)
        stage.spool.gate = asyncio.Event()
        talking = Talking(stage)
        await talking.send(BEGUN + MAIL)
        await asyncio.sleep(0.2)
        assert talking.wire.codes()[-1] == 354
        stage.spool.gate.set()
        await settled()
        assert talking.wire.codes()[-1] == 250
        assert not talking.wire.closed
        await asyncio.sleep(0.2)
        assert talking.wire.said.endswith(b"\r\n421 4.4.2 idle for too long\r\n"), "then it runs again"
        assert talking.wire.closed

    run(story)


def test_who_vanishes_with_commands_undone_has_ended_once_and_sent_nothing(stage, run):
    async def story():
        talking, ended, faults = Talking(stage), [], []
        talking.session._ended = ended.append
        asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
        talking.session.data_received(b"NOOP\r\n" * 50 + BEGUN + MAIL)
        talking.session.connection_lost(None)
        for _ in range(10):
            await settled()
        assert ended == [talking.session]
        assert faults == []
        assert stage.spool.begun == 0

    run(story)


def test_of_a_client_that_has_gone_nothing_is_left(stage, run):
    """A timer that went on would hold each for `idle_timeout`."""

    async def story():
        talking = Talking(stage)
        await talking.send(b"EHLO x\r\n")
        session = weakref.ref(talking.session)
        await talking.leave()
        del talking
        await settled()
        gc.collect()
        assert session() is None

    run(story)


def test_who_was_sent_away_and_has_gone_already_is_let_go(stage, run):
    async def story():
        talking = Talking(stage)

        def gone():
            raise OSError(107, "Transport endpoint is not connected")

        talking.wire.write_eof = gone
        await talking.send(b"FOO\r\n" * 20)
        assert talking.wire.closed

    run(story)


def test_who_is_gone_before_it_is_greeted_is_let_go(stage, run, monkeypatch):
    """uvloop, asked for the peer then, gives none."""

    async def story():
        wire = Wire()
        monkeypatch.setattr(wire, "get_extra_info", {"socket": Wire}.get)
        session = Session(stage.setting(), "here", lambda _: pytest.fail("nobody was met"), lambda _: None)
        session.connection_made(wire)
        assert (wire.said, wire.closed) == (b"", True)

    run(story)


def test_stopping_meets_a_client_whose_connection_is_closed_already(stage, run):
    """uvloop raises where one writes to it; the loss itself is told a moment later."""

    async def story():
        talking = Talking(stage)
        talking.wire.closed = True
        talking.session.finish(Reply(421, "4.3.2", "shutting down"))
        assert talking.wire.said == b"220 gw.example.com ESMTP\r\n"

    run(story)


LOCAL_TROUBLE = "451 4.3.0 local trouble, try again later"


def test_a_fault_of_ours_within_a_command_ends_the_session_and_is_told(stage, run, caplog):
    async def story():
        talking = Talking(stage)

        def broken(verb, argument):
            raise RuntimeError("planted")

        talking.session.execute = broken
        await talking.send(b"NOOP\r\nNOOP\r\n")
        assert talking.wire.said.endswith(f"ESMTP\r\n{LOCAL_TROUBLE}\r\n".encode())
        assert talking.wire.eof
        assert talking.session.closing

    with caplog.at_level(logging.INFO, "tracker-relay"):
        run(story)
    assert caplog.messages == ["fault in session: RuntimeError: planted"]


def test_a_fault_of_ours_while_the_client_waits_is_told_and_the_session_goes_on(stage, run, caplog):
    async def story():
        talking = Talking(stage)

        async def broken(reception):
            raise RuntimeError("planted")

        talking.session._finish = broken
        await talking.send(BEGUN + MAIL + b"NOOP\r\n")
        assert talking.wire.said.endswith(f"\r\n{LOCAL_TROUBLE}\r\n250 2.0.0 ok\r\n".encode())

    with caplog.at_level(logging.INFO, "tracker-relay"):
        run(story)
    assert caplog.messages == ["fault in session: RuntimeError: planted"]
