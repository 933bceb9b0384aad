"""Credentials, and what a mechanism may know of the connection; the form that every mechanism has."""

from collections.abc import Generator
from dataclasses import dataclass

from relay.options import Secret

Exchange = Generator[bytes | None, bytes, None]
"""A mechanism at work: yields responses, is sent challenges; yields None first where the server speaks first."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who logs in, and what proves it: a password, an OAuth2 access token, or TLS's client certificate."""

    user: str
    password: Secret = Secret("")
    token: Secret = Secret("")
    certificate: bool = False


@dataclass(frozen=True, slots=True)
class Channel:
    """The connection: the server's name and port, its certificate's `tls-server-end-point`, a fresh random nonce.

    `binding` is b"" without TLS, or where RFC 5929 defines none for that certificate. `plus_offered`:
    the server names a mechanism that binds to the connection.
    """

    host: str
    port: int
    nonce: str
    binding: bytes = b""
    plus_offered: bool = False


class Unusable(ValueError):
    """these credentials can not be said in this mechanism"""


class Broken(ValueError):
    """the server's challenge is not what this mechanism can answer"""
