"""People: who is behind the names that a mail shows, by the users of config.ini.

A name becomes an address only by way of the users, or when the mail shows a whole address. Two users
who fit are nobody; for Trac's reporter the Message-ID then tells which of them it was.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

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


class Users(tuple[User, ...]):
    """All users of a configuration, and the tables in which one is found at once, made when first asked for."""

    @classmethod
    def of(cls, users: Iterable[User]) -> "Users":
        """These users; the same object, tables and all, where it is one already."""
        return users if isinstance(users, cls) else cls(users)

    def _by(self, names: Callable[[User], Iterable[str]]) -> dict[str, list[User]]:
        table: dict[str, list[User]] = {}
        for one in self:
            for name in dict.fromkeys(names(one)):
                table.setdefault(name, []).append(one)
        return table

    @cached_property
    def by_login(self) -> dict[str, list[User]]:
        """By login, as written."""
        return self._by(lambda one: [one.login])

    @cached_property
    def by_name(self) -> dict[str, list[User]]:
        """By full name."""
        return self._by(lambda one: [one.name] if one.name else [])

    @cached_property
    def by_address(self) -> dict[str, list[User]]:
        """By mail address, as written."""
        return self._by(lambda one: [str(one.address)] if one.address else [])

    @cached_property
    def by_local_part(self) -> dict[str, list[User]]:
        """By what is left of an address, or of a login, whose domain was cut off."""
        return self._by(lambda one: [one.login.partition("@")[0], *([one.address.local] if one.address else [])])

    @cached_property
    def stored(self) -> dict[str, Address]:
        """The addresses of those who have one, by login."""
        return {one.login: one.address for one in reversed(self) if one.address}

    @cached_property
    def stored_by_mailbox(self) -> dict[tuple[str, str], Address]:
        """The same of those whose login has a domain, by its mailbox (`Address.key`)."""
        found: dict[tuple[str, str], Address] = {}
        for one in reversed(self):
            if one.address and "@" in one.login:
                with suppress(AddressError):
                    found[parse(one.login).key] = one.address
        return found

    @cached_property
    def muted(self) -> tuple[User, ...]:
        """Those who never get mail."""
        return tuple(one for one in self if one.mute)


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
    by_login = [user for user in users if user.login in proven] if proven else []
    if len(by_login) > 1 and facts.reporter:
        fitting = _fitting(facts.reporter.shown, users)
        by_login = [user for user in by_login if user in fitting]
    return _who(by_login[0]) if len(by_login) == 1 else resolve(facts.reporter, users)


def _who(user: User) -> Who:
    why = "" if user.address else f"the user {user.login} has no address"
    return Who(user.address, user.login, why)


def _fitting(shown: str, users: Sequence[User]) -> list[User]:
    """By login, else by full name, else by the address or what is left of it."""
    known = Users.of(users)
    for table in (known.by_login, known.by_name, known.by_address):
        if shown in table:
            return table[shown]
    found = _CUT.fullmatch(shown)
    return known.by_local_part.get(found[1], []) if found else []
