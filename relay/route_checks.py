"""Checks of [route:NAME]: what it is for, where it leads, and whether any mail is left for it."""

import difflib
from collections.abc import Callable

from relay.loaded import Loaded
from relay.profile_checks import LONGEST_NAME, unknown
from relay.routes import RouteOptions
from relay.routing import MX


def _complete(loaded: Loaded) -> None:
    """Each has a name that can be shown, somebody to serve, and somewhere to go."""
    for name, options in loaded.configuration.routes:
        section = f"route:{name}"
        failed = {fault.option for fault in loaded.faults if fault.section == section}
        if not name.isprintable() or len(name) > LONGEST_NAME:
            loaded.fault(section, "", f"a route's name has up to {LONGEST_NAME} printable characters")
        if not options.match and not options.profile and not failed & {"match", "profile"}:
            empty = "it is empty" if loaded.given(section, "match") else "it is missing"
            advice = "say whose mail goes here, as in match = recipient: example.com"
            loaded.fault(section, "match", f"{empty}, so no mail ever comes here: {advice}")
        if not options.upstream and "upstream" not in failed:
            text = "there is none: name the next hop of this mail: an [upstream:NAME], mx or outbox"
            loaded.fault(section, "upstream", text)


def _names(loaded: Loaded) -> None:
    """The next hops and profiles that it names are there: mail never goes elsewhere for a slip of the pen."""
    profiles = [profile.name for profile in loaded.configuration.notifications]
    for name, options in loaded.configuration.routes:
        for hop in options.upstream:
            if text := unknown(loaded, hop):
                loaded.fault(f"route:{name}", "upstream", text)
        for profile in options.profile:
            if profile not in profiles:
                near = difflib.get_close_matches(profile, profiles, 1, 0.5)
                advice = f"did you mean {near[0]}?" if near else f"name one of {', '.join(profiles)}"
                text = f"there is no [notification:{profile}]: {advice}"
                loaded.fault(f"route:{name}", "profile", text)


def _in_vain(loaded: Loaded) -> None:
    """What an earlier route takes already never comes to a later one."""
    earlier: list[tuple[str, RouteOptions]] = []
    for name, options in loaded.configuration.routes:
        for before, taken in earlier:
            covers = not taken.profile or (options.profile and set(options.profile) <= set(taken.profile))
            twice = [condition for condition in options.match if condition in taken.match]
            if covers and (twice or not taken.match):
                what = str(twice[0]) if taken.match else "all mail of its profiles"
                line = loaded.line(f"route:{before}", "match" if taken.match else "profile")
                text = f"[route:{before}] takes {what} already (line {line}), and the first wins: remove one"
                loaded.fault(f"route:{name}", "match", text)
                break
        earlier.append((name, options))


def _bare_names(loaded: Loaded) -> None:
    """A bare name has no domain whose mail server could be found."""
    for profile in loaded.configuration.notifications:
        if profile.policy.use_short_addr and MX in profile.next_hop.upstream:
            text = "mx can deliver no bare name: remove it, or name the mail server that knows them"
            loaded.fault_once(profile.section, "use_short_addr", text)


ROUTE_CHECKS: tuple[Callable[[Loaded], None], ...] = (_complete, _names, _in_vain, _bare_names)
