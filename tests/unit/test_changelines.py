"""What the rules did to a mail, as its history keeps it."""

from relay.address import parse
from relay.changelines import LONGEST, MOST, change_lines, changed_fields
from relay.entry import Entry
from relay.history import noted
from relay.mail import Envelope, Mail, Recipient
from relay.message import BytesBody, Field, parse_bytes
from relay.policy import Policy
from relay.prepare import Setting, prepare
from relay.profiles import DEFAULT, Profile
from relay.routing import Upstream

MAIL = (
    b"From: Trac <trac@localhost>\r\nSender: x@y.example\r\nTo: eve@example.org\r\nSubject: =?utf-8?q?Kr=C3=A4ne?=\r\n"
    b"MIME-Version: 1.0\r\nContent-Type: text/plain\r\nDate: Tue, 24 Nov 2026 18:00:00 +0000\r\nMessage-ID: <1@x>\r\nContent-Transfer-Encoding: base64\r\n\r\naGk=\r\n"
)


def prepared(octets=MAIL, **policy):
    given = {"smtp_enabled": True, "smtp_from": parse("bugs@example.com"), "smtp_from_name": "Bugs", **policy}
    setting = Setting((Profile(DEFAULT, Policy(**given), Upstream("x", "mail.example.com")),), "relay", "relay")
    entry = Entry("0" * 15, 1.0, Envelope(parse("trac@localhost"), (Recipient.accepted(parse("eve@example.org")),)))
    return entry, prepare(entry, BytesBody(octets), setting)


def test_each_rule_says_what_it_changed():
    _, made = prepared(smtp_subject_prefix="[P]", mime_encoding="auto", smtp_always_cc=(parse("list@example.com"),))
    assert made.changes == (
        'visible_recipients: To: "eve@example.org" became "undisclosed-recipients: ;"',
        'visible_recipients: Cc: "list@example.com" added',
        'originator: From: "Trac <trac@localhost>" became "Bugs <bugs@example.com>"',
        'originator: Sender: "x@y.example" removed',
        'subject_prefix: Subject: "Kräne" became "[P] Kräne"',
        'encoding: Content-Transfer-Encoding: "base64" became "7bit"',
        "encoding: the body was re-encoded",
    )


def test_a_mail_that_no_rule_touches_has_none():
    assert prepared(rewrite="off")[1].changes == ()


def test_the_history_has_each_line_once_however_often_it_is_tried():
    entry, made = prepared(smtp_subject_prefix="[P]")
    once = noted(entry, made, 2.0)
    assert 'subject_prefix: Subject: "Kräne" became "[P] Kräne"' in [e.text for e in once.events if e.kind == "rule"]
    assert noted(once, made, 3.0) == once


def test_it_is_bounded_and_on_one_line():
    long = Mail(Envelope(None, ()), parse_bytes(b"Subject: a\r\n\r\n"))
    value = b"x\x00\x1b" * LONGEST
    after = long.with_message(long.message.put("Subject", b"Subject: " + value + b"\r\n"))
    [line] = change_lines(long, [("wire", after)])
    assert len(line) < LONGEST + 60
    assert line.isprintable()
    many = b"".join(b"X-%d: y\r\n" % n for n in range(900))
    after = long.with_message(parse_bytes(many + b"\r\n"))
    assert len(change_lines(long, [("wire", after)])) == MOST


def test_fields_that_stay_are_no_change_however_they_moved():
    old = tuple(Field(b"X-%d: y\r\n" % n) for n in range(5))
    copy = tuple(Field(field.raw) for field in reversed(old))
    assert changed_fields(old, copy) == ([], [])
    assert changed_fields(old, (*copy, Field(b"Z: 1\r\n"))) == ([], [Field(b"Z: 1\r\n")])
