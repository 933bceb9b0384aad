"""Checks of profiles and next hops: matches that never fit, names that lead nowhere, log-ins that stay behind."""

import difflib
from collections.abc import Callable
from itertools import pairwise

from relay import routing
from relay.inheriting import LOG_IN
from relay.loaded import Loaded, ProfileSection
from relay.profiles import DEFAULT, SENDMAIL
from relay.routing import MX, NOT_OF_ONE_HOP, OUTBOX

LONGEST_NAME = 64


def _names(loaded: Loaded) -> None:
    """What can not be the name of a profile or a next hop."""
    for profile in loaded.configuration.profiles:
        if profile.name == DEFAULT:
            text = "that is the name of the plain [notification] section: give the profile another one"
            loaded.fault(profile.section, "", text)
        elif not profile.name.isprintable() or len(profile.name) > LONGEST_NAME:
            loaded.fault(profile.section, "", f"a profile's name has up to {LONGEST_NAME} printable characters")
    for name, _ in loaded.configuration.upstreams:
        if name in (OUTBOX, MX, DEFAULT):
            loaded.fault(f"upstream:{name}", "", f"{name} is a reserved name: give this next hop another one")
        elif not name.isprintable() or len(name) > LONGEST_NAME or any(c in " ,/" for c in name):
            text = f"a next hop's name is one word of up to {LONGEST_NAME} characters, without comma and slash"
            loaded.fault(f"upstream:{name}", "", text)


def _matches(loaded: Loaded) -> None:
    """Every profile has a match, and no two have the same."""
    owners: dict[tuple[str, str, str], ProfileSection] = {}
    for profile in loaded.configuration.profiles:
        section = profile.section
        if not profile.match and not any((f.section, f.option) == (section, "match") for f in loaded.faults):
            empty = "it is empty" if loaded.given(section, "match") else "it is missing"
            advice = "say whose mail this profile serves, as in match = project: NAME"
            loaded.fault(section, "match", f"{empty}, so no mail ever comes here: {advice}")
        for match in profile.match:
            owner = owners.setdefault(match.key, profile)
            if owner is not profile:
                line = loaded.line(owner.section, "match")
                text = f"[{owner.section}] matches {match} already (line {line}), and the first wins: remove one"
                loaded.fault(section, "match", text)
        if len({match.key for match in profile.match}) < len(profile.match):
            loaded.fault(section, "match", "one of its conditions stands in it twice: remove one")


def _listeners(loaded: Loaded) -> None:
    """A match names a listener that there is; one that takes all mail leaves nothing to later profiles."""
    known = [str(listen) for listen in loaded.configuration.listener.listen]
    taken: dict[str, ProfileSection] = {}
    for profile in loaded.configuration.profiles:
        if known and all(name in taken for name in known) and not _by_sendmail(profile):
            owner = taken[known[-1]]
            text = f"[{owner.section}] above takes every mail of this listener, so none that comes by SMTP gets here"
            loaded.warn(profile.section, "match", text)
        for match in profile.match:
            name = match.value.casefold()
            if match.kind == "listener" and name not in (SENDMAIL, *(other.casefold() for other in known)):
                text = f"this relay does not listen on {match.value}, so no mail ever comes here"
                loaded.fault(profile.section, "match", f"{text}: name one of {', '.join([*known, SENDMAIL])}")
            elif match.kind == "listener":
                taken.update({other: profile for other in known if other.casefold() == name})


def _by_sendmail(profile: ProfileSection) -> bool:
    return any(match.kind == "listener" and match.value.casefold() == SENDMAIL for match in profile.match)


def _upstreams(loaded: Loaded) -> None:
    """`upstream =` names next hops that there are; what stands beside it without effect is said."""
    for profile in loaded.configuration.notifications:
        section, hop = profile.section, profile.next_hop
        for name in hop.upstream:
            if text := unknown(loaded, name):
                loaded.fault_once(section, "upstream", text)
        for option in _hop_options(loaded, section) if hop.upstream else ():
            if option not in ("smtp_server", *(name for name, _ in routing.faults(hop))):
                others = [name for name in hop.upstream if name not in (OUTBOX, MX)]
                advice = f"move it into [upstream:{others[0]}]" if others else "remove it"
                text = f"it has no effect beside upstream = {', '.join(hop.upstream)}: {advice}"
                loaded.warn(section, option, text)
    lists = [profile.next_hop.upstream for profile in loaded.configuration.notifications]
    lists += [options.upstream for _, options in loaded.configuration.routes]
    used = {name for names in lists for name in names}
    for name, hop in loaded.configuration.upstreams:
        if name not in used and name not in (OUTBOX, MX, DEFAULT):
            loaded.warn(f"upstream:{name}", "", "no `upstream =` names it, so no mail goes there")
        elif hop.weight and not any(_shares(loaded, name, names) for names in lists):
            text = "it shares nothing: no next hop that stands beside it in an `upstream =` has a weight"
            loaded.warn(f"upstream:{name}", "weight", text)


def _shares(loaded: Loaded, name: str, names: tuple[str, ...]) -> bool:
    """True when a neighbour of that next hop in the list has a weight, too."""
    heavy = {known for known, hop in loaded.configuration.upstreams if hop.weight}
    return any(name in pair and heavy.issuperset(pair) for pair in pairwise(names))


def _hop_options(loaded: Loaded, section: str) -> list[str]:
    given = loaded.ini.sections.get(section, {})
    named = [name for name in routing.OPTION_NAMES if name not in NOT_OF_ONE_HOP]
    return [name for name in named if name in given or f"{name}_file" in given]


def unknown(loaded: Loaded, name: str) -> str:
    """Why `name` leads nowhere; "" when it does lead somewhere."""
    known = [known for known, _ in loaded.configuration.upstreams]
    if name in (OUTBOX, MX) or name in known:
        return ""
    by_fold = {other.casefold(): other for other in (*known, OUTBOX, MX)}
    close = difflib.get_close_matches(name.casefold(), list(by_fold), 1, 0.5)
    advice = f"did you mean {by_fold[close[0]]}?" if close else "write that section, with its server"
    return f"there is no [upstream:{name}]: {advice}"


def _next_hops(loaded: Loaded) -> None:
    """Each [upstream:NAME] has a server, and no contradiction."""
    for name, hop in loaded.configuration.upstreams:
        section = f"upstream:{name}"
        if loaded.is_wrong("server", section):
            continue
        if not hop.smtp_server:
            loaded.fault(section, "server", "there is none: name the mail server of this next hop")
            continue
        for option, text in routing.faults(hop):
            loaded.fault(section, option.removeprefix("smtp_"), text.replace("smtp_", ""))


def _log_ins(loaded: Loaded) -> None:
    """The log-in of [notification] does not follow a profile to another server: say so."""
    base = loaded.configuration.next_hop
    for profile in loaded.configuration.profiles:
        hop, section = profile.next_hop, profile.section
        own = any(loaded.given(section, name) for name in LOG_IN)
        if base.smtp_user and hop.smtp_server not in ("", base.smtp_server) and not own:
            text = f"{hop.smtp_server} is not the server of [notification], whose log-in stays with that one"
            loaded.warn(section, "smtp_server", f"{text}: set smtp_user here if this one wants one, too")


def _own_changes(loaded: Loaded) -> None:
    """Two options that speak of the same people."""
    for profile in loaded.configuration.notifications:
        if profile.policy.own_changes is False and profile.policy.always_notify_updater:
            text = "always_notify_updater = true adds only those whose [user:LOGIN] says own_changes = yes"
            loaded.warn_once(profile.section, "own_changes", text)


PROFILE_CHECKS: tuple[Callable[[Loaded], None], ...] = (
    _names,
    _matches,
    _listeners,
    _upstreams,
    _next_hops,
    _log_ins,
    _own_changes,
)
