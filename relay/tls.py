"""TLS demands: what a connection to a next hop must be before content, and before a password, may cross it.

A demand is a mode (none, opportunistic, starttls, implicit) and a proof (none, pkix, pin) of who the
server is (RFC 3207, RFC 8314, RFC 9325). What the peer offers can never lower it.
"""

from dataclasses import dataclass
from enum import StrEnum

from relay.entry import Cause
from relay.routing import Upstream, is_local


class Level(StrEnum):
    """What a connection really is. VERIFIED: by an authority and the name (PKIX)."""

    PLAIN = "plain"
    ENCRYPTED = "encrypted"
    VERIFIED = "verified"
    PINNED = "pinned"

    @property
    def proven(self) -> bool:
        """True when it is shown who the server is."""
        return self in (Level.VERIFIED, Level.PINNED)


@dataclass(frozen=True, slots=True)
class Demand:
    """What an upstream's connection must be; `proof` is one of none, pkix, pin."""

    mode: str
    proof: str = "none"

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
        if self.tls_required and self.proof != "none" and not level.proven:
            return f"the server's certificate was not verified, and tls_proof = {self.proof} demands it"
        return ""

    def __str__(self) -> str:
        """As the log names it: none, opportunistic, encrypted, pkix, pin."""
        if self.proof != "none":
            return self.proof
        return "encrypted" if self.tls_required else self.mode


def demand(upstream: Upstream) -> Demand:
    """What this upstream's connections must be; an opportunistic one claims no proof."""
    return Demand(upstream.tls, upstream.proof if upstream.tls in ("starttls", "implicit") else "none")


def may_log_in(upstream: Upstream, level: Level) -> bool:
    """Promise 6: a credential crosses verified TLS only, or never leaves this host."""
    return level.proven or is_local(upstream.server)


def told(wanted: Demand, level: Level | None, cause: Cause | None = None) -> str:
    """Desired and actual level for the log, in the form of Postfix 3.11: `pkix` (so it was wanted, so it was).

    `pkix?`: it never came to that; `!pkix`: it was missed, nothing was sent; `(opportunistic:none)`: less than
    the best, as allowed. `cause` is why there is no connection.
    """
    if cause is Cause.TLS or (level is not None and wanted.missed(level)):
        return f"!{wanted}"
    if level is None:
        return f"{wanted}?"
    return f"({wanted}:none)" if wanted.tls_wanted and level is Level.PLAIN else str(wanted)
