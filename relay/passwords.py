"""Passwords: the file of those who may log in at the listener, one a line; logins keep their case.

    login:scram-sha-256:iterations:salt:StoredKey:ServerKey

These are the keys of SCRAM (RFC 5802 3): they prove a password without telling it, to SCRAM and to PLAIN. A line
that an older version wrote (`login:scrypt:N:r:p:salt:hash`) stays good for PLAIN and LOGIN.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass

from relay.auth.saslprep import saslprep

ITERATIONS = 100_000
"""Of PBKDF2, for new lines: some 40 ms for each guess, and for each log-in of a client."""
FEWEST, MOST = 4096, 1_000_000
"""What a line may say (RFC 7677 4; no client waits longer)."""
_MOST_COST = 1 << 17
LOGIN = re.compile(r"[^\x00-\x20:\x7f-\x9f]{1,128}")
"""What a login may be: no blank, no colon, no control character."""


@dataclass(frozen=True, slots=True)
class Keys:
    """What is kept of one password."""

    iterations: int
    salt: bytes
    stored: bytes
    server: bytes

    def __str__(self) -> str:
        parts = ("scram-sha-256", self.iterations, *map(_base64, (self.salt, self.stored, self.server)))
        return ":".join(map(str, parts))

    def fits(self, password: str) -> bool:
        """True for the password that it was made of; takes as long for every other one."""
        made = _keys(password, self.salt, self.iterations)
        return hmac.compare_digest(made.stored, self.stored)


@dataclass(frozen=True, slots=True)
class Hash:
    """What an older version kept of one password: scrypt (RFC 7914)."""

    cost: int
    block: int
    parallel: int
    salt: bytes
    digest: bytes

    def fits(self, password: str) -> bool:
        """True for the password that it was made of; takes as long for every other one."""
        room = 129 * self.cost * self.block + (1 << 20)
        octets, salt = password.encode(), self.salt
        made = hashlib.scrypt(octets, salt=salt, n=self.cost, r=self.block, p=self.parallel, maxmem=room, dklen=32)
        return hmac.compare_digest(made, self.digest)


Known = Mapping[str, Keys | Hash]
"""Logins with what is kept of their passwords."""


def hashed(password: str, salt: bytes) -> Keys:
    """What to keep of a password; `salt` is 16 random octets."""
    return _keys(password, salt, ITERATIONS)


def _keys(password: str, salt: bytes, iterations: int) -> Keys:
    salted = hashlib.pbkdf2_hmac("sha256", _prepared(password), salt, iterations)
    client = hmac.digest(salted, b"Client Key", "sha256")
    return Keys(iterations, salt, hashlib.sha256(client).digest(), hmac.digest(salted, b"Server Key", "sha256"))


def _prepared(password: str) -> bytes:
    """As SCRAM's clients say it; as it stands where they can not say it at all, for PLAIN and LOGIN."""
    try:
        return saslprep(password, stored=True).encode()
    except ValueError:
        return password.encode()


def read(text: str) -> tuple[dict[str, Keys | Hash], list[tuple[int, str]]]:
    """Logins with their keys; and what is wrong, with the line's number. # begins a comment."""
    found: dict[str, Keys | Hash] = {}
    faults: list[tuple[int, str]] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        login, _, form = line.strip().partition(":")
        made = _form(form)
        if not LOGIN.fullmatch(login) or made is None:
            faults.append((number, "no line that `tracker-relay passwd LOGIN` has written"))
        elif login in found:
            faults.append((number, f"{login} stands in it twice"))
        else:
            found[login] = made
    return found, faults


def verify(known: Known, login: str, password: str) -> bool:
    """True for the login's own password; takes as long for a login that nobody has."""
    kept = known.get(login) or next(iter(known.values()), None)
    return kept is not None and kept.fits(password) and login in known


def _form(form: str) -> Keys | Hash | None:
    """One line's right side; None for what no version has written."""
    kind, *parts = form.split(":")
    numbers, rest = {"scram-sha-256": (1, 3), "scrypt": (3, 2)}.get(kind, (0, 0))
    if len(parts) != numbers + rest or not all(part.isascii() and part.isdigit() for part in parts[:numbers]):
        return None
    try:
        octets = [base64.b64decode(part, validate=True) for part in parts[numbers:]]
    except binascii.Error:
        return None
    counts = [int(part[:9]) for part in parts[:numbers]]
    salt, digests = octets[:1], octets[1:]
    if not salt or not salt[0] or any(len(digest) != 32 for digest in digests):
        return None
    if kind == "scram-sha-256":
        return Keys(counts[0], salt[0], *digests) if FEWEST <= counts[0] <= MOST else None
    cost, block, parallel = counts
    sane = 2 <= cost <= _MOST_COST and not cost & (cost - 1) and 1 <= block <= 32 and 1 <= parallel <= 16
    return Hash(cost, block, parallel, salt[0], digests[0]) if sane else None


def _base64(octets: bytes) -> str:
    return base64.b64encode(octets).decode("ascii")
