"""Hop: a next hop in use, the lines of config.ini that describe it, and who sends through it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from relay.address import Address, parse
from relay.dkim import Signer
from relay.loaded import Configuration, profiles_of, routes_of, upstreams_of
from relay.profiles import DEFAULT, Profile
from relay.routes import Rule
from relay.routing import MX, Upstream


@dataclass(slots=True)
class Hop:
    """One server under one log-in, however many profiles use it: it is connected to, and logged in to, once."""

    upstream: Upstream
    names: list[str] = field(default_factory=list)
    senders: dict[str, Address] = field(default_factory=dict)
    """The address that mail comes from, by the section of its profile."""
    token_missing: bool = False
    """A log-in is wanted, and there is nothing to log in with."""

    @property
    def about(self) -> str:
        """For people."""
        up = self.upstream
        if up.is_outbox:
            return f"{', '.join(self.names)} ({up.path})"
        return f"{', '.join(self.names)} ({up.place})"

    @property
    def section(self) -> str:
        """Where its options stand."""
        name = self.names[0]
        if name == MX:
            return MX
        return name if name == DEFAULT or name.startswith(f"{DEFAULT}:") else f"upstream:{name}"

    def line(self, name: str, value: str) -> str:
        """`name = value` under its section, as config.ini has it; `name` as [notification] calls it."""
        short = name if self.section.startswith(DEFAULT) else name.removeprefix("smtp_")
        return f"[{self.section}]\n{short} = {value}"


def hops_of(configuration: Configuration) -> list[Hop]:
    """Every next hop, those that are alike together. Raises ValueError, KeyError where `check` finds faults."""
    found: dict[Upstream, Hop] = {}

    def hop_of(upstream: Upstream) -> Hop:
        hop = found.setdefault(replace(upstream, name=""), Hop(upstream))
        if upstream.name not in hop.names:
            hop.names.append(upstream.name)
        return hop

    profiles = profiles_of(configuration)
    for profile in profiles:
        section = DEFAULT if profile.name == DEFAULT else f"{DEFAULT}:{profile.name}"
        for upstream in profile.upstreams:
            hop = hop_of(upstream)
            if profile.policy.sender:
                hop.senders[section] = profile.policy.sender
    for rule in routes_of(configuration):
        for upstream in rule.upstreams:
            hop_of(upstream).senders.update(_senders(rule, profiles))
    for upstream in upstreams_of(configuration):
        hop_of(upstream)
    return list(found.values())


def _senders(rule: Rule, profiles: Sequence[Profile]) -> dict[str, Address]:
    """Who sends by a route: the addresses that it is for, else those of the profiles that it serves."""
    own = [condition.value for condition in rule.conditions if condition.kind == "sender"]
    if own:
        return {f"route:{rule.name}": parse(value) for value in own if "@" in value}
    served = [profile for profile in profiles if not rule.profiles or profile.name in rule.profiles]
    return {f"route:{rule.name}": sender for profile in served if (sender := profile.policy.sender)}


def signers_of(configuration: Configuration) -> list[tuple[str, Signer]]:
    """Who signs, the domain filled in, each once with the section where it stands."""
    found: dict[tuple[str, str], tuple[str, Signer]] = {}
    for profile in configuration.notifications:
        signer, sender = profile.policy.signer, profile.policy.sender
        if signer is None:
            continue
        domain = signer.domain or (sender.domain if sender else "") or ""
        made = replace(signer, domain=domain)
        found.setdefault((made.selector, made.domain), (profile.section, made))
    return list(found.values())
