"""The public key of a certificate is found whatever its kind, and nothing else is taken for one."""

import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from relay.der import element, public_key

KEYS = {
    "rsa": rsa.generate_private_key(65537, 2048),
    "ec": ec.generate_private_key(ec.SECP256R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate(),
}


def certificate(key):
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mail.example.com")])
    day = datetime.datetime(2026, 1, 1)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(day)
    builder = builder.not_valid_after(day + datetime.timedelta(365))
    made = builder.sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256())
    return made.public_bytes(Encoding.DER)


@pytest.mark.parametrize("kind", KEYS)
def test_it_is_what_cryptography_reads(kind):
    key = KEYS[kind]
    expected = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert public_key(certificate(key)) == expected


def test_a_certificate_of_version_1_has_no_version():
    whole = certificate(KEYS["ec"])
    _, outer, _ = element(whole)
    _, inner, rest = element(outer)
    assert inner[0] == 0xA0
    shorter = element(inner)[2]
    body = b"\x30\x82" + len(shorter).to_bytes(2, "big") + shorter + rest
    assert public_key(b"\x30\x82" + len(body).to_bytes(2, "big") + body) == public_key(whole)


def test_what_is_none_has_none():
    whole = certificate(KEYS["ec"])
    for data in (b"", b"\x30", b"\x30\x00", b"no certificate", whole[:80], whole[4:], b"\x30\x84\xff\xff\xff\xff"):
        assert public_key(data) == b""
