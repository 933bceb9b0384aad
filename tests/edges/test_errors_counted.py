"""Who errs without end is sent away; who relays a tracker's mistakes, or meets a fault of ours, is not."""

from dataclasses import replace

from relay.errors import SpoolFull

MAIL = b"Subject: hi\r\n\r\nhello\r\n"


def test_many_bad_recipients_do_not_cost_the_good_ones_their_mail(stage, run):
    """Contract: one that does not parse is answered 553, the rest goes on; a Cc field may hold forty of them."""

    async def story():
        async with stage.listening(), stage.client() as talk:
            await talk.say("MAIL FROM:<>")
            for number in range(40):
                assert (await talk.say(f"RCPT TO:<x y{number}@b.c>")).startswith("553 5.1.3")
                assert (await talk.say(f"RCPT TO:<a{number}@b.c>")).startswith("250")
            assert (await talk.say("DATA")).startswith("354")
            await talk.send(MAIL + b".\r\n")
            assert (await talk.reply()).startswith("250 2.0.0 queued")
        entry = await stage.entry()
        assert len(entry.envelope.recipients) == len(entry.refused_paths) == 40

    run(story)


def test_every_recipient_over_the_limit_is_told_so_and_data_too(stage, run):
    async def story():
        stage.options = replace(stage.options, max_recipients=10)
        async with stage.listening(), stage.client() as talk:
            await talk.send(
                b"MAIL FROM:<>\r\n" + b"".join(b"RCPT TO:<a%d@b.c>\r\n" % n for n in range(60)) + b"DATA\r\n"
            )
            codes = [(await talk.reply())[:9] for _ in range(62)]
            assert codes == ["250 2.1.0"] + ["250 2.1.5"] * 10 + ["452 4.5.3"] * 51
            assert (await talk.mail(MAIL + b".\r\n")).startswith("250"), "the session goes on"

    run(story)


def test_one_mistake_in_each_mail_of_a_long_session(stage, run):
    async def story():
        async with stage.listening(), stage.client() as talk:
            for _ in range(50):
                assert (await talk.say("FOO")).startswith("500")
                await talk.say("MAIL FROM:<>", "RCPT TO:<a b>", "RCPT TO:<a@b.c>", "DATA")
                await talk.send(MAIL + b".\r\n")
                assert (await talk.reply()).startswith("250")
        assert len(await stage.kept()) == 50

    run(story)


def test_our_own_faults_are_not_counted_against_the_client(stage, run):
    async def story():
        stage.spool.fault = SpoolFull("spool: No space left on device")
        async with stage.listening(), stage.client() as talk:
            for _ in range(30):
                assert (await talk.mail(MAIL + b".\r\n")).startswith("452 4.3.1")
            stage.spool.fault = None
            assert (await talk.mail(MAIL + b".\r\n")).startswith("250")

    run(story)


def test_the_last_error_keeps_its_own_reply(stage, run):
    """A mail that is refused for good must not look like one that may be tried again."""

    async def story():
        stage.options = replace(stage.options, max_size=100)
        async with stage.listening(), stage.client() as talk:
            for _ in range(19):
                await talk.say("FOO")
            await talk.say("MAIL FROM:<>", "RCPT TO:<a@b.c>", "DATA")
            await talk.send(b"x" * 200 + b"\r\n.\r\n")
            answers = (await talk.closed()).split(b"\r\n")
            assert answers[0].startswith(b"552 5.3.4")
            assert answers[1] == b"421 4.7.0 too many errors"

    run(story)


def test_nobody_refuses_recipients_without_end(stage, run):
    async def story():
        stage.options = replace(stage.options, max_recipients=5)
        async with stage.listening(), stage.client() as talk:
            await talk.send((b"MAIL FROM:<>\r\n" + b"RCPT TO:<a b>\r\n" * 4 + b"RSET\r\n") * 30)
            assert (await talk.closed()).endswith(b"421 4.7.0 too many errors\r\n")

    run(story)


def test_D11_commands_without_a_mail_have_an_end(stage, run):
    async def story():
        async with stage.listening(), stage.client() as talk:
            for verb in (b"NOOP", b"RSET", b"VRFY x", b"HELP", b"EHLO x"):
                await talk.send((verb + b"\r\n") * 300)
            answers = await talk.closed()
            assert answers.endswith(b"421 4.7.0 too many commands without a mail\r\n")

    run(story)


def test_D11_mail_in_between_is_work(stage, run):
    async def story():
        async with stage.listening(), stage.client() as talk:
            for _ in range(4):
                await talk.send(b"NOOP\r\n" * 500)
                for _ in range(500):
                    await talk.reply()
                assert (await talk.mail(MAIL + b".\r\n")).startswith("250")

    run(story)
