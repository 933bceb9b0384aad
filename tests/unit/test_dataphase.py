"""The DATA reader: any chunks give what one chunk gives, and what a naive reading gives."""

import re
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from relay.dataphase import DataPhase

TOKENS = st.sampled_from([b"\r\n", b"\n", b"\r", b".", b"..", b"a", b"\0", b"\r\n.", b"\r\n.\r", b"x" * 50])
STREAMS = st.lists(TOKENS, max_size=30).map(b"".join)


def naive(stream):
    """Content, what follows the end, the fault: read as RFC 5321 4.5.2 says, all at once."""
    padded = b"\r\n" + stream
    at = padded.find(b"\r\n.\r\n")
    content, rest = padded[: at + 2], padded[at + 5 :]
    lines = content.split(b"\r\n")
    lines = [lines[0]] + [line[1:] if line.startswith(b".") else line for line in lines[1:]]
    text = b"\r\n".join(lines)[2:]
    plain = text.replace(b"\r\n", b"")
    # A dot that goes can bring a CR and an LF together (`\r` `.` can not: the dot follows CRLF).
    fault = b"\r" in content.replace(b"\r\n", b"") or b"\0" in content
    return re.sub(rb"(?<!\r)\n", b"\r\n", text) if not fault else b"", rest, fault, plain


@example(b"", [])
@example(b"..\r\n", [1, 1])
@example(b"a\r\n.\nb\r\n", [3])
@given(STREAMS, st.lists(st.integers(1, 5), max_size=60))
def test_any_chunks_give_the_same(stream, cuts):
    stream += b"\r\n.\r\nNEXT"
    expected, rest, fault, _ = naive(stream)
    phase, got, at, after = DataPhase(), b"", 0, b""
    for size in [*cuts, len(stream)]:
        chunk, at = stream[at : at + size], at + size
        if phase.done:
            after += chunk
        elif chunk:
            got += phase.feed(chunk)
    assert phase.done
    assert phase.rest + after == rest
    assert bool(phase.fault) == fault
    if not fault:
        assert got == expected
        assert got.count(b"\n") == got.count(b"\r\n")


@given(STREAMS)
def test_without_the_end_it_is_not_done(stream):
    phase = DataPhase()
    assert (phase.done, phase.rest, phase.fault) == (False, b"", "")
    phase.feed(stream)
    assert phase.done == (b"\r\n.\r\n" in b"\r\n" + stream)


def test_an_empty_mail():
    phase = DataPhase()
    assert phase.feed(b".\r\nQUIT") == b""
    assert (phase.done, phase.rest) == (True, b"QUIT")


def test_refusing_bare_lf():
    phase = DataPhase(refuse_bare_lf=True)
    phase.feed(b"a\nb\r\n.\r\n")
    assert phase.fault == "a bare LF"


def test_the_first_fault_is_named():
    phase = DataPhase(refuse_bare_lf=True)
    for chunk, fault in ((b"a\r\n", ""), (b"\0\r\n", "a NUL octet"), (b"\r \r\n", "a NUL octet")):
        phase.feed(chunk)
        assert phase.fault == fault
    phase = DataPhase()
    phase.feed(b"\r\0\n\r\n")
    assert phase.fault == "a bare CR"


@pytest.mark.parametrize("octets", [b"\n", b"\r\n", b".\r\n", b"\r\n.", b"x\n", b"x"])
def test_promise_10_as_much_as_is_read_at_once_keeps_the_event_loop_for_no_50_ms(octets):
    def once():
        phase, began = DataPhase(), time.thread_time()
        phase.feed(octets * ((1 << 18) // len(octets)))
        return time.thread_time() - began

    assert min(once() for _ in range(3)) < 0.012
