"""However a client's octets are cut, and wherever it breaks off, the same comes of them: the session without a socket."""

import asyncio
import itertools
from dataclasses import replace

import pytest

from relay.entry import Client
from relay.server import Session

MAIL = b"Subject: hi\r\n\r\n..dot\r\n.\r\n"
DIALOGUE = (
    b"EHLO x\r\nMAIL FROM:<a@b.c> SIZE=10\r\nRCPT TO:<a@b.c>\r\nRCPT TO:<a b>\r\nNOOP\r\nfoo\r\nDATA\r\n"
    + MAIL
    + b"RSET\r\nMAIL FROM:<>\r\nRCPT TO:<d@e.f>\r\nDATA\r\n"
    + b"a\nb\r.\r\n.\r\n"
    + b"MAIL FROM:<>\r\nRCPT TO:<g@h.i>\r\nDATA\r\n"
    + MAIL
    + b"QUIT\r\n"
)
CODES = [220, 250, 250, 250, 553, 250, 500, 354, 250, 250, 250, 250, 354, 550, 250, 250, 354, 250, 221]


class Wire(asyncio.Transport):
    """What a session writes, and whether it has hung up."""

    def __init__(self):
        super().__init__()
        self.said, self.closed, self.eof = b"", False, False

    def get_extra_info(self, name, default=None):
        return {"socket": Wire, "peername": ("127.0.0.1", 1)}.get(name, default)

    family, setsockopt = 2, staticmethod(lambda *_: None)

    def write(self, data):
        assert not self.closed
        self.said += data

    def close(self):
        self.closed = True

    abort = close
    is_closing = lambda self: self.closed  # noqa: E731
    can_write_eof = lambda self: True  # noqa: E731
    get_write_buffer_size = lambda self: 0  # noqa: E731
    pause_reading = resume_reading = lambda self: None

    def write_eof(self):
        self.eof = True

    def codes(self):
        """The code of each reply, one of several lines once."""
        return [int(line[:3]) for line in self.said.split(b"\r\n") if line[3:4] == b" "]


class Talking:
    def __init__(self, stage):
        self.wire, self.over = Wire(), False
        self.session = Session(stage.setting(), "here", lambda *_: None, lambda _: setattr(self, "over", True))
        self.session.connection_made(self.wire)
        assert self.session.client == Client("127.0.0.1", protocol="SMTP", listener="here")

    async def send(self, octets):
        """As the event loop does: nothing arrives behind a close."""
        if not self.wire.closed:
            self.session.data_received(octets)
            await settled()

    async def leave(self, *, politely=False):
        if politely and not self.wire.closed:
            self.session.eof_received()
            await settled()
        self.session.connection_lost(None)
        await settled()


async def settled():
    for _ in range(6):
        await asyncio.sleep(0)


def pieces_of(octets, *sizes):
    at, sizes = 0, itertools.cycle(sizes)
    while at < len(octets):
        size = next(sizes)
        yield octets[at : at + size]
        at += size


@pytest.mark.parametrize("sizes", [(1,), (2,), (3,), (7, 1, 11), (64,), (1000,), (1, 500)])
def test_any_pieces_bring_the_same_replies_and_mails(stage, run, sizes):
    async def story():
        talking = Talking(stage)
        for piece in pieces_of(DIALOGUE, *sizes):
            await talking.send(piece)
        assert talking.wire.codes() == CODES
        assert talking.wire.closed
        await talking.leave()
        assert talking.over
        assert await stage.kept() == [b"Subject: hi\r\n\r\n.dot\r\n"] * 2

    run(story)


def test_any_cut_in_two_brings_the_same(stage, run):
    async def story():
        for at in range(1, len(DIALOGUE)):
            talking = Talking(stage)
            await talking.send(DIALOGUE[:at])
            await talking.send(DIALOGUE[at:])
            assert talking.wire.codes() == CODES, DIALOGUE[at - 10 : at]
            await talking.leave()
        assert len(await stage.kept()) == 2 * (len(DIALOGUE) - 1)

    run(story)


@pytest.mark.parametrize("politely", [False, True])
@pytest.mark.parametrize("size", [1 << 20, 5])
def test_wherever_a_client_breaks_off_exactly_the_mails_whose_dot_came_are_kept(stage, run, politely, size):
    dots = [DIALOGUE.index(MAIL) + len(MAIL), DIALOGUE.rindex(MAIL) + len(MAIL)]

    async def story():
        expected = 0
        for at in range(len(DIALOGUE)):
            talking = Talking(stage)
            for piece in pieces_of(DIALOGUE[:at], size):
                await talking.send(piece)
            await talking.leave(politely=politely)
            assert talking.over
            expected += sum(at >= dot for dot in dots)
            assert stage.spool.begun == expected, DIALOGUE[at - 10 : at]
        assert len(await stage.kept()) == expected

    run(story)


def test_a_half_closed_client_with_a_thousand_commands_is_served_to_the_end(stage, run):
    """More than one turn's worth: `printf ... | nc -N` again."""

    async def story():
        stage.options = replace(stage.options, max_recipients=2000)
        talking = Talking(stage)
        rcpts = b"".join(b"RCPT TO:<a%d@b.c>\r\n" % number for number in range(1000))
        talking.session.data_received(b"EHLO x\r\nMAIL FROM:<>\r\n" + rcpts + b"DATA\r\n" + MAIL + b"QUIT\r\n")
        talking.session.eof_received()
        for _ in range(20):
            await settled()
        assert talking.wire.codes()[-3:] == [354, 250, 221]
        [(entry, _)] = await stage.spool.mails()
        assert len(entry.envelope.recipients) == 1000

    run(story)


def test_a_turn_of_one_client_leaves_others_theirs(stage, run):
    async def story():
        greedy, other = Talking(stage), Talking(stage)
        greedy.session.data_received(b"NOOP\r\n" * 900)
        other.session.data_received(b"NOOP\r\n")
        assert other.wire.codes() == [220, 250]
        assert len(greedy.wire.codes()) == 1 + 20
        for _ in range(20):
            await settled()
        assert len(greedy.wire.codes()) == 901

    run(story)


def test_a_mail_of_one_client_leaves_others_their_turn(stage, run):
    """uvloop gives 8 MB of one client in a row, as long as it is read from: it takes 60 ms to look through them."""

    async def story():
        talking = Talking(stage)
        done = []
        talking.wire.pause_reading = lambda: done.append("pause")
        talking.wire.resume_reading = lambda: done.append("resume")
        await talking.send(b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.c>\r\nDATA\r\nSubject: x\r\n\r\n")
        for _ in range(40):
            talking.session.data_received((b"x" * 70 + b"\r\n") * 500)
            if done:
                break
        assert done == ["pause"]
        await settled()
        assert done == ["pause", "resume"]
        await talking.send(b".\r\n")
        assert talking.wire.codes()[-1] == 250

    run(story)


def test_what_is_not_whole_is_looked_at_once_not_again_and_again(stage, run):
    async def story():
        talking, looked = Talking(stage), []
        plain = talking.session._work_off
        talking.session._work_off = lambda: looked.append(True) or plain()
        for octets in (b"EH", b"LO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.c>\r\n", b"DATA\r\n", b"Subj", b"ect: x\r\n", b""):
            await talking.send(octets)
            assert looked == [True]
            looked.clear()

    run(story)
