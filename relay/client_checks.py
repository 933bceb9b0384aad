"""Checks of [client:NAME]: whom it is for, and whether anybody can be meant."""

from collections.abc import Callable

from relay.limits import ClientOptions
from relay.loaded import Loaded
from relay.profile_checks import LONGEST_NAME
from relay.profiles import SENDMAIL


def _complete(loaded: Loaded) -> None:
    """Each has a name that can be shown, and says which clients it limits, and in what."""
    for name, options in loaded.configuration.clients:
        section = f"client:{name}"
        failed = {fault.option for fault in loaded.faults if fault.section == section}
        if not name.isprintable() or len(name) > LONGEST_NAME:
            loaded.fault(section, "", f"a client's name has up to {LONGEST_NAME} printable characters")
        if not options.match and "match" not in failed:
            empty = "it is empty" if loaded.given(section, "match") else "it is missing"
            advice = "say which clients are limited, as in match = host: 192.0.2.0/24"
            loaded.fault(section, "match", f"{empty}, so it limits nobody: {advice}")
        if options == ClientOptions(options.match) and not failed - {"match"}:
            loaded.warn(section, "", "it sets no limit, so these clients may do anything, whatever stands further down")


def _listeners(loaded: Loaded) -> None:
    """A match names a listener that there is."""
    known = [*map(str, loaded.configuration.listener.listen), SENDMAIL]
    for name, options in loaded.configuration.clients:
        for match in options.match:
            if match.kind == "listener" and match.value.casefold() not in (other.casefold() for other in known):
                text = f"this relay does not listen on {match.value}, so no client is meant: name one of"
                loaded.fault(f"client:{name}", "match", f"{text} {', '.join(known)}")


def _twice(loaded: Loaded) -> None:
    """What an earlier section says of a client already never comes to a later one."""
    owners: dict[tuple[str, str, str], str] = {}
    for name, options in loaded.configuration.clients:
        for match in options.match:
            owner = owners.setdefault(match.key, name)
            if owner != name:
                line = loaded.line(f"client:{owner}", "match")
                text = f"[client:{owner}] is for {match} already (line {line}), and the first wins: remove one"
                loaded.fault(f"client:{name}", "match", text)


CLIENT_CHECKS: tuple[Callable[[Loaded], None], ...] = (_complete, _listeners, _twice)
