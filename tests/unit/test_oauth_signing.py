"""Signed assertions: what they claim, by which algorithm, and keys that can not sign."""

import base64
import datetime
import hashlib
import json
import sys

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa

from relay.oauth import signing
from relay.oauth.client import Grant
from relay.options import Secret
from tests.unit.test_oauth_messages import NOW, TOKEN_URL, client


def pem(key, form_=serialization.PrivateFormat.PKCS8, encryption=None):
    return Secret(
        key.private_bytes(serialization.Encoding.PEM, form_, encryption or serialization.NoEncryption()).decode()
    )


@pytest.fixture(scope="module")
def rsa_key():
    return rsa.generate_private_key(65537, 2048)


@pytest.fixture(scope="module")
def certificate(rsa_key):
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "relay")])
    day = datetime.datetime(2026, 1, 1)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(rsa_key.public_key())
    builder = builder.serial_number(1).not_valid_before(day).not_valid_after(day + datetime.timedelta(1))
    return builder.sign(rsa_key, hashes.SHA256())


@pytest.mark.parametrize(("provider", "algorithm"), [("microsoft", "PS256"), ("custom", "RS256")])
def test_a_clients_assertion(rsa_key, certificate, provider, algorithm):
    who = client(Grant.CLIENT_CREDENTIALS, provider, certificate="c.pem", key=pem(rsa_key))
    text = b"some words\n" + certificate.public_bytes(serialization.Encoding.PEM) + b"more\n"
    token = signing.client_assertion(who, text, NOW, "unique")
    claims = jwt.decode(
        token,
        rsa_key.public_key(),
        [algorithm],
        audience=TOKEN_URL,
        options={"verify_exp": False, "verify_nbf": False, "verify_iat": False},
    )
    assert claims == {
        "iss": "app",
        "sub": "app",
        "aud": TOKEN_URL,
        "jti": "unique",
        "nbf": NOW - 60,
        "iat": NOW - 60,
        "exp": NOW + 600,
    }
    der = certificate.public_bytes(serialization.Encoding.DER)
    thumbprint = base64.urlsafe_b64encode(hashlib.sha256(der).digest()).decode().rstrip("=")
    assert jwt.get_unverified_header(token) == {"alg": algorithm, "typ": "JWT", "x5t#S256": thumbprint}


def test_a_service_accounts_assertion(rsa_key):
    account = {
        "type": "service_account",
        "client_email": "robot@p.example",
        "private_key_id": "k1",
        "private_key": pem(rsa_key).reveal(),
    }
    who = client(Grant.SERVICE_ACCOUNT, "google", account=Secret(json.dumps(account)))
    token = signing.account_assertion(who, NOW)
    claims = jwt.decode(
        token, rsa_key.public_key(), ["RS256"], audience=TOKEN_URL, options={"verify_exp": False, "verify_iat": False}
    )
    assert claims == {
        "iss": "robot@p.example",
        "sub": "me@example.com",
        "scope": "smtp offline",
        "aud": TOKEN_URL,
        "iat": NOW - 60,
        "exp": NOW + 3540,
    }
    assert jwt.get_unverified_header(token)["kid"] == "k1"


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (ec.generate_private_key(ec.SECP256R1()), "ES256"),
        (ec.generate_private_key(ec.SECP384R1()), "ES384"),
        (ec.generate_private_key(ec.SECP521R1()), "ES512"),
        (ed25519.Ed25519PrivateKey.generate(), "EdDSA"),
    ],
    ids=["P-256", "P-384", "P-521", "Ed25519"],
)
def test_other_keys(certificate, key, algorithm):
    who = client(certificate="c.pem", key=pem(key))
    token = signing.client_assertion(who, certificate.public_bytes(serialization.Encoding.PEM), NOW, "u")
    assert jwt.get_unverified_header(token)["alg"] == algorithm


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (Secret("-----BEGIN nothing"), "can not be read"),
        (Secret(""), "can not be read"),
        (Secret("\u00e4"), "can not be read"),
        (
            pem(ed25519.Ed25519PrivateKey.generate(), encryption=serialization.BestAvailableEncryption(b"x")),
            "without a pass phrase",
        ),
        (pem(ec.generate_private_key(ec.SECP256K1())), "of a kind that no provider takes"),
        (pem(dsa.generate_private_key(1024)), "of a kind that no provider takes"),
    ],
    ids=["garbage", "empty", "letters", "encrypted", "odd curve", "DSA"],
)
def test_a_key_that_can_not_sign(certificate, key, text):
    who = client(certificate="c.pem", key=key)
    with pytest.raises(signing.CanNotSign, match=text):
        signing.client_assertion(who, certificate.public_bytes(serialization.Encoding.PEM), NOW, "u")


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----",
        b"-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----",
    ],
)
def test_a_certificate_that_is_none(rsa_key, text):
    with pytest.raises(signing.CanNotSign, match="no certificate in PEM form"):
        signing.client_assertion(client(certificate="c.pem", key=pem(rsa_key)), text, NOW, "u")


@pytest.mark.parametrize("module", ["jwt", "cryptography.hazmat.primitives.serialization"])
def test_without_the_extra_a_line_names_it(rsa_key, certificate, monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(signing.CanNotSign, match=r"pip install 'tracker-relay\[crypto\]'"):
        signing.client_assertion(
            client(certificate="c", key=pem(rsa_key)), certificate.public_bytes(serialization.Encoding.PEM), NOW, "u"
        )
