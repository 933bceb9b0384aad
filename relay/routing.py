"""Routing: every recipient of a mail on exactly one Route, each leading to one Upstream."""

from dataclasses import dataclass

from relay.mail import Mail
from relay.options import Secret

OUTBOX = "outbox"
"""The reserved upstream that keeps mail in a local Maildir instead of sending it."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """A named next hop: where, how secured, as whom.

    `server` is a host name, an address, or "unix:PATH"; `tls` one of none, opportunistic, starttls,
    implicit; `verify` whether the certificate must prove the name. An empty `user` means no AUTH.
    """

    name: str
    server: str = ""
    port: int = 25
    tls: str = "opportunistic"
    verify: bool = True
    ca_file: str = ""
    client_certificate: str = ""
    user: str = ""
    password: Secret = Secret("")
    auth: str = ""
    path: str = ""
    """The Maildir, for the outbox."""

    @property
    def is_outbox(self) -> bool:
        """True for the local Maildir."""
        return self.name == OUTBOX


@dataclass(frozen=True, slots=True)
class Route:
    """The decision "these recipients go there"."""

    upstream: Upstream


def route(mail: Mail, upstream: Upstream) -> list[tuple[Route, Mail]]:
    """One transaction for all recipients of a mail; none when nobody is left."""
    return [(Route(upstream), mail)] if mail.envelope.recipients else []
