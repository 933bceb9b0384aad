"""DANE: what TLSA records say of a server's certificate (RFC 6698, 7671, 7672), and when they are to be heeded.

1. Only an authentic answer of a validating resolver counts: a record that anybody may have written proves nothing.
2. Records that SMTP has no use for are passed over: PKIX-TA(0), PKIX-EE(1), unknown, malformed (RFC 7672 3.1.3).
3. Of the digests of one usage and selector the strongest alone counts (RFC 7671 9).
4. DANE-EE(3) is a match of the server's own certificate or key: no name, no date (RFC 7672 3.1.1).
5. DANE-TA(2) names the authority: a chain up to it, dates and the server's name are checked (RFC 7672 3.1.2).
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from relay.der import public_key
from relay.records import Tlsa

TA, EE = 2, 3
"""Certificate usages DANE-TA and DANE-EE."""
WHOLE, KEY = 0, 1
"""Selectors: the certificate, or its public key."""
_DIGESTS = {1: hashlib.sha256, 2: hashlib.sha512}


def is_usable(record: Tlsa) -> bool:
    """False for one that SMTP has no use for, or that can match nothing."""
    length = {0: len(record.data), 1: 32, 2: 64}.get(record.matching)
    return record.usage in (TA, EE) and record.selector in (WHOLE, KEY) and length == len(record.data) > 0


def matches(record: Tlsa, certificate: bytes) -> bool:
    """True when a usable record speaks of that certificate (DER)."""
    selected = certificate if record.selector == WHOLE else public_key(certificate)
    if not selected:
        return False
    return record.data == (_DIGESTS[record.matching](selected).digest() if record.matching else selected)


def shown(record: Tlsa) -> str:
    """A record as a zone file has it, cut to what a person compares."""
    data = record.data.hex()
    return f"{record.usage} {record.selector} {record.matching} {data if len(data) <= 128 else data[:32] + '...'}"


def usable(records: Iterable[Tlsa]) -> tuple[Tlsa, ...]:
    """Those that count, in their order."""
    fit = tuple(dict.fromkeys(record for record in records if is_usable(record)))
    strongest: dict[tuple[int, int], int] = {}
    for record in fit:
        key = record.usage, record.selector
        strongest[key] = max(record.matching, strongest.get(key, 0))
    return tuple(r for r in fit if r.matching in (0, strongest[r.usage, r.selector]))


class State(StrEnum):
    """What DNS says of a server's TLSA records."""

    INSECURE = "insecure"
    """The zone is not signed, or the resolver does not say that it has validated it: there is no DANE."""
    NONE = "none"
    """Authentic: there are none."""
    UNUSABLE = "unusable"
    """Authentic records, and none that counts: TLS is demanded, no proof (RFC 7672 2.2)."""
    USABLE = "usable"
    FAILED = "failed"
    """No answer, or one whose signature is wrong: nobody may be asked for mail (RFC 7672 2.1.2)."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found for one server: records that count, the TLSA base domain, and the words for a person.

    `names` are what a certificate of DANE-TA may be for; the first is the base domain, which SNI names.
    """

    state: State
    names: tuple[str, ...] = ()
    records: tuple[Tlsa, ...] = ()
    text: str = ""
    ours: bool = False
    """FAILED for a reason at our side."""

    @property
    def own(self) -> tuple[Tlsa, ...]:
        """Records of the server's own certificate."""
        return tuple(record for record in self.records if record.usage == EE)

    @property
    def authorities(self) -> tuple[Tlsa, ...]:
        """Records of its authority."""
        return tuple(record for record in self.records if record.usage == TA)

    def is_own(self, certificate: bytes) -> bool:
        """True when the server's certificate is the one that DNS names."""
        return any(matches(record, certificate) for record in self.own)

    def anchors(self, chain: Sequence[bytes]) -> tuple[bytes, ...]:
        """Certificates (DER) to trust for this server: those that it presented above its own and DNS names.

        And those that stand whole in DNS.
        """
        told = [r.data for r in self.authorities if (r.selector, r.matching) == (WHOLE, 0)]
        shown = [c for c in chain[1:] if any(matches(record, c) for record in self.authorities)]
        return tuple(dict.fromkeys([*told, *shown]))


def finding(records: Iterable[Tlsa], names: Iterable[str]) -> Finding:
    """What an authentic answer means, be it empty."""
    given = tuple(records)
    kept = tuple(dict.fromkeys(fold(name) for name in names))
    if not given:
        return Finding(State.NONE, kept, text="no TLSA record is published")
    if found := usable(given):
        return Finding(State.USABLE, kept, found)
    return Finding(State.UNUSABLE, kept, text=f"no TLSA record that is of use: {'; '.join(map(shown, given[:3]))}")


def fold(name: str) -> str:
    """A host name as two are compared."""
    return name.rstrip(".").lower()


def is_named(certificate: Mapping[str, Any], names: Iterable[str]) -> bool:
    """True when a certificate, as `ssl` reads a verified one, is for one of these names (RFC 6125 6.4).

    Its DNS names decide, its common name only where it has none. A wildcard stands for one whole first label.
    """
    shown = [fold(value) for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS"]
    if not shown:
        parts = [pair for part in certificate.get("subject", ()) for pair in part]
        shown = [fold(value) for key, value in parts if key == "commonName"][-1:]
    wanted = [fold(name) for name in names]
    return any(stands_for(pattern, name) for pattern in shown for name in wanted)


def stands_for(pattern: str, name: str) -> bool:
    """True when a folded name is the pattern, or one whole label stands where it has its `*.`."""
    if pattern == name:
        return bool(name)
    first, _, rest = pattern.partition(".")
    return first == "*" and "." in rest and name.partition(".")[2] == rest and not name.startswith(".")
