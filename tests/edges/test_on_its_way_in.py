"""A mail between DATA and its answer: what is left of one that is not kept, what the log says, who hears of one that is. Without a socket."""

import logging
from dataclasses import replace

import pytest

from relay.errors import SpoolFull
from tests.edges.test_chunks import Talking, settled

BEGUN = b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.c>\r\nDATA\r\n"
MAIL = b"Subject: hi\r\n\r\nhello\r\n"
LOOP = b"X-Tracker-Relay: gw.example.com id=1\r\n\r\n"


@pytest.fixture
def drafts(stage):
    """For each draft of the spool, how often it was thrown away."""
    made, plain = [], stage.spool.draft

    def draft():
        one, place = plain(), len(made)
        made.append(0)

        def discard(thrown_away=one.discard):
            made[place] += 1
            thrown_away()

        one.discard = discard
        return one

    stage.spool.draft = draft
    return made


def lines(caplog):
    return [record.getMessage() for record in caplog.records]


def test_a_client_that_vanishes_leaves_no_draft(stage, run, drafts):
    async def story():
        talking = Talking(stage)
        await talking.send(BEGUN + MAIL)
        assert drafts == [0]
        await talking.leave()
        assert drafts == [1]

    run(story)


@pytest.mark.parametrize("octets", [LOOP, b"a\0b\r\n"])
def test_a_mail_that_is_refused_leaves_no_draft(stage, run, drafts, octets):
    async def story():
        talking = Talking(stage)
        await talking.send(BEGUN + octets + b".\r\n")
        assert talking.wire.codes()[-1] // 100 == 5
        assert drafts == [1]

    run(story)


@pytest.mark.parametrize("fault", [SpoolFull("full"), OSError(5, "broken")])
def test_a_draft_that_can_not_be_written_makes_room_before_the_final_dot(stage, run, drafts, fault):
    async def story():
        stage.spool.writes_fail = fault
        talking = Talking(stage)
        await talking.send(BEGUN + MAIL)
        assert talking.wire.codes()[-1] == 354
        assert drafts == [1]

    run(story)


@pytest.mark.parametrize(
    ("attribute", "fault", "told"),
    [
        ("fault", RuntimeError("planted"), ["fault in reception: RuntimeError: planted"]),
        ("writes_fail", OSError("planted"), ["fault in spool: OSError: planted"]),
        ("fault", SpoolFull("planted"), []),
    ],
)
def test_a_fault_of_ours_is_told_once_and_then_the_refusal(stage, run, caplog, attribute, fault, told):
    async def story():
        setattr(stage.spool, attribute, fault)
        talking = Talking(stage)
        await talking.send(BEGUN + MAIL)
        await talking.send(b".\r\n")

    with caplog.at_level(logging.INFO, "tracker-relay"):
        run(story)
    reply = "451 4.3.0 local trouble" if told else "452 4.3.1 no space left for mail"
    assert lines(caplog) == [*told, f"NOQUEUE: client=127.0.0.1, DATA: {reply}, try again later"]


def test_a_mail_that_is_kept_is_told_to_the_queue_and_once_to_the_log(stage, run, caplog):
    told, plain = [], stage.setting
    stage.setting = lambda: replace(plain(), queued=lambda: told.append(stage.spool.begun))

    async def story():
        talking = Talking(stage)
        await talking.send(BEGUN + b"Message-ID: <1@x>\r\n" + MAIL + b".\r\n")
        await settled()

    with caplog.at_level(logging.INFO, "tracker-relay"):
        run(story)
    assert told == [1], "when the spool has it"
    assert [line.partition(",")[0] for line in lines(caplog)] == ["id000001: from=<>"]


def test_the_spool_is_asked_for_the_room_that_the_client_declares(stage, run):
    asked = []
    stage.spool.room = asked.append

    async def story():
        await Talking(stage).send(b"EHLO x\r\nMAIL FROM:<> SIZE=1000\r\nRSET\r\nMAIL FROM:<>\r\n")

    run(story)
    assert asked == [1000, 0]


def test_a_mail_that_is_too_large_is_read_to_its_end_so_that_its_client_learns_why(stage, run):
    async def story():
        stage.options = replace(stage.options, max_size=1000)
        talking = Talking(stage)
        await talking.send(BEGUN)
        for _ in range(20):
            await talking.send(b"x" * 98 + b"\r\n")
        assert talking.wire.codes()[-1] == 354
        await talking.send(b".\r\n" + BEGUN + MAIL + b".\r\n")
        assert talking.wire.codes()[-6:] == [552, 250, 250, 250, 354, 250]
        assert b"\r\n552 5.3.4 mail is larger than 1000 octets\r\n" in talking.wire.said
        assert await stage.kept() == [MAIL]

    run(story)


def test_a_mail_without_end_is_cut_16_mib_behind_what_is_allowed(stage, run):
    async def story():
        stage.options = replace(stage.options, max_size=1000)
        talking = Talking(stage)
        await talking.send(BEGUN)
        for _ in range(256):
            await talking.send((b"x" * 62 + b"\r\n") * 1024)
        await talking.send(b"y" * 998 + b"\r\n")
        assert talking.wire.codes()[-1] == 354
        await talking.send(b"z")
        assert talking.wire.said.endswith(b"\r\n552 5.3.4 mail is larger than 1000 octets\r\n")
        assert talking.session.closing
        await talking.send(b"\r\n.\r\nNOOP\r\n")
        assert talking.wire.codes()[-1] == 552

    run(story)
