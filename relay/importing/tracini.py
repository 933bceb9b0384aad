"""trac.ini as Trac reads it, of any release: more is allowed than in our own config.ini.

`:` stands for `=` as well, an option may stand twice (the last one counts), sections may be opened
again, `[inherit] file` names files whose options count where this one has none. There is no
interpolation. Python 2's Trac (up to 1.4) ends a value at a `;` behind a blank, later ones do not:
see `without_comment`.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from relay import namedfile
from relay.errors import RelayError

DEEPEST = 10
"""Files that inherit from each other, one after the other, at most."""
MOST_FILES = 100
"""Files that are read at most: one of ten ways to each of the next ones would be read ten thousand times."""
_SECTION = re.compile(r"\[(?P<name>[^\]]+)\]")
_OPTION = re.compile(r"(?P<name>[^:=\s][^:=]*+)[:=]\s*+(?P<value>.*)")
_COMMENT = re.compile(r"\s;")


class Unreadable(RelayError):
    """this file is no trac.ini"""


@dataclass(slots=True)
class TracIni:
    """Options by section and lower-case name; what could not be read is said in `remarks`."""

    path: Path
    sections: dict[str, dict[str, str]] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    files: int = 0
    """How many were read for it."""

    def section(self, name: str) -> dict[str, str]:
        """The options of a section; nothing when there is none."""
        return self.sections.get(name, {})


def read(path: Path) -> TracIni:
    """Read a trac.ini, or that of an environment's folder, and whatever it inherits from.

    Raises Unreadable for a file that Trac could not read either, OSError when it can not be opened.
    """
    if path.is_dir():
        inside, beside = path / "conf" / "trac.ini", path / "trac.ini"
        path = beside if beside.is_file() and not inside.exists() else inside
    ini = TracIni(path)
    _read_into(ini, path, [])
    return ini


def _read_into(ini: TracIni, path: Path, heirs: list[Path]) -> None:
    own: dict[str, dict[str, str]] = {}
    ini.files += 1
    if ini.files > MOST_FILES:
        raise Unreadable(f"{ini.path}: it inherits from more than {MOST_FILES} files, by whatever way")
    for section, name, value in _options(path):
        own.setdefault(section, {})
        if name:
            own[section][name] = value
    for section, options in own.items():
        known = ini.sections.setdefault(section, {})
        ini.sections[section] = {**options, **known}  # the heir's own options count
    for written in filter(None, (part.strip() for part in own.get("inherit", {}).get("file", "").split(","))):
        parent = path.absolute().parent / os.path.expanduser(written)
        if parent in (*heirs, path.absolute()) or len(heirs) >= DEEPEST:
            ini.remarks.append(f"{parent}, which it inherits from, inherits from it: left out")
            continue
        try:
            _read_into(ini, parent, [*heirs, path.absolute()])
        except OSError as fault:
            ini.remarks.append(f"{parent}, which it inherits from: {fault.strerror}: left out")


def _options(path: Path) -> Iterator[tuple[str, str, str]]:
    """(section, name, value) of one file, in order; a section without options has an empty name."""
    section, name, value = "", "", ""
    for number, line in enumerate(re.split(r"\r\n|\r|\n", _text(path)), 1):
        stripped = line.strip()
        if not stripped or stripped[0] in "#;" or re.match(r"rem\s", line, re.IGNORECASE):
            continue
        if line[0].isspace() and name:
            value = f"{value}\n{stripped}"
            continue
        if name:
            yield section, name, value
        name = ""
        if found := _SECTION.match(stripped):
            section = found["name"].strip()
            yield section, "", ""
        elif section and (found := _OPTION.fullmatch(stripped)):
            name, value = found["name"].rstrip().lower(), found["value"].strip()
        else:
            what = "no option" if section else "it stands before the first [section]"
            raise Unreadable(f"{path}:{number}: {what}: Trac can not read this file either")
    if name:
        yield section, name, value


def _text(path: Path) -> str:
    data = namedfile.read(path, pipes=True).removeprefix(b"\xef\xbb\xbf")
    if b"\0" in data:
        raise Unreadable(f"{path}: it holds NUL octets: is it a trac.ini?")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")  # as Trac takes it


def without_comment(value: str) -> str:
    """What is left of a value when a `;` behind a blank begins a comment."""
    found = _COMMENT.search(value)
    return value[: found.start()].rstrip() if found else value
