"""Every fault that an upstream can have, all at once: each mail ends as promised, none is lost, nothing leaks."""

import collections

import pytest

from tests.faults.cases import BOUNCED, CASES, DEFERRED, HELD, PLAIN, RELAYED
from tests.faults.matrix import POSTMASTER, SECRET, body_of, ends_of
from tests.faults.peer import PASSWORD

LEAKS = (b"AUTH ", PASSWORD.encode(), b"MAIL FROM", b"RCPT TO", b"DATA", SECRET.encode(), b"X-Fault", b"eve")
"""What nobody may see outside TLS where TLS is demanded."""
WORDS = {"refused": BOUNCED, "relayed": RELAYED, "deferred": DEFERRED}


def ended(life, path):
    """How it stands with a recipient: its final answer, else the state of its mail."""
    for outcome in life["answered"]:
        if outcome["address"] == path:
            return WORDS[outcome["disposition"]]
    return {"queued": DEFERRED, "held": HELD}[life["state"]]


def last_word(case, end):
    """How it is to end once the peer is cured, or will not be and the lifetime is over."""
    return (case.stubborn or RELAYED) if end == DEFERRED else end


@pytest.mark.parametrize("name", CASES)
def test_the_first_attempt_ends_as_promised(matrix, name):
    case = CASES[name]
    for path, end in zip(matrix.rcpts(name), ends_of(case), strict=True):
        life = matrix.first[path]
        [outcome] = [o for o in life["attempts"][0]["outcomes"] if o["address"] == path]
        assert (WORDS[outcome["disposition"]], ended(life, path)) == (end, end), outcome
        assert len(life["attempts"]) == 1
        if end != RELAYED:
            assert case.says in outcome["reply"]
            assert outcome["reply"].isprintable()
            assert outcome["ambiguous"] == (case.doubt and end == DEFERRED)
        elif case.lines is not PLAIN:
            assert life["attempts"][0]["tls_level"] == "pkix"
        if end == DEFERRED:
            assert life["state"] == "queued"
            assert 3000 < life["due"] - life["attempts"][0]["at"] < 4500, "its next attempt is in an hour"
        if end == BOUNCED:
            assert [event["kind"] for event in life["events"]].count("reported") == 1


@pytest.mark.parametrize("name", CASES)
def test_cured_or_given_up_it_has_its_last_word(matrix, name):
    case = CASES[name]
    for path, end in zip(matrix.rcpts(name), ends_of(case), strict=True):
        life = matrix.second[path]
        assert ended(life, path) == last_word(case, end), life["attempts"][-1]
        if last_word(case, end) == HELD:
            assert path in life["reason"], "a person is told what to do"


@pytest.mark.parametrize("name", CASES)
def test_nothing_is_lost_and_doubled_only_where_the_reply_was(matrix, name):
    case = CASES[name]
    for (path, copies), end in zip(matrix.copies(name).items(), ends_of(case), strict=True):
        arrived = last_word(case, end) == RELAYED
        assert copies == arrived + (case.doubled and end == DEFERRED) * (1 + bool(case.stubborn)), path
    for kept in matrix.peer[name].kept:
        if POSTMASTER not in kept.rcpts:
            assert kept.octets.partition(b"\r\n\r\n")[2] == body_of(case), "octet for octet"


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.lines is not PLAIN])
def test_nothing_leaves_in_clear(matrix, name):
    seen = bytes(matrix.peer[name].clear)
    assert not [leak for leak in LEAKS if leak in seen], seen
    assert seen or CASES[name].implicit or name == "nobody listens", "the peer has seen nothing at all"


def test_the_histogram_of_dispositions(matrix):
    def histogram(lives):
        return collections.Counter(ended(lives[path], path) for name in CASES for path in matrix.rcpts(name))

    table = [(case, end) for case in CASES.values() for end in ends_of(case)]
    assert histogram(matrix.first) == collections.Counter(end for _, end in table)
    assert histogram(matrix.second) == collections.Counter(last_word(case, end) for case, end in table)
    assert DEFERRED not in histogram(matrix.second)


def test_one_log_in_for_each_connection(matrix):
    for name in CASES:
        peer = matrix.peer[name]
        assert peer.log_ins <= peer.sessions, f"{name}: {peer.log_ins} log-ins over {peer.sessions} connections"


def test_there_are_enough_of_them():
    assert len(CASES) >= 200
