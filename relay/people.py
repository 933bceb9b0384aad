"""People: who is behind the names that a mail shows, by the users of config.ini.

A name becomes an address only by way of the users, or when the mail shows a whole address. Two users
who fit are nobody; for Trac's reporter the Message-ID then tells which of them it was.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from relay.address import Address, AddressError, parse
from relay.dialects import Facts, Person, proves_reporter
from relay.message import Message
from relay.options import address, boolean, option, text

_LINE = re.compile(r'(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<name>[^<>"]*?))\s*<(?P<inner>[^<>]*)>')
_CUT = re.compile(r"([^\s@]+)@?(?:\u2026|\.\.\.)")


@dataclass(frozen=True, slots=True)
class User:
    """Somebody by login, full name and mail address; the latter two may be missing.

    `own_changes` is whether he hears of what he did himself, None as the profile says; `mute` that he
    never gets mail.
    """

    login: str
    name: str = ""
    address: Address | None = None
    own_changes: bool | None = None
    mute: bool = False


@dataclass(frozen=True, slots=True)
class UserOptions:
    """[user:LOGIN]: the long form of a line in [users]"""

    name: str = option("", "The user's full name", text)
    address: Address | None = option(None, "The user's mail address", address)
    own_changes: bool | None = option(
        None,
        "no: he does not hear of his own changes, whatever always_notify_updater says; yes: he does where the tracker"
        " asks for him; absent: as the profile says",
        boolean,
        shown="(absent)",
    )
    mute: bool = option(False, "true: he never gets mail, whoever asks for him", boolean)


def user(login: str, line: str) -> User:
    """One line of [users]: `login = Full Name <address>`; the name may be quoted or absent. Raises ValueError."""
    found = _LINE.fullmatch(line.strip())
    written = found["inner"].strip() if found else line.strip()
    name = ""
    if found:
        name = re.sub(r"\\(.)", r"\1", found["quoted"]) if found["quoted"] is not None else found["name"].strip()
    try:
        return User(login, name, parse(written))
    except AddressError as fault:
        raise ValueError(f"{written!r} is not an address: {fault}; write `login = Full Name <address>`") from fault


@dataclass(frozen=True, slots=True)
class Who:
    """What is known of a person: the mailbox, or why there is none."""

    address: Address | None
    login: str = ""
    why: str = ""


def resolve(person: Person | None, users: Sequence[User]) -> Who:
    """The one user that this person is, or the address that the mail shows."""
    if person is None or person.imitable:
        why = f"a user may have written that it is {person.shown}" if person else "the mail does not say"
        return Who(None, why=why)
    fitting = _fitting(person.shown, users)
    if len(fitting) == 1:
        return _who(fitting[0])
    if len(fitting) > 1:
        return Who(None, why=f"{person.shown} may be {' or '.join(user.login for user in fitting)}")
    try:
        shown = parse(person.shown)
    except AddressError:
        return Who(None, why=f"{person.shown} is none of the users")
    if shown.short:
        return Who(None, person.shown, f"{person.shown} is none of the users")
    return Who(shown)


def resolve_reporter(message: Message, facts: Facts, users: Sequence[User]) -> Who:
    """As `resolve`; where Trac's Message-ID fits one login, that is the reporter, whatever the body shows."""
    proven = set(proves_reporter(message, facts, [user.login for user in users]))
    by_login = [user for user in users if user.login in proven]
    if len(by_login) > 1 and facts.reporter:
        by_login = [user for user in by_login if user in _fitting(facts.reporter.shown, users)]
    return _who(by_login[0]) if len(by_login) == 1 else resolve(facts.reporter, users)


def _who(user: User) -> Who:
    why = "" if user.address else f"the user {user.login} has no address"
    return Who(user.address, user.login, why)


def _fitting(shown: str, users: Sequence[User]) -> list[User]:
    """By login, else by full name, else by the address or what is left of it."""
    for match in (
        [user for user in users if user.login == shown],
        [user for user in users if user.name and user.name == shown],
        [user for user in users if user.address and str(user.address) == shown],
    ):
        if match:
            return match
    if found := _CUT.fullmatch(shown):
        local = found[1]
        return [u for u in users if (u.address and u.address.local == local) or u.login.partition("@")[0] == local]
    return []
