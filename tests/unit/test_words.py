"""Floor 0: addresses, messages, encoded words, mailboxes."""

import contextlib
import email.header
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from relay import encoded_word, mailboxes
from relay.address import Address, AddressError, ascii_domain, parse, parse_path
from relay.mailboxes import Mailbox
from relay.message import BytesBody, Field, parse_bytes, pieces
from relay.options import address_list

# --- addresses -------------------------------------------------------------------------------------------

GOOD = [
    "a@b.c", "bob", "o'reilly@x.example", "x&y@example.org", "pat.o'reilly@other.example.net", '"q q"@x', '"a\\"b"@x', "a@localhost", "a@[127.0.0.1]",
    "a@[IPv6:::1]", "a@under_score.example", "zoë@münchen.example", "=?utf-8?q?x?=@c", "a+b@c", "!#$%&'*+/=?^_`{|}~-@x", "theboss+myproj@example.com",
]  # fmt: skip
BAD = [
    "", " ", "a@", "@b", "a b@c", "a@b c", "a@@b", "a@b@c", ".a@b", "a.@b", "a..b@c", "a@.b", "a@b.", "a@b..c", "a@-b", "a@b-.c", '"a@b', '"a"b@c', "a,b@c", "a;b@c",
    "a(b)@c", "<a@b>", "a@b>", "a[b@c", "a\\b@c", "a@b\r\nDATA", "a\0@b", "a\x7f@b", "a@[1.2.3]", "a@[IPv6:x]", "a@[", "a@[1.2.3.4", "x" * 255, "a@" + "b" * 64,
    "a@" + "b." * 130 + "c", "a\u2028b@c", "a@\ud800", "a@xn\u200b", "alice@evil.test)bob@good.test", "@r1,@r2:u@c", "a@b:25",
]  # fmt: skip


@pytest.mark.parametrize("text", GOOD)
def test_what_is_an_address_prints_as_it_was(text):
    assert str(parse(text)) == text


@pytest.mark.parametrize("text", BAD)
def test_what_is_none_is_refused(text):
    with pytest.raises(AddressError):
        parse(text)


@given(st.text(max_size=60))
@example("a@\u0130")
@example("a@ß.example")
def test_whole_or_not_at_all(text):
    try:
        address = parse(text)
    except AddressError:
        return
    assert str(address) == text
    assert parse(str(address)) == address
    assert isinstance(address.key, tuple)
    assert "\r" not in text
    assert "\n" not in text


def test_keys():
    assert parse("A@EXAMPLE.org").key == parse("A@example.ORG").key
    assert parse("A@x").key != parse("a@x").key
    assert parse('"bob"@x').key == parse("bob@x").key
    assert parse("a@MÜNCHEN.example").key == parse("a@xn--mnchen-3ya.example").key
    assert ascii_domain("") == ""


def test_completion():
    assert str(parse("bob").complete("x.example")) == "bob@x.example"
    assert str(parse("bob@localhost").complete("x.example")) == "bob@localhost"
    assert str(parse("bob").complete("")) == "bob"
    assert Address("zoë", "x").is_ascii is False


@pytest.mark.parametrize(
    ("raw", "path", "rest"),
    [
        (b"<a@b> SIZE=1 BODY=7BIT", "a@b", b"SIZE=1 BODY=7BIT"),
        (b" <a@b>", "a@b", b""),
        (b"a@b SIZE=1", "a@b", b"SIZE=1"),
        (b'<"a> b"@c> X', '"a> b"@c', b"X"),
        (b'<"a\\"> b"@c>', '"a\\"> b"@c', b""),
        (b"<> SIZE=1", "None", b"SIZE=1"),
    ],
)
def test_paths(raw, path, rest):
    assert tuple(map(str, (parse_path(raw)[0],))) == (path,)
    assert parse_path(raw)[1] == rest


@given(st.binary(max_size=80))
def test_paths_never_fail_otherwise(raw):
    with contextlib.suppress(AddressError):
        parse_path(raw)


@given(st.text(max_size=60))
def test_address_lists_never_fail_otherwise(text):
    try:
        found = address_list(text)
    except ValueError:
        return
    for address in found:
        assert str(address) in text


# --- messages --------------------------------------------------------------------------------------------


@given(st.binary(max_size=200))
@example(b"A: b\r\n c\r\n\r\nbody")
@example(b"\r\nbody")
@example(b" odd\r\nA: b\r\n\r\n")
@example(b"no colon\r\nA: b")
def test_parsed_and_written_back_identically(raw):
    assert bytes(parse_bytes(raw)) == raw


def test_fields():
    message = parse_bytes(b"A: 1\r\nb : 2\r\n x\r\nA: 3\r\n\r\nbody")
    assert [f.name for f in message.fields] == ["a", "b", "a"]
    assert message.text("B") == "2 x"
    assert message.get("zzz") is None
    assert message.text("zzz") == ""
    assert [f.text for f in message.get_all("a")] == ["1", "3"]
    assert bytes(message.put("A", b"A: 9\r\n")) == b"A: 9\r\nb : 2\r\n x\r\n\r\nbody"
    assert bytes(message.put("C", b"C: 9\r\n")).endswith(b"A: 3\r\nC: 9\r\n\r\nbody")
    assert bytes(message.remove("a", "B")) == b"\r\nbody"
    assert message.remove("zzz") is message
    assert message.map_fields(lambda f: f) is message
    assert bytes(message.prepend(b"Z: 0\r\n")).startswith(b"Z: 0\r\nA: 1")
    assert Field("X: é".encode()).text == "é"
    assert Field(b"X: \xe9").text == "é"
    assert b"".join(pieces(BytesBody(b"x" * 200_000))) == b"x" * 200_000


def test_the_header_ends_where_no_field_stands():
    message = parse_bytes(b"A: 1\r\nno field here\r\nB: 2\r\n\r\nbody")
    assert [f.name for f in message.fields] == ["a"]
    assert message.body.read(0, 99) == b"no field here\r\nB: 2\r\n\r\nbody"
    assert [f.name for f in parse_bytes(b"From x Mon\r\nA: 1\r\n\r\n").fields] == ["", "a"]
    assert [f.name for f in parse_bytes(b" folded\r\nA: 1\r\n\r\n").fields] == []


# --- encoded words ---------------------------------------------------------------------------------------

TEXT = st.text(st.characters(blacklist_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=120)


@given(TEXT, st.integers(2, 40))
@example("=?utf-8?q?x?=", 9)
@example("a  b   c" * 20, 9)
@example("x" * 2000, 9)
@example("é" * 300, 9)
@example("?= =?", 9)
def test_a_value_is_read_back_as_it_was(text, first):
    made = encoded_word.encode(text, first)
    lines = made.split("\r\n")
    assert made.isascii()
    assert all(line.startswith(" ") and line.strip() for line in lines[1:])
    assert all(len(line) <= 998 for line in lines)
    if "=?" in made:
        assert all(len(word) <= 75 for word in re.findall(r"=\?\S+\?=", made))
        assert all(len(line) <= 76 for line in lines[1:])
    unfolded = made.replace("\r\n", "")
    assert encoded_word.decode(unfolded) == text.strip(" ")
    if "=?" in made:
        assert str(email.header.make_header(email.header.decode_header(unfolded))) == text.strip(" ")


@given(st.text(max_size=80))
def test_no_control_character_gets_through(text):
    for made in (encoded_word.encode(text, 9), encoded_word.encode_phrase(text, 6)):
        assert not re.search(r"[\x00-\x09\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n )|(?<!\r)\n", made)


@given(TEXT)
def test_phrases_are_one_display_name(text):
    made = encoded_word.encode_phrase(text, 6)
    if not made:
        return
    assert not (made.startswith('"') and "=?utf-8" in made and not text.isascii())
    [box] = mailboxes.read(f"{made} <a@b.example>".replace("\r\n", ""))
    assert box.address == Address("a", "b.example")
    assert (
        " ".join(box.display.split()) == " ".join(text.split())
        or not text.isascii()
        or "=?" in text
        or '"' in text
        or "\\" in text
    )
    if not text.isascii():
        assert box.display == text.strip()


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("plain", "plain"),
        ("=?utf-8?b?SMOk?= =?utf-8?b?ZmVu?=", "Häfen"),
        ("=?utf-8?q?=C3?= =?utf-8?q?=A9?=", "é"),
        ("a =?utf-8?q?=C3=A9?= b", "a é b"),
        ("=?utf-8?b?W0c=?= 5] #52: x", "[G 5] #52: x"),
        ("=?iso-8859-1?q?h=E9las_x?=", "hélas x"),
        ("=?rot13?q?uryyb?=", "=?rot13?q?uryyb?="),
        ("=?unknown?q?x?= y", "=?unknown?q?x?= y"),
        ("=?utf-8?b?!!!?=", ""),
        ("=?utf-8*en?q?x?=", "x"),
        ("=?utf-8?q?x?=  =?iso-8859-1?q?=E9?=", "xé"),
        ("=?utf-8?q?=FF?=", "\ufffd"),
    ],
)
def test_words_of_others(raw, text):
    assert encoded_word.decode(raw) == text


@given(st.text(max_size=100))
def test_reading_never_fails(text):
    encoded_word.decode(text)
    mailboxes.read(text)
    encoded_word.decode("=?utf-8?q?" + text + "?= =?" + text)


# --- mailboxes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("undisclosed-recipients: ;", []),
        ("Harbour <>", [("Harbour", None)]),
        ("<>", []),
        ("", []),
        ("a@b, c@d", [("", "a@b"), ("", "c@d")]),
        ('"Joe"<a@b>', [("Joe", "a@b")]),
        ('"a, b" <c@d>, x (note (deep)) <q@r>', [("a, b", "c@d"), ("x", "q@r")]),
        ("alice@evil.test)bob@good.test", [("alice@evil.test)bob@good.test", None)]),
        ("alice@evil.test (c) bob@good.test", [("alice@evil.test bob@good.test", None)]),
        ("Team: a@b, c@d; e@f", [("", "a@b"), ("", "c@d"), ("", "e@f")]),
        ('"=?utf-8?b?SMOkZmVu?=" <a@b>', [("Häfen", "a@b")]),
        ("=?utf-8?b?SMOkZmVu?= <a@b>", [("Häfen", "a@b")]),
        ('"q q"@x', [("", '"q q"@x')]),
        ("<a@b> <c@d>", [("", None)]),
        ("a@[IPv6:::1], b@c", [("", "a@[IPv6:::1]"), ("", "b@c")]),
        ("bob", [("", "bob")]),
        ("bob@good\u2028.test", [("bob@good .test", None)]),
        ("eve\xa0bob@good.test", [("eve bob@good.test", None)]),
        ("eve\u3000<bob@good.test>", [("eve", "bob@good.test")]),
        ("\xa0bob@good.test\x1c", [("", "bob@good.test")]),
    ],
)
def test_lists_of_others(value, expected):
    assert [(b.display, b.address and str(b.address)) for b in mailboxes.read(value)] == expected


@given(st.lists(st.tuples(TEXT, st.sampled_from(GOOD[:6])), min_size=1, max_size=6))
def test_lists_are_written_as_they_are_read(pairs):
    boxes = [Mailbox(" ".join(text.split()), parse(address)) for text, address in pairs]
    made = mailboxes.write(boxes, 4)
    assert all(len(line) <= 998 and line.strip() for line in made.split("\r\n"))
    assert [b.address for b in mailboxes.read(made.replace("\r\n", ""))] == [b.address for b in boxes]


def test_ten_thousand_addresses():
    made = mailboxes.write([Mailbox("", Address(f"a{n}", "example.org")) for n in range(10_000)], 4)
    assert max(map(len, made.split("\r\n"))) <= 76
    assert len(mailboxes.read(made)) == 10_000


@pytest.mark.parametrize("first", range(2, 60))
def test_no_folded_line_is_over_76_columns_and_each_is_filled(first):
    """Words of every length that could be taken for the name of the field."""
    for length in range(1, 40):
        words = ["x" * length] * 60
        lines = encoded_word.fold(" ".join(words), first).split("\r\n")
        widths = [first + len(lines[0]), *map(len, lines[1:])]
        assert all(line.strip() for line in lines[1:])
        assert max(widths[1:]) <= 76
        assert widths[0] <= max(76, first + length)
        assert all(width + 1 + length > 76 for width in widths[:-1])
        assert " ".join(line.strip(" ") for line in lines) == " ".join(words)
