"""Config: config.ini becomes one frozen Configuration, or all its faults at once, each with its line.

It knows sections; the options are declared by the rooms that own them.
"""

import dataclasses
import difflib
import os
import pwd
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

from relay import inheriting, inifile, namedfile, options, people, secretfile
from relay.admission import Listen, ListenerOptions
from relay.checks import CHECKS
from relay.exchangers import MxOptions
from relay.inifile import SECRET_MODES, Fault, IniFile, Value
from relay.journal import LogOptions
from relay.limits import ProfileLimits
from relay.loaded import Configuration, Loaded, ProfileSection
from relay.manners import MannersOptions
from relay.oauth import OAuthOptions
from relay.people import User, Users
from relay.policy import Policy
from relay.profiles import Match, MatchOptions
from relay.records import DnsOptions
from relay.retry import RetryOptions
from relay.routing import NextHopOptions, SharingOptions
from relay.sections import (
    OF_TRAC,
    PREFIXED,
    SECTIONS,
    USERS,
    WITHOUT_EFFECT,
    declared,
    kinds_of,
    names_of,
)
from relay.spool import SpoolOptions
from relay.status import StatusOptions
from relay.transaction import Timeouts


def read(path: Path, environ: Mapping[str, str] = os.environ) -> Loaded:
    """Read a configuration. Never raises: what is wrong stands in `faults`."""
    try:
        data = namedfile.read(path)
    except OSError as fault:
        denied = isinstance(fault, PermissionError)
        remedy = "run this as root or as the relay's user" if denied else "name the file with --config"
        ini = IniFile(faults=[Fault(1, "", "", f"{fault.strerror}: {remedy}")])
    else:
        ini = inifile.read(data)
    reader = _Reader(path, ini, environ)
    loaded = Loaded(path, ini, reader.configuration(), reader.faults + ini.faults, reader.warnings)
    if not ini.faults or ini.sections:
        for check in CHECKS:
            check(loaded)
    return loaded


class _Reader:
    """One reading: options of each section into the dataclasses that declare them."""

    def __init__(self, path: Path, ini: IniFile, environ: Mapping[str, str]) -> None:
        self.folder = path.absolute().parent
        self.path, self.ini = path, ini
        self.credentials = environ.get("CREDENTIALS_DIRECTORY", "")
        self.faults: list[Fault] = []
        self.warnings: list[Fault] = []

    def configuration(self) -> Configuration:
        for section in self.ini.sections:
            if not kinds_of(section) and section not in (USERS, "DEFAULT"):
                self.faults.append(Fault(self.ini.lines[section], section, "", _no_section(section)))
        made = {section: self._section(section) for section in SECTIONS}
        policy, *hop, limits = made["notification"]
        next_hop = _next_hop(*hop)
        return Configuration(
            self.path,
            cast(ListenerOptions, made["listener"][0]),
            cast(SpoolOptions, made["spool"][0]),
            cast(RetryOptions, made["retry"][0]),
            cast(Policy, policy),
            next_hop,
            cast(Timeouts, made["timeouts"][0]),
            cast(DnsOptions, made["dns"][0]),
            cast(MxOptions, made["mx"][0]),
            cast(LogOptions, made["log"][0]),
            cast(StatusOptions, made["status"][0]),
            self._users(),
            tuple(self._profile(section, policy, next_hop, limits) for section, _ in self._prefixed("notification")),
            tuple((name, _next_hop(*self._section(section))) for section, name in self._prefixed("upstream")),
            tuple((name, *self._section(section)) for section, name in self._prefixed("route")),
            limits,
            tuple((name, *self._section(section)) for section, name in self._prefixed("client")),
        )

    def _prefixed(self, wanted: str) -> list[tuple[str, str]]:
        """Every section [PREFIX:NAME] in file order: the whole and the name."""
        split = [(section, *section.partition(":")[::2]) for section in self.ini.sections]
        return [(section, name) for section, prefix, name in split if prefix == wanted and name]

    def _profile(self, section: str, policy: Policy, next_hop: NextHopOptions, limits: ProfileLimits) -> ProfileSection:
        """A [notification:NAME]: what it says itself over what it inherits."""
        own = self._given(section)
        return ProfileSection(
            section,
            dataclasses.replace(policy, **own[Policy]),
            inheriting.inherited(next_hop, own[NextHopOptions], own[OAuthOptions], own[MannersOptions]),
            own[MatchOptions].get("match", ()),
            dataclasses.replace(limits, **own[ProfileLimits]),
        )

    def _users(self) -> Users:
        """[users] and every [user:LOGIN]; the long form wins where both say something."""
        users: dict[str, User] = {}
        for value in self.ini.sections.get(USERS, {}).values():
            if value.name.lower() == SECRET_MODES:
                continue
            try:
                users[value.name] = people.user(value.name, value.text)
            except ValueError as fault:
                self.faults.append(Fault(value.line, USERS, value.name, str(fault)))
        for section, login in self._prefixed("user"):
            [options_] = self._section(section)
            short = users.get(login, User(login))
            name, address = options_.name or short.name, options_.address or short.address
            users[login] = User(login, name, address, options_.own_changes, options_.mute)
        return Users(users.values())

    def _section(self, section: str) -> list[Any]:
        """What a section says, as the dataclasses that declare its options; defaults for all else."""
        given = self._given(section)
        for kind in given:
            for field in filter(lambda field: field.metadata, dataclasses.fields(kind)):
                path = field.metadata["parse"] is options.path and field.default is not None
                if path and field.name not in given[kind]:
                    given[kind][field.name] = self._resolved(str(field.default))
        return [kind(**found) for kind, found in given.items()]

    def _given(self, section: str) -> dict[type, dict[str, Any]]:
        """The options that a section sets, by the dataclass that declares them."""
        values = dict(self.ini.sections.get(section, {}))
        values.pop(SECRET_MODES, None)
        given: dict[type, dict[str, Any]] = {}
        for kind in kinds_of(section):
            given[kind] = {}
            for name, field in declared(section, kind).items():
                self._option(section, name, field, values, given[kind])
        for value in values.values():
            self._unknown(section, value)
        return given

    def _option(
        self,
        section: str,
        name: str,
        field: "dataclasses.Field[Any]",
        values: dict[str, Value],
        found: dict[str, Any],
    ) -> None:
        """Read one declared option out of `values`, if the file has it."""
        given = values.pop(name, None)
        if field.metadata["secret"]:
            given = self._secret(section, name, given, values.pop(f"{name}_file", None))
        if given is None:
            return
        try:
            value = field.metadata["parse"](given.text)
        except ValueError as fault:
            shown = "the value is not usable" if field.metadata["secret"] else str(fault)
            self.faults.append(Fault(given.line, section, name, shown))
            return
        found[field.name] = self._placed(field, value)

    def _placed(self, field: "dataclasses.Field[Any]", value: Any) -> Any:
        """A value with its paths made absolute, and with the local user whom a match names."""
        if field.metadata["parse"] is options.path:
            return self._resolved(value)
        if field.name == "smtp_server" and value.startswith("unix:"):
            return f"unix:{self._resolved(value[5:])}"
        if isinstance(value, tuple):
            return tuple(self._placed_one(one) for one in value)
        return value

    def _placed_one(self, one: Any) -> Any:
        match one:
            case Listen(path=path) if path:
                return Listen(path=self._resolved(path))
            case Match(kind="listener", value=value) if value.startswith("unix:"):
                return dataclasses.replace(one, value=f"unix:{self._resolved(value[5:])}")
            case Match(kind="user", value=login):
                return dataclasses.replace(one, uid=_uid(login))
        return one

    def _resolved(self, path: str) -> str:
        return str(self.folder / path) if path else ""

    def _secret(self, section: str, name: str, given: Value | None, file: Value | None) -> Value | None:
        """A secret from the file itself, from NAME_file, or from the service's credentials."""
        if given and given.text and file:
            self.faults.append(Fault(given.line, section, name, f"{name}_file is set too: keep that one"))
            return None
        if given and given.text:
            self._exposed(given, section, name, self.path)
            return given
        if file and not file.text:
            return given or file  # an empty name is no file: here is no secret, whatever stands elsewhere
        if file:
            return self._from_file(section, name, file)
        # The credential of a section [a:b] is named a.b.option: no profile is given the password of another.
        held = f"{section.replace(':', '.')}.{name}" if ":" in section else name
        if path := secretfile.credential(self.credentials, held):
            return self._read(section, name, path, given.line if given else self.ini.lines.get(section, 1))
        return given

    def _from_file(self, section: str, name: str, file: Value) -> Value | None:
        if held := secretfile.credential(self.credentials, file.text):
            return self._read(section, f"{name}_file", held, file.line)  # systemd sees to its mode
        path = self.folder / file.text
        if not self._exposed(file, section, f"{name}_file", path):
            return None
        return self._read(section, f"{name}_file", path, file.line)

    def _read(self, section: str, name: str, path: Path, line: int) -> Value | None:
        try:
            return Value(name, secretfile.read(path), line)
        except ValueError as fault:
            self.faults.append(Fault(line, section, name, str(fault)))
            return None

    def _exposed(self, value: Value, section: str, name: str, path: Path) -> bool:
        """True when the secret may be used all the same."""
        why = secretfile.exposed(path)
        if not why:
            return True
        if self.ini.lenient and os.path.isfile(path):
            self.warnings.append(Fault(value.line, section, name, why))
            return True
        self.faults.append(Fault(value.line, section, name, why))
        return False

    def _unknown(self, section: str, value: Value) -> None:
        name = value.name.lower()
        if section.partition(":")[0] == "notification" and (
            name in WITHOUT_EFFECT or name.startswith("default_format.")
        ):
            why = WITHOUT_EFFECT.get(name) or WITHOUT_EFFECT["default_format.email"]
            self.warnings.append(Fault(value.line, section, value.name, why))
            return
        self.faults.append(Fault(value.line, section, value.name, f"no such option{_advice(section, name)}"))


def _next_hop(
    options_: NextHopOptions, oauth: OAuthOptions, manners: MannersOptions, sharing: SharingOptions | None = None
) -> NextHopOptions:
    weight = (sharing and sharing.weight) or 0
    return dataclasses.replace(options_, oauth=oauth, manners=manners, weight=weight)


def _advice(section: str, name: str) -> str:
    """Where an unknown option belongs, or what its name was meant to be."""
    known = names_of(section)
    for twin in (f"smtp_{name}", name.removeprefix("smtp_")):
        if twin in known:
            return f": did you mean {twin}?"
    for other in (*SECTIONS, *(f"{prefix}:NAME" for prefix in PREFIXED)):
        if name in names_of(other):
            return f" here: it belongs into [{other}]"
    return _nearest(name, known)


def _no_section(section: str) -> str:
    prefix, _, name = section.partition(":")
    if prefix in PREFIXED and not name:
        return f"it has no name: write [{prefix}:NAME]"
    if section in OF_TRAC:
        return "a section of trac.ini: leave it there; `tracker-relay import TRAC_INI` makes a config.ini of the rest"
    return f"no such section{_nearest(section, (*SECTIONS, USERS, *(f'{p}:NAME' for p in PREFIXED)))}"


def _uid(login: str) -> int | None:
    """The local user of that name or number; None when there is none."""
    if login.isascii() and login.isdigit():
        return int(login)
    try:
        return pwd.getpwnam(login).pw_uid
    except (KeyError, ValueError):
        return None


def _nearest(word: str, known: Iterable[str]) -> str:
    by_fold = {name.casefold(): name for name in known}
    close = difflib.get_close_matches(word.casefold(), list(by_fold), 1, 0.6)
    return f": did you mean {by_fold[close[0]]}?" if close else ": see `tracker-relay reference`"
