"""The questions of RFC 7672 2: base domains behind aliases, what is proved and what is not, and answers that never come."""

import asyncio

import pytest

from relay.dane import State
from relay.errors import DnsFault
from relay.records import Answer, Tlsa
from relay.tlsa import Published

EE = Tlsa(3, 1, 1, bytes(32))


class Dns:
    """`zone` maps (name, kind) to an Answer or a fault; all else does not exist, `proved` or not."""

    def __init__(self, zone, *, proved=True):
        self.zone, self.proved, self.asked = zone, proved, []

    async def ask(self, name, kind):
        self.asked.append((name, kind))
        answer = self.zone.get((name, kind), Answer(name, exists=False, authentic=self.proved))
        if isinstance(answer, Exception):
            raise answer
        return answer


def of(name, *records, proved=True):
    return Answer(name, records, authentic=proved)


def find(zone, server="mx.test", **more):
    dns = Dns(zone, **more)
    found = asyncio.run(Published(lambda: dns).find(server, 25))
    return found, [name for name, kind in dns.asked if kind == "TLSA"]


A = {("mx.test", "A"): of("mx.test", "192.0.2.1"), ("mx.test", "AAAA"): of("mx.test")}
TLSA = {("_25._tcp.mx.test", "TLSA"): of("_25._tcp.mx.test", EE)}
ALIAS = {("mx.test", "A"): of("real.test", "192.0.2.1"), ("mx.test", "AAAA"): of("real.test")}
AT_REAL = {("_25._tcp.real.test", "TLSA"): of("_25._tcp.real.test", EE)}
LOOSE = {
    ("mx.test", "A"): of("real.test", "192.0.2.1", proved=False),
    ("mx.test", "AAAA"): of("real.test", proved=False),
}

CASES = {
    "a record": (A | TLSA, State.USABLE, ("mx.test",), 1),
    "none": (A, State.NONE, ("mx.test",), 1),
    "no name at all, proved": ({}, State.NONE, ("mx.test",), 1),
    "records that nobody proves": (
        A | {("_25._tcp.mx.test", "TLSA"): of("x", EE, proved=False)},
        State.INSECURE,
        (),
        1,
    ),
    "only records of no use": (
        A | {("_25._tcp.mx.test", "TLSA"): of("x", Tlsa(1, 1, 1, bytes(32)))},
        State.UNUSABLE,
        ("mx.test",),
        1,
    ),
    "an unsigned zone is not asked": (
        {("mx.test", "A"): of("mx.test", "192.0.2.1", proved=False)} | TLSA,
        State.INSECURE,
        (),
        0,
    ),
    "an alias: where it leads comes first": (ALIAS | AT_REAL | TLSA, State.USABLE, ("real.test", "mx.test"), 1),
    "an alias, and the record at its own name": (ALIAS | TLSA, State.USABLE, ("mx.test",), 2),
    "an alias without any record": (ALIAS, State.NONE, ("real.test", "mx.test"), 2),
    "an alias into an unsigned zone": (
        LOOSE | TLSA | AT_REAL | {("mx.test", "CNAME"): of("mx.test", "real.test")},
        State.USABLE,
        ("mx.test",),
        1,
    ),
    "an alias in an unsigned zone": (
        LOOSE | TLSA | {("mx.test", "CNAME"): of("mx.test", "real.test", proved=False)},
        State.INSECURE,
        (),
        0,
    ),
    "IPv6 alone": ({("mx.test", "AAAA"): of("mx.test", "2001:db8::1")} | TLSA, State.USABLE, ("mx.test",), 1),
    "one family is out of order": (
        {**A, ("mx.test", "AAAA"): DnsFault("SERVFAIL")} | TLSA,
        State.USABLE,
        ("mx.test",),
        1,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_found(name):
    zone, state, names, questions = CASES[name]
    found, asked = find(zone)
    assert (found.state, found.names if state is not State.INSECURE else (), len(asked)) == (state, names, questions)
    assert bool(found.text) == (state is not State.USABLE)


FAULTS = {
    "the addresses are forged": {("mx.test", "A"): DnsFault("SERVFAIL"), ("mx.test", "AAAA"): DnsFault("SERVFAIL")},
    "one is forged, the other empty": {("mx.test", "A"): DnsFault("SERVFAIL"), ("mx.test", "AAAA"): of("mx.test")},
    "the record is forged": {**A, ("_25._tcp.mx.test", "TLSA"): DnsFault("SERVFAIL")},
    "no answer where an alias leads": {**ALIAS, **TLSA, ("_25._tcp.real.test", "TLSA"): DnsFault("timed out")},
    "the alias itself is forged": {**LOOSE, ("mx.test", "CNAME"): DnsFault("SERVFAIL")},
}


@pytest.mark.parametrize("name", FAULTS)
def test_no_answer_is_neither_none_nor_insecure(name):
    found, _ = find(FAULTS[name])
    assert found.state is State.FAILED
    assert found.text in ("SERVFAIL", "timed out")
    assert not found.ours


def test_names_are_asked_in_a_labels_and_odd_ones_are_a_failure():
    found, asked = find({}, "Büro.Example.")
    assert (found.state, asked) == (State.NONE, ["_25._tcp.xn--bro-hoa.example"])
    assert find({}, "ü" * 300 + ".test")[0].state is State.FAILED
