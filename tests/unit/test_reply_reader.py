"""A next hop's octets as replies: whole however they are cut, refused where they are none, and never without end."""

import time

import pytest

from relay.errors import HopError
from relay.reply import Reply
from relay.transaction import MAX_REPLY_LINE, MAX_REPLY_LINES, ReplyReader

GO, BYE = Reply(354, "", "go"), Reply(421, "4.3.2", "bye")


def read(*pieces):
    reader = ReplyReader()
    return [reply for piece in pieces for reply in reader.feed(piece)]


def test_replies_come_whole_however_they_are_cut():
    octets = b"250-one\r\n250 two\r\n354 go\n421 4.3.2 bye\r\n250\r\n"
    expected = [Reply(250, "", "one\ntwo"), GO, BYE, Reply(250, "", "")]
    assert read(octets) == expected
    for at in range(len(octets)):
        assert read(octets[:at], octets[at:]) == expected
    assert read(*(bytes((octet,)) for octet in octets)) == expected


def test_an_empty_line_is_no_reply_and_a_line_end_is_no_text():
    with pytest.raises(HopError):
        read(b"\n250 ok\r\n")
    assert read(b"250-a\r\r\n250 b\r\n") == [Reply(250, "", "a\nb")]
    assert read(b"250 a\r\n250 XX\r\n") == [Reply(250, "", "a"), Reply(250, "", "XX")]


def test_replies_that_are_not_utf8_are_read_all_the_same():
    assert read(b"550 5.1.1 n\xf6\r\n") == [Reply(550, "5.1.1", "n�")]


@pytest.mark.parametrize(
    "line",
    [b"", b"25", b"25x ok", b"2500 ok", b"250ok", b"150 ok", b"650 ok", b"-25 ok", b"\xb2\xb2\xb2 ok", b"x", b"+50 ok"],
)
def test_what_is_no_reply(line):
    with pytest.raises(HopError, match=r"^the server's answer is no SMTP reply$"):
        read(line + b"\r\n")


@pytest.mark.parametrize("code", [b"200", b"299", b"599", b"354"])
def test_every_code_of_the_classes_is_a_reply(code):
    assert [reply.code for reply in read(code + b" x\r\n")] == [int(code)]


def test_lines_of_one_reply_have_one_code():
    with pytest.raises(HopError, match=r"^the lines of the server's reply disagree$"):
        read(b"250-a\r\n550 b\r\n")
    assert [reply.code for reply in read(b"250 a\r\n550 b\r\n")] == [250, 550]


def test_a_line_and_a_reply_have_an_end():
    longest = b"250 " + b"x" * (MAX_REPLY_LINE - 4)
    assert len(read(longest + b"\r\n")) == 1
    assert read(longest) == []
    for octets in (longest + b"x\r\n", longest + b"x"):
        with pytest.raises(HopError):
            read(octets)
    with pytest.raises(HopError, match=r"^the server sends a reply without end$"):
        read(longest + b"x")
    lines = b"250-x\r\n" * (MAX_REPLY_LINES - 1)
    assert len(read(lines + b"250 x\r\n")) == 1
    with pytest.raises(HopError, match=r"^the server sends a reply without end$"):
        read(lines + b"250-x\r\n250 x\r\n")
    assert len(read(*[lines + b"250 x\r\n"] * 3)) == 3, "each has its own"
    assert (MAX_REPLY_LINE, MAX_REPLY_LINES) == (4096, 100)


def test_a_secret_that_the_server_repeats_is_left_out():
    reader = ReplyReader()
    reader.hidden = ("Grue-xyzzy",)
    [reply] = reader.feed(b"550-5.1.1 not for Grue-xyzzy\r\n550 5.1.1 nor (Grue-xyzzy)\r\n")
    assert (reply.code, reply.status) == (550, "5.1.1")
    assert reply.text == "not for ***\nnor (***)"


@pytest.mark.parametrize("octets", [b"250 x\r\n", b"250\n", b"250-\r\n" * 99 + b"250 x\r\n"])
def test_promise_10_a_flood_of_replies_costs_linear_time(octets):
    """Eight times as many in one piece take some eight times as long; they took fifty times."""

    def once(size):
        flood, began = octets * (size // len(octets)), time.thread_time()
        for _ in ReplyReader().feed(flood):
            pass
        return time.thread_time() - began

    assert min(once(1 << 19) for _ in range(2)) < 24 * min(once(1 << 16) for _ in range(5))


def test_what_a_server_says_at_length_is_kept_in_part_and_whole_lines():
    """A thousand recipients, a hundred lines of 4 kB to each: that would be 400 MB."""
    line = b"x" * (MAX_REPLY_LINE - 4)
    octets = b"".join(b"550%b%b\r\n" % (b" " if n == 99 else b"-", line) for n in range(100))
    reader = ReplyReader()
    for _ in range(2):
        [reply] = reader.feed(octets)
        assert reply.text == "\n".join([line.decode()] * 3)
        [reply] = reader.feed(b"250-a\r\n250 b\r\n")
        assert reply.text == "a\nb"
    with pytest.raises(HopError, match="disagree"):
        reader.feed(octets.replace(b"550 ", b"551 ")).__next__()
    with pytest.raises(HopError, match="without end"):
        ReplyReader().feed(octets.replace(b"550 ", b"550-") + b"550 x\r\n").__next__()
