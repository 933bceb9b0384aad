"""The TLS options of a next hop: what they come to, and what `check` says of those that contradict each other."""

import base64

import pytest

from relay import securing
from relay.inheriting import inherited
from relay.routing import NextHopOptions, upstream_from

PIN = base64.b64encode(bytes(range(32))).decode()
OCTETS = bytes(range(32))


def options(**given):
    return NextHopOptions(**{"smtp_server": "mail.example.com", **given})


@pytest.mark.parametrize("before", ["", "sha256:", "sha256//", "SHA256:", " "])
def test_a_pin_in_every_form_that_tools_print(before):
    assert securing.pin(before + PIN) == OCTETS
    assert securing.shown_pin(OCTETS) == PIN


@pytest.mark.parametrize("text", ["", "abc", PIN[:-2], "sha256:", "ä" * 43, base64.b64encode(bytes(31)).decode()])
def test_what_is_no_pin_is_refused(text):
    with pytest.raises(ValueError, match="is no SHA-256 in base64"):
        securing.pin(text)


@pytest.mark.parametrize(
    ("given", "proof"),
    [
        ({}, "pkix"),
        ({"tls_verify": False}, "none"),
        ({"tls_proof": "none"}, "none"),
        ({"tls_pins": (OCTETS,)}, "pin"),
        ({"tls_pins": (OCTETS,), "tls_proof": "pin"}, "pin"),
        ({"tls_proof": "pkix"}, "pkix"),
    ],
)
def test_what_proves_who_the_server_is(given, proof):
    assert securing.proof(options(**given)) == proof
    assert upstream_from(options(use_tls=True, **given), "hop").proof == proof


SECURE = {"use_tls": True}
FAULTS = {
    "two words on TLS": ({"use_tls": True, "tls": "none"}, ["tls"]),
    "two words on TLS, the other way round": ({"use_tls": False, "tls": "starttls"}, ["tls"]),
    "port 465 is implicit": ({"smtp_port": 465, "tls": "starttls"}, ["tls"]),
    "no proof, and pins": (SECURE | {"tls_verify": False, "tls_pins": (OCTETS,)}, ["tls_verify"]),
    "no proof, and one": (SECURE | {"tls_verify": False, "tls_proof": "pkix"}, ["tls_verify"]),
    "no pins": (SECURE | {"tls_proof": "pin"}, ["tls_proof"]),
    "pins for nothing": (SECURE | {"tls_proof": "pkix", "tls_pins": (OCTETS,)}, ["tls_pins"]),
    "pins and an authority": (SECURE | {"tls_ca_file": "x", "tls_pins": (OCTETS,)}, ["tls_ca_file"]),
    "a proof of nothing": ({"tls_proof": "pkix"}, ["tls_proof"]),
    "pins of nothing": ({"use_tls": False, "tls_pins": (OCTETS,)}, ["tls_pins"]),
    "nothing wrong": (SECURE | {"tls_proof": "pin", "tls_pins": (OCTETS, OCTETS[::-1])}, []),
    "DANE and an authority": (SECURE | {"tls_ca_file": "x", "tls_proof": "dane"}, ["tls_ca_file"]),
    "DANE of an address": (SECURE | {"smtp_server": "192.0.2.1", "tls_proof": "dane"}, ["tls_proof"]),
    "DANE of an IPv6 address": (SECURE | {"smtp_server": "[2001:db8::1]", "tls_proof": "dane"}, ["tls_proof"]),
    "DANE of a socket": (SECURE | {"smtp_server": "unix:/run/x", "tls_proof": "dane"}, ["tls_proof"]),
    "DANE without TLS": ({"tls": "none", "tls_proof": "dane"}, ["tls_proof"]),
    "DANE where it is published": ({"tls_proof": "dane"}, []),
    "DANE, or nothing": (SECURE | {"tls_proof": "dane"}, []),
    "no proof is allowed": (SECURE | {"tls_proof": "none"}, []),
}


@pytest.mark.parametrize("name", FAULTS)
def test_contradictions(name):
    given, places = FAULTS[name]
    assert [option for option, _ in securing.faults(options(**given))] == places


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({}, "tls is opportunistic"),
        ({"use_tls": False}, "tls is none"),
        (SECURE | {"tls_verify": False}, "tls_verify is false"),
        (SECURE | {"tls_proof": "none"}, "tls_proof is none"),
        (SECURE, ""),
        (SECURE | {"tls_pins": (OCTETS,)}, ""),
    ],
)
def test_where_a_password_would_be_anybodys(given, why):
    assert securing.exposed(options(**given)) == why


def test_pins_stay_with_their_server_and_a_proof_is_said_anew_as_a_whole():
    base = options(use_tls=True, tls_pins=(OCTETS,), tls_proof="pin", tls_minimum="1.3")
    other = inherited(base, {"smtp_server": "other.example.com"}, {}, {})
    assert (other.tls_pins, other.tls_proof, securing.proof(other), other.tls_minimum) == ((), "", "pkix", "1.3")
    same = inherited(base, {}, {}, {})
    assert same.tls_pins == (OCTETS,)
    loose = inherited(base, {"tls_verify": False}, {}, {})
    assert (securing.proof(loose), securing.faults(loose)) == ("none", [])
    kept = inherited(options(use_tls=True, tls_proof="none"), {"smtp_server": "other.example.com"}, {}, {})
    assert kept.tls_proof == "none"
