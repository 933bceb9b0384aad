"""Profiles: whose mail it is, and so which policy and which next hops serve it.

The first [notification:NAME] in file order with a `match` that fits is chosen; mail that none fits is
served by the plain [notification]. It is chosen anew at each attempt, so a corrected configuration
applies to what is queued.
"""

import difflib
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace

from relay import encoded_word, mailboxes
from relay.address import Address, ascii_domain
from relay.dialects import Facts
from relay.entry import Entry
from relay.immutable import immutable
from relay.message import Message
from relay.options import address, option
from relay.policy import Policy
from relay.routing import Upstream

DEFAULT = "notification"
"""The profile of the plain [notification] section: it serves whatever no other profile matches."""
SENDMAIL = "sendmail"
"""The listener's name for mail from the sendmail(1) drop-in."""
KINDS = ("project", "from", "listener", "user", "header")
_FORMS = "project: NAME, from: ADDRESS, listener: ADDRESS, user: LOGIN or header: NAME=VALUE"
_BEFORE_A_KIND = re.compile(rf"\s*,\s*(?=(?:{'|'.join(KINDS)})\s*:)", re.IGNORECASE)
_FIELD_NAME = re.compile(r"[!-9;-~]+")


@dataclass(frozen=True, slots=True)
class Match:
    """One condition of a profile. `name` is the field's, for `header`; `uid` the local user's, for `user`."""

    kind: str
    value: str
    name: str = ""
    uid: int | None = None

    def __str__(self) -> str:
        return f"{self.kind}: {self.name}={self.value}" if self.name else f"{self.kind}: {self.value}"

    @property
    def key(self) -> tuple[str, str, str]:
        """The same for two that say the same."""
        return self.kind, self.name.lower(), _person(self.value) if self.kind == "from" else _folded(self.value)


def matches(value: str) -> tuple[Match, ...]:
    """The conditions, of which any is enough: one a line, or separated by commas in front of a further kind.

    So a project's own comma is none: `project: Acme, Inc., from: a@example.com` are two conditions.
    """
    *first, last = value.strip().splitlines() or [""]
    lines = [*(line.strip().removesuffix(",") for line in first), last]
    return tuple(_match(part) for line in lines for part in _BEFORE_A_KIND.split(line.strip()) if part.strip())


def _match(text: str) -> Match:
    kind, colon, value = (part.strip() for part in text.partition(":"))
    kind = kind.lower()
    if not colon or kind not in KINDS:
        near = difflib.get_close_matches(kind, KINDS, 1, 0.6) if colon else []
        advice = f"did you mean {near[0]}?" if near else f"write {_FORMS}"
        raise ValueError(f"{text.strip()!r} begins with no kind of match: {advice}")
    if not value:
        raise ValueError(f"{kind}: says nothing: write {_FORMS}")
    if kind == "from":
        sender = address(value)
        return Match(kind, str(sender))
    if kind == "header":
        name, equals, wanted = (part.strip() for part in value.partition("="))
        if not equals or not wanted or not _FIELD_NAME.fullmatch(name):
            raise ValueError(f"{text.strip()!r} is no match of a field: write header: NAME=VALUE")
        return Match(kind, wanted, name)
    return Match(kind, value)


@dataclass(frozen=True, slots=True)
class MatchOptions:
    """What only a [notification:NAME] has."""

    match: tuple[Match, ...] = option(
        (),
        "Whose mail: project: NAME, from: ADDRESS, listener: ADDRESS, user: LOGIN (of AUTH, or the local user behind a"
        " unix socket) or header: NAME=VALUE; whole and case-blind. Several: one a line, any of them is enough",
        matches,
    )


@dataclass(frozen=True, slots=True)
class Profile:
    """One [notification] section: its rewriting policy and its next hops, the first and those that stand in for it."""

    name: str
    policy: Policy
    upstream: Upstream
    fallbacks: tuple[Upstream, ...] = ()
    matches: tuple[Match, ...] = ()

    @property
    def upstreams(self) -> tuple[Upstream, ...]:
        """Every next hop, in order."""
        return (self.upstream, *self.fallbacks)


@immutable
class Chosen:
    """The profile of a mail, and why it is that one."""

    profile: Profile
    why: str

    def __str__(self) -> str:
        return f"{self.profile.name} ({self.why})" if self.why else self.profile.name


def choose(profiles: Sequence[Profile], entry: Entry, message: Message, facts: Facts) -> Chosen:
    """Whose mail this is. A report of ours goes the way of the mail that it is about."""
    if entry.report:
        return Chosen(named(profiles, entry.profile), "a report about its mail")
    for profile in profiles:
        for match in profile.matches:
            if fits(match, entry, message, facts):
                return _untouched(Chosen(profile, str(match)), entry, facts)
    why = "no other profile matches" if len(profiles) > 1 else ""
    return _untouched(Chosen(named(profiles, DEFAULT), why), entry, facts)


def named(profiles: Sequence[Profile], name: str) -> Profile:
    """The profile of that name; the default one when the configuration has it no more."""
    by_name = {profile.name: profile for profile in profiles}
    return by_name.get(name) or by_name[DEFAULT]


def _untouched(chosen: Chosen, entry: Entry, facts: Facts) -> Chosen:
    """What cron, git or mutt send by the sendmail drop-in leaves as it came, unless a profile matches that listener."""
    policy = chosen.profile.policy
    if entry.client.listener != SENDMAIL or facts.recognised or policy.rewrite == "off":
        return chosen
    if any((match.kind, _folded(match.value)) == ("listener", SENDMAIL) for match in chosen.profile.matches):
        return chosen
    why = "; ".join(filter(None, (chosen.why, "rewrite = off, since no tracker wrote it and it came by sendmail")))
    return Chosen(replace(chosen.profile, policy=replace(policy, rewrite="off")), why)


def fits(match: Match, entry: Entry, message: Message, facts: Facts) -> bool:
    """True when this condition holds for the mail."""
    kind, name, wanted = match.key
    client = entry.client
    match kind:
        case "project":
            return _folded(facts.project) == wanted
        case "from":
            return any(_person(str(sender)) == wanted for sender in _senders(entry, message))
        case "listener":
            return _folded(client.listener) == wanted
        case "user":
            local = match.uid is not None and client.uid == match.uid
            return local or (bool(client.user) and _folded(client.user) == wanted)
        case _:
            return any(_folded(encoded_word.decode(field.text)) == wanted for field in message.get_all(name))


def _senders(entry: Entry, message: Message) -> list[Address]:
    """Whom the From field names, and the reverse-path."""
    written = [box.address for box in mailboxes.written(message, "from")]
    return [sender for sender in (*written, entry.envelope.reverse_path) if sender is not None]


def _person(text: str) -> str:
    local, at, domain = text.rpartition("@")
    return f"{_folded(local)}@{ascii_domain(domain)}" if at else _folded(text)


def _folded(text: str) -> str:
    """What is compared: without case, blanks collapsed, one form for each letter with an accent."""
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())
