"""TLS demands: what a connection to a next hop must be before content, and before a password, may cross it.

A demand is a mode (none, opportunistic, starttls, implicit) and whether the certificate must prove
the name (RFC 3207, RFC 8314, RFC 9325). What the peer offers can never lower it.
"""

from dataclasses import dataclass
from enum import StrEnum

from relay.routing import Upstream, is_local


class Level(StrEnum):
    """What a connection really is."""

    PLAIN = "plain"
    ENCRYPTED = "encrypted"
    VERIFIED = "verified"


@dataclass(frozen=True, slots=True)
class Demand:
    """What an upstream's connection must be. `proof`: the certificate must prove the server's name."""

    mode: str
    proof: bool

    @property
    def tls_first(self) -> bool:
        """TLS from the first octet (RFC 8314)."""
        return self.mode == "implicit"

    @property
    def tls_wanted(self) -> bool:
        """TLS is used when it can be had."""
        return self.mode != "none"

    @property
    def tls_required(self) -> bool:
        """Nothing is sent without TLS."""
        return self.mode in ("starttls", "implicit")

    def missed(self, level: Level) -> str:
        """Why a connection of this level is not enough; "" when it is."""
        if self.tls_required and level is Level.PLAIN:
            return "the connection is not encrypted, and tls demands it"
        if self.tls_required and self.proof and level is not Level.VERIFIED:
            return "the server's certificate was not verified, and tls_verify demands it"
        return ""


def demand(upstream: Upstream) -> Demand:
    """What this upstream's connections must be; an opportunistic one claims no proof."""
    return Demand(upstream.tls, upstream.verify and upstream.tls != "opportunistic")


def may_log_in(upstream: Upstream, level: Level) -> bool:
    """Promise 6: a credential crosses verified TLS only, or never leaves this host."""
    return level is Level.VERIFIED or is_local(upstream.server)
