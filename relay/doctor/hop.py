"""Hop: a next hop in use, the lines of config.ini that describe it, and who sends through it."""

from dataclasses import dataclass, field, replace

from relay.address import Address
from relay.dkim import Signer
from relay.loaded import Configuration, profiles_of, upstreams_of
from relay.profiles import DEFAULT
from relay.routing import Upstream


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
        server = up.server if up.server.startswith("unix:") else f"{up.server}:{up.port}"
        return f"{', '.join(self.names)} ({server})"

    @property
    def section(self) -> str:
        """Where its options stand."""
        name = self.names[0]
        return name if name == DEFAULT or name.startswith(f"{DEFAULT}:") else f"upstream:{name}"

    def line(self, name: str, value: str) -> str:
        """`name = value` under its section, as config.ini has it; `name` as [notification] calls it."""
        short = name.removeprefix("smtp_") if self.section.startswith("upstream:") else name
        return f"[{self.section}]\n{short} = {value}"


def hops_of(configuration: Configuration) -> list[Hop]:
    """Every next hop, those that are alike together. Raises ValueError, KeyError where `check` finds faults."""
    found: dict[Upstream, Hop] = {}

    def hop_of(upstream: Upstream) -> Hop:
        hop = found.setdefault(replace(upstream, name=""), Hop(upstream))
        if upstream.name not in hop.names:
            hop.names.append(upstream.name)
        return hop

    for profile in profiles_of(configuration):
        section = DEFAULT if profile.name == DEFAULT else f"{DEFAULT}:{profile.name}"
        for upstream in profile.upstreams:
            hop = hop_of(upstream)
            if profile.policy.sender:
                hop.senders[section] = profile.policy.sender
    for upstream in upstreams_of(configuration):
        hop_of(upstream)
    return list(found.values())


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
