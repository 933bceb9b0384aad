"""Addresses: what is one, what is none and why; what is said, compared and completed."""

import pytest

from relay.address import MAX_PATH, Address, AddressError, ascii_domain, parse, parse_domain, parse_path

LABEL = "x" * 63
LONGEST_DOMAIN = ".".join([LABEL] * 3 + ["x" * 61])
ADDRESSES = [
    "bob",
    "a@b",
    "x&y'z!#$%*+-/=?^_`{|}~@example.org",
    "a.b.c@d.example",
    '"q q"@example.org',
    '"a\\"b"@example.org',
    '"a\\\\b"',
    '""@example.org',
    "é@example.org",
    "a@münchen.example",
    "a@MÜNCHEN.example",
    "a@[127.0.0.1]",
    "a@[IPv6:::1]",
    "a@[ipv6:2001:db8::1]",
    "a@_dmarc.example",
    f"a@{LABEL}.example",
    f"a@{'x' * 63}",
    "a@1.2",
    "=?utf-8?q?x?=@example.org",
    "x" * MAX_PATH,
    f"{'x' * (MAX_PATH - 4)}@b.c",
]
NONE = {
    "": "empty address",
    "x" * (MAX_PATH + 1): f"longer than {MAX_PATH} octets",
    "é" * 128: f"longer than {MAX_PATH} octets",
    "a\r@b": "control character in address",
    "a\u2028b": "control character in address",
    "a\x9fb": "control character in address",
    "\ud800": "control character in address",
    "a b@c": "bad local part",
    " a@b": "bad local part",
    "a.@b": "bad local part",
    ".a@b": "bad local part",
    "a..b@c": "bad local part",
    "(c)a@b": "bad local part",
    "a(c)@b": "bad local part",
    "<a@b>": "bad local part",
    "@b": "bad local part",
    "@a,@b:c@d": "bad local part",
    'a"b"@c': "bad local part",
    '"a"b@c': "bad local part",
    '"a@b': "bad local part",
    '"a\\é"@b': "bad local part",
    "alice@evil.test)bob@good.test": "bad domain",
    "a@b@c": "bad domain",
    "a@": "bad domain",
    "a@b.": "bad domain",
    "a@.b": "bad domain",
    "a@b..c": "bad domain",
    "a@-b": "bad domain",
    "a@b-": "bad domain",
    "a@b c": "bad domain",
    f"a@{'x' * 64}.example": "bad domain",
    "a@[": "bad address literal",
    "a@[]": "bad address literal",
    "a@[127.0.0.1": "bad address literal",
    "a@[127.0.0.1x": "bad address literal",
    "a@[127.0.0.1]x": "bad address literal",
    "a@[127.0.0]": "bad address literal",
    "a@[::1]": "bad address literal",
    "a@[IPv6:x]": "bad address literal",
    "a@[IPv6:fe80::1%eth0]": "bad address literal",
    "a@[IPv6:::1%é]": "bad address literal",
    "a@[IPv5:::1]": "bad address literal",
    "a@ü-.example": "bad internationalized domain",
    "a@☃.example": "bad internationalized domain",
}


@pytest.mark.parametrize("text", ADDRESSES)
def test_what_is_an_address_is_kept_as_it_was_written(text):
    address = parse(text)
    local, at, domain = text.rpartition("@") if not text.endswith('"') else (text, "", "")
    assert (address.local, address.domain) == ((local, domain) if at else (text, ""))
    assert str(address) == text


@pytest.mark.parametrize("text", NONE)
def test_what_is_none_says_why(text):
    with pytest.raises(AddressError) as fault:
        parse(text)
    assert str(fault.value) == NONE[text]


def test_a_domain_has_an_end():
    assert (MAX_PATH, len(LONGEST_DOMAIN)) == (254, 253)
    assert parse_domain(LONGEST_DOMAIN) == LONGEST_DOMAIN
    with pytest.raises(AddressError, match=r"^domain too long$"):
        parse_domain(f"{LONGEST_DOMAIN}x")


def test_half_a_character_in_front_of_an_international_domain_is_refused():
    with pytest.raises(AddressError):
        parse("\ud800@ü.example")


def test_in_a_labels_it_has_the_same_end():
    """Found by fuzzing: it was accepted, and what was said to the next hop was longer than any path may be."""
    domain = ".".join(["ü" + "x" * 20] * 8)
    assert str(parse(f"a@{domain}")) == f"a@{domain}"
    longer = ".".join(["ü" + "x" * 20] * 9)
    assert len(f"a@{longer}".encode()) < MAX_PATH < len(ascii_domain(longer))
    with pytest.raises(AddressError, match=f"^longer than {MAX_PATH} octets in A-labels$"):
        parse(f"a@{longer}")
    exactly = f"{'a' * (MAX_PATH - 1 - len(ascii_domain('ü.example')))}@ü.example"
    assert len(parse(exactly).wire_form) == MAX_PATH
    with pytest.raises(AddressError):
        parse(f"a{exactly}")


# --- said, compared, completed ---------------------------------------------------------------------------


def test_a_domain_is_said_in_a_labels():
    assert parse("a@MÜNCHEN.Example").wire_form == "a@xn--mnchen-3ya.example"
    assert parse("é@b.Example").wire_form == "é@b.Example"
    assert parse("Bob").wire_form == "Bob"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a@EXAMPLE.org", "a@example.ORG"),
        ('"a"@example.org', "a@example.org"),
        ('"a\\"b"', '"a\\"b"'),
        ('"a\\b"@c', "ab@c"),
        ("a@MÜNCHEN.example", "a@xn--mnchen-3ya.EXAMPLE"),
    ],
)
def test_the_same_mailbox(one, other):
    assert parse(one).key == parse(other).key


@pytest.mark.parametrize(
    ("one", "other"), [("A@b", "a@b"), ("a", "a@b"), ("a@b", "a@c"), ('"a b"@c', "a@c"), ("a@ü", "a@u")]
)
def test_another_mailbox(one, other):
    assert parse(one).key != parse(other).key


def test_a_key():
    assert parse('"a\\"b"@Ü.Example').key == ('a"b', "xn--tda.example")
    assert parse("Bob").key == ("Bob", "")


def test_only_what_is_short_is_completed():
    bob, full = parse("bob"), parse("bob@example.org")
    assert bob.short
    assert not full.short
    assert bob.complete("example.com") == Address("bob", "example.com")
    assert bob.complete("") is bob
    assert full.complete("example.com") is full


def test_who_needs_smtputf8():
    assert parse("a@example.org").is_ascii
    assert not parse("é@example.org").is_ascii
    assert not parse("a@ü.example").is_ascii


# --- paths -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "path", "rest"),
    [
        (b"<>", None, b""),
        (b" <> SIZE=1", None, b"SIZE=1"),
        (b"<a@b>", "a@b", b""),
        (b"  <a@b>   SIZE=1  BODY=7BIT ", "a@b", b"SIZE=1  BODY=7BIT"),
        (b"a@b", "a@b", b""),
        (b"a@b  SIZE=1", "a@b", b"SIZE=1"),
        (b"bob", "bob", b""),
        (b'<"a>b"@c> X', '"a>b"@c', b"X"),
        (b'<"a\\">b"@c>', '"a\\">b"@c', b""),
        (b'<"a\\\\">', '"a\\\\"', b""),
        ("<é@ü.example> SMTPUTF8".encode(), "é@ü.example", b"SMTPUTF8"),
        (b"<" + b"x" * MAX_PATH + b">", "x" * MAX_PATH, b""),
    ],
)
def test_a_path_and_what_follows_it(raw, path, rest):
    found, behind = parse_path(raw)
    assert (None if found is None else str(found), behind) == (path, rest)


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "empty path"),
        (b"   ", "empty path"),
        (b"<a@b", "no closing bracket"),
        (b"<", "no closing bracket"),
        (b'<"a@b>', "no closing bracket"),
        (b'<"a\\">', "no closing bracket"),
        (b"<" + b"x" * 5000 + b">", "no closing bracket"),
        (b"<" + b"x" * 1000 + b">", f"longer than {MAX_PATH} octets"),
        (b"<a@b>x", "text right behind the path"),
        (b"<a@b>\tX", "text right behind the path"),
        (b"<a@b><c@d>", "text right behind the path"),
        (b"<\xff@b>", "not UTF-8"),
        (b"\xff", "not UTF-8"),
        (b"< >", "bad local part"),
        (b"<a b@c>", "bad local part"),
        (b"a>", "bad local part"),
        (b"<a\\>@b>", "text right behind the path"),
    ],
)
def test_what_is_no_path_says_why(raw, why):
    with pytest.raises(AddressError) as fault:
        parse_path(raw)
    assert str(fault.value) == why


def test_the_first_bracket_ends_a_path_without_quotes():
    assert parse_path(b"<a@b> X=<c>") == (parse("a@b"), b"X=<c>")
    assert parse_path(b'<a@b> X="') == (parse("a@b"), b'X="')


def test_where_the_bracket_is_looked_for_has_an_end():
    assert str(fault_of(b"<" + b"x" * (MAX_PATH + 1022) + b">")) == f"longer than {MAX_PATH} octets"
    assert str(fault_of(b"<" + b"x" * (MAX_PATH + 1023) + b">")) == "no closing bracket"


def fault_of(raw):
    with pytest.raises(AddressError) as fault:
        parse_path(raw)
    return fault.value
