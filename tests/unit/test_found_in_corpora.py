"""Mails of forms that were met in the test mails of other programs: relayed as their readers take them."""

import email

import pytest

from relay import downgrade
from relay.fields import fit
from relay.message import Field, parse_bytes
from relay.transfer import LONGEST_LINE
from tests.gateway import Gateway

TO = ["eve@example.org"]
ENCODINGS = ["base64", "qp", "none", "auto", "keep"]
HEAD = b"From: a@example.com\r\nSubject: x\r\nMIME-Version: 1.0\r\n"


def left(raw, **options):
    [(_, mail)] = Gateway(smtp_subject_prefix="", **options).prepare(raw, TO).routed
    return mail.message


def leaves(octets):
    parts = email.message_from_bytes(octets).walk()
    return [(p.get_content_type(), p.get_payload(decode=True)) for p in parts if not p.is_multipart()]


@pytest.mark.parametrize("blanks", [b" \r\n", b"\t \r\n  \r\n", b" " * 255 + b"\r\n"])
@pytest.mark.parametrize("options", [{"mime_encoding": "keep"}, {"mime_encoding": "base64"}, {"rewrite": "off"}])
def test_a_line_of_blanks_before_the_header_is_no_end_of_it(blanks, options):
    raw = (
        blanks + HEAD + b"Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\n\r\nhi\r\n--o\r\n\r\nho\r\n--o--\r\n"
    )
    message = left(raw, **options)
    assert message.text("content-type") == "multipart/mixed; boundary=o"
    assert leaves(bytes(message)) == leaves(raw)
    assert b"\r\n \r\n" not in message.header_bytes
    assert message.fields[0].name in ("x-tracker-relay", "received"), "blanks behind it would continue our field"


@pytest.mark.parametrize("first", [b" text\r\n", b" \r\n\r\n", b" \r\nno field\r\n"])
def test_other_first_lines_with_a_blank_are_the_body(first):
    raw = first + HEAD + b"\r\nbody\r\n"
    assert not parse_bytes(raw).fields
    assert bytes(parse_bytes(raw)) == raw


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(
    "form", [b"boundary=a b", b'boundary="a\r\n b"', b'boundary = "a\r\n\tb"; x=y', b"boundary=a b; x=y"]
)
def test_a_boundary_that_readers_take_in_two_ways_leaves_the_body_alone(form, encoding):
    body = b"--a b\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nh=C3=A9las\r\n--a b--\r\n"
    raw = HEAD + b"Content-Type: multipart/mixed; " + form + b"\r\n\r\n" + body
    message = left(raw, mime_encoding=encoding)
    assert message.body.read(0, 9999) == body


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("types", [(b"multipart/mixed; boundary=o", b"text/plain"), (b"text/plain", b"message/rfc822")])
def test_what_may_have_parts_or_none_leaves_as_it_came_or_not_at_all(types, encoding):
    body = "--o\r\n\r\nhélas\r\n--o--\r\n".encode()
    raw = HEAD + b"".join(b"Content-Type: " + kind + b"\r\n" for kind in types) + b"\r\n" + body
    message = left(raw, mime_encoding=encoding)
    assert message.body.read(0, 9999) == body
    assert downgrade.seven_bit(message) is None


@pytest.mark.parametrize("scheme", ["7-bit", "8-bit", "8 bit", "7bits", "8bits"])
def test_misspelt_names_of_no_encoding(scheme):
    raw = (
        HEAD
        + f"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: {scheme}\r\n\r\nhélas\r\n".encode()
    )
    seven = bytes(downgrade.seven_bit(left(raw, mime_encoding="keep")))
    assert seven.isascii()
    assert leaves(seven) == [("text/plain", "hélas\r\n".encode())]
    assert leaves(bytes(left(raw, mime_encoding="base64"))) == [("text/plain", "hélas\r\n".encode())]


def test_letters_around_the_parts_keep_no_mail_from_a_hop_of_seven_bits():
    inner = "Content-Type: multipart/alternative; boundary=i\r\n\r\nvör\r\n--i\r\n\r\na\r\n--i\r\n\r\nb\r\n--i--\r\näfter\r\n"
    raw = HEAD + b"Content-Type: multipart/mixed; boundary=o\r\n\r\n"
    raw += (
        f"Det här är\r\n--o\r\n{inner}\r\n--o\r\nContent-Type: image/png\r\n\r\n\xe9\x01\r\n--o--\r\nslüt\r\n".encode()
    )
    seven = bytes(downgrade.seven_bit(left(raw, mime_encoding="keep")))
    assert seven.isascii()
    assert leaves(seven) == leaves(raw)
    assert b"Det h??r ??r\r\n--o\r\n" in seven
    assert b"--i--\r\n??fter\r\n" in seven
    assert seven.endswith(b"--o--\r\nsl??t\r\n")


@pytest.mark.parametrize(
    ("kind", "body"),
    [("signed; protocol=x", "--o\r\n\r\na\r\n--o\r\n\r\nb\r\n--o--\r\n"), ("mixed", "no part of it\r\n")],
)
def test_a_sealed_multipart_or_one_without_parts_is_not_masked(kind, body):
    raw = HEAD + f"Content-Type: multipart/{kind}; boundary=o\r\n\r\nhär\r\n{body}".encode()
    assert downgrade.seven_bit(left(raw, mime_encoding="keep")) is None


def test_quoted_printable_that_is_half_encoded_is_encoded_whole():
    raw = (
        HEAD
        + "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nÂ =C3=A9\r\n".encode()
    )
    seven = bytes(downgrade.seven_bit(left(raw, mime_encoding="keep")))
    assert seven.isascii()
    assert leaves(seven) == [("text/plain", "Â é\r\n".encode())]


@pytest.mark.parametrize(
    "raw",
    [
        "References: " + "<1234567890@example.org>" * 90 + "\r\n",
        "List-Post: " + "<mailto:crane@example.org>," * 90 + "\r\n",
        "Cc: " + "crane@example.org," * 90 + "b@example.org\r\n",
        "Content-Type: text/plain" + ";a=1234567890" * 180 + "\r\n",
        "DKIM-Signature: v=1;d=example.com;b=" + "Zm9vYmFy" * 300 + "\r\n",
        "DKIM-Signature: v=1;d=example.com;h=" + "subject:" * 300 + "to;b=YQ==\r\n",
        "ARC-Seal: i=1;" + "cv=none;" * 300 + "b=YQ==\r\n",
    ],
)
def test_lists_and_signatures_without_blanks_are_folded(raw):
    made = fit(Field(raw.encode())).raw
    assert max(map(len, made.split(b"\r\n"))) <= LONGEST_LINE
    assert made.replace(b"\r\n ", b"") == raw.encode()
    assert fit(Field(made)).raw == made


TWICE = b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n"


@pytest.mark.parametrize("encoding", ["base64", "qp"])
def test_a_field_that_is_given_twice_alike_is_one(encoding):
    """As mail() of PHP sends what its caller and its settings both say: no reader can read that in two ways."""
    parsed = email.message_from_bytes(
        bytes(left(HEAD + TWICE + TWICE + b"\r\nh\xc3\xa9las\r\n", mime_encoding=encoding))
    )
    assert parsed.get_all("Content-Transfer-Encoding") == [{"qp": "quoted-printable"}.get(encoding, encoding)]
    assert parsed.get_payload(decode=True) == b"h\xc3\xa9las\r\n"


def test_parts_of_a_multipart_that_says_so_twice():
    kind = b"Content-Type: multipart/mixed; boundary=a\r\n"
    parsed = email.message_from_bytes(
        bytes(left(HEAD + kind + kind + b"\r\n--a\r\n" + TWICE + b"\r\nh\xc3\xa9las\r\n--a--\r\n", mime_encoding="qp"))
    )
    assert parsed.get_payload()[0].get_payload() == "h=C3=A9las"


OBSOLETE = (
    b"From : a@example.com\r\nSubject\t : x\r\nX-One: 1\r\n \r\n two\r\nX-Two \t: a : b\r\n\t\r\nDate : Sun, 22 Nov 2026 10:53:28 +0000\r\n"
    b"Message-ID : <1@example.com>\r\nX-Three: a : b \r\nMIME-Version: 1.0\r\n\r\nhi\r\n"
)


@pytest.mark.parametrize("options", [{"mime_encoding": "keep"}, {"mime_encoding": "base64"}, {"rewrite": "off"}])
def test_fields_in_the_obsolete_form_are_not_sent_in_it(options):
    """RFC 5322 4: what has to be read need not be understood by all, so Python's reader ends the header there."""
    message = left(OBSOLETE, **options)
    parsed = email.message_from_bytes(bytes(message))
    assert parsed.defects == []
    assert parsed.get_payload(decode=True) == b"hi\r\n"
    assert [parsed[name] for name in ("X-One", "X-Two", "X-Three", "Message-ID")] == [
        "1\r\n two",
        "a : b",
        "a : b ",
        "<1@example.com>",
    ]
    assert b"X-Three: a : b \r\n" in bytes(message)
    [(_, again)] = Gateway(smtp_subject_prefix="", **options).prepare(bytes(message), TO).routed
    assert bytes(again.message) == bytes(message)
