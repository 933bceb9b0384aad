"""The log's lines: nobody who says one waits or fails, whatever becomes of the file or of its reader."""

import logging
import os
import pty
import select
import socket
import threading
import time

import pytest

from relay import journal, loglines
from relay.journal import COUNTERS, LogOptions
from tests.e2e.tools import until

LONG = "x" * 300


@pytest.fixture(autouse=True)
def _tidy():
    root, log = logging.getLogger(), journal.log
    before = root.level, log.level, COUNTERS["lines_lost"]
    yield
    for handler in [h for h in root.handlers if getattr(h, "of_relay", False)]:
        root.removeHandler(handler)
        handler.close()
    root.setLevel(before[0])
    log.setLevel(before[1])
    COUNTERS["lines_lost"] = before[2]


def our_handler():
    [handler] = [h for h in logging.getLogger().handlers if getattr(h, "of_relay", False)]
    return handler


@pytest.fixture
def pipe(tmp_path):
    """A named pipe that lines go into, and its reader, who has read nothing yet."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    journal.setup(LogOptions(file=str(fifo)))
    return fifo, reader


@pytest.fixture
def file(tmp_path):
    folder = tmp_path / "logs"
    folder.mkdir()
    journal.setup(LogOptions(file=str(folder / "relay.log")))
    return folder / "relay.log"


def lost():
    return COUNTERS["lines_lost"]


def say(number, text=LONG):
    """Many lines; fails when saying them takes long."""
    began = time.monotonic()
    for one in range(number):
        journal.info("", f"{one} {text}")
    assert time.monotonic() - began < 10


def numbers(text):
    return [int(line.split(" ")[3]) for line in text.splitlines() if LONG in line]


def read_all(descriptor, until_text):
    """What a reader gets that wakes up, up to a line that ends so."""
    found = b""
    while not found.endswith(until_text):
        assert select.select([descriptor], [], [], 10)[0], found[-300:]
        found += os.read(descriptor, 65536)
    return found.decode()


def test_a_file_that_was_rotated_is_made_again(file):
    journal.info("", "one")
    file.rename(file.with_name("relay.log.1"))
    journal.info("", "two")
    assert file.read_text().endswith(" info -: two\n")
    assert file.with_name("relay.log.1").read_text().endswith(" info -: one\n")


def test_while_its_folder_is_gone_the_open_file_goes_on_and_later_the_right_one(file, monkeypatch):
    monkeypatch.setattr(loglines, "AGAIN", 0.0)
    away = file.parent.with_name("away")
    file.parent.rename(away)
    journal.info("", "one")
    assert (away / file.name).read_text().endswith(" info -: one\n")
    file.parent.mkdir()
    journal.info("", "two")
    assert file.read_text().endswith(" info -: two\n")
    assert not lost()


def test_a_file_that_rotation_has_made_for_somebody_else_stops_nothing(file):
    file.unlink()
    file.mkdir()  # as good as a file of mode 0600 of another user's: it can not be opened
    say(10)
    file.rmdir()


def test_a_full_disk_loses_lines_and_then_says_how_many(file, monkeypatch):
    monkeypatch.setattr(loglines, "AGAIN", 0.0)
    file.unlink()
    file.symlink_to("/dev/full")
    say(3)
    assert lost() == 3
    file.unlink()
    journal.info("", "room again")
    [missing, line] = file.read_text().splitlines()
    assert missing.endswith("warning 3 lines of the log are missing here: they could not be written")
    assert line.endswith("info -: room again")
    journal.info("", "once")
    assert len(file.read_text().splitlines()) == 3


def test_a_line_that_was_written_in_part_does_not_spoil_the_next(file, monkeypatch):
    write, room = os.write, [10]

    def full(descriptor, octets):
        if not room[0]:
            raise OSError(28, "No space left on device")
        written = write(descriptor, octets[: room[0]])
        room[0] -= written
        return written

    monkeypatch.setattr(loglines.os, "write", full)
    journal.info("", "torn")
    room[0] = 1000
    journal.info("", "whole")
    torn, missing, whole = file.read_text().splitlines()
    assert (len(torn), lost()) == (10, 1)
    assert missing.endswith("1 lines of the log are missing here: they could not be written")
    assert whole.endswith("info -: whole")


def test_a_reader_that_sleeps_keeps_nobody_waiting_and_gets_every_line_in_order(pipe):
    _, reader = pipe
    say(1000)  # 340 kB, a pipe takes 64
    text = read_all(reader, b"999 " + LONG.encode() + b"\n")
    assert numbers(text) == list(range(1000))
    assert not lost()
    os.close(reader)


def test_what_a_reader_that_sleeps_on_costs_is_bounded_and_he_hears_of_it(pipe, monkeypatch):
    monkeypatch.setattr(loglines, "KEPT", 50_000)
    _, reader = pipe
    say(1000)
    missing = lost()
    assert 500 < missing < 900
    handler = our_handler()
    text = ""
    while handler._kept:
        text += os.read(reader, 65536).decode() if select.select([reader], [], [], 0.05)[0] else ""
    journal.info("", "awake")
    text += read_all(reader, b"awake\n")
    assert numbers(text) == list(range(1000 - missing))
    assert f"warning {missing} lines of the log are missing here" in text
    os.close(reader)


def test_a_reader_that_is_gone_stops_nothing_and_one_that_comes_reads_on(pipe):
    fifo, reader = pipe
    os.close(reader)
    say(10)
    assert lost() == 10
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    journal.info("", "again")
    assert "10 lines of the log are missing here" in read_all(reader, b"again\n")
    os.close(reader)


def _socket():
    ours, theirs = socket.socketpair()  # as systemd gives one for the journal
    return ours.detach(), theirs.detach()


def _terminal():
    theirs, ours = pty.openpty()
    return ours, theirs


@pytest.mark.parametrize("make", [_socket, _terminal])
def test_standard_error_whose_reader_sleeps(make, monkeypatch):
    ours, theirs = make()
    with open(ours, "w") as stream:
        monkeypatch.setattr(journal.sys, "stderr", stream)
        journal.setup(LogOptions())
        said = threading.Thread(target=say, args=(3000,), daemon=True)  # 1 MB, no socket takes as much
        said.start()
        said.join(20)
        assert not said.is_alive()
        handler = our_handler()
        assert handler._kept
        text = b""
        while handler._kept:
            text += os.read(theirs, 65536) if select.select([theirs], [], [], 0.05)[0] else b""
        while select.select([theirs], [], [], 0.05)[0]:
            text += os.read(theirs, 65536)
        found = numbers(text.decode())
        assert found == list(range(len(found)))
        assert len(found) + lost() == 3000
        logging.getLogger().removeHandler(handler)
        handler.close()
    os.close(theirs)


def test_without_any_standard_error(monkeypatch):
    monkeypatch.setattr(journal.sys, "stderr", None)
    journal.setup(LogOptions())
    say(3)


def test_the_end_waits_a_little_for_the_reader(pipe, monkeypatch):
    monkeypatch.setattr(loglines, "AT_THE_END", 0.2)
    _, reader = pipe
    say(1000)
    handler = our_handler()
    began = time.monotonic()
    handler.flush()
    assert 0.15 < time.monotonic() - began < 2
    os.close(reader)


def test_a_line_of_a_library_with_values_that_do_not_fit_is_one_lost_line(file):
    handler = our_handler()
    handler.handle(logging.LogRecord("foreign", logging.WARNING, "", 0, "%d", ("no number",), None))
    assert lost() == 1
    journal.info("", "on")
    assert file.read_text().endswith("info -: on\n")


def test_after_a_reload_the_old_file_is_closed_once_its_reader_has_all(pipe):
    fifo, reader = pipe
    say(1000)
    handler = our_handler()
    journal.setup(LogOptions(file=str(fifo.with_name("log"))))
    assert numbers(read_all(reader, b"999 " + LONG.encode() + b"\n")) == list(range(1000))
    until(lambda: handler._descriptor == -1, "the pipe closed")
    os.close(reader)
