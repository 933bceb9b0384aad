"""Draft: a [notification] section under way, each option with the remarks that stand above it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from relay.importing.tracini import without_comment
from relay.options import trac_boolean

_WORDS = ("yes", "true", "enabled", "on", "no", "false", "disabled", "off", "0", "1", "")
_WIDTH = 110


@dataclass(slots=True)
class Draft:
    """`given` is what trac.ini says, inherited files included; `values` what config.ini will say."""

    given: Mapping[str, str]
    values: dict[str, str] = field(default_factory=dict)
    remarks: dict[str, list[str]] = field(default_factory=dict)

    def text(self, name: str) -> str:
        """An option of trac.ini on one line, "" when it is not there."""
        return " ".join(self.given.get(name, "").split("\n"))

    def word(self, name: str) -> str:
        """The same for an option that holds no free text: without a comment behind it."""
        return without_comment(self.text(name)).strip()

    def put(self, name: str, value: str, *remarks: str) -> None:
        """An option, and why it is not what trac.ini says."""
        self.values[name] = value
        self.remark(name, *remarks)

    def remark(self, name: str, *remarks: str) -> None:
        """Something a person should know about an option, whether it stands there or not."""
        self.remarks.setdefault(name, []).extend(remarks)

    def boolean(self, name: str) -> bool | None:
        """Trac's reading of a boolean option, put as true or false; None when trac.ini does not have it."""
        if name not in self.given:
            return None
        word = self.word(name)
        value = trac_boolean(word)
        self.put(name, "true" if value else "false")
        if not value and word.lower() not in _WORDS:
            self.remark(name, f"trac.ini says {word!r}, which Trac takes for false")
        return value

    def lines(self) -> list[str]:
        """The options in the order in which they were put, remarks as comments above them."""
        lines: list[str] = []
        for name in dict.fromkeys((*self.values, *self.remarks)):
            for remark in self.remarks.get(name, ()):
                lines += comment(remark if name in self.values else f"{name}: {remark}")
            if name in self.values:
                lines.append(f"{name} = {self.values[name]}".rstrip())
        return lines


def comment(text: str) -> list[str]:
    """A comment, broken into lines of a readable width."""
    lines, line = [], "#"
    for word in printable(text).split():
        if len(line) + len(word) >= _WIDTH and line != "#":
            lines.append(line)
            line = "#"
        line += f" {word}"
    return [*lines, line]


def printable(text: str) -> str:
    """Without characters that would be more than text in a file or on a terminal."""
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text)
