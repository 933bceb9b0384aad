"""SCRAM (RFC 5802, RFC 7677): each side proves that it knows the password, and nobody says it.

1. We say who we are, whether we could bind to the connection, and a nonce.
2. The server adds its nonce, the salt and the iteration count; all three are checked before they cost anything.
3. We prove the password over everything said so far.
4. The server proves that it knows it too; before that, its "235" is not believed.
"""

import base64
import binascii
import hashlib
import hmac
import re

from relay.auth.credentials import Broken, Channel, Credentials, Exchange, Unusable
from relay.auth.saslprep import saslprep

FEWEST = 4096
"""Iterations at least (RFC 7677 4): fewer would give whoever records the dialogue a cheap guess."""
MOST = 1_000_000
"""Iterations at most: about half a second of one processor; a hostile server could ask for hours."""
LONGEST_SALT = 1024

_FIRST = re.compile(r"r=(?P<nonce>[\x21-\x2b\x2d-\x7e]+),s=(?P<salt>[^,]+),i=(?P<count>[1-9]\d{0,9})(?:,.*)?")


def scram(digest: str, who: Credentials, channel: Channel, *, plus: bool) -> Exchange:
    """One SCRAM dialogue with hash `digest`; `plus` binds it to the connection. Raises Unusable, Broken."""
    user, password = _prepared(who)
    header = _header(channel, plus=plus)
    bare = f"n={user},r={channel.nonce}"
    challenge = yield (header + bare).encode()

    first = _text(challenge)
    nonce, salt, count = _read_first(first, channel.nonce)
    bound = base64.b64encode(header.encode() + (channel.binding if plus else b"")).decode()
    said = f"{bare},{first},c={bound},r={nonce}".encode()
    salted = hashlib.pbkdf2_hmac(digest, password, salt, count)
    key = hmac.digest(salted, b"Client Key", digest)
    signature = hmac.digest(hashlib.new(digest, key).digest(), said, digest)
    proof = base64.b64encode(bytes(a ^ b for a, b in zip(key, signature, strict=True))).decode()
    challenge = yield f"c={bound},r={nonce},p={proof}".encode()

    _believe(_text(challenge), hmac.digest(hmac.digest(salted, b"Server Key", digest), said, digest))
    yield b""


def _prepared(who: Credentials) -> tuple[str, bytes]:
    """User and password as SCRAM says them (RFC 5802 5.1, 2.2)."""
    try:
        user = saslprep(who.user, stored=False)
        password = saslprep(who.password.reveal(), stored=True)
    except ValueError as fault:
        raise Unusable(f"user or password holds {fault}, which SCRAM can not say") from None
    if not user or not password:
        raise Unusable("SCRAM needs a user and a password")
    return user.replace("=", "=3D").replace(",", "=2C"), password.encode()


def _header(channel: Channel, *, plus: bool) -> str:
    """The GS2 header: bound; could be, but the server names no such mechanism (so a strip is seen); can not be."""
    if plus:
        if not channel.binding:
            raise Unusable("this connection has nothing that SCRAM could be bound to")
        return "p=tls-server-end-point,,"
    return "y,," if channel.binding and not channel.plus_offered else "n,,"


def _text(challenge: bytes) -> str:
    try:
        return challenge.decode()
    except UnicodeDecodeError:
        raise Broken("its answer is not UTF-8") from None


def _read_first(first: str, ours: str) -> tuple[str, bytes, int]:
    """The server's nonce, salt and iteration count. Raises Broken for any that must not be used."""
    found = _FIRST.fullmatch(first)
    if not found:
        raise Broken("its first message is none of SCRAM's")
    nonce, count = found["nonce"], int(found["count"])
    if not nonce.startswith(ours) or nonce == ours:
        raise Broken("its nonce does not continue ours")
    if count < FEWEST:
        raise Broken(f"it wants {count} iterations, fewer than {FEWEST}")
    if count > MOST:
        raise Broken(f"it wants {count} iterations, more than {MOST}")
    salt = _octets(found["salt"])
    if not 0 < len(salt) <= LONGEST_SALT:
        raise Broken("its salt is not usable")
    return nonce, salt, count


def _believe(final: str, signature: bytes) -> None:
    """The server's last word: its signature, which must be right, or its error."""
    kind, _, value = final.partition(",")[0].partition("=")
    if kind == "e":
        raise Broken(f"it says {value}")
    if kind != "v" or not hmac.compare_digest(_octets(value), signature):
        raise Broken("it can not prove that it knows the password: it may not be the server that it claims to be")


def _octets(text: str) -> bytes:
    try:
        return base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise Broken("its answer holds no base64 where SCRAM wants it") from None
