"""DER: just enough of a certificate's form to find its public key, and what it is signed with (RFC 5280 4.1)."""

SEQUENCE, OID, VERSION = 0x30, 0x06, 0xA0


def element(data: bytes) -> tuple[int, bytes, bytes]:
    """The first element: its tag, its content, and what follows it. Raises IndexError, ValueError."""
    length, at = data[1], 2
    if length & 0x80:
        at += length & 0x7F
        length = int.from_bytes(data[2:at], "big")
    if len(data) < at + length:
        raise ValueError("cut off")
    return data[0], data[at : at + length], data[at + length :]


def public_key(certificate: bytes) -> bytes:
    """The SubjectPublicKeyInfo of a certificate, whole, as pins and TLSA records mean it; b"" when it is none.

    It stands behind version (which may be absent), serialNumber, signature, issuer, validity and subject.
    """
    try:
        _, whole, _ = element(certificate)
        _, inner, _ = element(whole)
        if inner[0] == VERSION:
            inner = element(inner)[2]
        for _ in range(5):
            inner = element(inner)[2]
        tag, _, rest = element(inner)
    except (IndexError, ValueError):
        return b""
    return inner[: len(inner) - len(rest)] if tag == SEQUENCE else b""
