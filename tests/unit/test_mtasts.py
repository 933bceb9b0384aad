"""MTA-STS without I/O: records, policies, patterns, and how long what is kept counts (RFC 8461)."""

import pytest

from relay.mtasts import LONGEST_AGE, Kept, Policy, decode, encode, read, record_id

TEXT = b"version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmx: *.example.net\r\nmax_age: 604800\r\n"
POLICY = Policy("enforce", ("mail.example.com", "*.example.net"), 604800)


@pytest.mark.parametrize(
    ("texts", "name"),
    [
        ([b"v=STSv1; id=20160831085700Z;"], "20160831085700Z"),
        ([b"v=STSv1;id=1"], "1"),
        ([b"v=STSv1 ;\tid = abc ; x=y"], "abc"),
        ([b"v=STSv1; x=y; id=abc"], "abc"),
        ([b"v=spf1 -all", b"v=STSv1; id=abc"], "abc"),
        ([b"v=STSv1; id=abc", b"v=STSv1; id=abd"], ""),
        ([b"v=STSv1; id="], ""),
        ([b"v=STSv1; id=a b"], ""),
        ([b"v=STSv1; id=" + b"a" * 33], ""),
        ([b"v=STSv1; id=../x"], ""),
        ([b"v=STSv1"], ""),
        ([b"v=STSv12; id=abc"], ""),
        ([b"id=abc; v=STSv1"], ""),
        ([b"V=STSv1; id=abc"], ""),
        ([b"v=STSv1; id=\xff"], ""),
        ([], ""),
    ],
)
def test_the_record_that_announces_a_policy(texts, name):
    assert record_id(texts) == name


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        TEXT.replace(b"\r\n", b"\n"),
        TEXT + b"later: what nobody knows yet\r\n\r\n",
        b"max_age:604800\nmx:MAIL.Example.com.\nmx: *.example.net\nmode:enforce\nversion:STSv1",
        TEXT + b"mode: none\r\nmax_age: 5\r\nversion: STSv2\r\n",
    ],
)
def test_a_policy(text):
    assert read(text) == POLICY


def test_ages_have_an_end():
    assert read(TEXT.replace(b"604800", b"9999999999")).max_age == LONGEST_AGE
    assert read(b"version: STSv1\nmode: none\nmax_age: 0") == Policy("none", (), 0)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "its version is not STSv1"),
        (b"<html>", "a line without a colon"),
        (TEXT.replace(b"STSv1", b"STSv2"), "its version is not STSv1"),
        (TEXT.replace(b"enforce", b"maybe"), "its mode is 'maybe'"),
        (TEXT.replace(b"mode: enforce\r\n", b""), "its mode is ''"),
        (TEXT.replace(b"604800", b"-1"), "its max_age is '-1'"),
        (TEXT.replace(b"604800", "٣".encode()), "its max_age is"),
        (TEXT.replace(b"max_age: 604800\r\n", b""), "its max_age is ''"),
        (TEXT.replace(b"mx: ", b"mxx: "), "it names no mx"),
        (TEXT.replace(b"mail.example.com", b"*"), "mx '*' is no name"),
        (TEXT.replace(b"mail.example.com", b"mail.*.com"), "mx 'mail.*.com' is no name"),
        (TEXT.replace(b"mail.example.com", b"192.0.2.1/x"), "is no name"),
        (b"\xff", "utf-8"),
    ],
)
def test_what_is_none(text, why):
    with pytest.raises(ValueError, match=why.replace("*", r"\*")):
        read(text)


@pytest.mark.parametrize(
    ("host", "named"),
    [
        ("mail.example.com", True),
        ("MAIL.EXAMPLE.COM.", True),
        ("mx1.example.net", True),
        ("a.b.example.net", False),
        ("example.net", False),
        ("mail.example.com.evil.test", False),
        ("", False),
    ],
)
def test_which_mail_servers_it_names(host, named):
    assert POLICY.names(host) == named


def test_how_long_it_counts():
    kept = Kept("1", 1000.0, Policy("enforce", ("a.test",), 100))
    assert [kept.alive(now) for now in (1000.0, 1099.9, 1100.0, 999.0, -90000.0)] == [True, True, False, True, False]
    assert [kept.aging(now) for now in (1000.0, 1049.0, 1050.0)] == [False, False, True]


def test_what_is_stored_reads_back_and_nothing_else_does():
    kept = Kept("abc", 1e9, POLICY)
    assert decode(encode(kept)) == kept
    stored = encode(kept)
    for data in (
        b"",
        b"[]",
        b"{}",
        stored[:-1],
        stored.replace(b'"v": 1', b'"v": 2'),
        stored.replace(b"enforce", b"maybe"),
        stored.replace(b"1000000000.0", b'"x"'),
        stored.replace(b'"mail.example.com"', b"5"),
        b"[" * 100_000,
        b"\xff",
    ):
        assert decode(data) is None
