"""TLS options that contradict each other, each with every line that `check` says about it."""

import pytest

HEAD = "[notification]\nsmtp_enabled = true\nsmtp_from = bugs@example.com\nsmtp_server = mail.example.com\n"
PIN = "n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg="
SECURE = HEAD + "use_tls = true\n"

BROKEN = {
    "no pin": (
        SECURE + "tls_pins = sha256:abc\n",
        ["6: [notification] tls_pins: 'sha256:abc' is no SHA-256 in base64: doctor shows the one that the server has"],
    ),
    "unknown proof": (
        SECURE + "tls_proof = magic\n",
        ["6: [notification] tls_proof: 'magic' is none of none, pkix, dane, pin"],
    ),
    "a version that is too old": (
        SECURE + "tls_minimum = 1.1\n",
        ["6: [notification] tls_minimum: '1.1' is none of 1.2, 1.3"],
    ),
    "pin without pins": (
        SECURE + "tls_proof = pin\n",
        ["6: [notification] tls_proof: there are no tls_pins that could prove it: set them, doctor shows the server's"],
    ),
    "pins beside pkix": (
        SECURE + f"tls_proof = pkix\ntls_pins = {PIN}\n",
        ["7: [notification] tls_pins: they have no effect beside tls_proof = pkix: remove one of them"],
    ),
    "pins beside an authority": (
        SECURE + f"tls_pins = {PIN}\ntls_ca_file = ca.pem\n",
        ["7: [notification] tls_ca_file: no authority is asked with tls_pins: remove one of them"],
    ),
    "pins over TLS that need not be": (
        HEAD + f"tls_pins = {PIN}\n",
        ["5: [notification] tls_pins: nothing is proved while tls is opportunistic: set use_tls = true"],
    ),
    "a proof and none": (
        SECURE + "tls_verify = false\ntls_proof = pkix\n",
        [
            "6: [notification] tls_verify: tls_verify = false asks for no proof, tls_proof = pkix for one: remove one of them"
        ],
    ),
    "a password and no proof": (
        SECURE + "tls_proof = none\nsmtp_user = me\nsmtp_password = x\n",
        [
            "7: [notification] smtp_user: the password would cross an unprotected connection (tls_proof is none): set use_tls = true"
        ],
    ),
    "DANE of an address": (
        HEAD.replace("mail.example.com", "192.0.2.1") + "tls_proof = dane\n",
        ["5: [notification] tls_proof: DANE needs a name in DNS, 192.0.2.1 is none: name the server, or another proof"],
    ),
    "DANE and an authority": (
        SECURE + "tls_proof = dane\ntls_ca_file = ca.pem\n",
        ["7: [notification] tls_ca_file: no authority is asked with tls_proof = dane: remove one of them"],
    ),
    "DANE without TLS": (
        HEAD + "tls = none\ntls_proof = dane\n",
        ["6: [notification] tls_proof: nothing is proved while tls is none: set use_tls = true"],
    ),
    "a password over DANE where it is published": (
        HEAD + "tls_proof = dane\nsmtp_user = me\nsmtp_password = x\n",
        [
            "6: [notification] smtp_user: the password would cross an unprotected connection (tls is opportunistic): set use_tls = true"
        ],
    ),
    "the same in an upstream": (
        "[notification]\nsmtp_enabled = true\nsmtp_from = bugs@example.com\nupstream = main\n"
        "[upstream:main]\nserver = mail.example.com\ntls = starttls\ntls_proof = pin\n",
        [
            "8: [upstream:main] tls_proof: there are no tls_pins that could prove it: set them, doctor shows the server's"
        ],
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken(checked, name):
    text, lines = BROKEN[name]
    found = checked(text)
    assert (found.faults, found.status) == (lines, 78)


@pytest.mark.parametrize(
    "more", [f"tls_pins = sha256//{PIN}, {PIN[::-1][1:]}=", "tls_proof = none", "tls_minimum = 1.3"]
)
def test_whole(checked, more):
    found = checked(SECURE + more + "\n")
    assert (found.faults, found.warnings, found.status) == ([], [], 0)
