"""Finding: what one check has found, and what to do about it; printed for people and for scripts."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Level(StrEnum):
    """OK; WARN: mail goes, and somebody should look; FAIL: mail does not go, or will not arrive."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One row. `about` is what was looked at, `remedy` the lines to type or to write, "" when nothing is to do."""

    check: str
    about: str
    level: Level
    text: str
    remedy: str = ""

    def form(self) -> dict[str, Any]:
        """As JSON has it; docs/commands.md names the fields."""
        return {
            "check": self.check,
            "about": self.about,
            "level": str(self.level),
            "text": self.text,
            "remedy": self.remedy,
        }

    def lines(self) -> list[str]:
        """As people read it."""
        first = f"{self.level.upper():<5} {self.check:<9} {self.about + ': ' if self.about else ''}{self.text}"
        return [first, *(f"      {'-> ' if not n else '   '}{line}" for n, line in enumerate(self.remedy.splitlines()))]


def ok(check: str, about: str, text: str) -> Finding:
    """All is well."""
    return Finding(check, about, Level.OK, text)


def warn(check: str, about: str, text: str, remedy: str = "") -> Finding:
    """Mail goes, and somebody should look."""
    return Finding(check, about, Level.WARN, text, remedy)


def fail(check: str, about: str, text: str, remedy: str) -> Finding:
    """Mail does not go, or will not arrive: what to do is always said."""
    return Finding(check, about, Level.FAIL, text, remedy)


def shown(finding: Finding, secrets: Iterable[str]) -> Finding:
    """The same without our secrets, which a hostile server may say back, and without control characters."""
    text, remedy = finding.text, finding.remedy
    for secret in secrets:
        text, remedy = text.replace(secret, "***"), remedy.replace(secret, "***")
    return Finding(
        finding.check,
        printable(finding.about),
        finding.level,
        printable(text),
        "\n".join(map(printable, remedy.split("\n"))),
    )


def printable(text: str) -> str:
    """One line that changes nothing on a terminal."""
    return "".join(c if c.isprintable() else " " for c in text)
