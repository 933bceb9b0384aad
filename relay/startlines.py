"""Start lines: where the relay listens, where whose mail goes: for the log, at the start and after a reload."""

from collections.abc import Sequence

from relay import __version__, journal
from relay.admission import Listen
from relay.prepare import Setting
from relay.routing import Upstream


def start_line(setting: Setting, addresses: Sequence[Listen]) -> str:
    """Where it listens, where mail goes."""
    return f"listening on {', '.join(map(str, addresses))}; mail goes to {_places(setting.profiles[0].upstreams)}"


def announce(setting: Setting, addresses: Sequence[Listen]) -> None:
    """The same, then each profile and route, and loudly when mail goes nowhere."""
    journal.info("", f"tracker-relay {__version__} {start_line(setting, addresses)}")
    profiles = setting.profiles
    for profile in profiles[1:]:
        whose = ", or ".join(map(str, profile.matches))
        journal.info("", f"profile {profile.name}: mail with {whose} goes to {_places(profile.upstreams)}")
    for rule in setting.routes:
        of = f" of profile {', '.join(rule.profiles)}" if rule.profiles else ""
        whose = f" with {', or '.join(map(str, rule.conditions))}" if rule.conditions else ""
        journal.info("", f"route {rule.name}: mail{of}{whose} goes to {_places(rule.upstreams)}")
    for profile in profiles:
        if not profile.policy.smtp_enabled:
            which = "EVERY notification" if len(profiles) == 1 else f"every notification of profile {profile.name}"
            journal.warning("", f"smtp_enabled is false: {which} is accepted and dropped")
        elif profile.policy.staging:
            places = ", ".join(map(str, profile.policy.staging))
            journal.warning("", f"staging: all mail of profile {profile.name} goes to {places}, and to nobody else")


def _places(upstreams: Sequence[Upstream]) -> str:
    return ", else to ".join(map(str, upstreams))
