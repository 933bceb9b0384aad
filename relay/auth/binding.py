"""What ties a log-in to the TLS connection it runs over: tls-server-end-point (RFC 5929 4)."""

import hashlib

from relay.der import OID, SEQUENCE, element

_HASHES = {
    "1.2.840.113549.1.1.4": "sha256",  # MD5 and SHA-1 are replaced by SHA-256 (RFC 5929 4.1)
    "1.2.840.113549.1.1.5": "sha256",
    "1.2.840.113549.1.1.14": "sha224",
    "1.2.840.113549.1.1.11": "sha256",
    "1.2.840.113549.1.1.12": "sha384",
    "1.2.840.113549.1.1.13": "sha512",
    "1.2.840.10040.4.3": "sha256",
    "2.16.840.1.101.3.4.3.1": "sha224",
    "2.16.840.1.101.3.4.3.2": "sha256",
    "1.2.840.10045.4.1": "sha256",
    "1.2.840.10045.4.3.1": "sha224",
    "1.2.840.10045.4.3.2": "sha256",
    "1.2.840.10045.4.3.3": "sha384",
    "1.2.840.10045.4.3.4": "sha512",
}
"""Signature algorithms (RSA, DSA, ECDSA) and the hash that each is made with."""
_PSS = "1.2.840.113549.1.1.10"
_PSS_HASHES = {
    "1.3.14.3.2.26": "sha256",
    "2.16.840.1.101.3.4.2.4": "sha224",
    "2.16.840.1.101.3.4.2.1": "sha256",
    "2.16.840.1.101.3.4.2.2": "sha384",
    "2.16.840.1.101.3.4.2.3": "sha512",
}
"""RSASSA-PSS names its hash in its parameters; SHA-1 by default (RFC 4055 3.1)."""
_FIRST = 0xA0


def end_point(certificate: bytes) -> bytes:
    """The hash of a server's certificate (DER); b"" where RFC 5929 defines none: Ed25519, an unknown algorithm."""
    try:
        name = _hash_of(certificate)
    except (IndexError, ValueError):
        return b""
    return hashlib.new(name, certificate).digest() if name else b""


def _hash_of(certificate: bytes) -> str:
    """The name of the hash in Certificate ::= SEQUENCE { tbsCertificate, signatureAlgorithm, ... } (RFC 5280 4.1)."""
    _, whole, _ = element(certificate)
    _, _, rest = element(whole)
    algorithm, parameters = _algorithm(rest)
    if algorithm != _PSS:
        return _HASHES.get(algorithm, "")
    _, inner, _ = element(parameters)
    tag, named, _ = element(inner) if inner else (0, b"", b"")
    return _PSS_HASHES.get(_algorithm(named)[0], "") if tag == _FIRST else "sha256"


def _algorithm(data: bytes) -> tuple[str, bytes]:
    """AlgorithmIdentifier ::= SEQUENCE { OBJECT IDENTIFIER, parameters }."""
    tag, inner, _ = element(data)
    kind, identifier, parameters = element(inner)
    if tag != SEQUENCE or kind != OID:
        raise ValueError("no AlgorithmIdentifier")
    return _dotted(identifier), parameters


def _dotted(identifier: bytes) -> str:
    arcs = [min(identifier[0] // 40, 2)]
    arcs.append(identifier[0] - 40 * arcs[0])
    value = 0
    for octet in identifier[1:]:
        value = value << 7 | octet & 0x7F
        if not octet & 0x80:
            arcs.append(value)
            value = 0
    return ".".join(map(str, arcs))
