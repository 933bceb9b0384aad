"""Challenge: the listener's side of SCRAM-SHA-256 (RFC 5802, RFC 7677): both sides prove that they know the password.

1. The client says who it is and a nonce; we add ours, the salt and the iteration count.
2. The client proves the password over all that was said, and we prove that we know it, too.

A login that nobody has gets an answer like any other, and always the same: who asks does not learn who is there.
"""

import base64
import binascii
import hashlib
import hmac
import re
from dataclasses import dataclass

from relay import passwords
from relay.auth.saslprep import saslprep
from relay.passwords import Keys, Known

_FIRST = re.compile(
    r"(?P<header>(?P<bound>n|y|p=[^,]*),(?:a=(?P<behalf>[^,]*))?,)"
    r"(?P<bare>n=(?P<user>[^,]+),r=(?P<nonce>[\x21-\x2b\x2d-\x7e]{1,256})(?:,[A-Za-z]=[^,]*)*)"
)
_FINAL = re.compile(r"(?P<said>c=(?P<header>[^,]+),r=(?P<nonce>[^,]+)(?:,[A-Za-z]=[^,]*)*),p=(?P<proof>[^,]+)")


class Malformed(ValueError):
    """the client's message is none of SCRAM-SHA-256"""


def offered(known: Known) -> bool:
    """True when everybody can log in by SCRAM: a client takes the strongest mechanism, whoever it is."""
    return bool(known) and all(isinstance(kept, Keys) for kept in known.values())


@dataclass(slots=True)
class Challenge:
    """One dialogue. `nonce` is fresh and random; `secret` makes up salts, and must not be known outside."""

    known: Known
    nonce: str
    secret: bytes
    login: str = ""
    _keys: Keys | None = None
    _header: str = ""
    _said: str = ""

    def first(self, message: bytes) -> bytes:
        """Our answer to the client's first message. Raises Malformed."""
        found = _FIRST.fullmatch(_text(message))
        if not found or found["bound"].startswith("p="):
            raise Malformed("no first message of SCRAM-SHA-256, which binds to no channel here")
        self.login = _name(found["user"])
        if found["behalf"] and _name(found["behalf"]) != self.login:
            raise Malformed("log in as yourself")
        kept = self.known.get(self.login) or self.known.get(self._alike())
        self._keys = kept if isinstance(kept, Keys) else None
        keys = self._keys or self._made_up()
        self.nonce = found["nonce"] + self.nonce
        self._header = found["header"]
        answer = f"r={self.nonce},s={_base64(keys.salt)},i={keys.iterations}"
        self._said = f"{found['bare']},{answer}"
        return answer.encode()

    def final(self, message: bytes) -> bytes | None:
        """Our proof, where the client's is right; None where it is not. Raises Malformed."""
        found = _FINAL.fullmatch(_text(message))
        if not found or found["nonce"] != self.nonce or _octets(found["header"]) != self._header.encode():
            raise Malformed("no final message of this dialogue")
        keys = self._keys or self._made_up()
        said = f"{self._said},{found['said']}".encode()
        signature = hmac.digest(keys.stored, said, "sha256")
        proof = _octets(found["proof"])
        if len(proof) != len(signature):
            raise Malformed("no proof of SCRAM-SHA-256")
        key = bytes(a ^ b for a, b in zip(proof, signature, strict=True))
        right = hmac.compare_digest(hashlib.sha256(key).digest(), keys.stored)
        if not right or self._keys is None:
            return None
        return b"v=" + base64.b64encode(hmac.digest(keys.server, said, "sha256"))

    def _alike(self) -> str:
        """The login as the file writes it, where the client has prepared it (RFC 5802 5.1)."""
        self.login = next((login for login in self.known if _plain(login) == self.login), self.login)
        return self.login

    def _made_up(self) -> Keys:
        """Keys for nobody: the same at each try."""
        made = hmac.digest(self.secret, self.login.encode(), "sha512")
        return Keys(passwords.ITERATIONS, made[:16], made[32:], made[32:])


def _text(message: bytes) -> str:
    try:
        return message.decode()
    except UnicodeDecodeError:
        raise Malformed("not UTF-8") from None


def _name(said: str) -> str:
    """A name as SCRAM writes it: = and , are written =3D and =2C."""
    if re.search("=(?!2C|3D)", said):
        raise Malformed("no user name of SCRAM")
    return said.replace("=2C", ",").replace("=3D", "=")


def _plain(login: str) -> str:
    try:
        return saslprep(login, stored=False)
    except ValueError:
        return login


def _octets(text: str) -> bytes:
    try:
        return base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise Malformed("no base64 where SCRAM wants it") from None


def _base64(octets: bytes) -> str:
    return base64.b64encode(octets).decode("ascii")
