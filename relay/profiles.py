"""Profiles: whose mail it is, and so which policy and which upstream serve it."""

from collections.abc import Sequence
from dataclasses import dataclass

from relay.policy import Policy
from relay.routing import Upstream

DEFAULT = "notification"
"""The profile of the plain [notification] section: it serves whatever no other profile matches."""


@dataclass(frozen=True, slots=True)
class Profile:
    """One [notification] section: its rewriting policy and its next hop."""

    name: str
    policy: Policy
    upstream: Upstream


def choose(profiles: Sequence[Profile], name: str) -> Profile:
    """The profile of that name; the default one when the configuration has it no more."""
    by_name = {profile.name: profile for profile in profiles}
    return by_name.get(name) or by_name[DEFAULT]
