"""Bodies made fit for the wire: short lines, ASCII; what must not be changed is not, and then the mail does not leave."""

import base64
import email
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay import downgrade
from relay.fit import fit
from relay.mail import Envelope, Mail
from relay.message import BytesBody, Message, parse_bytes, pieces
from relay.patch import Edit, Kept, Literal, PatchedBody, Recode, has_long_line, is_ascii, patched
from relay.transaction import Features
from relay.transfer import is_long
from tests.gateway import Gateway, harbour

TO = ["eve@example.org"]
LONG = b"x" * 4000
HEAD = b"MIME-Version: 1.0\r\n"


def mixed(*parts):
    head = HEAD + b"Content-Type: multipart/mixed; boundary=o\r\n\r\n"
    return head + b"".join(b"--o\r\n" + part + b"\r\n" for part in parts) + b"--o--\r\n"


def payloads(raw):
    return [p.get_payload(decode=True) for p in email.message_from_bytes(raw).walk() if not p.is_multipart()]


def schemes(raw):
    return [p["Content-Transfer-Encoding"] for p in email.message_from_bytes(raw).walk() if not p.is_multipart()]


def longest(raw):
    return max(len(line) for line in raw.split(b"\r\n"))


# --- lines -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("octets", "long"),
    [
        (b"x" * 998 + b"\r\n", False),
        (b"x" * 999 + b"\r\n", True),
        (b"x" * 998, False),
        (b"x" * 999, True),
        (b"x\r\n" * 5000 + b"x" * 998 + b"\r\n" + b"x" * 999 + b"\r\n", True),
        (b"x" * 998 + b"\r\n" + b"y\r\n" * 5000, False),
        (b"\r\n" * 5000, False),
        (b"", False),
    ],
)
@pytest.mark.parametrize("size", [1, 999, 1000, 1001, 65536])
def test_long_lines_are_seen_in_any_pieces(octets, long, size):
    assert is_long(octets[at : at + size] for at in range(0, len(octets), size)) == long


NAMED = b'Content-Type: text/plain; name="build.log"\r\n\r\n' + LONG + b"  \r\ny"
BINARY = b"Content-Type: application/json\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + LONG + "é\r\n".encode() + LONG
WRAPPED = b"Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\n" + base64.b64encode(
    bytes(range(256)) * 16
)
QP = b"Content-Type: application/x\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n" + b"=00=0A" * 400
PLAIN = b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + "é".encode() * 800
HEADER = b"Content-Type: text/plain; name=x\r\nX-Note: " + b"y " * 800 + b"\r\n\r\nshort"


@pytest.mark.parametrize("part", [NAMED, BINARY, WRAPPED, QP, PLAIN, HEADER])
@pytest.mark.parametrize("options", [{"rewrite": "off"}, {"mime_encoding": "none"}, {"mime_encoding": "base64"}])
def test_no_line_leaves_that_is_too_long_and_every_octet_arrives(part, options):
    raw = harbour(drop=["MIME-Version", "Content-Type", "Content-Transfer-Encoding"], body="").removesuffix(b"\r\n")
    raw += mixed(part, b"Content-Type: image/gif\r\n\r\nshort")
    left = Gateway(**options)(raw, TO).raw
    assert longest(left) <= 998
    assert payloads(left) == payloads(raw)
    assert Gateway(**options)(left, TO).raw.endswith(left.partition(b"\r\n\r\n")[2])
    assert b"Content-Type: image/gif\r\n\r\nshort\r\n--o--\r\n" in left


def test_a_text_mail_with_a_long_line_passes_under_rewrite_off():
    raw = b"From: cron@host.example\r\nSubject: x\r\n\r\n" + LONG + b"\r\n"
    left = Gateway(rewrite="off")(raw, TO).raw
    assert longest(left) <= 76 + 40
    assert payloads(left)[0] == LONG + b"\r\n"


REFUSED = {
    "signed": HEAD
    + b"Content-Type: multipart/signed; boundary=o\r\n\r\n--o\r\n\r\n"
    + LONG
    + b"\r\n--o\r\n\r\ns\r\n--o--\r\n",
    "message": mixed(b"Content-Type: message/rfc822\r\n\r\nSubject: x\r\n\r\n" + LONG),
    "encrypted": HEAD + b"Content-Type: application/pkcs7-mime\r\n\r\n" + LONG + b"\r\n",
    "preamble": HEAD + b"Content-Type: multipart/mixed; boundary=o\r\n\r\n" + LONG + b"\r\n--o\r\n\r\ns\r\n--o--\r\n",
    "no encoding we know": HEAD
    + b"Content-Type: text/plain\r\nContent-Transfer-Encoding: x-uuencode\r\n\r\n"
    + LONG
    + b"\r\n",
    "no base64": HEAD + b"Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\n!" + LONG + b"\r\n",
    "the header of a part": mixed(b"Content-Type: text/plain; name=" + LONG + b"\r\n\r\nx"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_long_line_where_nothing_may_be_changed_is_refused(name):
    raw = b"From: a@b.example\r\nX-Trac-Project: Harbour\r\n" + REFUSED[name]
    prepared = Gateway(mime_encoding="auto").prepare(raw, TO)
    assert prepared.routed == ()
    assert [(o.reply.status, o.rule) for o in prepared.settled] == [("5.6.0", "wire")]


def test_keep_means_keep():
    raw = harbour(body="x" * 999 + "\r\n")
    assert Gateway(mime_encoding="keep").prepare(raw, TO).routed == ()
    assert Gateway(mime_encoding="none")(raw, TO).raw


# --- ASCII -----------------------------------------------------------------------------------------------


def test_8bit_headers_of_parts_are_encoded_too():
    part = 'Content-Type: text/plain; name="Übersicht.txt"\r\nContent-Description: Übersicht\r\n\r\nplain'.encode()
    nested = "Content-Type: multipart/mixed; boundary=i; x=é\r\nContent-Transfer-Encoding: 8bit\r\n\r\n--i\r\n\r\né\r\n--i--".encode()
    raw = mixed(part, nested)
    left = downgrade.seven_bit(parse_bytes(raw))
    assert left is not None
    assert bytes(left).isascii()
    walk = list(email.message_from_bytes(bytes(left)).walk())
    assert walk[1].get_filename() == "Übersicht.txt"
    assert walk[2]["Content-Transfer-Encoding"] == "7bit"
    assert payloads(bytes(left))[1] == "é".encode()
    assert downgrade.seven_bit(left) is not None
    assert bytes(downgrade.seven_bit(left)) == bytes(left)


def test_what_is_ascii_already_keeps_its_bytes():
    raw = mixed(b"Content-Type: text/plain; name=x\r\n\r\nplain  \r\n", PLAIN)
    left = downgrade.seven_bit(parse_bytes(raw))
    assert left is not None
    assert raw.partition(b"8bit")[0].partition(b"Content-Transfer")[0] in bytes(left)


# --- patched bodies --------------------------------------------------------------------------------------


class Counting:
    """A body that knows how much of it was read."""

    def __init__(self, data):
        self.data, self.size, self.read_so_far = data, len(data), 0

    def read(self, start, stop):
        self.read_so_far += max(min(stop, self.size) - start, 0)
        return self.data[start:stop]


STRETCHES = st.lists(st.tuples(st.sampled_from(["keep", "literal", "recode"]), st.binary(max_size=90)), max_size=6)


@settings(max_examples=300, deadline=None)
@given(
    STRETCHES, st.lists(st.tuples(st.integers(0, 500), st.integers(0, 200)), max_size=8), st.booleans(), st.booleans()
)
def test_a_patched_body_reads_alike_from_anywhere(stretches, reads, size_first, closing):
    source = Counting(b"".join(data for _, data in stretches))
    made, expected, at = [], b"", 0
    for kind, data in stretches:
        end = at + len(data)
        if kind == "literal":
            made.append(Literal(data[::-1]))
        elif kind == "keep":
            made.append(Kept(source, at, end))
        else:
            made.append(Recode(source, at, end, "8bit", "base64", text=closing, closing=closing))
        expected += b"".join(made[-1].octets())
        at = end
    body = PatchedBody(made)
    if size_first:
        assert body.size == len(expected)
    for start, length in reads:
        assert body.read(start, start + length) == expected[start : start + length]
    assert b"".join(pieces(body)) == expected
    assert body.size == len(expected)
    assert is_ascii(body) == expected.isascii()


def test_what_becomes_base64_is_not_made_to_be_measured_or_looked_at(monkeypatch):
    body = PatchedBody([Recode(BytesBody(b"\xe9\r\n" * 1000), 0, 3000, "8bit", "base64", text=True, closing=True)])
    monkeypatch.setattr(Recode, "octets", None)
    assert (body.size, is_ascii(body)) == (4000 + 2 * 53, True)


def test_steps_back_do_not_make_everything_anew():
    data = b"".join(b"--o\r\n\r\n" + b"text\r\n" * 60_000 for _ in range(12)) + b"--o--\r\n"
    source = Counting(data)
    edits, at = [], 0
    while (at := data.find(b"--o\r\n\r\n", at)) >= 0:
        begin, end = at + 7, data.find(b"\r\n--o", at + 1)
        edits.append(Edit(begin, end, Recode(source, begin, end, "8bit", "8bit", text=True)))
        at = end
    body = patched(source, edits)
    assert body.size == len(data)
    source.read_so_far = 0
    message = Message(parse_bytes(HEAD + b"Content-Type: multipart/mixed; boundary=o\r\n\r\n").fields, body)
    left = downgrade.seven_bit(message)
    assert left is not None
    assert bytes(left) == bytes(message)
    assert source.read_so_far < 12 * len(data)
    assert not has_long_line(body)
    assert has_long_line(PatchedBody([Kept(BytesBody(LONG), 0, 4000)]))


def test_next_hops_that_take_one_mail_side_by_side_each_make_its_octets_once():
    source = Counting(b"gr\xc3\xbcn\r\n" * 100_000)
    recode = Recode(source, 0, source.size, "8bit", "quoted-printable", text=True, closing=True)
    within = PatchedBody([recode])
    body = PatchedBody([Literal(b"--o\r\n"), recode, Kept(within, 0, within.size)])
    expected = b"".join(octets for stretch in body.stretches for octets in stretch.octets())
    mail = Mail(Envelope(None, ()), Message(parse_bytes(HEAD).fields, body))
    readers = [fit(mail, Features({"8BITMIME": ""}), "mx").message.pieces() for _ in range(3)]
    source.read_so_far = 0
    read = [b"".join(some) for some in zip(*zip(*readers, strict=True), strict=True)]
    assert all(octets.endswith(b"\r\n" + expected) for octets in read)
    assert source.read_so_far < 3 * 4 * source.size


# --- memory ----------------------------------------------------------------------------------------------


class Endless:
    """Four megabytes that are nowhere kept."""

    size = 4 << 20

    def __init__(self, line):
        self.block = line * (131072 // len(line))

    def read(self, start, stop):
        at = start % len(self.block)
        return (self.block[at:] + self.block)[: min(stop, self.size) - start]


LETTERS = "Zeile für Zeile, und noch eine\r\n".encode()
PARTS = b"--b\r\n\r\nplain\r\n" + b"x" * 2000 + b"\r\n"


@pytest.mark.parametrize(
    ("head", "line", "options"),
    [
        (b"", LETTERS, {"mime_encoding": "none"}),
        (b"", LETTERS, {"mime_encoding": "auto"}),
        (b"Content-Type: text/plain; name=x\r\n", LETTERS, {"mime_encoding": "base64"}),
        (b"Content-Type: multipart/mixed; boundary=b\r\n", PARTS, {"mime_encoding": "none"}),
        (b"", b"x" * 2000 + b"\r\n", {"rewrite": "off"}),
    ],
)
def test_promise_9_the_whole_road_holds_few_pieces(head, line, options):
    raw = Message(parse_bytes(b"Subject: x\r\nX-Trac-Project: Harbour\r\n" + head + b"\r\n").fields, Endless(line))
    tracemalloc.start()
    mail = Gateway(**options).rewritten(raw)
    if not mail.refusal:
        seven = downgrade.seven_bit(mail.message)
        assert seven is not None
        assert sum(len(piece) for piece in seven.pieces()) >= raw.body.size
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 << 20, peak
