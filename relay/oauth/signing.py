"""Signed assertions (RFC 7523): a certificate in place of a client secret, and Google's service accounts.

The signature itself comes from PyJWT and cryptography, the extra `crypto`; time and ids are arguments.
"""

import base64
import binascii
import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

from relay.errors import RelayError
from relay.oauth.client import Client
from relay.options import Secret

LIFETIME = 600
"""Seconds that a client's assertion is good for; Microsoft asks for five to ten minutes."""
ACCOUNT_LIFETIME = 3600
"""Seconds that a service account's assertion is good for: Google's most."""
MARGIN = 60
"""Seconds by which it begins in the past: the provider's clock may be behind ours."""
NEEDS_EXTRA = "signing needs the extra `crypto`: pip install 'tracker-relay[crypto]'"


class CanNotSign(RelayError):
    """the assertion can not be signed"""


@dataclass(frozen=True, slots=True)
class Account:
    """A Google service account, as its JSON key file describes it."""

    email: str
    key_id: str
    key: Secret

    @classmethod
    def read(cls, text: Secret) -> "Account":
        """Read the key file's text. Raises ValueError, which never shows it."""
        try:
            form = json.loads(text.reveal())
            email, key_id, key = (form[name] for name in ("client_email", "private_key_id", "private_key"))
        except (ValueError, KeyError, TypeError, RecursionError):
            raise ValueError("that is no JSON key of a service account: download it from Google anew") from None
        if form.get("type") != "service_account" or not all(isinstance(v, str) for v in (email, key_id, key)):
            raise ValueError("that is a Google file of another kind, not the JSON key of a service account")
        return cls(email, key_id, Secret(key))


def client_assertion(client: Client, certificate: bytes, now: float, unique: str) -> str:
    """The client's own JWT (private_key_jwt) with the certificate's x5t#S256. Raises CanNotSign."""
    claims = {
        "iss": client.client_id,
        "sub": client.client_id,
        "aud": client.token_url,
        "jti": unique,
        "nbf": int(now) - MARGIN,
        "iat": int(now) - MARGIN,
        "exp": int(now) + LIFETIME,
    }
    thumbprint = hashlib.sha256(_der(certificate)).digest()
    header = {"x5t#S256": base64.urlsafe_b64encode(thumbprint).decode("ascii").rstrip("=")}
    # Microsoft asks for RSASSA-PSS; what every other provider takes is PKCS #1 v1.5.
    return _signed(claims, client.key, header, "PS256" if client.provider == "microsoft" else "RS256")


def account_assertion(client: Client, now: float) -> str:
    """The service account's JWT, acting as the mailbox's owner (domain-wide delegation). Raises CanNotSign."""
    account = Account.read(client.account)
    claims = {
        "iss": account.email,
        "sub": client.user,
        "scope": client.scope,
        "aud": client.token_url,
        "iat": int(now) - MARGIN,
        "exp": int(now) - MARGIN + ACCOUNT_LIFETIME,
    }
    return _signed(claims, account.key, {"kid": account.key_id}, "RS256")


def _signed(claims: dict[str, Any], key: Secret, header: dict[str, str], for_rsa: str) -> str:
    try:
        import jwt  # noqa: PLC0415 - an extra
        from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa  # noqa: PLC0415
        from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415
    except ImportError as fault:
        raise CanNotSign(NEEDS_EXTRA) from fault
    try:
        private = load_pem_private_key(key.reveal().encode(), None)
    except (ValueError, TypeError):
        text = "the private key can not be read: it must be PEM, and without a pass phrase"
        raise CanNotSign(text) from None  # the cause could quote the key
    match private:
        case rsa.RSAPrivateKey():
            algorithm = for_rsa
        case ec.EllipticCurvePrivateKey() if private.curve.name in _CURVES:
            algorithm = _CURVES[private.curve.name]
        case ed25519.Ed25519PrivateKey():
            algorithm = "EdDSA"
        case _:
            raise CanNotSign("the private key is of a kind that no provider takes: use RSA with 2048 bits")
    return jwt.encode(claims, private, algorithm, header)


_CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]++)-----END CERTIFICATE-----")


def _der(certificate: bytes) -> bytes:
    """The first certificate of a PEM file. Raises CanNotSign."""
    found = _PEM.search(certificate)
    try:
        if found and found[1].strip():
            return base64.b64decode(b"".join(found[1].split()), validate=True)
    except binascii.Error:
        pass
    raise CanNotSign("oauth_certificate holds no certificate in PEM form")
