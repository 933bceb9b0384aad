"""Reports, read back with Python's own parser."""

import email
import email.policy
from dataclasses import replace
from email.message import EmailMessage

import pytest

from relay import dsn
from relay.address import parse
from relay.dsn import Action, Stamp, compose
from relay.entry import Cause, Disposition, Entry, Outcome
from relay.mail import HIDING_FIELDS, Envelope, Recipient
from relay.message import parse_bytes
from relay.reply import Reply

NOW = 1_700_000_000.0
HEADER = (
    b"From: Harbour <bot@example.com>\r\nTo: undisclosed-recipients: ;\r\nBcc: spy@example.org\r\n"
    b"Delivered-To: spy@example.org\r\nSubject: [Harbour] #12: Crane jams\r\nMessage-ID: <1@t>\r\n"
)
ORIGINAL = parse_bytes(HEADER + b"\r\nbody is not quoted\r\n")
ENTRY = Entry("0abc", NOW - 100, Envelope(parse("bot@example.com"), (Recipient.accepted(parse("bob@example.org")),)))
STAMP = Stamp("0rep", parse("admin@example.com"), parse("bot@example.com"), "gw.example.com", NOW, NOW + 3600)
UNKNOWN = Outcome(
    "rcpt:bob",
    "bob@example.org",
    Disposition.REFUSED,
    Reply(550, "5.1.1", "User unknown"),
    "mx.example.org[192.0.2.1]:25",
)


def report(*outcomes, action=Action.FAILED, original=ORIGINAL, stamp=STAMP, entry=ENTRY):
    data = compose(action, entry, outcomes or (UNKNOWN,), original, stamp)
    assert b"\n" not in data.replace(b"\r\n", b"")
    assert b"\r" not in data.replace(b"\r\n", b"")
    assert max(map(len, data.split(b"\r\n"))) <= 998
    parsed = email.message_from_bytes(data, policy=email.policy.default)
    assert isinstance(parsed, EmailMessage)
    assert not parsed.defects
    return data, parsed


def groups(parsed):
    """The groups of fields of the delivery-status part, as mappings."""
    return list(parsed.get_payload(1).get_payload())


def words(parsed):
    return parsed.get_payload(0).get_content().replace("\r\n", "\n")


def test_a_report_is_multipart_report_of_three_parts():
    data, parsed = report()
    assert parsed.get_content_type() == "multipart/report"
    assert parsed.get_param("report-type") == "delivery-status"
    assert [part.get_content_type() for part in parsed.iter_parts()] == [
        "text/plain",
        "message/delivery-status",
        "text/rfc822-headers",
    ]
    assert parsed["To"] == "admin@example.com"
    assert parsed["From"] == "Mail Delivery System <bot@example.com>"
    assert parsed["Subject"] == "Not delivered: mail to bob@example.org"
    assert parsed["Date"] == "Tue, 14 Nov 2023 22:13:20 +0000"
    assert parsed["Message-ID"] == "<0rep@gw.example.com>" == STAMP.message_id
    assert parsed["Auto-Submitted"] == "auto-replied"
    assert data.isascii()
    assert b"body is not quoted" not in data


def test_the_part_for_programs():
    _, parsed = report()
    mail, recipient = groups(parsed)
    assert mail["Reporting-MTA"] == "dns; gw.example.com"
    assert mail["Arrival-Date"] == "Tue, 14 Nov 2023 22:11:40 +0000"
    assert mail["X-Tracker-Relay-Id"] == "0abc"
    assert dict(recipient.items()) == {
        "Original-Recipient": "rfc822; bob",
        "Final-Recipient": "rfc822; bob@example.org",
        "Action": "failed",
        "Status": "5.1.1",
        "Remote-MTA": "dns; mx.example.org",
        "Diagnostic-Code": "smtp; 550 5.1.1 User unknown",
        "Last-Attempt-Date": "Tue, 14 Nov 2023 22:13:20 +0000",
    }


def test_original_recipient_only_where_it_differs():
    same = replace(UNKNOWN, origin="smtp_always_cc:bob@example.org")
    assert groups(report(same)[1])[1]["Original-Recipient"] is None
    assert groups(report(replace(UNKNOWN, origin="odd"))[1])[1]["Original-Recipient"] is None


def test_the_words_say_who_why_and_what_to_do():
    text = words(report()[1])
    assert '"[Harbour] #12: Crane jams" could not be delivered to:' in text
    assert "  bob@example.org\n" in text
    assert "mx.example.org[192.0.2.1]:25 said: 550 5.1.1 User unknown" in text
    assert "wrong or gone" in text
    assert "tracker-relay trace 0abc" in text
    assert max(map(len, text.splitlines())) <= 78


def test_a_mail_without_subject_has_words_too():
    text = words(report(original=parse_bytes(b"From: a@b\r\n\r\n"))[1])
    assert "A mail without a subject could not be delivered to:" in text


def test_our_own_answers_are_not_put_into_the_peers_mouth():
    by_rule = replace(UNKNOWN, rule="encoding", reply=Reply(554, "5.6.1", "8-bit text"), cause=Cause.RULE)
    _, parsed = report(by_rule)
    recipient = groups(parsed)[1]
    assert recipient["Remote-MTA"] is None
    assert recipient["Diagnostic-Code"] == "x-tracker-relay; 554 5.6.1 8-bit text"
    assert "By rule encoding: 554 5.6.1 8-bit text" in words(parsed)
    local = replace(UNKNOWN, cause=Cause.DNS, reply=Reply(451, "4.4.3", "no such host"))
    assert "\n    451 4.4.3 no such host\n" in words(report(local, action=Action.DELAYED)[1])


@pytest.mark.parametrize("host", ["", "unix:/run/x", "[192.0.2.1]", "bad host"])
def test_a_host_that_is_no_name_is_no_remote_mta(host):
    assert groups(report(replace(UNKNOWN, host=host))[1])[1]["Remote-MTA"] is None


def test_a_delay_report():
    late = replace(UNKNOWN, disposition=Disposition.DEFERRED, reply=Reply(451, "4.7.1", "greylisted"))
    _, parsed = report(late, action=Action.DELAYED)
    assert parsed["Subject"] == "Delayed: mail to bob@example.org"
    recipient = groups(parsed)[1]
    assert (recipient["Action"], recipient["Status"]) == ("delayed", "4.7.1")
    assert recipient["Will-Retry-Until"] == "Tue, 14 Nov 2023 23:13:20 +0000"
    assert "it is tried again until Tue, 14 Nov 2023 23:13:20 +0000" in " ".join(words(parsed).split())
    assert "wrong or gone" not in words(parsed)
    endless = report(late, action=Action.DELAYED, stamp=replace(STAMP, retry_until=0.0))[1]
    assert groups(endless)[1]["Will-Retry-Until"] is None
    assert "it is tried again." in words(endless)


@pytest.mark.parametrize(
    ("reply", "action", "status"),
    [
        (Reply(550, "", "x"), Action.FAILED, "5.0.0"),
        (Reply(451, "", "x"), Action.DELAYED, "4.0.0"),
        (Reply(550, "5.7.1", "x"), Action.FAILED, "5.7.1"),
        (Reply(553, "", "x"), Action.FAILED, "5.1.3"),
        (Reply(451, "4.4.1", "x"), Action.FAILED, "5.4.1"),
    ],
)
def test_the_status_agrees_with_the_action(reply, action, status):
    assert groups(report(replace(UNKNOWN, reply=reply), action=action)[1])[1]["Status"] == status


def test_no_hidden_recipient_in_the_quoted_header():
    fields = b"".join(name.encode() + b": spy@example.org\r\n" for name in HIDING_FIELDS)
    data, parsed = report(original=parse_bytes(b"From spy@example.org Mon\r\n" + HEADER + fields + b"\r\n"))
    assert b"spy@" not in data
    quoted = parsed.get_payload(2).get_content()
    assert quoted.splitlines() == [
        "From: Harbour <bot@example.com>",
        "To: undisclosed-recipients: ;",
        "Subject: [Harbour] #12: Crane jams",
        "Message-ID: <1@t>",
    ]


def test_a_header_that_is_not_plain_ascii_is_quoted_printable():
    data, parsed = report(original=parse_bytes("Subject: Kräne =3D\n folded\nX: y\n\n".encode()))
    assert data.isascii()
    part = parsed.get_payload(2)
    assert part["Content-Transfer-Encoding"] == "quoted-printable"
    assert part.get_content().splitlines() == ["Subject: Kräne =3D", " folded", "X: y"]
    assert '"Kräne =3D folded" could not be delivered' in words(parsed)


@pytest.mark.parametrize("bad", [b"X: " + b"y" * 2000, b"X: a\x00b", b"X: \x1b[31m"])
def test_a_header_with_long_lines_or_controls_leaves_safely(bad):
    data, parsed = report(original=parse_bytes(bad + b"\r\n\r\n"))
    assert parsed.get_payload(2)["Content-Transfer-Encoding"] == "quoted-printable"
    assert b"\x00" not in data
    assert b"\x1b" not in data
    assert parsed.get_payload(2).get_payload(decode=True).rstrip() == bad


def test_a_long_header_is_cut_at_a_field():
    many = b"".join(b"X-%d: %s\r\n" % (n, b"y" * 500) for n in range(100))
    data, parsed = report(original=parse_bytes(many + b"\r\n"))
    quoted = parsed.get_payload(2).get_content().splitlines()
    assert 20 < len(quoted) < 40
    assert all(line.endswith("y" * 500) for line in quoted)
    assert len(data) < 25000


def test_what_a_peer_says_can_not_add_fields_or_controls():
    evil = Reply(550, "5.1.1", "no\r\nAction: delivered\r\n\r\nX: \x1b[2J\x00\u202e é")
    data, parsed = report(replace(UNKNOWN, reply=evil))
    assert len(groups(parsed)) == 2
    assert groups(parsed)[1]["Action"] == "failed"
    assert groups(parsed)[1]["Diagnostic-Code"].startswith("smtp; 550 5.1.1 no Action: delivered X: [2J ?")
    assert b"\x1b" not in data
    assert "\u202e" not in words(parsed)
    assert "é" in words(parsed)


def test_a_long_answer_is_cut():
    data, parsed = report(replace(UNKNOWN, reply=Reply(550, "5.1.1", "x" * 60000)))
    assert len(data) < 6000
    assert groups(parsed)[1]["Diagnostic-Code"].endswith("x...")


def test_a_refused_path_can_say_anything():
    path = Outcome(
        "refused:x", "a\r\nb <c> \x07" + "y" * 900, Disposition.REFUSED, Reply(553, "5.1.3", "no"), rule="path"
    )
    data, parsed = report(path)
    assert groups(parsed)[1]["Final-Recipient"].startswith("rfc822; a b <c> y")
    assert b"\x07" not in data
    assert parsed["Subject"] == "Not delivered: mail to 1 recipient"
    wide = replace(path, address="\U0001f6a2" * 400)
    assert groups(report(wide)[1])[1]["Final-Recipient"].startswith("utf-8; \\x{1F6A2}")


def test_what_our_own_listener_has_refused_is_not_blamed_on_the_next_hop():
    reply = Reply(550, "5.7.1", "the listener does not take it from this client, or not with these parameters")
    path = Outcome("refused:x", "<eve@x.example>", Disposition.REFUSED, reply, cause=Cause.RULE, rule="path")
    assert dsn.advice(path).startswith("The relay itself forbids it")


def test_addresses_beyond_ascii_have_the_type_of_rfc_6533():
    outcome = replace(UNKNOWN, origin="rcpt:équipe+x=y", address="équipe+x=y@exämple.org")
    data, parsed = report(outcome)
    recipient = groups(parsed)[1]
    assert recipient["Final-Recipient"] == r"utf-8; \x{E9}quipe\x{2B}x\x{3D}y@ex\x{E4}mple.org"
    assert recipient["Original-Recipient"] == r"utf-8; \x{E9}quipe\x{2B}x\x{3D}y"
    assert data.isascii()
    assert "équipe+x=y@exämple.org" in words(parsed)


def test_a_readers_domain_is_written_in_ascii():
    stamp = replace(STAMP, to=parse("admin@exämple.org"), hostname="gw.exämple.org")
    data, parsed = report(stamp=stamp)
    assert parsed["To"] == "admin@xn--exmple-cua.org"
    assert parsed["Message-ID"] == "<0rep@gw.xn--exmple-cua.org>"
    assert data.isascii()
    utf8 = compose(Action.FAILED, ENTRY, (UNKNOWN,), ORIGINAL, replace(STAMP, to=parse("équipe@example.org")))
    assert "To: <équipe@example.org>\r\n".encode() in utf8


def test_an_unusable_hostname_is_localhost():
    assert report(stamp=replace(STAMP, hostname=""))[1]["Message-ID"] == "<0rep@localhost>"


def test_many_recipients_are_all_in_the_part_for_programs():
    outcomes = [replace(UNKNOWN, address=f"n{n}@example.org") for n in range(60)]
    _, parsed = report(*outcomes)
    assert parsed["Subject"] == "Not delivered: mail to 60 recipients"
    assert len(groups(parsed)) == 61
    assert "n49@" in words(parsed)
    assert "n50@" not in words(parsed)
    assert "and 10 more" in words(parsed)


def test_the_boundary_never_occurs_in_a_part():
    original = parse_bytes(b"X: --=_0rep\r\nY: --=_0rep_\r\n\r\n")
    _, parsed = report(original=original)
    assert parsed.get_boundary() == "=_0rep__"
    assert len(list(parsed.iter_parts())) == 3


def test_a_date_beyond_the_calendar_is_its_last_day():
    late = report(action=Action.DELAYED, stamp=replace(STAMP, retry_until=1e15))[1]
    assert groups(late)[1]["Will-Retry-Until"] == "Fri, 31 Dec 9999 23:59:59 +0000"


@pytest.mark.parametrize(
    ("status", "hint"),
    [
        ("5.1.3", "no mail address"),
        ("5.1.8", "smtp_from"),
        ("5.2.2", "full"),
        ("5.3.4", "too large"),
        ("5.4.7", "whole time"),
        ("5.6.3", "mime_encoding"),
        ("5.7.1", "forbids"),
        ("5.0.0", "Show the postmaster"),
    ],
)
def test_advice_by_status(status, hint):
    assert hint in dsn.advice(replace(UNKNOWN, reply=Reply(550, status, "x")))


def test_a_report_goes_to_report_to_else_to_the_sender_that_left_else_to_nobody():
    admin, bot = parse("root"), parse("bot@example.com")
    assert dsn.addressee(admin, [bot]) == admin
    assert dsn.addressee(None, [None, parse("short"), bot]) == bot
    assert dsn.addressee(None, [None]) is None
    assert dsn.addressee(None, []) is None


def test_the_key_is_one_per_reader_recipient_and_cause():
    admin = parse("admin@example.com")
    key = dsn.report_key(Action.FAILED, admin, UNKNOWN)
    assert key == dsn.report_key(
        Action.FAILED,
        parse("admin@EXAMPLE.com"),
        replace(UNKNOWN, origin="x:y", address="bob@EXAMPLE.ORG", host="mx2", reply=Reply(550, "5.1.1", "other words")),
    )
    others = {
        dsn.report_key(Action.DELAYED, admin, UNKNOWN),
        dsn.report_key(Action.FAILED, parse("other@example.com"), UNKNOWN),
        dsn.report_key(Action.FAILED, admin, replace(UNKNOWN, address="Bob@example.org")),
        dsn.report_key(Action.FAILED, admin, replace(UNKNOWN, address="not an address")),
        dsn.report_key(Action.FAILED, admin, replace(UNKNOWN, reply=Reply(550, "5.2.2", "full"))),
        dsn.report_key(Action.FAILED, admin, replace(UNKNOWN, rule="lifetime")),
        key,
    }
    assert len(others) == 7


def test_the_subject_is_shown_decoded():
    original = parse_bytes(b"Subject: =?utf-8?b?SMOkZmVu?= =?utf-8?q?_=231=0D=0AX-Injected=3A_1?=\r\n\r\n")
    data, parsed = report(original=original)
    assert '"Häfen #1 X-Injected: 1" could not be delivered to:' in words(parsed)
    assert data.isascii()


def test_a_report_on_many_is_bounded():
    talkative = replace(UNKNOWN, reply=Reply(550, "5.1.1", "no such user here, " * 100))
    many = [replace(talkative, address=f"u{n}@example.org", origin=f"rcpt:u{n}") for n in range(1000)]
    data, parsed = report(*many)
    assert len(data) < 500_000
    assert len(groups(parsed)) == 1001
    assert words(parsed).count("@example.org") == dsn.NAMED
