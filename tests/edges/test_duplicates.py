"""A mail that its tracker sends again after a timeout is kept once, both are answered 250; and nothing else is taken for one."""

import asyncio
import tracemalloc
from collections import deque
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay import message
from relay.duplicates import Duplicates, Kept, key_of
from relay.entry import Client, Entry, new_id
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


def key(number):
    return number.to_bytes(16, "big")


def test_what_is_remembered_is_bounded(run):
    async def story():
        known = Duplicates(10)

        async def keep():
            return "id"

        for number in range(100):
            assert await known.once(key(number), 60.0, keep) == ("id", False)
        for number in range(90, 100):
            assert await known.once(key(number), 60.0, keep) == ("id", True)
        assert await known.once(key(89), 60.0, keep) == ("id", False)

    run(story)


@given(
    most=st.integers(1, 9),
    steps=st.lists(st.tuples(st.integers(0, 12), st.floats(0, 3, width=16), st.booleans()), max_size=80),
)
def test_the_table_knows_what_a_list_of_the_last_ones_knows(most, steps):
    table, plain, now = Kept(most), deque(maxlen=most), 100.0
    for step, (number, pause, adds) in enumerate(steps):
        now += pause
        if adds:
            name = new_id(now, step)
            table.add(key(number), name, now)
            plain.append((number, name, now))
        for asked in range(13):
            last = next(((name, when) for other, name, when in reversed(plain) if other == asked), ("", 0.0))
            assert table.find(key(asked), now - 2.0) == (last[0] if last[1] > now - 2.0 else None)


def test_it_takes_as_much_memory_for_the_first_mail_as_for_the_last():
    table = Kept(1000)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(3000):
            table.add(key(number), new_id(100.0 + number, number), 1.0 + number)
            assert table.find(key(number), 0.0)
        assert tracemalloc.get_traced_memory()[0] - before < 1000
    finally:
        tracemalloc.stop()
