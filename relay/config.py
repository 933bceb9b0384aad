"""Config: config.ini becomes one frozen Configuration, or all its faults at once, each with its line.

It knows sections; the options are declared by the rooms that own them.
"""

import dataclasses
import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from relay import inifile, options, people, secretfile
from relay.admission import Listen, ListenerOptions
from relay.checks import CHECKS
from relay.inifile import Fault, IniFile, Value
from relay.journal import LogOptions
from relay.loaded import Configuration, Loaded
from relay.people import User
from relay.policy import Policy
from relay.retry import RetryOptions
from relay.routing import NextHopOptions
from relay.sections import PREFIXED, SECTIONS, USERS, WITHOUT_EFFECT, StatusOptions
from relay.spool import SpoolOptions
from relay.transaction import Timeouts

SECRET_MODES = "secret_modes"  # noqa: S105 - the name of an option


def read(path: Path, environ: Mapping[str, str] = os.environ) -> Loaded:
    """Read a configuration. Never raises: what is wrong stands in `faults`."""
    try:
        data = path.read_bytes()
    except OSError as fault:
        ini = IniFile(faults=[Fault(1, "", "", f"{os.strerror(fault.errno or 0)}: name the file with --config")])
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
        self.lenient = any(s.get(SECRET_MODES, _NONE).text.lower() == "warn" for s in ini.sections.values())

    def configuration(self) -> Configuration:
        for section in self.ini.sections:
            prefix, _, name = section.partition(":")
            known = section in (*SECTIONS, USERS, "DEFAULT") or (prefix in PREFIXED and name)
            if not known:
                text = f"no such section{_nearest(section, (*SECTIONS, USERS, *(f'{p}:NAME' for p in PREFIXED)))}"
                self.faults.append(Fault(self.ini.lines[section], section, "", text))
        made = {section: self._section(section, SECTIONS[section]) for section in SECTIONS}
        policy, next_hop = made["notification"]
        return Configuration(
            self.path,
            cast(ListenerOptions, made["listener"][0]),
            cast(SpoolOptions, made["spool"][0]),
            cast(RetryOptions, made["retry"][0]),
            cast(Policy, policy),
            cast(NextHopOptions, next_hop),
            cast(Timeouts, made["timeouts"][0]),
            cast(LogOptions, made["log"][0]),
            cast(StatusOptions, made["status"][0]),
            self._users(),
        )

    def _users(self) -> tuple[User, ...]:
        """[users] and every [user:LOGIN]; the long form wins where both say something."""
        users: dict[str, User] = {}
        for value in self.ini.sections.get(USERS, {}).values():
            if value.name.lower() == SECRET_MODES:
                continue
            try:
                users[value.name] = people.user(value.name, value.text)
            except ValueError as fault:
                self.faults.append(Fault(value.line, USERS, value.name, str(fault)))
        for section in self.ini.sections:
            prefix, _, login = section.partition(":")
            if prefix == "user" and login:
                [options_] = self._section(section, (PREFIXED["user"],))
                short = users.get(login, User(login))
                users[login] = User(login, options_.name or short.name, options_.address or short.address)
        return tuple(users.values())

    def _section(self, section: str, kinds: tuple[type, ...]) -> list[Any]:
        values = dict(self.ini.sections.get(section, {}))
        values.pop(SECRET_MODES, None)
        made: list[Any] = []
        for kind in kinds:
            found: dict[str, Any] = {}
            for declared in dataclasses.fields(kind):
                self._option(section, declared, values, found)
            made.append(kind(**found))
        for value in values.values():
            self._unknown(section, kinds, value)
        return made

    def _option(
        self, section: str, declared: "dataclasses.Field[Any]", values: dict[str, Value], found: dict[str, Any]
    ) -> None:
        """Read one declared option out of `values`, if the file has it."""
        name = declared.metadata["name"] or declared.name
        given = values.pop(name, None)
        if declared.metadata["secret"]:
            given = self._secret(section, name, given, values.pop(f"{name}_file", None))
        if given is None:
            if declared.metadata["parse"] is options.path and declared.default is not None:
                found[declared.name] = self._resolved(str(declared.default))
            return
        try:
            value = declared.metadata["parse"](given.text)
        except ValueError as fault:
            shown = "the value is not usable" if declared.metadata["secret"] else str(fault)
            self.faults.append(Fault(given.line, section, name, shown))
            return
        if declared.metadata["parse"] is options.path:
            value = self._resolved(value)
        elif isinstance(value, tuple) and value and isinstance(value[0], Listen):
            value = tuple(Listen(path=self._resolved(v.path)) if v.path else v for v in value)
        elif name == "smtp_server" and value.startswith("unix:"):
            value = f"unix:{self._resolved(value[5:])}"
        found[declared.name] = value

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
        if file:
            return self._from_file(section, name, file)
        if self.credentials and (path := Path(self.credentials, name)).is_file():
            return self._read(section, name, path, given.line if given else 1)
        return given

    def _from_file(self, section: str, name: str, file: Value) -> Value | None:
        held = Path(self.credentials, file.text) if self.credentials else None
        if held and "/" not in file.text and held.is_file():
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
        if self.lenient and path.exists():
            self.warnings.append(Fault(value.line, section, name, why))
            return True
        self.faults.append(Fault(value.line, section, name, why))
        return False

    def _unknown(self, section: str, kinds: tuple[type, ...], value: Value) -> None:
        name = value.name.lower()
        known = {n for kind in kinds for n in names_of(kind)}
        if section == "notification" and (name in WITHOUT_EFFECT or name.startswith("default_format.")):
            why = WITHOUT_EFFECT.get(name) or WITHOUT_EFFECT["default_format.email"]
            self.warnings.append(Fault(value.line, section, value.name, why))
            return
        for other, others in SECTIONS.items():
            if other != section and any(name in names_of(kind) for kind in others):
                text = f"no such option here: it belongs into [{other}]"
                self.faults.append(Fault(value.line, section, value.name, text))
                return
        text = f"no such option{_nearest(name, known)}"
        self.faults.append(Fault(value.line, section, value.name, text))


_NONE = Value("", "", 0)


def names_of(kind: type) -> list[str]:
    """The names of the options that a dataclass declares, those of secret files included."""
    names: list[str] = []
    for declared in dataclasses.fields(kind):
        name = declared.metadata["name"] or declared.name
        names += [name, f"{name}_file"] if declared.metadata["secret"] else [name]
    return names


def _nearest(word: str, known: Any) -> str:
    close = difflib.get_close_matches(word, list(known), 1, 0.6)
    return f": did you mean {close[0]}?" if close else ": see `tracker-relay reference`"


def reference() -> str:
    """Every section and option with its default and meaning, from the declarations themselves."""
    lines: list[str] = ["[users]", "", "LOGIN = Full Name <address>", "    Who is behind a login", ""]
    prefixed = {f"{prefix}:NAME": (kind,) for prefix, kind in PREFIXED.items()}
    for section, kinds in {**SECTIONS, **prefixed}.items():
        lines += [f"[{section}]", ""]
        for kind in kinds:
            for declared in dataclasses.fields(kind):
                name = declared.metadata["name"] or declared.name
                lines += [f"{name} = {shown_default(declared)}".rstrip(), f"    {declared.metadata['doc']}"]
                if declared.metadata["secret"]:
                    lines += [f"{name}_file =", f"    The file that holds {name}; its mode must be 600"]
        if section == "notification":
            lines += ["", "Accepted from trac.ini, without effect:"]
            lines += [f"    {name}: {why}" for name, why in sorted(WITHOUT_EFFECT.items())]
        lines.append("")
    return "\n".join(lines)


def shown_default(declared: "dataclasses.Field[Any]") -> str:
    """An option's default as config.ini would write it."""
    if declared.metadata["shown"]:
        return str(declared.metadata["shown"])
    default = declared.default
    if default is None or declared.metadata["secret"]:
        return ""
    if isinstance(default, bool):
        return "true" if default else "false"
    if isinstance(default, tuple):
        return ", ".join(map(str, default))
    return f"{default:g}" if isinstance(default, float) else str(default)
