"""The bounds of a session as docs/security.md names them, to the octet, the command and the second. Without a socket."""

from dataclasses import replace

import pytest

from tests.edges.test_chunks import Talking, settled

BEGUN = b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.c>\r\nDATA\r\n"
TOO_LONG = b"500 5.5.2 line too long\r\n"


class Hours:
    """The event loop with a clock that is set by hand."""

    def __init__(self, session):
        self.loop, self.now, self.timers = session.loop, session.loop.time(), []
        session.loop = self
        session._timer.cancel()
        session._timer = self.call_later(session.setting.options.idle_timeout, session._watch)

    def __getattr__(self, name):
        return getattr(self.loop, name)

    def time(self):
        return self.now

    def call_later(self, delay, work, *args):
        timer = Timer(self.now + delay, lambda: work(*args))
        self.timers.append(timer)
        return timer

    def pass_by(self, until):
        """Let time go on to there, and everything happen that is due."""
        while due := [timer for timer in self.timers if timer.work and timer.at <= until]:
            first = min(due, key=lambda timer: timer.at)
            self.now, work, first.work = first.at, first.work, None
            work()
        self.now = until


class Timer:
    def __init__(self, at, work):
        self.at, self.work = at, work

    def cancel(self):
        self.work = None


@pytest.fixture
def talking(stage, run):
    """A function that runs a story with a session, and its clock."""

    def tell(story, **options):
        async def told():
            stage.options = replace(stage.options, **options)
            talk = Talking(stage)
            talk.hours = Hours(talk.session)
            await story(talk)

        run(told)

    return tell


def test_a_day_for_one_session(talking):
    async def story(talk):
        begun = talk.hours.now
        for minute in range(0, 24 * 60, 4):
            talk.hours.pass_by(begun + minute * 60)
            await talk.send(b"MAIL FROM:<>\r\nRSET\r\n" if minute % 8 else b"NOOP\r\n")
        talk.hours.pass_by(begun + 24 * 3600 - 0.001)
        assert not talk.session.closing
        talk.hours.pass_by(begun + 24 * 3600)
        assert talk.wire.said.endswith(b"\r\n421 4.4.2 this session takes too long\r\n")

    talking(story)


def test_an_hour_for_one_mail(talking):
    async def story(talk):
        await talk.send(BEGUN)
        begun = talk.hours.now
        for minute in range(0, 64, 4):
            talk.hours.pass_by(begun + minute * 60)
            await talk.send(b"x\r\n")
        assert talk.hours.now == begun + 3600
        assert not talk.session.closing
        talk.hours.pass_by(begun + 3600 + 300)
        assert talk.wire.said.endswith(b"\r\n421 4.4.2 this mail takes too long\r\n")

    talking(story)


def test_who_is_silent_is_cut_off_at_idle_timeout(talking):
    async def story(talk):
        begun = talk.hours.now
        talk.hours.pass_by(begun + 200)
        await talk.send(b"NOOP\r\n")
        talk.hours.pass_by(begun + 499.9)
        assert not talk.session.closing
        talk.hours.pass_by(begun + 500)
        assert talk.wire.said.endswith(b"\r\n421 4.4.2 idle for too long\r\n")
        assert talk.wire.closed, "there is nothing of it that is unread"

    talking(story)


def test_five_seconds_to_read_our_last_words(talking):
    async def story(talk):
        await talk.send(b"FOO\r\n" * 20)
        begun = talk.hours.now
        assert talk.wire.said.endswith(b"\r\n421 4.7.0 too many errors\r\n")
        assert talk.wire.eof, "these were the last ones"
        assert [timer.at for timer in talk.hours.timers if timer.work] == [begun + 5]
        talk.hours.pass_by(begun + 4.9)
        talk.session.resume_writing()
        assert not talk.wire.closed, "to read slowly brings no more time"
        talk.hours.pass_by(begun + 5)
        assert talk.wire.closed

    talking(story)


def test_4096_octets_in_a_command_line(talking):
    async def story(talk):
        for length, codes in ((4096, [250]), (4097, [500])):
            line = b"NOOP " + b"x" * (length - 6) + b"\r\n"
            assert len(line) == length + 1, "LF is not counted"
            for pieces in ([line], [line[:-1], line[-1:]], [line[:-1], line[-1:] + b"NOOP\r\n"]):
                before = len(talk.wire.codes())
                for piece in pieces:
                    await talk.send(piece)
                    assert len(talk.session.buffer) <= 4096
                expected = codes + [250] * (pieces[-1].count(b"\n") - 1)
                assert talk.wire.codes()[before:] == expected, (length, pieces)
        assert talk.wire.said.count(TOO_LONG) == 3

    talking(story)


def test_20_refused_commands(talking):
    async def story(talk):
        await talk.send(b"FOO\r\n" * 19)
        assert not talk.session.closing
        await talk.send(b"FOO\r\n")
        assert talk.wire.said.endswith(b"\r\n500 5.5.1 command not recognized\r\n421 4.7.0 too many errors\r\n")

    talking(story)


def test_a_mail_that_is_kept_forgives_what_was_refused_before(talking):
    async def story(talk):
        await talk.send(b"FOO\r\n" * 19)
        await talk.send(BEGUN + b"x\r\n.\r\n" + b"FOO\r\n" * 19)
        await settled()
        assert not talk.session.closing
        await talk.send(b"FOO\r\n")
        assert talk.session.closing

    talking(story)


def test_refused_recipients_for_ten_mails(talking):
    async def story(talk):
        for _ in range(19):
            await talk.send(b"MAIL FROM:<>\r\nRCPT TO:<a b>\r\nRSET\r\n")
        assert talk.wire.codes()[-3:] == [250, 553, 250]
        await talk.send(b"MAIL FROM:<>\r\nRCPT TO:<a b>\r\n")
        assert talk.wire.codes()[-3:] == [250, 553, 421]

    talking(story, max_recipients=2)


def test_a_mail_and_quit_are_taken_also_behind_a_thousand_others(talking):
    async def story(talk):
        for last in (BEGUN.partition(b"\r\n")[2] + b"x\r\n.\r\n", b"QUIT\r\n"):
            await talk.send(b"EHLO x\r\n" + b"NOOP\r\n" * 999)
            for _ in range(60):
                await settled()
            await talk.send(last)
        assert talk.wire.said.endswith(b"\r\n221 2.0.0 bye\r\n")
        assert talk.wire.said.count(b"250 2.0.0 queued as ") == 1

    talking(story)


def test_1000_commands_that_bring_no_mail_nearer(talking):
    async def story(talk):
        await talk.send(b"NOOP\r\n" * 1000)
        for _ in range(60):
            await settled()
        assert talk.wire.codes() == [220, *[250] * 1000]
        await talk.send(b"MAIL FROM:<>\r\n")
        assert talk.wire.codes()[-1] == 250, "this one does"
        await talk.send(b"NOOP\r\n")
        assert talk.wire.said.endswith(b"\r\n421 4.7.0 too many commands without a mail\r\n")

    talking(story)
