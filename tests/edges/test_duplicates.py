"""A mail that its tracker sends again after a timeout is kept once, both are answered 250; and nothing else is taken for one."""

import asyncio
from dataclasses import replace

import pytest

from relay import duplicates, message
from relay.duplicates import Duplicates, key_of
from relay.entry import Client, Entry
from relay.errors import SpoolError
from relay.mail import Envelope

MAIL = (
    b"From: h@t.example.com\r\nDate: Sun, 22 Nov 2026 10:53:28 -0000\r\nMessage-ID: <043.1@t.example.com>\r\n"
    b"Subject: [Harbour] #12: Crane\r\n\r\nThe crane jams.\r\n"
)
LARGE = MAIL + b"x" * 70 + b"\r\n"


async def send(stage, octets, mail_from="h@t.example.com", rcpt=("eve@example.org", "bob@example.org")):
    async with stage.client() as talk:
        await talk.say(f"MAIL FROM:<{mail_from}>", *(f"RCPT TO:<{r}>" for r in rcpt), "DATA")
        await talk.send(octets + b".\r\n")
        return await talk.reply()


def test_sent_again_it_is_kept_once_and_answered_alike(stage, run, caplog):
    caplog.set_level("INFO")

    async def story():
        async with stage.listening():
            first = await send(stage, MAIL)
            again = await send(
                stage, MAIL.replace(b"10:53:28", b"10:54:30"), rcpt=("bob@example.org", "eve@EXAMPLE.org")
            )
            assert first == again == "250 2.0.0 queued as id000001"
        assert await stage.kept() == [MAIL]

    run(story)
    assert "id000001: sent again by client=" in caplog.text


@pytest.mark.parametrize(
    ("octets", "more"),
    [
        pytest.param(MAIL, {"rcpt": ("amy@example.org",)}, id="43: other recipients"),
        pytest.param(MAIL, {"mail_from": "x@t.example.com"}, id="another sender"),
        pytest.param(MAIL.replace(b"jams", b"works"), {}, id="another text"),
        pytest.param(MAIL.replace(b"#12", b"#13"), {}, id="another subject"),
        pytest.param(MAIL.replace(b"043.1@", b"043.2@"), {}, id="another Message-ID"),
    ],
)
def test_whatever_differs_is_another_mail(stage, run, octets, more):
    async def story():
        async with stage.listening():
            await send(stage, MAIL)
            assert await send(stage, octets, **more) == "250 2.0.0 queued as id000002"
        assert sorted(await stage.kept()) == sorted([MAIL, octets])

    run(story)


@pytest.mark.parametrize("off", ["no Message-ID", "no window", "window over"])
def test_where_it_is_no_duplicate(stage, run, off):
    octets = MAIL.replace(b"Message-ID:", b"X-Other:") if off == "no Message-ID" else MAIL
    stage.options = replace(stage.options, duplicate_window={"no window": 0.0, "window over": 0.05}.get(off, 300.0))

    async def story():
        async with stage.listening():
            await send(stage, octets)
            await asyncio.sleep(0.1)
            await send(stage, octets)
        assert len(await stage.kept()) == 2

    run(story)


@pytest.mark.parametrize("fails", [False, True])
def test_promise_1_the_second_waits_for_the_first(stage, run, fails):
    """The first client has timed out while the disk was slow. What could not be kept is tried anew."""

    async def story():
        stage.spool.gate = asyncio.Event()
        stage.spool.fault = SpoolError("spool: input/output error") if fails else None
        async with stage.listening():
            first = asyncio.create_task(send(stage, LARGE))
            while not stage.spool.begun:
                await asyncio.sleep(0.01)
            again = [asyncio.create_task(send(stage, LARGE)) for _ in range(3)]
            await asyncio.sleep(0.2)
            assert stage.spool.begun == 1
            assert not any(task.done() for task in again), "250 is not said before the first is durable"
            stage.spool.gate.set()
            answers = [await first, *[await task for task in again]]
            if fails:
                assert stage.spool.begun == 4
                assert {answer[:9] for answer in answers} == {"451 4.3.0"}
                stage.spool.fault = None
                assert (await send(stage, LARGE)).startswith("250")
            else:
                assert set(answers) == {"250 2.0.0 queued as id000001"}
        assert await stage.kept() == [LARGE]

    run(story)


@pytest.mark.parametrize("other", [{"user": "amy"}, {"uid": 7}, {"listener": "x"}, {"address": "::1"}])
def test_promise_7_another_client_s_mail_is_another_mail(run, other):
    async def story():
        parsed, mine = message.parse_bytes(MAIL), Client("127.0.0.1", listener="l")
        entry = Entry("id", 1.0, Envelope(None, ()), client=mine, message_id="<1@t>")
        theirs = replace(entry, client=replace(mine, **other))
        assert await key_of(entry, parsed) == await key_of(replace(entry, id="other"), parsed)
        assert await key_of(entry, parsed) != await key_of(theirs, parsed)

    run(story)


def test_what_is_remembered_is_bounded(run, monkeypatch):
    monkeypatch.setattr(duplicates, "MOST", 10)

    async def story():
        known = Duplicates()

        async def keep():
            return "id"

        for number in range(100):
            await known.once(b"%d" % number, 60.0, keep)
            assert len(known) <= 10
        assert await known.once(b"99", 60.0, keep) == ("id", True)
        assert await known.once(b"5", 60.0, keep) == ("id", False)

    run(story)
