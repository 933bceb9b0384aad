"""INI files as config.ini is one: read with the line of every option, and with every fault at once.

As configparser reads them, but with `=` only, no interpolation, no inline comments and no [DEFAULT]:
whatever stands behind the first `=` is the value, outer blanks removed. An indented line continues
the value above it.
"""

import re
from dataclasses import dataclass, field

CASED = ("users",)
"""Sections whose names are logins: they keep their case."""
SECRET_MODES = "secret_modes"  # noqa: S105 - the name of an option
_SECTION = re.compile(r"\[(?P<name>[^\]]+)\]\s*")


@dataclass(frozen=True, slots=True)
class Fault:
    """Something wrong at a line; `option` is "" for what concerns the section or the file."""

    line: int
    section: str
    option: str
    text: str

    def shown(self, file: str) -> str:
        """`file:line: [section] option: text`; what no terminal shows is escaped: often it is the very fault."""
        place = " ".join(part for part in (f"[{self.section}]" if self.section else "", self.option) if part)
        told = f"{place}: {self.text}" if place else self.text
        return f"{_visible(file)}:{self.line}: {_visible(told)}"


@dataclass(frozen=True, slots=True)
class Value:
    """An option as it stands in the file."""

    name: str
    text: str
    line: int


@dataclass(slots=True)
class IniFile:
    """Sections in order, each with its options by lower-case name, and the line of its head."""

    sections: dict[str, dict[str, Value]] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    @property
    def lenient(self) -> bool:
        """True when `secret_modes = warn` stands in any section: exposed secrets are allowed, with a warning."""
        values = (section[SECRET_MODES].text for section in self.sections.values() if SECRET_MODES in section)
        return any(text.lower() == "warn" for text in values)


def read(data: bytes) -> IniFile:
    """Read the octets of a file; a UTF-8 BOM is accepted. Never raises: see `faults`."""
    ini = IniFile()
    section = ""
    current: tuple[str, str] | None = None
    for number, raw in enumerate(data.removeprefix(b"\xef\xbb\xbf").splitlines(), 1):
        try:
            line = raw.decode("utf-8")
        except UnicodeDecodeError:
            ini.faults.append(Fault(number, section, "", "not UTF-8: save the file as UTF-8"))
            continue
        stripped = line.strip()
        if not stripped or stripped[0] in "#;":
            continue
        if line[0] in " \t" and current:
            _continue(ini, current, stripped)
        elif found := _SECTION.fullmatch(stripped):
            section, current = ":".join(part.strip() for part in found["name"].split(":", 1)), None
            _begin(ini, section, number)
        else:
            current = _option(ini, section, stripped, number)
    return ini


def _begin(ini: IniFile, section: str, number: int) -> None:
    if section == "DEFAULT":
        ini.faults.append(Fault(number, section, "", "there are no defaults for all sections: move its options"))
    elif section in ini.sections:
        ini.faults.append(Fault(number, section, "", f"the section stands at line {ini.lines[section]} too: join them"))
        return
    ini.sections[section] = {}
    ini.lines[section] = number


def _option(ini: IniFile, section: str, text: str, number: int) -> tuple[str, str] | None:
    name, equals, value = text.partition("=")
    name = name.strip()
    if not equals or not name:
        ini.faults.append(Fault(number, section, "", f"no option: write `name = value` instead of {_short(text)}"))
        return None
    if not section:
        ini.faults.append(Fault(number, "", name, "it stands before the first [section]: move it into one"))
        return None
    options = ini.sections[section]
    key = name if section in CASED else name.lower()
    if known := options.get(key):
        ini.faults.append(Fault(number, section, name, f"it stands at line {known.line} too: remove one"))
        return None
    options[key] = Value(name, value.strip(), number)
    return section, key


def _continue(ini: IniFile, current: tuple[str, str], text: str) -> None:
    section, name = current
    old = ini.sections[section][name]
    ini.sections[section][name] = Value(old.name, f"{old.text}\n{text}".strip(), old.line)


def _visible(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def _short(text: str) -> str:
    """The beginning of a line, which may be a secret that slipped: its first word only."""
    return repr(text.split(maxsplit=1)[0][:20])
