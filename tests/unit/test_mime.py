"""Re-encoding: examples of each rule, and the same for every part tree that hypothesis can think of."""

import base64
import binascii
import email
import email.policy
import time
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay import downgrade, mime, scan
from relay.message import Message, parse_bytes

PLAIN = "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: {}\r\n\r\n"


def message(scheme, body):
    return parse_bytes(PLAIN.format(scheme).encode() + (body if isinstance(body, bytes) else body.encode()))


def out(raw, encoding):
    return bytes(mime.reencode(raw if isinstance(raw, Message) else parse_bytes(raw), encoding).message)


def texts(raw):
    parts = email.message_from_bytes(raw, policy=email.policy.default).walk()
    return [
        p.get_payload(decode=True).replace(b"\r\n", b"\n")
        for p in parts
        if p.get_content_maintype() == "text" and not p.is_multipart()
    ]


def kinds(raw):
    return [
        (p.get_content_type(), p.get_content_charset(), p.get_boundary()) for p in email.message_from_bytes(raw).walk()
    ]


# --- one part --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scheme", "body", "encoding", "made", "result"),
    [
        ("7bit", "plain\r\n", "none", "7bit", b"plain\r\n"),
        ("7bit", "plain\r\n", "auto", "7bit", b"plain\r\n"),
        ("8bit", "plain\r\n", "none", "7bit", b"plain\r\n"),
        ("8bit", "hélas\r\n", "none", "8bit", "hélas\r\n".encode()),
        ("8bit", "hélas\r\n", "qp", "quoted-printable", b"h=C3=A9las\r\n"),
        ("8bit", "hélas\r\n", "auto", "quoted-printable", b"h=C3=A9las\r\n"),
        ("8bit", "日本語のテキスト\r\n", "auto", "base64", b"5pel5pys6Kqe44Gu44OG44Kt44K544OIDQo=\r\n"),
        ("base64", "aMOpbGFzCg==\r\n", "qp", "quoted-printable", b"h=C3=A9las\r\n"),
        ("base64", "aMOpbGFz\r\n", "qp", "quoted-printable", b"h=C3=A9las=\r\n"),
        ("base64", "cGxhaW4K\r\n", "base64", "base64", b"cGxhaW4NCg==\r\n"),
        ("quoted-printable", "a=0D\r\nb=0D=0Ac\r\n", "qp", "quoted-printable", b"a\r\nb\r\nc\r\n"),
        ("quoted-printable", "a=3Db\r\n", "qp", "quoted-printable", b"a=3Db\r\n"),
        ("quoted-printable", "odd =ZZ\r\n", "none", "7bit", b"odd =ZZ\r\n"),
        ("7bit", "x" * 999 + "\r\n", "none", "quoted-printable", None),
        ("7bit", "x" * 998 + "\r\n", "none", "7bit", None),
        ("7bit", "", "base64", "base64", b""),
    ],
)
def test_one_part(scheme, body, encoding, made, result):
    raw = message(scheme, body)
    left = out(raw, encoding)
    assert email.message_from_bytes(left)["Content-Transfer-Encoding"] == made
    if result is not None:
        assert left.partition(b"\r\n\r\n")[2] == result
    assert out(left, encoding) == left


def test_a_conforming_part_keeps_its_bytes():
    raw = bytes(message("quoted-printable", "h=c3=a9las, soft=\r\n break=20\r\nFrom me\r\n"))
    assert out(raw, "qp") == raw
    raw = bytes(message("base64", "aMOp\r\nbGFzDQo=\r\n"))
    assert out(raw, "base64") == raw


@pytest.mark.parametrize(
    "scheme", ["x-uuencode", "binhex", "quoted printable", "base64\r\nContent-Transfer-Encoding: 7bit"]
)
def test_what_can_not_be_read_stays_with_a_note(scheme):
    raw = message(scheme, "hello\r\n")
    made = mime.reencode(raw, "base64")
    assert bytes(made.message) == bytes(raw)
    assert made.notes


def test_broken_base64_stays_with_a_note():
    raw = message("base64", "this is !! no base64\r\n")
    made = mime.reencode(raw, "qp")
    assert bytes(made.message) == bytes(raw)
    assert "base64" in made.notes[0]


def test_a_wide_charset_is_octets():
    body = "hello\n".encode("utf-16-le")
    raw = parse_bytes(
        b"Content-Type: text/plain; charset=UTF-16LE\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        + base64.encodebytes(body).replace(b"\n", b"\r\n")
    )
    for encoding in ("qp", "none", "auto", "base64"):
        assert out(raw, encoding) == bytes(raw)


def test_mail_without_mime_fields_gets_those_it_needs():
    left = email.message_from_bytes(out("Subject: x\r\n\r\nhélas\r\n".encode(), "qp"))
    assert (left["MIME-Version"], left.get_content_charset(), left["Content-Transfer-Encoding"]) == (
        "1.0",
        "utf-8",
        "quoted-printable",
    )
    left = email.message_from_bytes(out(b"Subject: x\r\n\r\nh\xe9las\r\n", "qp"))
    assert left.get_content_charset() == "unknown-8bit"
    raw = b"Subject: x\r\n\r\nplain\r\n"
    assert out(raw, "none") == out(raw, "auto") == raw


# --- structure -------------------------------------------------------------------------------------------


TREE = (
    'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="a"\r\n\r\npreamble\r\n'
    "--a\r\nContent-Type: multipart/alternative; boundary=ab\r\n\r\n"
    "--ab \r\n\r\nno header, dots\r\n.\r\n--abc\r\n"
    '--ab\r\ncontent-type: TEXT/HTML; charset=utf-8; x="--a"\r\nContent-Transfer-Encoding: 8bit\r\n\r\n<p>hélas</p>\r\n'
    "--ab--\r\nepilogue of ab\r\n"
    "--a\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\nAAEC\r\n"
    "--a\r\nContent-Type: text/plain; name=log.txt\r\n\r\nattached text\r\n"
    "--a\r\nContent-Type: text/plain\r\nContent-Disposition: attachment\r\n\r\nattached, too\r\n"
    "--a\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\ninner\r\n"
    "--a--\r\nepilogue\r\n"
).encode()


@pytest.mark.parametrize("encoding", ["base64", "qp", "none", "auto"])
def test_a_tree_keeps_its_structure_and_what_is_not_text(encoding):
    left = out(TREE, encoding)
    assert texts(left) == texts(TREE)
    assert kinds(left) == kinds(TREE)
    for kept in (
        b"preamble\r\n",
        b"AAEC\r\n--a",
        b"attached text\r\n--a",
        b"attached, too\r\n--a",
        b"inner\r\n--a--",
        b"epilogue of ab\r\n",
        b"\r\nepilogue\r\n",
    ):
        assert kept in left
    assert out(left, encoding) == left


def test_a_multipart_says_8bit_when_a_part_became_so():
    raw = b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\naMOpbGFz\r\n--a--\r\n"
    left = email.message_from_bytes(out(raw, "none"))
    assert left["Content-Transfer-Encoding"] == "8bit"
    seven = downgrade.seven_bit(parse_bytes(bytes(left)))
    assert seven is not None
    assert email.message_from_bytes(bytes(seven))["Content-Transfer-Encoding"] == "7bit"


SEALED = {
    "signed": b"Content-Type: multipart/signed; boundary=a; protocol=x\r\n\r\n--a\r\nContent-Type: text/plain\r\n\r\nh\xc3\xa9las\r\n--a\r\nContent-Type: x/y\r\n\r\nsig\r\n--a--\r\n",
    "encrypted": b"Content-Type: multipart/encrypted; boundary=a\r\n\r\n--a\r\nContent-Type: text/plain\r\n\r\nh\xc3\xa9las\r\n--a--\r\n",
    "within signed": b"Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\nContent-Type: multipart/signed; boundary=a\r\n\r\n--a\r\nContent-Type: multipart/mixed; boundary=i\r\n\r\n--i\r\n\r\nh\xc3\xa9las\r\n--i--\r\n--a--\r\n--o--\r\n",
    "pkcs7": b"Content-Type: application/pkcs7-mime\r\nContent-Transfer-Encoding: 8bit\r\n\r\nh\xc3\xa9las\r\n",
    "message": b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\nSubject: x\r\n\r\nh\xc3\xa9las\r\n",
    "digest": b"Content-Type: multipart/digest; boundary=a\r\n\r\n--a\r\n\r\nSubject: x\r\n\r\nh\xc3\xa9las\r\n--a--\r\n",
    "multipart in base64": b"Content-Type: multipart/mixed; boundary=a\r\nContent-Transfer-Encoding: base64\r\n\r\n--a\r\n\r\nh\xc3\xa9las\r\n--a--\r\n",
    "no boundary": b"Content-Type: multipart/mixed\r\n\r\n--a\r\n\r\nh\xc3\xa9las\r\n--a--\r\n",
    "two encodings": b"Content-Type: text/plain\r\nContent-Transfer-Encoding: 8bit\r\nContent-Transfer-Encoding: base64\r\n\r\nh\xc3\xa9las\r\n",
    "two types": b"Content-Type: text/plain\r\nContent-Type: text/html\r\n\r\nh\xc3\xa9las\r\n",
    "no body": b"Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\nContent-Type: text/plain\r\n--a\r\nContent-Type: text/pl\xc3\xa9in\r\n--a--\r\n",
}


@pytest.mark.parametrize("name", SEALED)
@pytest.mark.parametrize("encoding", ["base64", "qp", "none", "auto"])
def test_sealed_parts_keep_every_octet(name, encoding):
    assert out(SEALED[name], encoding) == SEALED[name]


@pytest.mark.parametrize("name", [n for n in SEALED if n not in ("two types",)])
def test_sealed_8bit_can_not_go_through_a_7bit_hop(name):
    assert downgrade.seven_bit(parse_bytes(SEALED[name])) is None


def test_seven_bit_converts_text_and_octets():
    raw = "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=a\r\nContent-Transfer-Encoding: 8bit\r\n\r\n--a\r\nContent-Transfer-Encoding: 8bit\r\n\r\nhélas\r\n--a\r\nContent-Type: application/x\r\nContent-Transfer-Encoding: binary\r\n\r\nä\rö\r\n--a--\r\n".encode()
    left = downgrade.seven_bit(parse_bytes(raw))
    assert left is not None
    parsed = email.message_from_bytes(bytes(left))
    assert bytes(left).isascii()
    assert [p["Content-Transfer-Encoding"] for p in parsed.walk()] == ["7bit", "quoted-printable", "base64"]
    assert parsed.get_payload()[1].get_payload(decode=True) == "ä\rö".encode()
    assert mime.needs_8bit(parse_bytes(raw))
    assert not mime.needs_8bit(left)


WORDS = st.sampled_from(
    ["hello", "hélas", "日本語", "x" * 80, "x" * 1100, "--b0", "--b1--", "", ".", "From me", "a=b", "tail ", "\t"]
)


BODIES = st.lists(WORDS, max_size=6).map(lambda words: "\r\n".join(words).encode())


LABELS = st.sampled_from(["", "7bit", "8bit", "base64", "quoted-printable", "x-odd"])


@st.composite
def parts(draw, depth=0):
    kind = draw(
        st.sampled_from(
            ["text/plain", "text/html", "application/x", "mixed", "alternative", "signed"]
            if depth < 3
            else ["text/plain"]
        )
    )
    if "/" in kind:
        label = draw(LABELS)
        body = draw(BODIES)
        if label == "base64":
            body = base64.encodebytes(body).replace(b"\n", b"\r\n")
        if label == "quoted-printable":
            body = binascii.b2a_qp(body, istext=True)
        field = f"Content-Transfer-Encoding: {label}\r\n" if label else ""
        return f"Content-Type: {kind}; charset=utf-8\r\n{field}\r\n".encode() + body
    inner = draw(st.lists(parts(depth + 1), min_size=1, max_size=3))
    mark = f"b{depth}{draw(st.integers(0, 3))}".encode()
    body = b"".join(b"--" + mark + b"\r\n" + part + b"\r\n" for part in inner)
    return (
        f"Content-Type: multipart/{kind}; boundary={mark.decode()}\r\n\r\n".encode() + body + b"--" + mark + b"--\r\n"
    )


class Slow:
    """A body whose reads are short."""

    def __init__(self, data, step):
        self.data, self.step, self.size = data, step, len(data)

    def read(self, start, stop):
        return self.data[start : min(stop, start + self.step)]


@settings(max_examples=300, deadline=None)
@given(parts(), st.sampled_from(["base64", "qp", "none", "auto"]))
def test_any_tree_keeps_text_and_structure_and_twice_is_once(raw, encoding):
    raw = b"MIME-Version: 1.0\r\n" + raw
    left = out(raw, encoding)
    assert kinds(left) == kinds(raw)
    for before, after in zip(texts(raw), texts(left), strict=True):
        assert after.rstrip(b"\r\n").replace(b"\r", b"") == before.rstrip(b"\r\n").replace(b"\r", b"")
    assert out(left, encoding) == left


@settings(max_examples=100, deadline=None)
@given(parts(), st.sampled_from(["base64", "qp", "auto"]))
def test_streamed_is_the_same_as_at_once(raw, encoding):
    small = out(raw, encoding)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("relay.change.SMALL", 3)
        patch.setattr("relay.message.PIECE", 7)
        made = mime.reencode(parse_bytes(raw), encoding).message
        read = b"".join(made.body.read(at, at + 11) for at in range(0, made.body.size + 11, 11))
        assert made.header_bytes + read == small
        assert made.body.size == len(read)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.sampled_from(["base64", "qp", "none", "auto"]))
def test_no_octets_make_it_fail(body, encoding):
    for head in (
        b"",
        b'Content-Type: multipart/mixed; boundary=""\r\n',
        b"Content-Type: multipart/mixed; boundary=a\r\n",
        b"Content-Type: text/plain; charset=undefined\r\n",
    ):
        raw = parse_bytes(head + b"\r\n--a\r\n" + body)
        mime.reencode(raw, encoding)
        downgrade.seven_bit(raw)
        mime.text_of(raw)
        mime.needs_encoding(raw)


# --- text for the dialects -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("charset", "octets", "text"),
    [
        ("utf-8", "hélas\r\nx".encode(), "hélas\nx"),
        ("iso-8859-1", b"h\xe9las", "hélas"),
        ("shift_jis", "日本".encode("shift_jis"), "日本"),
        ("undefined", b"h\xe9", "hé"),
        ("rot13", b"uryyb", "uryyb"),
        ("idna", b"h\xe9", "hé"),
        ("utf-8", b"\xff\xfe", "\ufffd\ufffd"),
        ("unknown-8bit", b"h\xe9", "hé"),
        ("unknown-8bit", "hé".encode(), "hé"),
    ],
)
def test_text_of(charset, octets, text):
    assert mime.text_of(parse_bytes(f"Content-Type: text/plain; charset={charset}\r\n\r\n".encode() + octets)) == text


@pytest.mark.parametrize("octets", [b"h\xe9las", "hélas".encode(), b"h\xe9 \xc3\xa9", "é".encode() + b"\xc3", b"x"])
def test_text_without_a_charset_reads_the_same_once_we_have_named_one(octets):
    message = parse_bytes(b"Subject: x\r\n\r\n" + octets + b"\r\n")
    for encoding in ("qp", "base64"):
        made = mime.reencode(message, encoding).message
        assert made.has("content-type")
        assert mime.text_of(made) == mime.text_of(message)


def test_half_a_letter_where_the_text_is_cut_is_no_other_charset():
    assert mime.text_of(parse_bytes(b"Subject: x\r\n\r\n" + "aéé".encode() * 9), limit=4) == "aé\ufffd"


def test_text_of_is_bounded_and_takes_the_first_plain_part():
    assert "no header, dots" in mime.text_of(parse_bytes(TREE))
    assert len(mime.text_of(message("base64", base64.encodebytes(b"x" * 300_000).replace(b"\n", b"\r\n")))) <= 65536


# --- cost ------------------------------------------------------------------------------------------------


def timed(function):
    began = time.process_time()
    function()
    return time.process_time() - began


def bomb(number):
    return (
        b"Content-Type: multipart/mixed; boundary=a\r\n\r\n" + b"--a\r\n\r\nx\r\n" * number + b"--a--\r\n",
        b"Content-Type: text/plain" + b"; a=b" * number + b"\r\n\r\nx\r\n",
    )


@pytest.mark.parametrize("which", [0, 1])
def test_bombs_pass_untouched_in_no_time(which):
    raw = bomb(20_000)[which]
    assert timed(lambda: out(raw, "base64")) < 0.5
    assert out(raw, "qp") == raw or which == 1


def test_depth_is_bounded():
    raw = (
        b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(3000))
        + b"\r\nhello\r\n"
    )
    assert timed(lambda: out(raw, "base64")) < 0.5
    assert out(raw, "base64") == raw
    with pytest.raises(scan.TooComplex):
        scan.scan(parse_bytes(raw))


def test_empty_lines_and_hyphens_are_linear():
    for line in (b"\r\n", b"--\r\n", b"--a", b"=\r\n"):
        raw = parse_bytes(b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + line * ((4 << 20) // len(line)))
        assert timed(lambda raw=raw: mime.reencode(raw, "qp")) < 3


def test_promise_9_a_large_text_is_streamed():
    class Large:
        size = 20 << 20

        def read(self, start, stop):
            block = ("Zeile für Zeile, und noch eine\r\n" * 4000).encode()
            at = start % len(block)
            return (block[at:] + block)[: min(stop, self.size) - start]

    raw = Message(parse_bytes(PLAIN.format("8bit").encode()).fields, Large())
    tracemalloc.start()
    made = mime.reencode(raw, "base64").message
    total = sum(len(piece) for piece in made.pieces())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total > raw.body.size * 1.3
    assert peak < 4 << 20, peak
