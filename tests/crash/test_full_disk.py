"""A disk without room, without inodes, or that fails: 452 or 451 at once, queued mail leaves, all is well again by itself."""

import os
import re
import smtplib
import socket
import time

import pytest

from tests.crash.stage import arrived, octets, send
from tests.e2e.tools import until

SIZES = {"tmpfs": ("size=24m", "nr_inodes=400"), "ext4": ("-N", "400")}


@pytest.fixture(params=SIZES)
def small(request, disk):
    """A file system of 24 to 64 MB."""
    return disk(request.param, *SIZES[request.param])


def refusal(port, token, *, size=None):
    """Where and how a mail is refused: (command, code, text)."""
    with smtplib.SMTP("127.0.0.1", port, timeout=10) as client:
        client.ehlo()
        code, text = client.mail("tracker@tracker.example.com", [f"SIZE={size}"] if size else [])
        if code != 250:
            return "MAIL", code, text.decode()
        client.rcpt(f"eve-{token}@example.org")
        code, text = client.data(octets(token))
        return "DATA", code, text.decode()


def taken(port, token):
    return refusal(port, token)[1] == 250


def test_a_full_disk(relay, sink, small):
    one = relay(spool=small.inside / "spool", prefix=small.prefix).start()
    sink.delay = 0.3
    assert all(send(one.port, f"Sq{n}") for n in range(40))
    small.fill()
    began = time.monotonic()
    command, code, text = refusal(one.port, "Sx", size=2000)
    assert (command, code) == ("MAIL", 452)
    assert text == "4.3.1 no space left for mail, try again later"
    assert refusal(one.port, "Sx")[:2] == ("MAIL", 452), "without SIZE too"
    assert time.monotonic() - began < 1, "at once"
    arrived(sink, [f"Sq{n}" for n in range(40)])
    until(lambda: one.waiting() == 0, "what was queued leaves, and that is recorded")
    small.free()
    freed = time.monotonic()
    until(lambda: taken(one.port, "Safter"), "mail is taken again", 10)
    print(f"taken again {time.monotonic() - freed:.1f} s after there was room")
    arrived(sink, ["Safter"])
    assert list((small.path / "spool" / "bodies").iterdir()) == [], "no partial file is left"
    assert one.log().count("ALARM") <= 2
    assert one.log().count("there is room for mail again") == 1
    assert len(sink.taken) == 41
    assert all(len(times) == 1 for times in sink.taken.values())


def test_a_mail_that_does_not_fit_is_refused_at_mail_and_while_it_comes(relay, sink, small):
    one = relay(spool=small.inside / "spool", prefix=small.prefix, options="min_free = 2M").start()
    small.fill(leave=8 << 20)
    assert refusal(one.port, "Sx", size=8 << 20)[:2] == ("MAIL", 452)
    with smtplib.SMTP("127.0.0.1", one.port, timeout=20) as client:
        client.ehlo()
        assert client.mail("tracker@tracker.example.com")[0] == 250
        client.rcpt("eve@example.org")
        code, _ = client.data(b"Subject: x\r\n\r\n" + (b"x" * 70 + b"\r\n") * 200_000)
        assert code == 452
        assert list((small.path / "spool" / "bodies").iterdir()) == []
    assert "ALARM" not in one.log(), "that one mail is too large for the room that is left is no alarm"
    until(lambda: taken(one.port, "Sfits"), "a small one fits", 5)
    arrived(sink, ["Sfits"])


def test_a_refused_mail_gives_its_room_back_before_its_end(relay, sink, small):
    """The client may take hours to send the rest."""
    one = relay(spool=small.inside / "spool", prefix=small.prefix, options="min_free = 2M").start()
    small.fill(leave=8 << 20)
    with socket.create_connection(("127.0.0.1", one.port), 20) as client:
        replies = client.makefile("rb")
        client.sendall(b"EHLO x\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<eve@example.org>\r\nDATA\r\n")
        while not replies.readline().startswith(b"354"):
            pass
        client.sendall(b"Subject: x\r\n\r\n" + (b"x" * 70 + b"\r\n") * 200_000)
        until(lambda: "ballast" in os.listdir(small.path) and small.room() > 5 << 20, "its file is gone", 10)
        assert list((small.path / "spool" / "bodies").iterdir()) == []
        client.sendall(b".\r\n")
        assert replies.readline().startswith(b"452 4.3.1")


def test_a_disk_that_fills_while_large_mails_come(relay, sink, small):
    """Nothing is configured to stay free: the disk itself refuses, in the middle of files and of the database."""
    options = "min_free = 0\nmin_free_inodes = 0\nreserve = 1M"
    one = relay(spool=small.inside / "spool", prefix=small.prefix, options=options).start()
    sink.delay = 1
    small.fill(leave=5 << 20)
    replies = [refusal(one.port, f"Lf{n}") for n in range(14)] + [refusal(one.port, f"Sf{n}") for n in range(60)]
    assert {code for _, code, _ in replies} == {250, 452}, replies
    good = [f"Lf{n}" for n in range(14) if replies[n][1] == 250]
    good += [f"Sf{n}" for n in range(60) if replies[14 + n][1] == 250]
    arrived(sink, good, 60)
    small.free()
    until(lambda: taken(one.port, "Safter"), "mail is taken again", 10)
    until(lambda: one.waiting() == 0, "an empty queue")
    until(lambda: not list((small.path / "spool" / "bodies").iterdir()), "no partial file is left")
    assert not (small.path / "spool" / "corrupt").exists()
    assert set(sink.taken) == {*good, "Safter"}, "what was refused is not sent"


def test_no_inode_is_left(relay, sink, small):
    """Small mail needs none: it is refused only when min_free_inodes says so. Large mail is refused for lack of a file."""
    one = relay(spool=small.inside / "spool", prefix=small.prefix, options="min_free_inodes = 0").start()
    assert taken(one.port, "Lbefore")
    until(lambda: one.waiting() == 0, "an empty queue")
    until(lambda: not list((small.path / "spool" / "bodies").iterdir()), "its file is gone")
    small.use_up_inodes()
    assert refusal(one.port, "Lx")[1] == 452
    small.free_inodes()
    until(lambda: taken(one.port, "Lafter"), "mail is taken again", 10)
    arrived(sink, ["Lbefore", "Lafter"])
    one.stop()
    small.use_up_inodes(leave=10)
    one = relay(spool=small.inside / "spool", prefix=small.prefix).start()
    assert refusal(one.port, "Sx")[:2] == ("MAIL", 452)
    assert re.search(r"ALARM: spool \S+: \d+ files can still be made on its disk, min_free_inodes is", one.log())


def test_a_log_on_the_full_disk_costs_its_lines_only(relay, sink, small):
    one = relay(spool=small.inside / "spool", prefix=small.prefix)
    one.config.write_text(one.config.read_text() + f"[log]\nfile = {small.inside / 'relay.log'}\n")
    one.start()
    small.fill()
    for _ in range(80):
        assert refusal(one.port, "Sx")[:2] == ("MAIL", 452)
    small.free()
    until(lambda: taken(one.port, "Safter"), "mail is taken again", 10)
    until(lambda: "Safter" in (small.path / "relay.log").read_text(), "it is logged again", 10)
    assert one.log() == "", "nothing of it on standard error"


def test_a_start_on_a_full_disk(relay, sink, small):
    """What is queued leaves after a restart too: the reserve makes room for that."""
    one = relay(spool=small.inside / "spool", prefix=small.prefix).start()
    sink.delay = 5
    assert all(send(one.port, f"Sq{n}") for n in range(10))
    small.use_up_inodes(leave=1)
    small.fill()
    one.kill()
    sink.delay = 0
    one.start()
    arrived(sink, [f"Sq{n}" for n in range(10)])
    until(lambda: one.waiting() == 0, "what was queued leaves, and that is recorded")
    assert refusal(one.port, "Sx")[:2] == ("MAIL", 452)
    small.free()
    small.free_inodes()
    until(lambda: taken(one.port, "Safter"), "mail is taken again", 10)
    assert len(list((small.path / "spool" / "reserve").iterdir())) in (0, 4)
    until(lambda: len(list((small.path / "spool" / "reserve").iterdir())) == 4, "the reserve is taken again", 10)
