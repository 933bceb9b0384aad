"""Loaded: one frozen Configuration, and the faults and warnings that reading it brought."""

from dataclasses import dataclass, field
from pathlib import Path

from relay import places
from relay.admission import ListenerOptions
from relay.inifile import Fault, IniFile
from relay.journal import LogOptions
from relay.people import User
from relay.policy import Policy
from relay.retry import RetryOptions
from relay.routing import NextHopOptions
from relay.sections import StatusOptions
from relay.spool import SpoolOptions
from relay.transaction import Timeouts


@dataclass(frozen=True, slots=True)
class Configuration:
    """Everything config.ini says. Secrets are `Secret`s: nothing here shows them."""

    path: Path
    listener: ListenerOptions
    spool: SpoolOptions
    retry: RetryOptions
    policy: Policy
    next_hop: NextHopOptions
    timeouts: Timeouts
    log: LogOptions
    status: StatusOptions
    users: tuple[User, ...] = ()

    @property
    def submission_socket(self) -> str:
        """Where the sendmail drop-in submits; "" when it can not."""
        given = self.listener.submission
        return places.submission_socket(str(self.path.absolute())) if given is None else given


@dataclass(slots=True)
class Loaded:
    """What reading brought. `configuration` is complete only when there are no faults."""

    path: Path
    ini: IniFile
    configuration: Configuration
    faults: list[Fault] = field(default_factory=list)
    warnings: list[Fault] = field(default_factory=list)

    def given(self, section: str, option: str) -> bool:
        """True when the file sets that option."""
        return option in self.ini.sections.get(section, {})

    def fault(self, section: str, option: str, text: str) -> None:
        """Something wrong with an option, or with its absence."""
        self.faults.append(Fault(self.line(section, option), section, option, text))

    def warn(self, section: str, option: str, text: str) -> None:
        """Something that a person should know, and that is allowed."""
        self.warnings.append(Fault(self.line(section, option), section, option, text))

    def line(self, section: str, option: str) -> int:
        """Where an option stands; for an absent one its section, else the file's first line."""
        value = self.ini.sections.get(section, {}).get(option)
        value = value or self.ini.sections.get(section, {}).get(f"{option}_file")
        return value.line if value else self.ini.lines.get(section, 1)

    def fault_lines(self) -> list[str]:
        """The faults as they are shown, by line."""
        return [fault.shown(str(self.path)) for fault in sorted(self.faults, key=lambda f: f.line)]

    def warning_lines(self) -> list[str]:
        """The warnings as they are shown, by line."""
        return [fault.shown(str(self.path)) for fault in sorted(self.warnings, key=lambda f: f.line)]
