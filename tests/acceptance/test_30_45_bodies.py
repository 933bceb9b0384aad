"""Acceptance examples 30 to 34 and 42 to 45: bodies, other trackers, the wire, passing twice."""

import email
import email.policy

import pytest

from relay import downgrade, mime
from relay.message import parse_bytes
from relay.options import choice
from relay.rewrite import Policy

TO = ["eve@example.org"]


def decoded(raw):
    """The text of every text part by the standard library's reading, line ends as \\n."""
    parts = [
        p
        for p in email.message_from_bytes(raw, policy=email.policy.default).walk()
        if p.get_content_maintype() == "text"
    ]
    return ["\n".join(part.get_content().splitlines()) for part in parts]


def encodings(raw):
    message = email.message_from_bytes(raw)
    return [p["Content-Transfer-Encoding"] for p in message.walk() if p.get_content_maintype() == "text"]


def body(raw):
    return raw.partition(b"\r\n\r\n")[2]


def test_example_30_base64(gateway, mail):
    raw = mail(body="The crane jams.\r\n" * 40)
    left = gateway(mime_encoding="base64")(raw, TO).raw
    assert encodings(left) == ["base64"]
    assert decoded(left) == decoded(raw)
    assert max(map(len, body(left).split(b"\r\n"))) <= 76


def test_example_31_long_qp_lines_are_broken(gateway, mail):
    text = "=C3=A9" + "x" * 990 + "=\r\n" + "y" * 500 + "\r\n"
    raw = mail(body=text, Content_Transfer_Encoding="quoted-printable")
    left = gateway(mime_encoding="qp")(raw, TO).raw
    assert encodings(left) == ["quoted-printable"]
    assert max(map(len, body(left).split(b"\r\n"))) <= 76
    assert decoded(left) == decoded(raw)


def test_example_32_base64_with_bare_lf_to_7bit(gateway, mail):
    raw = mail(body="IzEyOiBDcmFuZSBqYW1zClRoZSBzZWNvbmQgbGluZQo=\r\n", Content_Transfer_Encoding="base64")
    left = gateway(mime_encoding="none")(raw, TO).raw
    assert encodings(left) == ["7bit"]
    assert body(left) == b"#12: Crane jams\r\nThe second line\r\n"


def test_example_33_none_is_8bit_and_qp_for_a_hop_without_8bitmime(gateway, mail):
    raw = mail(body="Der Kran klemmt, hélas.\r\n", Content_Transfer_Encoding="8bit")
    left = gateway(mime_encoding="none")(raw, TO)
    assert encodings(left.raw) == ["8bit"]
    assert mime.needs_8bit(left.mail.message)
    downgraded = downgrade.seven_bit(left.mail.message)
    assert downgraded is not None
    assert encodings(bytes(downgraded)) == ["quoted-printable"]
    assert decoded(bytes(downgraded)) == decoded(raw)


def test_example_34_alternative_keeps_its_structure(gateway, mail):
    image = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII=\r\n"
    inner = (
        "--outer\r\nContent-Type: multipart/alternative; boundary=inner\r\n\r\n"
        "--inner\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nhélas\r\n"
        "--inner\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\naMOpbGFz\r\n"
        "--inner--\r\n"
        f"--outer\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\n{image}"
        "--outer--\r\n"
    )
    raw = mail(body=inner, Content_Type="multipart/related; boundary=outer", Content_Transfer_Encoding="8bit")
    left = gateway(mime_encoding="qp")(raw, TO).raw
    assert encodings(left) == ["quoted-printable", "quoted-printable"]
    kinds = [p.get_content_type() for p in email.message_from_bytes(left).walk()]
    assert kinds == [p.get_content_type() for p in email.message_from_bytes(raw).walk()]
    assert decoded(left) == decoded(raw) == ["hélas", "hélas"]
    assert image.encode() in left
    assert left.count(b"--outer") == raw.count(b"--outer")


def test_example_35_unknown_encoding_is_refused(gateway):
    with pytest.raises(ValueError, match="utf8"):
        gateway(mime_encoding="utf8")
    assert Policy().mime_encoding == "base64"
    assert choice("a")("A") == "a"


def test_none_strict_refuses_with_5_6_1(gateway, mail):
    prepared = gateway(mime_encoding="none-strict").prepare(
        mail(body="hélas\r\n", Content_Transfer_Encoding="8bit"), TO
    )
    assert prepared.routed == ()
    assert [(o.disposition, o.reply.status, o.rule) for o in prepared.settled] == [("refused", "5.6.1", "encoding")]
    assert gateway(mime_encoding="none-strict")(mail(), TO).rcpt == TO


def test_keep_leaves_the_body_alone_and_says_so(gateway, mail):
    raw = mail(body="hélas\r\n", Content_Transfer_Encoding="8bit")
    left = gateway(mime_encoding="keep")(raw, TO)
    assert body(left.raw) == body(raw)
    assert left.mail.keep_body


def test_example_42_roundup_shows_everybody_we_do_not(gateway):
    raw = (
        b"From: Hana Sato <orchard@bugs.example.com>\r\nTo: a@example.org, b@example.org\r\n"
        b"Subject: [issue2] Apple counter\r\nX-Roundup-Name: Orchard\r\nX-Roundup-Version: 2.6.0\r\n"
        b"Message-Id: <1.2@bugs.example.com>\r\nDate: Sun, 22 Nov 2026 10:53:37 +0000\r\n\r\n\r\nSato added the comment:\r\n"
    )
    left = gateway(use_public_cc="false")(raw, ["a@example.org", "b@example.org"])
    assert left.rcpt == ["a@example.org", "b@example.org"]
    assert [f.raw for f in left.fields("To")] == [b"To: undisclosed-recipients: ;\r\n"]
    assert left.fields("Cc") == []
    assert left.addresses("Reply-To") == ["orchard@bugs.example.com"]


def test_example_43_one_message_id_two_audiences(gateway, mail):
    relay = gateway()
    first, second = relay(mail(), ["a@example.org"]), relay(mail(), ["b@example.org"], id="1hf7yat00000006")
    assert (first.rcpt, second.rcpt) == (["a@example.org"], ["b@example.org"])
    assert first.header("Message-ID") == second.header("Message-ID")


def test_example_44_a_2000_octet_field_is_folded_with_its_text(gateway, mail):
    long = " ".join(["crane"] * 333)
    left = gateway(mime_encoding="none")(mail(X_Note=long, body="From the crane\r\n.\r\n..\r\n"), TO)
    field = left.fields("X-Note")[0]
    assert max(map(len, field.raw.split(b"\r\n"))) <= 998
    assert field.text == long
    assert left.raw.endswith(b"\r\n\r\nFrom the crane\r\n.\r\n..\r\n")


def test_wire_encodes_a_long_field_without_blanks_or_refuses_the_mail(gateway, mail):
    left = gateway()(mail(X_Note="x" * 3000), TO)
    assert max(map(len, left.raw.split(b"\r\n"))) <= 998
    assert left.header("X-Note") == "x" * 3000
    prepared = gateway().prepare(mail(References="<" + "x" * 3000 + "@example.org>"), TO)
    assert prepared.routed == ()
    assert [(o.reply.status, o.rule) for o in prepared.settled] == [("5.6.0", "wire")]


@pytest.mark.parametrize("line", [b"From trac@localhost Mon Nov 24 10:00:00 2026\r\n", b">From x\r\n"])
def test_an_mbox_line_in_front_does_not_leave(gateway, mail, line):
    assert gateway()(line + mail(), TO).raw == gateway()(mail(), TO).raw


def test_a_line_that_is_no_field_begins_the_body(gateway):
    left = gateway(mime_encoding="none")(b"X-Trac-Project: Harbour\r\nSubject: x\r\nhello there\r\n", TO)
    header, _, rest = left.raw.partition(b"\r\n\r\n")
    assert rest == b"hello there\r\n"
    assert b"From: Harbour <bot@example.com>" in header


def test_wire_encodes_raw_8bit_text(gateway, mail):
    relay = gateway(use_public_cc="true", smtp_subject_prefix="")
    left = relay(mail("Häfen ändern", Cc="Zoë <eve@example.org>", X_Trac_Project="Häfen"), TO)
    assert left.mail.message.header_bytes.isascii()
    assert left.header("Subject") == "Häfen ändern"
    assert left.header("X-Trac-Project") == "Häfen"
    assert left.header("Cc") == "Zoë <eve@example.org>"


def test_example_45_through_a_second_gateway_only_trace_fields_change(gateway, mail):
    options = {
        "smtp_always_cc": "list@example.org",
        "smtp_always_bcc": "audit@example.org",
        "smtp_default_domain": "corp.example.com",
        "smtp_from_name": "Équipe",
        "smtp_subject_prefix": "[Häfen]",
        "smtp_replyto": "r@example.com",
    }
    for extra in (
        {"use_public_cc": "true"},
        {"use_public_cc": "false"},
        {"mime_encoding": "qp"},
        {"mime_encoding": "none"},
    ):
        raw = mail("Re: #12: übel", Cc="bob, press@example.org", body="hélas\r\n", Content_Transfer_Encoding="8bit")
        first = gateway(**options, **extra)(raw, ["bob", "press@example.org", "dana@example.com"])
        second = gateway("gw2.example.com", **options, **extra)(
            first.raw, first.rcpt, mail_from=first.mail_from, id="1hf7yat00000009"
        )
        assert second.rcpt == first.rcpt
        assert second.mail_from == first.mail_from
        trace = ("received", "x-tracker-relay")
        assert len(second.fields("Received")) == 2
        assert [f for f in second.mail.message.fields if f.name not in trace] == [
            f for f in first.mail.message.fields if f.name not in trace
        ]
        assert body(second.raw) == body(first.raw)


def test_untouched_fields_leave_byte_for_byte(gateway, mail):
    raw = mail(X_Odd="  a\t b  ", X_TRAC_Folded="a\r\n\tb\r\n  c")
    before, after = parse_bytes(raw), gateway(mime_encoding="keep")(raw, TO).mail.message
    changed = {"from", "reply-to", "to", "cc", "subject", "received", "x-tracker-relay"}
    assert [f for f in after.fields if f.name not in changed] == [f for f in before.fields if f.name not in changed]


def test_rewrite_off_touches_nothing_but_recipients_and_trace(gateway, mail):
    raw = mail("#12: x", body="hélas\r\n", Content_Transfer_Encoding="8bit", Bcc="ghost@example.org", To="bob")
    left = gateway(rewrite="off", smtp_default_domain="d.example.com", smtp_always_cc="l@example.org")(raw, ["bob"])
    assert left.rcpt == ["bob@d.example.com"]
    assert left.mail_from == "h@t.example.com"
    assert b"ghost" not in left.raw
    expected = raw.replace(b"Bcc: ghost@example.org\r\n", b"")
    assert left.raw.endswith(expected)
    assert [f.name for f in left.mail.message.fields][:2] == ["received", "x-tracker-relay"]
