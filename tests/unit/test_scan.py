"""What re-encoding must not do to a tree of parts: uncover a delimiter, split what readers read in two ways, touch what is named."""

import base64
import email

import pytest

from relay import downgrade, mime
from relay.message import parse_bytes
from relay.scan import scan
from relay.transfer import encoded, legal_qp, uncovers

ENCODINGS = ["base64", "qp", "none", "auto"]


def out(raw, encoding):
    return bytes(mime.reencode(parse_bytes(raw), encoding).message)


def tree(raw):
    return [(p.get_content_type(), p.get_filename()) for p in email.message_from_bytes(raw).walk()]


def texts(raw):
    leaves = [p for p in email.message_from_bytes(raw).walk() if p.get_content_maintype() == "text"]
    return [p.get_payload(decode=True).replace(b"\r\n", b"\n").rstrip(b"\n") for p in leaves]


def mixed(*parts, boundary="o", quoted='"o"', end="--o--\r\n"):
    head = f"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary={quoted}\r\n\r\n"
    return (
        head.encode() + b"".join(b"--" + boundary.encode() + b"\r\n" + part + b"\r\n" for part in parts) + end.encode()
    )


def part(text, scheme="base64", kind="text/plain; charset=utf-8"):
    octets = text.encode()
    if scheme == "base64":
        octets = base64.encodebytes(octets).replace(b"\n", b"\r\n").removesuffix(b"\r\n")
    return f"Content-Type: {kind}\r\nContent-Transfer-Encoding: {scheme}\r\n\r\n".encode() + octets


SMUGGLED = "hello\r\n--o\r\nContent-Type: text/html\r\n\r\n<b>not from the tracker</b>\r\n--o--\r\nbye"


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(
    "inner",
    [
        part(SMUGGLED),
        part(SMUGGLED.replace("--o", "=2D-o"), "quoted-printable"),
        part("x" * 75 + "--o\r\nContent-Type: text/html\r\n\r\nhi", "8bit"),
        part("é" * 12 + "xxx--o\r\n" + "x" * 75 + "--o--\r\n", "8bit"),
        part("--o" * 60),
        part("-- \r\n--o " + "é" * 40),
    ],
)
def test_no_encoding_uncovers_a_delimiter(inner, encoding):
    raw = mixed(inner, part("the second"))
    left = out(raw, encoding)
    assert tree(left) == tree(raw)
    assert texts(left) == texts(raw)
    assert out(left, encoding) == left
    assert all(len(line) <= 76 for line in left.split(b"\r\n\r\n", 2)[2].split(b"\r\n")) or encoding in ("none", "auto")
    seven = downgrade.seven_bit(parse_bytes(raw))
    assert seven is not None
    assert tree(bytes(seven)) == tree(raw)


@pytest.mark.parametrize("size", [1, 3, 7, 100])
def test_delimiters_are_seen_across_pieces(size):
    data = b"first\r\n--bound\r\nrest"
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    assert uncovers(pieces, [b"x", b"bound"])
    assert not uncovers(pieces, [b"bounds"])
    assert not uncovers(pieces, [])
    assert uncovers([b"--b"], [b"b"])
    made = b"".join(encoded(pieces, "quoted-printable", [b"bound"]))
    assert made == b"first\r\n=2D-bound\r\nrest"


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(
    ("outer", "inner"), [("o", "o"), ("o", "o--"), ("o--", "o")], ids=["the same", "with hyphens", "without them"]
)
def test_boundaries_that_could_be_each_others_seal_what_is_inside(outer, inner, encoding):
    nested = f"Content-Type: multipart/mixed; boundary={inner}\r\n\r\n--{inner}\r\n\r\nhélas\r\n--{inner}--".encode()
    raw = mixed(nested, boundary=outer, quoted=outer, end=f"--{outer}--\r\n")
    assert out(raw, encoding) == raw


@pytest.mark.parametrize("quoted", ["o", '"o"', "o (comment)", '"o" ; charset=utf-8', '"\\o"', "o; boundary=o", "o; x"])
def test_boundaries_in_every_dress(quoted):
    raw = mixed(part("hélas", "8bit"), quoted=quoted)
    assert b"h=C3=A9las" in out(raw, "qp")


@pytest.mark.parametrize(
    "form", ["boundary*=us-ascii''o", "boundary*0=o", "boundary*0*=''o", 'boundary*0=""; boundary*1=o']
)
def test_boundaries_of_rfc_2231(form):
    raw = mixed(part("hélas", "8bit")).replace(b'boundary="o"', form.encode())
    assert b"h=C3=A9las" in out(raw, "qp")


@pytest.mark.parametrize(
    "fields",
    [
        "Content-Type: text/plain; name=log.txt",
        "Content-Type: text/plain; odd; name=log.txt",
        "Content-Type: text/plain; name*0=lo; name*1=g.txt",
        "Content-Type: text/plain; name*0*=utf-8''lo; name*1*=g.txt",
        "Content-Type: text/plain; name*=utf-8''log.txt",
        "Content-Type: text/plain\r\nContent-Disposition: attachment",
        "Content-Type: text/plain\r\nContent-Disposition:\r\n ATTACHMENT; x=y",
        "Content-Type: text/plain\r\nContent-Disposition: (c) attachment",
        "Content-Type: text/plain\r\nContent-Disposition: inline; filename*0*=utf-8''log; filename*1=.txt",
    ],
)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_named_text_keeps_its_octets(fields, encoding):
    raw = mixed(f"{fields}\r\n\r\nhélas  \r\n=E9".encode())
    assert out(raw, encoding) == raw


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("end", ["", "--o", "--o-- trailing"])
def test_a_missing_end_is_the_messages_end(end, encoding):
    raw = mixed(part("hélas\r\nx"), end=end and end + "\r\n")
    left = out(raw, encoding)
    assert left.endswith(b"\r\n")
    assert tree(left) == tree(raw)
    assert texts(left)[0] == texts(raw)[0]
    assert out(left, encoding) == left


def test_only_the_multiparts_around_an_8bit_part_say_so():
    plain = mixed(part("plain"), boundary="p", quoted="p", end="--p--").partition(b"\r\n")[2]
    eight = mixed(part("hélas"), boundary="e", quoted="e", end="--e--").partition(b"\r\n")[2]
    left = email.message_from_bytes(out(mixed(plain, eight), "none"))
    assert [p["Content-Transfer-Encoding"] for p in left.walk()] == ["8bit", None, "7bit", "8bit", "8bit"]


@pytest.mark.parametrize(
    ("octets", "legal"),
    [
        (b"a=C3=a9\r\nsoft=\r\n", True),
        (b"a \r\n", False),
        (b"a\t", False),
        (b"a =\r\nb", True),
        (b"a=ZZ", False),
        (b"a=", False),
        (b"a= \r\nb", False),
        (b"a\x0cb", False),
        ("é".encode(), False),
        (b"", True),
    ],
)
def test_legal_quoted_printable(octets, legal):
    assert legal_qp([octets]) == legal
    assert legal_qp([octets[:1], octets[1:]]) == legal


@pytest.mark.parametrize("body", [b"tail \r\n", b"odd =ZZ\r\n", b"soft= \r\nbreak\r\n", b"bell\x07\r\n"])
def test_illegal_quoted_printable_is_made_legal_with_its_text_equal(body):
    raw = b"MIME-Version: 1.0\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n" + body
    left = out(raw, "qp")
    assert legal_qp([left.partition(b"\r\n\r\n")[2]])
    assert texts(left) == texts(raw)
    assert out(left, "qp") == left


def test_auto_takes_the_smaller_one_exactly():
    head = b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
    for letters in range(120):
        for text in ("é" * letters + "x" * (119 - letters), ("\x1b" * 2 + "é" * 2 + "xxxxxxxx") * letters):
            raw = head + text.encode() + b"\r\n"
            sizes = {encoding: len(out(raw, encoding)) for encoding in ENCODINGS}
            if text.isascii() or not text:
                assert sizes["auto"] <= min(sizes.values()) + len("quoted-printable")
                continue
            labels = len("quoted-printable") - len("base64")
            assert sizes["auto"] in (sizes["qp"], sizes["base64"])
            assert (sizes["auto"] == sizes["qp"]) == (sizes["qp"] - labels <= sizes["base64"])


def test_thousand_parts_and_hundred_levels_are_looked_at_and_no_more():
    many = mixed(*[part("hélas", "8bit")] * 1000)
    assert out(many, "qp").count(b"h=C3=A9las") == 1000
    too_many = mixed(*[part("hélas", "8bit")] * 1001)
    assert out(too_many, "qp") == too_many
    deep = part("hélas", "8bit")
    for level in range(101):
        if level == 100:
            assert b"h=C3=A9las" in out(b"MIME-Version: 1.0\r\n" + deep, "qp")
        deep = mixed(deep, boundary=f"b{level}", quoted=f"b{level}", end=f"--b{level}--").partition(b"\r\n")[2]
    deep = b"MIME-Version: 1.0\r\n" + deep
    assert out(deep, "qp") == deep
    assert len(scan(parse_bytes(many))) == 1001
