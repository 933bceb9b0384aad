"""TLS demands: what a connection to a next hop must be before content, and before a password, may cross it.

A demand is a mode (none, opportunistic, starttls, implicit) and a proof (none, pkix, dane, pin) of who the
server is (RFC 3207, RFC 7672, RFC 8314, RFC 9325). What the peer offers can never lower it.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from relay.dane import Finding, State
from relay.entry import Cause
from relay.reply import Reply
from relay.routing import UNLISTED, Upstream, is_local


class Level(StrEnum):
    """What a connection really is. VERIFIED: by an authority and the name (PKIX)."""

    PLAIN = "plain"
    ENCRYPTED = "encrypted"
    VERIFIED = "verified"
    DANE = "dane"
    PINNED = "pinned"

    @property
    def proven(self) -> bool:
        """True when it is shown who the server is."""
        return self in (Level.VERIFIED, Level.DANE, Level.PINNED)


@dataclass(frozen=True, slots=True)
class Demand:
    """What an upstream's connection must be; `proof` is one of none, pkix, dane, pin."""

    mode: str
    proof: str = "none"
    source: str = ""
    """Who demands it, where that is no option: mta-sts."""

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
        """As the log names it: none, opportunistic, encrypted, pkix, dane, pin, mta-sts."""
        if self.source or self.proof != "none":
            return self.source or self.proof
        return "encrypted" if self.tls_required else self.mode


def demand(upstream: Upstream) -> Demand:
    """What this upstream's connections must be by its options; an opportunistic one claims no proof but by DANE."""
    heeded = upstream.tls in ("starttls", "implicit") or (upstream.tls, upstream.proof) == ("opportunistic", "dane")
    return Demand(upstream.tls, upstream.proof if heeded else "none")


@dataclass(frozen=True, slots=True)
class Barred:
    """Why nobody may be connected to: what the mail's recipients are told, and who can mend it."""

    reply: Reply
    cause: Cause


def by_dane(wanted: Demand, found: Finding) -> Demand | Barred:
    """What a demand for DANE comes to, now that DNS has answered (RFC 7672 2.2).

    An opportunistic one is raised by what is published; a required one is never lowered by what is not.
    """
    if found.state is State.FAILED:
        # A server that we were told to use is ours to look after, a recipient's is not.
        cause = Cause.DNS if found.ours or wanted.tls_required else Cause.CONNECT
        return Barred(Reply(451, "4.7.5", f"DANE: {found.text}"), cause)
    if found.state is State.USABLE:
        return replace(wanted, mode="starttls") if wanted.mode == "opportunistic" else wanted
    if wanted.tls_required:
        return Barred(Reply(454, "4.7.5", f"tls_proof = dane demands a proof: {found.text}"), Cause.TLS)
    return Demand("starttls") if found.state is State.UNUSABLE else Demand(wanted.mode)


def by_policy(wanted: Demand, upstream: Upstream) -> Demand | Barred:
    """What an MTA-STS policy that is to be enforced makes of a demand (RFC 8461 5); DANE that proves comes first."""
    if not upstream.sts or wanted.proof == "dane":
        return wanted
    if upstream.sts == UNLISTED:
        text = f"{upstream.server} is no mail server by the MTA-STS policy of this domain"
        return Barred(Reply(454, "4.7.5", text), Cause.TLS)
    return Demand("starttls", "pkix", "mta-sts")


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
