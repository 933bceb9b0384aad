"""Passwords: the file of those who may log in at the listener: `login:scrypt:N:r:p:salt:hash`, one a line.

Nothing in it gives a password away; scrypt (RFC 7914) makes guessing dear. Logins keep their case.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

COST, BLOCK, PARALLEL = 1 << 14, 8, 1
"""The parameters of new hashes: 16 MiB of memory and some 50 ms for each try."""
_MOST = 1 << 17
LOGIN = re.compile(r"[^\x00-\x20:\x7f-\x9f]{1,128}")
"""What a login may be: no blank, no colon, no control character."""


@dataclass(frozen=True, slots=True)
class Hash:
    """What is kept of one password."""

    cost: int
    block: int
    parallel: int
    salt: bytes
    digest: bytes

    def __str__(self) -> str:
        parts = ("scrypt", self.cost, self.block, self.parallel, _base64(self.salt), _base64(self.digest))
        return ":".join(map(str, parts))

    def fits(self, password: str) -> bool:
        """True for the password that it was made of; takes as long for every other one."""
        return hmac.compare_digest(_scrypt(password, self.salt, self.cost, self.block, self.parallel), self.digest)


def hashed(password: str, salt: bytes) -> Hash:
    """What to keep of a password; `salt` is 16 random octets."""
    return Hash(COST, BLOCK, PARALLEL, salt, _scrypt(password, salt, COST, BLOCK, PARALLEL))


@cache
def _nobody() -> Hash:
    """Compared for a login that nobody has, so that it takes as long."""
    return hashed("", b"the salt of no one")


def read(text: str) -> tuple[dict[str, Hash], list[tuple[int, str]]]:
    """Logins with their hashes; and what is wrong, with the line's number. # begins a comment."""
    found: dict[str, Hash] = {}
    faults: list[tuple[int, str]] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        login, _, form = line.strip().partition(":")
        made = _hash(form)
        if not LOGIN.fullmatch(login) or made is None:
            faults.append((number, "no line that `tracker-relay passwd LOGIN` has written"))
        elif login in found:
            faults.append((number, f"{login} stands in it twice"))
        else:
            found[login] = made
    return found, faults


def verify(known: Mapping[str, Hash], login: str, password: str) -> bool:
    """True for the login's own password."""
    fits = (known.get(login) or _nobody()).fits(password)
    return fits and login in known


def _hash(form: str) -> Hash | None:
    kind, *parts = form.split(":")
    if kind != "scrypt" or len(parts) != 5 or not all(part.isascii() and part.isdigit() for part in parts[:3]):
        return None
    cost, block, parallel = (int(part[:9]) for part in parts[:3])
    try:
        salt, digest = (base64.b64decode(part, validate=True) for part in parts[3:])
    except binascii.Error:
        return None
    sane = 2 <= cost <= _MOST and not cost & (cost - 1) and 1 <= block <= 32 and 1 <= parallel <= 16
    return Hash(cost, block, parallel, salt, digest) if sane and len(digest) == 32 and salt else None


def _scrypt(password: str, salt: bytes, cost: int, block: int, parallel: int) -> bytes:
    room = 129 * cost * block + (1 << 20)
    return hashlib.scrypt(password.encode(), salt=salt, n=cost, r=block, p=parallel, maxmem=room, dklen=32)


def _base64(octets: bytes) -> str:
    return base64.b64encode(octets).decode("ascii")
