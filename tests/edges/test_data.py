"""DATA: what ends a mail, what refuses it, and our own faults. Rows of the table of library faults carry their number."""

import asyncio
import errno
from dataclasses import replace

import pytest

from relay.errors import SpoolError, SpoolFull

MAIL = b"Subject: hi\r\n\r\nhello\r\n"


@pytest.mark.parametrize(
    ("fault", "reply"),
    [
        (SpoolFull("spool: No space left on device"), "452 4.3.1"),
        (SpoolError("spool: disk I/O error"), "451 4.3.0"),
        (OSError(errno.EIO, "planted", "/var/lib/secret"), "451 4.3.0"),
        (RuntimeError("disk full at /var/lib/secret"), "451 4.3.0"),
    ],
)
def test_D4_A1_our_faults_are_temporary_and_tell_nothing(stage, run, fault, reply):
    async def story():
        for attribute in ("fault", "writes_fail"):
            setattr(stage.spool, attribute, fault)
            async with stage.listening(), stage.client() as talk:
                answer = await talk.mail(MAIL + b".\r\n")
                assert answer.startswith(reply)
                assert "/" not in answer
                assert type(fault).__name__ not in answer
                assert "planted" not in answer
                assert (await talk.say("NOOP")).startswith("250"), "the session goes on"
            setattr(stage.spool, attribute, None)
        assert await stage.kept() == []

    run(story)


ENDINGS = [
    b"\n.\n",
    b"\r.\r",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r\n.\r",
    b"\r\n\x00.\r\n",
    b"\n.\r",
    b"\r\r\n.\r\r\n",
    b"\r\n.\x00\r\n",
    b".\r\n",
]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("split", [0, 1, 2, 3])
def test_only_crlf_dot_crlf_ends_a_mail(stage, run, ending, split):
    """SMTP smuggling: whatever imitates the end stays content, or refuses the mail; never two mails."""

    async def story():
        async with stage.listening(), stage.client() as talk:
            await talk.say("MAIL FROM:<>", "RCPT TO:<eve@example.org>", "DATA")
            octets = b"Subject: a\r\n\r\nhello" + ending + b"MAIL FROM:<evil@x.test>\r\nRCPT TO:<b@x.test>\r\nDATA\r\n"
            at = len(b"Subject: a\r\n\r\nhello") + split
            await talk.send(octets[:at])
            await asyncio.sleep(0.005)
            await talk.send(octets[at:] + b"\r\n.\r\n")
            reply = await talk.reply()
            assert (await talk.say("NOOP")).startswith("250"), "nothing was read as a command"
        mails = await stage.kept()
        if reply.startswith("250"):
            assert len(mails) == 1
            assert b"evil@x.test" in mails[0]
            assert b"\n" not in mails[0].replace(b"\r\n", b"")
        else:
            assert reply.startswith("550 5.5.2")
            assert mails == []

    run(story)


@pytest.mark.parametrize(("policy", "kept_mails"), [("normalize", [b"a\r\nb\r\n"]), ("refuse", [])])
def test_D15_A10_bare_lf(stage, run, policy, kept_mails):
    async def story():
        stage.options = replace(stage.options, bare_newline=policy)
        async with stage.listening(), stage.client() as talk:
            reply = await talk.mail(b"a\nb\r\n.\r\n")
            assert reply.startswith("250" if kept_mails else "550 5.5.2")
        assert await stage.kept() == kept_mails

    run(story)


@pytest.mark.parametrize("octets", [b"a\rb\r\n", b"a\x00b\r\n", b"a\r\r\n"])
def test_D15_bare_cr_and_nul_refuse_the_mail(stage, run, octets):
    async def story():
        async with stage.listening(), stage.client() as talk:
            assert (await talk.mail(octets + b".\r\n")).startswith("550 5.5.2")
            assert (await talk.mail(MAIL + b".\r\n")).startswith("250")
        assert await stage.kept() == [MAIL]

    run(story)


def test_dots_are_unstuffed(stage, run):
    async def story():
        async with stage.listening(), stage.client() as talk:
            await talk.mail(b"..a\r\n..\r\nb\r\n...\r\n.\r\n")
        assert await stage.kept() == [b".a\r\n.\r\nb\r\n..\r\n"]

    run(story)


def test_size_is_judged_at_mail_and_at_data(stage, run):
    async def story():
        stage.options = replace(stage.options, max_size=1000)
        async with stage.listening(), stage.client() as talk:
            assert (await talk.say("MAIL FROM:<a@b.c> SIZE=1001")).startswith("552 5.3.4")
            assert (await talk.say("MAIL FROM:<a@b.c> SIZE=x")).startswith("501")
            assert (await talk.mail(b"x" * 998 + b"\r\n.\r\n")).startswith("250")
            assert (await talk.mail(b"x" * 999 + b"\r\n.\r\n")).startswith("552 5.3.4")
            assert (await talk.say("NOOP")).startswith("250")

    run(story)


def test_hops_and_loops(stage, run):
    async def story():
        async with stage.listening(), stage.client() as talk:
            assert (await talk.mail(b"Received: x\r\n" * 99 + b"\r\n.\r\n")).startswith("250")
            assert (await talk.mail(b"Received: x\r\n" * 100 + b"\r\n.\r\n")).startswith("554 5.4.6")
            assert (await talk.mail(b"X-Tracker-Relay: GW.example.com id=1\r\n\r\n.\r\n")).startswith("554 5.4.6")
            assert (await talk.mail(b"X-Tracker-Relay: gw2.example.com id=1\r\n\r\n.\r\n")).startswith("250")

    run(story)


@pytest.mark.parametrize(
    "header", [b"X: y\r\n" * 1001, b"X: " + b"y" * 65536 + b"\r\n", (b"X: " + b"y" * 60000 + b"\r\n") * 5]
)
def test_header_limits(stage, run, header):
    async def story():
        async with stage.listening(), stage.client() as talk:
            assert (await talk.mail(header + b"\r\n.\r\n")).startswith("552 5.3.4")

    run(story)
