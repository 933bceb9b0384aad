"""MAIL and RCPT: paths and parameters. Rows of the table of library faults carry their number."""

from dataclasses import replace

import pytest

MAIL = b"Subject: hi\r\n\r\nhello\r\n"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("<>", None),
        ("<Demo>", "Demo"),
        (" <a@example.com>", "a@example.com"),
        ("a@example.com", "a@example.com"),
        ('<"q q"@example.com> SIZE=10 BODY=8BITMIME', '"q q"@example.com'),
        ("<a@example.com> size=20 AUTH=<>", "a@example.com"),
    ],
)
def test_A3_senders_that_trackers_really_write(stage, run, path, expected):
    async def story():
        async with stage.listening(), stage.client() as talk:
            assert (await talk.say(f"mail from:{path}")).startswith("250 ")
            await talk.say("rcpt to: bob", "RCPT TO:<eve@example.org>", "DATA")
            await talk.send(MAIL + b".\r\n")
            await talk.reply()
        entry = await stage.entry()
        reverse = entry.envelope.reverse_path
        assert (None if reverse is None else str(reverse)) == expected
        assert [str(r.address) for r in entry.envelope.recipients] == ["bob", "eve@example.org"]

    run(story)


HOSTILE = [
    b"<=?utf-8?q?x=0D=0ADATA?=@good.test>x",
    b"<=?utf-8?q?a=3E_evil?=@good.test",
    b"<a@b.c>\x00",
    b"<a(comment)@b.c>",
    b"<@relay.test:a@b.c>",
    b'<"unclosed@b.c>',
    b"<a b@c.test>",
    b"< a@b.c>",
    b"<a@b.c",
    b"<a@b..c>",
    b"<a@-b.c>",
    b"<a@b@c.test>",
    b"<a,b@c.test>",
    b"<alice@evil.test)bob@good.test>",
    b"<a[b@c>",
    b"<\xff@b.c>",
    b"<" + b"x" * 300 + b"@b.c>",
    b"<a@b.c>junk",
    b"",
]


@pytest.mark.parametrize("path", HOSTILE)
def test_D1_D3_A4_paths_are_whole_or_refused(stage, run, path):
    async def story():
        async with stage.listening(), stage.client() as talk:
            await talk.send(b"MAIL FROM:" + path + b"\r\n")
            assert (await talk.reply())[0] == "5"
            await talk.say("MAIL FROM:<>")
            await talk.send(b"RCPT TO:" + path + b"\r\n")
            assert (await talk.reply())[0] == "5"
            assert (await talk.say("RCPT TO:<>")) == "553 5.1.3 a recipient is never empty"
            assert (await talk.say("RCPT TO:<fine@example.org>", "DATA")).startswith("354")
            await talk.send(MAIL + b".\r\n")
            await talk.reply()
        entry = await stage.entry()
        assert [str(r.address) for r in entry.envelope.recipients] == ["fine@example.org"]

    run(story)


def test_D1_an_encoded_word_is_a_local_part_like_any_other(stage, run):
    async def story():
        async with stage.listening(), stage.client() as talk:
            await talk.mail(MAIL + b".\r\n", rcpt="=?utf-8?q?x=0D=0ADATA?=@good.test")
        entry = await stage.entry()
        assert [str(r.address) for r in entry.envelope.recipients] == ["=?utf-8?q?x=0D=0ADATA?=@good.test"]

    run(story)


def test_a_refused_recipient_stands_in_the_entry(stage, run):
    async def story():
        async with stage.listening(), stage.client() as talk:
            await talk.say("MAIL FROM:<>", "RCPT TO:<a b@x>", "RCPT TO:<eve@example.org>", "DATA")
            await talk.send(MAIL + b".\r\n")
            await talk.reply()
        assert (await stage.entry()).refused_paths == ("<a b@x>",)

    run(story)


def test_no_valid_recipient_is_refused_at_data(stage, run):
    async def story():
        async with stage.listening(), stage.client() as talk:
            await talk.say("MAIL FROM:<>", "RCPT TO:<a b@x>")
            assert await talk.say("DATA") == "554 5.5.1 no valid recipients"

    run(story)


def test_D4_an_empty_path_is_a_refusal_like_any_other(stage, run):
    async def story():
        async with stage.listening(), stage.client() as talk:
            assert (await talk.say("MAIL FROM:<")).startswith("553 5.1.7")

    run(story)


def test_D11_too_many_recipients_fail_the_mail_visibly(stage, run):
    async def story():
        stage.options = replace(stage.options, max_recipients=3)
        async with stage.listening(), stage.client() as talk:
            await talk.say("MAIL FROM:<>", *(f"RCPT TO:<a{n}@b.c>" for n in range(3)))
            assert (await talk.say("RCPT TO:<a3@b.c>")).startswith("452 4.5.3")
            assert (await talk.say("DATA")).startswith("452 4.5.3")
            assert (await talk.mail(MAIL + b".\r\n")).startswith("250"), "the next one is free of it"
        assert await stage.kept() == [MAIL]

    run(story)


@pytest.mark.parametrize("parameter", ["NOTIFY=NEVER", "ORCPT=x", "X"])
def test_A5_unknown_parameters(stage, run, parameter):
    async def story():
        async with stage.listening(), stage.client() as talk:
            assert (await talk.say("MAIL FROM:<a@b.c> RET=HDRS")).startswith("555 5.5.4")
            await talk.say("MAIL FROM:<a@b.c>")
            assert (await talk.say(f"RCPT TO:<a@b.c> {parameter}")).startswith("555 5.5.4")

    run(story)


def test_smtputf8_is_asked_for(stage, run):
    async def story():
        async with stage.listening(), stage.client() as talk:
            assert (await talk.say("MAIL FROM:<zoë@example.org>")).startswith("553 5.6.7")
            assert (await talk.say("MAIL FROM:<zoë@example.org> SMTPUTF8")).startswith("250")
            assert (await talk.say("RCPT TO:<zoë@münchen.example>")).startswith("250")

    run(story)
