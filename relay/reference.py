"""Reference: every section and option with its default and meaning, from the declarations themselves."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from relay.sections import PREFIXED, SECTIONS, USERS, WITHOUT_EFFECT, declared, kinds_of


def reference() -> str:
    """The text of `tracker-relay reference`."""
    lines: list[str] = []
    for section in _sections():
        lines += [f"[{section}]", *_HEADS.get(section, ()), ""]
        for row in _rows(section):
            lines += [f"{row['option']} = {row['default']}".rstrip(), f"    {row['meaning']}"]
        if section == "notification":
            lines += ["", "Accepted from trac.ini, without effect:"]
            lines += [f"    {name}: {why}" for name, why in sorted(WITHOUT_EFFECT.items())]
        lines.append("")
    return "\n".join(lines)


_HEADS = {
    "notification:NAME": (
        "    A profile: mail that `match` fits is served by it, the first in the file winning; all other mail by",
        "    [notification]. Every option of [notification] may stand here; what does not is inherited from there,",
        "    but no log-in where the profile names another smtp_server, and no upstream where it names an smtp_server",
        "    (and the other way round). A credential of the service for it is named notification.NAME.smtp_password.",
    ),
    "upstream:NAME": (
        "    A next hop that `upstream = NAME` in [notification] or a profile sends mail to; its options are those of",
        "    [notification] without their smtp_. mx and outbox are reserved names. A credential of the service for it",
        "    is named upstream.NAME.password.",
    ),
    "mx": (
        "    Direct delivery, where `upstream = mx`: each domain's mail to the mail servers that DNS names for it, by",
        "    TLS where they offer it, without a log-in.",
    ),
    "route:NAME": (
        "    Mail that `match` fits goes to these next hops instead of its profile's; the first route of the file",
        "    wins, recipient by recipient. The log-in is that of the [upstream:NAME], so a sender can have his own.",
    ),
    "client:NAME": (
        "    What clients may do that `match` fits: the first section of the file that fits one limits it, and counts",
        "    what all of its clients do together; a restart forgets the count. A client that none fits may do anything",
        "    that [listener] allows.",
    ),
    "user:NAME": ("    The long form of a line in [users]; NAME is the login.",),
}


def rows() -> Iterator[dict[str, str]]:
    """The same for scripts: `section`, `option`, `default` as config.ini writes it, `meaning`."""
    for section in _sections():
        yield from _rows(section)


def _sections() -> list[str]:
    return [USERS, *SECTIONS, *(f"{prefix}:NAME" for prefix in PREFIXED)]


def _rows(section: str) -> Iterator[dict[str, str]]:
    if section == USERS:
        yield _row(section, "LOGIN", "Full Name <address>", "Who is behind a login")
        return
    inherits = section == "notification:NAME"
    for kind in kinds_of(section):
        if not (inherits and kind in SECTIONS["notification"]):
            yield from _options(section, kind)


def _options(section: str, kind: type) -> Iterator[dict[str, str]]:
    for name, field in declared(section, kind).items():
        doc = field.metadata["doc"]
        told = doc.replace("smtp_", "") if section.startswith("upstream:") else doc
        yield _row(section, name, shown_default(field), told)
        if field.metadata["secret"]:
            yield _row(section, f"{name}_file", "", f"The file that holds {name}; its mode must be 600")


def _row(section: str, option: str, default: str, meaning: str) -> dict[str, str]:
    return {"section": section, "option": option, "default": default, "meaning": meaning}


def shown_default(field: "dataclasses.Field[Any]") -> str:
    """An option's default as config.ini would write it."""
    if field.metadata["shown"]:
        return str(field.metadata["shown"])
    default = field.default
    if default is None or field.metadata["secret"]:
        return ""
    if isinstance(default, bool):
        return "true" if default else "false"
    if isinstance(default, tuple):
        return ", ".join(map(str, default))
    return f"{default:g}" if isinstance(default, float) else str(default)
