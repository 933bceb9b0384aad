"""Transfer encodings, streamed: in whatever pieces the octets come."""

import base64
import binascii
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.message import PIECE
from relay.transfer import Survey, Undecodable, canonical, decoded, encoded, qp

# --- transfer --------------------------------------------------------------------------------------------


def pieces_of(data, size):
    return [data[at : at + size] for at in range(0, len(data), size)]


@settings(deadline=None)
@given(st.binary(max_size=400), st.integers(1, 50), st.sampled_from(["base64", "quoted-printable"]))
def test_what_is_encoded_in_any_pieces_decodes_to_the_same(data, size, scheme):
    octets = b"".join(canonical(pieces_of(data, size)))
    made = b"".join(encoded(pieces_of(octets, size), scheme))
    assert all(len(line) <= 76 for line in made.split(b"\r\n"))
    assert made.isascii()
    assert b"".join(decoded(pieces_of(made, size), scheme)) == octets
    if scheme == "base64":
        assert base64.b64decode(made) == octets
    else:
        assert binascii.a2b_qp(made) == octets
        assert all(line[-1:] not in (b" ", b"\t") for line in made.split(b"\r\n"))
        assert made.count(b"\n") == made.count(b"\r\n")


@given(st.binary(max_size=200), st.integers(1, 9))
def test_canonical_lines(data, size):
    made = b"".join(canonical(pieces_of(data, size)))
    assert made.count(b"\n") == made.count(b"\r\n")
    assert b"\r\r\n" not in made
    assert b"".join(canonical([made])) == made


@pytest.mark.parametrize("bad", [b"abc", b"a===", b"ab!d", b"YWJj=", b"YQ==YQ==", b"=", "é".encode()])
def test_base64_that_is_none(bad):
    for size in (1, 3, 99):
        with pytest.raises(Undecodable):
            b"".join(decoded(pieces_of(bad, size), "base64"))


def test_an_endless_line_of_quoted_printable_is_cut_where_nothing_is_split():
    data = b"=C3=A9" * 60_000
    assert b"".join(decoded(pieces_of(data, PIECE), "quoted-printable")) == "é".encode() * 60_000
    line = b"".join(encoded(pieces_of("é".encode() * 60_000, PIECE), "quoted-printable"))
    assert binascii.a2b_qp(line) == "é".encode() * 60_000
    assert max(map(len, line.split(b"\r\n"))) <= 76


@pytest.mark.parametrize("rest", ["", "x", "x" * 69, "x" * 70, "x" * 200, " ", "From y"])
def test_from_at_a_lines_begin_is_encoded(rest):
    made = qp(f"From {rest}\r\nFrom {rest}".encode())
    assert b"\nFrom " not in b"\n" + made
    assert all(len(line) <= 76 for line in made.split(b"\r\n"))
    assert binascii.a2b_qp(made) == f"From {rest}\r\nFrom {rest}".encode()


@given(st.lists(st.binary(max_size=30), max_size=8))
def test_a_survey_of_pieces_is_one_of_the_whole(parts):
    data = b"".join(parts)
    survey, lines = Survey.of(parts), data.split(b"\n")
    assert (survey.size, survey.high) == (len(data), sum(o > 127 for o in data))
    assert survey.longest == max(len(line) for line in lines)
    assert survey.nul == (b"\0" in data)


@pytest.mark.parametrize(
    ("scheme", "unit"),
    [
        ("quoted-printable", b"="),
        ("quoted-printable", b"=\r\n"),
        ("quoted-printable", b" \r\n"),
        ("base64", b"DQ0N"),
        ("base64", b"DQ14"),
        ("8bit", b"From x\r\n"),
        ("8bit", b"--x\r\n"),
        ("8bit", b" "),
        ("8bit", b"\r\n"),
    ],
)
def test_four_megabytes_of_anything_cost_linear_time(scheme, unit):
    data = unit * ((4 << 20) // len(unit))
    began = time.process_time()
    text = canonical(decoded(pieces_of(data, PIECE), scheme))
    assert sum(map(len, encoded(text, "quoted-printable", [b"x"]))) >= 0
    assert time.process_time() - began < 8


@given(st.lists(st.sampled_from([b"\r", b"\n", b"x", b"\r\r"]), max_size=30).map(b"".join), st.integers(1, 5))
def test_a_run_of_cr_is_one_line_end_or_stays(data, size):
    assert b"".join(canonical(pieces_of(data, size))) == re.sub(rb"\r*\n", b"\r\n", data)
