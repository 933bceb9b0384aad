"""Routes: which next hops serve which recipient, and in which order.

1. The first [route:NAME] of the file that fits a recipient says where his mail goes; else his profile does.
2. Next hops that stand side by side and have a `weight` share the mail by it; all others take their turn as written.
3. Recipients with the same next hops are one mail; at `mx` each domain is one of its own.

Chance follows from the entry alone, so that each attempt of a mail takes the same way.
"""

import difflib
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count, groupby

from relay.address import Address, AddressError, ascii_domain, parse, parse_domain
from relay.exchangers import Draw, by_weight
from relay.mail import Mail, Recipient
from relay.options import option
from relay.profiles import Profile
from relay.routing import Route, Upstream, route, upstream_names

KINDS = ("sender", "recipient")
_FORMS = "sender: or recipient: and an address, a domain, or .DOMAIN for all below it; or sender: <>"
_LINES = re.compile(r"\s*(?:\n|,)\s*")
_KIND = re.compile(r"([A-Za-z_-]+)\s*:\s*(.*)")


@dataclass(frozen=True, slots=True)
class Condition:
    """Whom a route is for: `value` is an address, a domain, .DOMAIN, or "" for the null sender; ready to compare."""

    kind: str
    value: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.value or '<>'}"


def conditions(value: str) -> tuple[Condition, ...]:
    """The conditions, of which any is enough: one a line or separated by commas; a kind holds until the next one."""
    found: list[Condition] = []
    kind = ""
    for word in filter(None, _LINES.split(value.strip())):
        parts = _KIND.fullmatch(word)
        if parts:
            kind = parts[1].lower()
            if kind not in KINDS:
                near = difflib.get_close_matches(kind, KINDS, 1, 0.6)
                raise ValueError(f"{word!r} begins with no kind of match: write {f'{near[0]}:' if near else _FORMS}")
        if not kind:
            raise ValueError(f"{word!r} begins with no kind of match: write {_FORMS}")
        found.append(_condition(kind, parts[2] if parts else word))
    return tuple(found)


def _condition(kind: str, text: str) -> Condition:
    if not text:
        raise ValueError(f"{kind}: says nobody: write {_FORMS}")
    if text == "<>" and kind == "sender":
        return Condition(kind, "")
    try:
        if "@" in text:
            return Condition(kind, _folded(parse(text)))
        domain = ascii_domain(parse_domain(text.removeprefix(".")))
    except AddressError as fault:
        raise ValueError(f"{text!r} is neither an address nor a domain: {fault}") from fault
    return Condition(kind, f".{domain}" if text.startswith(".") else domain)


def _folded(address: Address) -> str:
    """What is compared: no server that we know of tells two people by case."""
    local, domain = address.key
    return f"{local.casefold()}@{domain}"


@dataclass(frozen=True, slots=True)
class RouteOptions:
    """What a [route:NAME] says."""

    match: tuple[Condition, ...] = option(
        (),
        "Whose mail, by its envelope as it leaves: recipient: ADDRESS, DOMAIN or .DOMAIN (all domains below it), or"
        " sender: the same, or <> for our reports. Several: one a line, any of them is enough",
        conditions,
    )
    profile: tuple[str, ...] = option(
        (),
        "Only mail of these profiles: NAME of [notification:NAME], or notification for the plain section; empty: all",
        upstream_names,
    )
    upstream: tuple[str, ...] = option(
        (),
        "Where it goes: names of [upstream:NAME] sections, outbox or mx, the next one taking over while those before"
        " it can not be reached; those side by side that have a weight share the mail",
        upstream_names,
    )


@dataclass(frozen=True, slots=True)
class Rule:
    """A [route:NAME], ready for work; without `conditions` it is for every mail of its `profiles`."""

    name: str
    upstreams: tuple[Upstream, ...]
    conditions: tuple[Condition, ...] = ()
    profiles: tuple[str, ...] = ()

    def fits(self, profile: str, sender: Address | None, recipient: Address) -> bool:
        """True when it says where this recipient's mail goes."""
        if self.profiles and profile not in self.profiles:
            return False
        return not self.conditions or any(
            fits(condition, sender if condition.kind == "sender" else recipient) for condition in self.conditions
        )


def fits(condition: Condition, address: Address | None) -> bool:
    """True when the condition holds for that address; None is the null sender."""
    wanted = condition.value
    if address is None or not wanted:
        return address is None and not wanted
    domain = ascii_domain(address.domain)
    if "@" in wanted:
        return _folded(address) == wanted
    return domain.endswith(wanted) if wanted.startswith(".") else domain == wanted


def routed(mail: Mail, rules: Sequence[Rule], profile: Profile, seed: str) -> list[tuple[Route, Mail]]:
    """Every recipient of a profile's mail on exactly one route; chance follows from `seed`."""
    signer = profile.policy.signer
    if not rules:
        return route(mail, in_order(profile.upstreams, seed), signer)
    by_rule: dict[Rule | None, list[Recipient]] = {}
    sender = mail.envelope.reverse_path
    for recipient in mail.envelope.recipients:
        rule = next((rule for rule in rules if rule.fits(profile.name, sender, recipient.address)), None)
        by_rule.setdefault(rule, []).append(recipient)
    found: list[tuple[Route, Mail]] = []
    for rule, recipients in by_rule.items():
        hops, name = (rule.upstreams, rule.name) if rule else (profile.upstreams, "")
        made = route(mail.to(*recipients), in_order(hops, seed), signer)
        found += [(replace(one, name=name), part) for one, part in made]
    return found


def in_order(upstreams: Sequence[Upstream], seed: str) -> Sequence[Upstream]:
    """The order for one mail: neighbours with a weight change places by chance, the heavier the more often first."""
    if sum(upstream.weight > 0 for upstream in upstreams) < 2:
        return upstreams
    draw = chance(seed)
    found: list[Upstream] = []
    for _, neighbours in groupby(upstreams, key=lambda upstream: upstream.weight > 0):
        group = list(neighbours)
        found += by_weight(group, lambda upstream: upstream.weight, draw) if group[0].weight else group
    return found


def chance(seed: str) -> Draw:
    """Numbers from 0 to 1 that follow from `seed` alone, and tell nothing of those of another one."""
    numbers = count()

    def draw() -> float:
        digest = hashlib.blake2b(f"{next(numbers)}:{seed}".encode(), digest_size=6).digest()
        return int.from_bytes(digest) / (1 << 48)

    return draw
