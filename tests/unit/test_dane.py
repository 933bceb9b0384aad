"""TLSA records: which count, what they match, and what follows from none, from useless ones, from a broken answer."""

import hashlib

import pytest

from relay.dane import Finding, State, finding, is_named, is_usable, matches, shown, usable
from relay.der import public_key
from relay.entry import Cause
from relay.records import Tlsa
from relay.routing import Upstream
from relay.tls import Barred, Demand, by_dane, demand
from tests.unit.test_der import KEYS, certificate

CERT, OTHER = certificate(KEYS["ec"]), certificate(KEYS["rsa"])
KEY = public_key(CERT)


def sha(octets, bits=256):
    return hashlib.new(f"sha{bits}", octets).digest()


DATA = {
    (0, 0): CERT,
    (0, 1): sha(CERT),
    (0, 2): sha(CERT, 512),
    (1, 0): KEY,
    (1, 1): sha(KEY),
    (1, 2): sha(KEY, 512),
}


@pytest.mark.parametrize("selector", [0, 1])
@pytest.mark.parametrize("matching", [0, 1, 2])
def test_each_selector_and_matching_type(selector, matching):
    record = Tlsa(3, selector, matching, DATA[selector, matching])
    assert is_usable(record)
    assert matches(record, CERT)
    assert not matches(record, OTHER)
    assert not matches(record, b"")
    assert not matches(Tlsa(3, selector, matching, record.data[:-1] + bytes([record.data[-1] ^ 1])), CERT)


@pytest.mark.parametrize(
    "record",
    [
        Tlsa(0, 1, 1, sha(KEY)),
        Tlsa(1, 1, 1, sha(KEY)),
        Tlsa(4, 1, 1, sha(KEY)),
        Tlsa(255, 1, 1, sha(KEY)),
        Tlsa(3, 2, 1, sha(KEY)),
        Tlsa(3, 1, 3, sha(KEY)),
        Tlsa(3, 1, 1, sha(KEY)[:-1]),
        Tlsa(3, 1, 1, sha(KEY, 512)),
        Tlsa(3, 1, 2, sha(KEY)),
        Tlsa(3, 1, 1, b""),
        Tlsa(3, 0, 0, b""),
    ],
)
def test_what_smtp_has_no_use_for(record):
    assert not is_usable(record)
    assert usable([record]) == ()
    found = finding([record], ["mx.example.com"])
    assert (found.state, found.records) == (State.UNUSABLE, ())
    assert shown(record) in found.text


def test_of_several_digests_the_strongest_counts_alone():
    weak, strong, whole = Tlsa(3, 1, 1, sha(KEY)), Tlsa(3, 1, 2, sha(KEY, 512)), Tlsa(3, 1, 0, KEY)
    elsewhere = Tlsa(2, 1, 1, sha(KEY))
    assert usable([weak, strong, whole, elsewhere, weak]) == (strong, whole, elsewhere)
    assert usable([weak, weak]) == (weak,)
    stale = finding([weak, Tlsa(3, 1, 2, sha(b"another key", 512))], ["mx"])
    assert not stale.is_own(CERT)


def test_whose_certificate_it_is():
    found = finding([Tlsa(3, 1, 1, sha(KEY)), Tlsa(2, 0, 1, sha(OTHER))], ["MX.Example.COM.", "mx.example.com"])
    assert (found.state, found.names) == (State.USABLE, ("mx.example.com",))
    assert found.is_own(CERT)
    assert not found.is_own(OTHER)
    assert found.anchors([CERT, OTHER, CERT]) == (OTHER,)
    assert found.anchors([OTHER]) == (), "DANE-TA never speaks of the server's own certificate"
    assert not finding([Tlsa(2, 0, 1, sha(CERT))], ["mx"]).is_own(CERT)


def test_an_authority_that_stands_whole_in_dns_need_not_be_shown():
    whole, key = Tlsa(2, 0, 0, OTHER), Tlsa(2, 1, 0, public_key(OTHER))
    assert finding([whole], ["mx"]).anchors([CERT]) == (OTHER,)
    assert finding([key], ["mx"]).anchors([CERT]) == ()
    assert finding([whole, key], ["mx"]).anchors([CERT, OTHER]) == (OTHER,)


def test_long_data_is_cut_for_people():
    assert shown(Tlsa(3, 0, 0, b"\xab" * 900)) == f"3 0 0 {'ab' * 16}..."
    assert shown(Tlsa(3, 1, 1, b"\x01" * 32)) == f"3 1 1 {'01' * 32}"


FOUND = {
    State.INSECURE: Finding(State.INSECURE, text="unsigned"),
    State.NONE: finding([], ["mx"]),
    State.UNUSABLE: finding([Tlsa(0, 1, 1, sha(KEY))], ["mx"]),
    State.USABLE: finding([Tlsa(3, 1, 1, sha(KEY))], ["mx"]),
    State.FAILED: Finding(State.FAILED, text="SERVFAIL"),
}
OPPORTUNISTIC, REQUIRED, IMPLICIT = (Demand(mode, "dane") for mode in ("opportunistic", "starttls", "implicit"))


@pytest.mark.parametrize(
    ("wanted", "state", "made"),
    [
        (OPPORTUNISTIC, State.INSECURE, Demand("opportunistic")),
        (OPPORTUNISTIC, State.NONE, Demand("opportunistic")),
        (OPPORTUNISTIC, State.UNUSABLE, Demand("starttls")),
        (OPPORTUNISTIC, State.USABLE, Demand("starttls", "dane")),
        (REQUIRED, State.USABLE, REQUIRED),
        (IMPLICIT, State.USABLE, IMPLICIT),
    ],
)
def test_what_an_answer_makes_of_a_demand(wanted, state, made):
    assert by_dane(wanted, FOUND[state]) == made


@pytest.mark.parametrize("wanted", [OPPORTUNISTIC, REQUIRED, IMPLICIT])
def test_a_failed_look_up_bars_every_connection(wanted):
    barred = by_dane(wanted, FOUND[State.FAILED])
    assert isinstance(barred, Barred)
    cause = Cause.CONNECT if wanted is OPPORTUNISTIC else Cause.DNS
    assert (barred.reply.code, barred.cause, barred.reply.text) == (451, cause, "DANE: SERVFAIL")
    assert by_dane(wanted, Finding(State.FAILED, text="no resolver", ours=True)).cause is Cause.DNS


@pytest.mark.parametrize("wanted", [REQUIRED, IMPLICIT])
@pytest.mark.parametrize("state", [State.INSECURE, State.NONE, State.UNUSABLE])
def test_a_required_proof_is_never_lowered_by_what_is_not_published(wanted, state):
    barred = by_dane(wanted, FOUND[state])
    assert isinstance(barred, Barred)
    assert (barred.reply.code, barred.cause) == (454, Cause.TLS)
    assert barred.reply.text == f"tls_proof = dane demands a proof: {FOUND[state].text}"


def test_the_demand_for_dane_may_be_opportunistic():
    for mode in ("opportunistic", "starttls", "implicit"):
        assert demand(Upstream("hop", "mx.example.com", tls=mode, proof="dane")) == Demand(mode, "dane")
    assert demand(Upstream("hop", "mx.example.com", tls="none", proof="dane")) == Demand("none")


NAMES = [
    ({"subjectAltName": (("DNS", "mx.example.com"),)}, True),
    ({"subjectAltName": (("DNS", "a.test"), ("DNS", "MX.example.com."))}, True),
    ({"subjectAltName": (("DNS", "*.example.com"),)}, True),
    ({"subjectAltName": (("DNS", "*.com"),)}, False),
    ({"subjectAltName": (("DNS", "m*.example.com"),)}, False),
    ({"subjectAltName": (("DNS", "*.mx.example.com"),)}, False),
    ({"subjectAltName": (("DNS", "example.com"),)}, False),
    ({"subjectAltName": (("IP Address", "192.0.2.1"),)}, False),
    ({"subjectAltName": (("DNS", ""),)}, False),
    ({"subjectAltName": (("DNS", "a.test"),), "subject": ((("commonName", "mx.example.com"),),)}, False),
    ({"subject": ((("commonName", "mx.example.com"),),)}, True),
    ({"subject": ((("organizationName", "mx.example.com"),),)}, False),
    ({}, False),
]


@pytest.mark.parametrize(("form", "named"), NAMES)
def test_whom_a_certificate_names(form, named):
    assert is_named(form, ["mx.example.com."]) == named
    assert is_named(form, ["other.test", "mx.example.com"]) == named
    assert not is_named(form, [])
    assert not is_named(form, [""])


def test_a_wildcard_stands_for_one_label():
    form = {"subjectAltName": (("DNS", "*.example.com"),)}
    assert is_named(form, ["a.example.com"])
    assert not is_named(form, ["a.b.example.com"])
    assert not is_named(form, ["example.com"])
    assert not is_named(form, [".example.com"])
