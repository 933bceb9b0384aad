"""A mail for human eyes: decoded, bounded, and never a failure."""

import random

import pytest

from relay.message import parse_bytes
from relay.web.readable import MAX_FIELD, MAX_PARTS, readable


def read(text):
    return readable(parse_bytes(text if isinstance(text, bytes) else text.encode()))


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ('Content-Disposition: attachment; filename="a b.pdf"', "a b.pdf"),
        ("Content-Disposition: attachment; filename*=utf-8''Pl%C3%A4ne.pdf", "Pläne.pdf"),
        ("Content-Disposition: attachment; filename*=iso-8859-1'de'Pl%E4ne.pdf", "Pläne.pdf"),
        (
            "Content-Disposition: attachment; filename*0*=utf-8''Pl%C3%A4; filename*1=ne; filename*2*=%20x.pdf",
            "Pläne x.pdf",
        ),
        ("Content-Disposition: attachment; filename*0=abc; filename*1=def", "abcdef"),
        ('Content-Disposition: attachment; filename="=?utf-8?q?Pl=C3=A4ne?="', "Pläne"),
        ("Content-Disposition: attachment; filename*=bogus''%FF%FE", "\ufffd\ufffd"),
        ("Content-Disposition: attachment; filename*=broken%C3", "broken\ufffd"),
        ("Content-Disposition: attachment", ""),
        ('Content-Type: application/x; name="n.bin"\r\nContent-Disposition: inline', "n.bin"),
        ('Content-Type: application/x; name="n.bin"\r\nContent-Disposition: attachment; filename=f.bin', "f.bin"),
    ],
)
def test_what_an_attachment_calls_itself(fields, name):
    [part] = read(
        f"Subject: x\r\nContent-Type: application/x\r\n{fields}\r\n\r\nx".replace(
            "Content-Type: application/x\r\nContent-Type", "Content-Type"
        )
    ).parts
    assert (part.name, part.text) == (name, None)


def test_reports_are_text_and_forwarded_mails_are_listed():
    text = "Content-Type: multipart/report; boundary=B\r\n\r\n--B\r\n\r\nsorry\r\n--B\r\nContent-Type: message/delivery-status\r\n\r\nStatus: 5.1.1\r\n--B\r\nContent-Type: message/rfc822\r\n\r\nSubject: y\r\n\r\nz\r\n--B--\r\n"
    assert [(part.kind, part.text) for part in read(text).parts] == [
        ("text/plain", "sorry"),
        ("message/delivery-status", "Status: 5.1.1"),
        ("message/rfc822", None),
    ]


def test_it_is_bounded():
    many = "".join(f"--B\r\n\r\n{n}\r\n" for n in range(200))
    seen = read(f"Subject: {'x' * 9000}\r\nContent-Type: multipart/mixed; boundary=B\r\n\r\n{many}--B--\r\n")
    assert len(seen.parts) == MAX_PARTS
    assert seen.problem == "Only the first 50 of 200 parts are shown."
    assert len(seen.field("subject")) == MAX_FIELD + 4
    seen = read(f"Content-Type: multipart/mixed; boundary=B\r\n\r\n{many * 6}--B--\r\n")
    assert "too many parts" in seen.problem
    assert [part.kind for part in seen.parts] == ["text/plain"]
    [part] = read(f"Subject: x\r\n\r\n{'y' * 300_000}").parts
    assert (len(part.text), part.cut, part.size) == (100_000, True, 300_000)


def test_all_its_texts_together_are_bounded():
    parts = "".join(f"--B\r\n\r\n{'y' * 80_000}\r\n" for _ in range(6))
    seen = read(f"Content-Type: multipart/mixed; boundary=B\r\n\r\n{parts}--B--\r\n")
    assert [len(part.text) for part in seen.parts] == [80_000, 80_000, 80_000, 60_000, 0, 0]
    assert [part.cut for part in seen.parts] == [False, False, False, True, True, True]


@pytest.mark.parametrize(
    "charset", ["undefined", "idna", "utf-7", "hex_codec", "rot13", "nonsense", "utf-16", "", "\x00", "x" * 500]
)
def test_no_charset_makes_it_fail(charset):
    [part] = read(b'Content-Type: text/plain; charset="' + charset.encode() + b'"\r\n\r\nhi \xff\xfe\r\n').parts
    assert part.text.startswith("hi ")


def test_nothing_makes_it_fail():
    source = random.Random(7)
    words = [
        b"Content-Type: ",
        b"multipart/mixed; ",
        b"boundary=B",
        b"\r\n",
        b"\r\n--B",
        b"--",
        b"\r\n\r\n",
        b"text/plain",
        b"; charset=",
        b"=?utf-8?q?=FF?=",
        b"\x00",
        b"\xff",
        b"Content-Transfer-Encoding: base64",
        b"%%%=",
        b"Content-Disposition: attachment; filename*0*=",
        b"'",
        b'"',
        b"(",
        b"Subject: ",
    ]
    for _ in range(2000):
        seen = read(b"".join(source.choices(words, k=source.randrange(1, 25))))
        assert isinstance(seen.as_json, dict)
