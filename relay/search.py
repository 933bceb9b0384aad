"""Search: which entries an administrator means, by ticket, project, person, age or reason.

Everything given must hold. Nothing is case-sensitive. What is looked for is compared as a whole, so
that a mass change hits no neighbour: `ann@example.org` is not `joann@example.org`, #1 not #12.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from relay.entry import Entry

_LITERAL = re.compile(r"[A-Za-z0-9@._+=#-]{2,}")
"""What stands in the stored form of an entry exactly as it is written here, whatever encodes it."""


@dataclass(frozen=True, slots=True)
class Search:
    """What to look for; an empty one finds everything. `received_before` in wall-clock seconds since 1970.

    `to` and `sender` take an address, `@domain`, a bare name or domain, or a pattern with `*` and
    `?`; a sender of `<>` is the null reverse-path. `reason` is a part of why the mail waits, or the cause
    of its last failure (`auth`, `tls`, ...).
    """

    ids: tuple[str, ...] = ()
    ticket: str = ""
    project: str = ""
    profile: str = ""
    to: str = ""
    sender: str = ""
    message_id: str = ""
    reason: str = ""
    received_before: float | None = None

    def matches(self, entry: Entry) -> bool:
        """Whether this entry is meant."""
        return all(check(self, entry) for check in _CHECKS)

    def literals(self) -> Iterator[str]:
        """ASCII texts that every entry meant has in its stored form, in whatever case: for an engine to sift by."""
        number, profile = _number(self.ticket), self.profile.removeprefix("notification:")
        people = (self.to, self.sender, self.message_id)
        for text in (self.project, profile, number, self.reason, *people):
            found = _LITERAL.findall(text)
            if found and text not in ("<>", ""):
                yield max(found, key=len)


def trace_searches(what: str) -> tuple[Search, ...]:
    """How to look for what `trace` names (#TICKET, Message-ID, address or id), the most exact way first."""
    what = what.strip()
    if what.startswith("#"):
        return (Search(ticket=what[1:]),)
    if what.startswith("<") and what.endswith(">"):
        return (Search(message_id=what),)
    if "@" in what:
        return Search(message_id=f"<{what}>"), Search(to=what), Search(sender=what)
    return Search(ids=(what,)), Search(to=what)


def _ids(search: Search, entry: Entry) -> bool:
    return not search.ids or entry.id in search.ids


def _ticket(search: Search, entry: Entry) -> bool:
    """By what the tracker's dialect read; before the mail was ever prepared, by a number in its subject."""
    wanted = _number(search.ticket)
    if not wanted:
        return True
    if entry.ticket:
        return _number(entry.ticket) == wanted or _DESIGNATOR.sub("", entry.ticket) == wanted
    return bool(_in_subject(wanted).search(entry.summary))


_DESIGNATOR = re.compile(r"^[A-Za-z]+0*(?=\d+$)")
"""Roundup's issue12: 12 will do. Jira's KEY-12 it leaves whole, since the key is a project's."""


def _number(ticket: str) -> str:
    """#12, 12 and 0000012 are the same ticket."""
    ticket = ticket.strip().lstrip("#").lower()
    return ticket.lstrip("0") or ticket


@lru_cache(16)
def _in_subject(ticket: str) -> re.Pattern[str]:
    """#12, [Bug 12], issue12, (KEY-12), [rt #12]: the number as a word, behind something that says it is one."""
    number = re.escape(ticket)
    before = r"(?<![\w-])" if not ticket.isdigit() else r"(?:#|\b(?:bug|issue|ticket|task|feature|support)[ #]?)0*"
    return re.compile(rf"{before}{number}(?![\w-])", re.IGNORECASE)


def _project(search: Search, entry: Entry) -> bool:
    """By what the dialect read; before the mail was ever prepared, by the [prefix] of its subject."""
    wanted = search.project.lower()
    if not wanted:
        return True
    if entry.project or entry.attempts:
        return entry.project.lower() == wanted
    return f"[{wanted}]" in entry.summary.lower()


def _profile(search: Search, entry: Entry) -> bool:
    """With or without the `notification:` of its section's name."""
    wanted = search.profile.lower()
    return not wanted or wanted in (entry.profile.lower(), entry.profile.lower().removeprefix("notification:"))


def _to(search: Search, entry: Entry) -> bool:
    if not search.to:
        return True
    fits = _person(search.to)
    return any(fits.fullmatch(address.lower()) for address in recipients(entry))


def _sender(search: Search, entry: Entry) -> bool:
    if not search.sender:
        return True
    reverse = entry.envelope.reverse_path
    if search.sender == "<>" or reverse is None:
        return search.sender == "<>" and reverse is None
    return bool(_person(search.sender).fullmatch(str(reverse).lower()))


def _message_id(search: Search, entry: Entry) -> bool:
    return not search.message_id or entry.message_id.lower() == search.message_id.lower()


def _reason(search: Search, entry: Entry) -> bool:
    wanted = search.reason.lower()
    if not wanted or wanted in entry.reason.lower():
        return True
    return bool(entry.attempts) and any(
        wanted == o.cause for o in entry.attempts[-1].outcomes if not o.disposition.final
    )


def _age(search: Search, entry: Entry) -> bool:
    return search.received_before is None or entry.received_at < search.received_before


_CHECKS = (_ids, _ticket, _project, _profile, _to, _sender, _message_id, _reason, _age)


def recipients(entry: Entry) -> set[str]:
    """Every address that this mail is for, as accepted and as completed by the rules, refused paths included."""
    tried = (o for attempt in entry.attempts for o in attempt.outcomes)
    outcomes = {outcome.address for outcome in (*entry.answered, *tried)}
    refused = {path.removeprefix("<").removesuffix(">") for path in entry.refused_paths}
    return outcomes | refused | {str(r.address) for r in entry.envelope.recipients}


@lru_cache(64)
def _person(wanted: str) -> re.Pattern[str]:
    """An address, `@domain`, a bare name or domain, or a pattern, as a pattern for lower-case addresses."""
    wanted = wanted.removeprefix("<").removesuffix(">").lower()
    pattern = re.escape(wanted).replace(r"\*", ".*").replace(r"\?", ".")
    if wanted.startswith("@"):
        return re.compile(f".*{pattern}")
    if "@" in wanted or "*" in wanted or "?" in wanted:
        return re.compile(pattern)
    return re.compile(f"(?:.*@)?{pattern}")
