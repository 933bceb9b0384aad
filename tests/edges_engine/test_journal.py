"""The journal: one event, one line, whatever others wrote into it."""

import json
import logging
from dataclasses import replace

import pytest

from relay import journal
from relay.address import parse
from relay.entry import Attempt, Client, Disposition, Entry, Outcome
from relay.journal import LogOptions
from relay.mail import Envelope, Recipient
from relay.reply import Reply

ENTRY = Entry(
    "0abc",
    0.0,
    Envelope(parse("bot@example.com"), (Recipient.accepted(parse("bob@example.org")),)),
    size=17,
    client=Client("127.0.0.1", "trac"),
    message_id="<1@trac>",
)
GONE = Outcome(
    "rcpt:bob", "bob", Disposition.REFUSED, Reply(550, "5.1.1", "no bob@example.org here"), "mx[192.0.2.1]:25"
)


@pytest.fixture
def lines(tmp_path, monkeypatch):
    """Sets the journal up towards a file; gives its lines so far."""
    root, log = logging.getLogger(), journal.log
    before = root.level, log.level

    def start(**options):
        file = tmp_path / "log"
        journal.setup(LogOptions(file=str(file), **options))
        return lambda: file.read_text("utf-8").splitlines()

    yield start
    for handler in [h for h in root.handlers if getattr(h, "of_relay", False)]:
        root.removeHandler(handler)
        handler.close()
    root.setLevel(before[0])
    log.setLevel(before[1])
    monkeypatch.setattr(journal._Privacy, "hide", None)


def test_a_mails_life_as_text(lines):
    read = lines()
    journal.accepted(ENTRY)
    journal.delivery(ENTRY, GONE, Attempt(0.0, "up", (GONE,), delays=(1.0, 0.25, 0.0, 0.5)))
    journal.delivery(ENTRY, replace(GONE, rule="wire", host=""), Attempt(0.0, "", ()))
    journal.reported(ENTRY, replace(ENTRY, id="0rep"))
    journal.rejected(Client("unix"), Reply(451, "4.3.0", "later"), "DATA")
    journal.warning("0abc", "look")
    journal.info("", "hello")
    accepted, delivery, by_rule, reported, rejected, warning, info = (line.split(" ", 1)[1] for line in read())
    assert accepted == (
        "info 0abc: from=<bot@example.com>, size=17, nrcpt=1, client=127.0.0.1, helo=<trac>, message-id=<1@trac>"
    )
    assert delivery == (
        "info 0abc: to=<bob>, relay=mx[192.0.2.1]:25, delay=1.8, delays=1/0.25/0/0.5, dsn=5.1.1,"
        " status=bounced (550 5.1.1 no bob@example.org here), tls=none"
    )
    assert "relay=none" in by_rule
    assert by_rule.endswith("status=bounced (wire: 550 5.1.1 no bob@example.org here), tls=none")
    assert reported == "info 0abc: sender notified: 0rep to=<bob@example.org>"
    assert rejected == "warning NOQUEUE: client=unix, DATA: 451 4.3.0 later"
    assert warning == "warning 0abc: look"
    assert info == "info -: hello"
    assert read()[0][10] == "T"
    assert read()[0].split(" ")[0].endswith("+00:00")


@pytest.mark.parametrize(
    ("delay", "shown"),
    [
        (0.0, "0"),
        (0.00001, "0"),
        (0.0037, "0.0037"),
        (0.01234, "0.012"),
        (0.1, "0.1"),
        (0.999, "1"),
        (1.0, "1"),
        (1.25, "1.2"),
        (9.96, "10"),
        (11.42, "11"),
        (123456.7, "123457"),
        (432000.0, "432000"),
    ],
)
def test_delays_are_written_as_postfix_writes_them(lines, delay, shown):
    read = lines()
    journal.delivery(ENTRY, GONE, Attempt(0.0, "up", (GONE,), delays=(delay, 0.0, 0.0, 0.0)))
    assert f" delay={shown}, delays={shown}/0/0/0, " in read()[0]


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("mx.example.org[192.0.2.1]:25", "mx.example.org[192.0.2.1]:25"),
        ("::1[::1]:2525", "::1[::1]:2525"),
        ("", "none"),
        ("mx.example.org:587", "none"),
        ("mx.example.org", "none"),
        ("unix:/run/hop.sock", "unix[/run/hop.sock]"),
        ("outbox", "outbox"),
    ],
)
def test_the_relay_is_named_as_postfix_names_it(lines, host, shown):
    read = lines()
    journal.delivery(ENTRY, replace(GONE, host=host), Attempt(0.0, "up", ()))
    assert f" relay={shown}, delay=" in read()[0]


def test_json_lines_have_the_events_fields(lines):
    read = lines(format="json")
    journal.delivery(ENTRY, GONE, Attempt(0.0, "up", ()))
    journal.fault("settle", ValueError("x\ny"))
    told, fault = map(json.loads, read())
    assert told["event"] == "delivery"
    assert (told["id"], told["to"], told["status"], told["dsn"]) == ("0abc", "bob", "bounced", "5.1.1")
    assert told["message"].startswith("0abc: to=<bob>")
    assert fault["level"] == "error"
    assert fault["message"] == r"fault in settle: ValueError: x\ny"


def test_journal_lines_have_their_priority(lines):
    read = lines(format="journal", level="debug")
    journal.info("1", "a")
    journal.warning("1", "b")
    journal.fault("c", OSError("d"))
    assert [line[:3] for line in read()] == ["<6>", "<4>", "<3>", "<7>"]


@pytest.mark.parametrize("form", ["text", "json", "journal"])
def test_one_event_is_one_line_whatever_it_contains(lines, form):
    read = lines(format=form, level="debug")
    evil = "a\r\n2026 info 0abc: forged\x1b[2J\x00\u2028\x85" + "x" * 100_000
    try:
        raise ValueError(evil)
    except ValueError as fault:
        journal.fault(evil[:20].strip("\r\n").splitlines()[0], fault)
    journal.warning("0abc", evil)
    journal.rejected(Client(evil, evil), Reply(500, "5.5.2", evil), evil)
    logging.getLogger("some.library").warning("%s", evil)
    assert len(read()) == 5
    for line in read():
        assert "\x1b" not in line
        assert "\x00" not in line
    assert max(map(len, read())) < 5000


@pytest.mark.parametrize(
    ("at", "shown"),
    [
        (1795888371.0, "2026-11-28T17:52:51.000+00:00"),
        (1795888371.0625, "2026-11-28T17:52:51.062+00:00"),
        (1795888371.99975, "2026-11-28T17:52:51.999+00:00"),
        (1795888372.5, "2026-11-28T17:52:52.500+00:00"),
        (1795888371.125, "2026-11-28T17:52:51.125+00:00"),
    ],
)
def test_a_line_begins_with_its_time(lines, monkeypatch, at, shown):
    read = lines()
    monkeypatch.setattr(journal.time, "time", lambda: at)
    journal.info("", "x")
    assert read() == [f"{shown} info -: x"]


def test_the_level_is_the_least_that_is_logged(lines):
    read = lines(level="warning")
    journal.info("1", "quiet")
    journal.warning("1", "loud")
    logging.getLogger("some.library").info("quiet")
    assert [line.split(" ", 2)[2] for line in read()] == ["1: loud"]


def test_setup_again_replaces_what_was(lines, tmp_path):
    read = lines()
    journal.setup(LogOptions(file=str(tmp_path / "log"), level="error"))
    journal.warning("1", "gone")
    journal.fault("x", OSError("once"))
    assert len(read()) == 1


def test_without_a_file_lines_go_to_standard_error(lines, capsys):
    lines()
    journal.setup(LogOptions())
    journal.info("1", "here")
    assert capsys.readouterr().err.endswith("info 1: here\n")


def test_a_rotated_file_is_begun_anew(lines, tmp_path):
    read = lines()
    journal.info("1", "first")
    (tmp_path / "log").rename(tmp_path / "log.1")
    journal.info("1", "second")
    assert [line.split(" ", 2)[2] for line in read()] == ["1: second"]


@pytest.mark.parametrize("addresses", ["hash", "off"])
def test_addresses_are_hidden_everywhere_when_asked(lines, addresses):
    read = lines(addresses=addresses)
    journal.accepted(ENTRY)
    journal.delivery(ENTRY, GONE, Attempt(0.0, "up", ()))
    journal.reported(ENTRY, ENTRY)
    journal.warning("0abc", "held: bob@example.org: 451 <bob@example.org> greylisted")
    journal.accepted(replace(ENTRY, envelope=Envelope(None, ())))
    told = "\n".join(read())
    assert "bob" not in told
    assert "bot@" not in told
    assert "message-id=<1@trac>" in told
    assert "from=<>" in told
    shown = {line.split("to=<")[1].split(">")[0] for line in read() if " to=<" in line}
    if addresses == "off":
        assert shown == {"-"}
    else:
        assert journal._hashed("bob@example.org") in shown
        assert told.count(journal._hashed("bob@example.org")) == 4


def test_hiding_addresses_in_a_long_text_costs_no_time_and_leaves_no_half_address(lines):
    read = lines(addresses="off")
    journal.warning("0abc", "x" * 5_000_000)
    journal.warning("0abc", "x" * 390 + " bobobobobobobobobob@example.org")
    assert "bobo" not in read()[1]


def test_each_event_counts():
    before = journal.COUNTERS.copy()
    journal.delivery(ENTRY, GONE, Attempt(0.0, "up", ()))
    journal.reported(ENTRY, ENTRY)
    journal.rejected(Client(), Reply(550, "", ""), "RCPT")
    grown = journal.COUNTERS - before
    assert grown == {"bounced": 1, "reports": 1, "rejected_5xx": 1}
