"""Loaded: one frozen Configuration, and the faults and warnings that reading it brought."""

import os
import socket
from dataclasses import dataclass, field
from pathlib import Path

from relay import journal, places, secretfile
from relay.admission import ListenerOptions
from relay.exchangers import MxOptions
from relay.inifile import Fault, IniFile
from relay.journal import LogOptions
from relay.limits import ClientOptions, Limits, Meter, ProfileLimits
from relay.people import Users
from relay.policy import Policy
from relay.profiles import DEFAULT, Match, Profile
from relay.records import DnsOptions
from relay.retry import RetryOptions
from relay.routes import RouteOptions, Rule
from relay.routing import NextHopOptions, Upstream, mx_from, upstream_from, upstreams_from
from relay.spool import SpoolOptions
from relay.status import StatusOptions
from relay.transaction import Timeouts


@dataclass(frozen=True, slots=True)
class ProfileSection:
    """[notification] or a [notification:NAME], what the latter inherits filled in."""

    section: str
    policy: Policy
    next_hop: NextHopOptions
    match: tuple[Match, ...] = ()
    limits: ProfileLimits = ProfileLimits()

    @property
    def name(self) -> str:
        """The profile's name; `notification` is that of the plain section."""
        return self.section.partition(":")[2] or DEFAULT


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
    dns: DnsOptions
    mx: MxOptions
    log: LogOptions
    status: StatusOptions
    users: Users = Users()
    profiles: tuple[ProfileSection, ...] = ()
    """Every [notification:NAME], in file order."""
    upstreams: tuple[tuple[str, NextHopOptions], ...] = ()
    """Every [upstream:NAME]."""
    routes: tuple[tuple[str, RouteOptions], ...] = ()
    """Every [route:NAME], in file order."""
    limits: ProfileLimits = ProfileLimits()
    """Those of [notification]."""
    clients: tuple[tuple[str, ClientOptions], ...] = ()
    """Every [client:NAME], in file order."""

    @property
    def notifications(self) -> tuple[ProfileSection, ...]:
        """[notification], then the profiles."""
        return (ProfileSection(DEFAULT, self.policy, self.next_hop, limits=self.limits), *self.profiles)

    @property
    def submission_socket(self) -> str:
        """Where the sendmail drop-in submits; "" when it can not."""
        given = self.listener.submission
        return places.submission_socket(str(self.path.absolute())) if given is None else given


def profiles_of(configuration: Configuration) -> tuple[Profile, ...]:
    """The profiles ready for work, the default one first. Raises ValueError, KeyError where `check` finds faults."""
    made: list[Profile] = []
    for section in configuration.notifications:
        hop = section.next_hop
        named = _named(configuration, hop.upstream, hop.outbox)
        first, *rest = named or (upstream_from(hop, section.section),)
        made.append(Profile(section.name, section.policy, first, tuple(rest), section.match))
    return tuple(made)


def _named(configuration: Configuration, names: tuple[str, ...], outbox: str) -> tuple[Upstream, ...]:
    return upstreams_from(names, outbox, dict(configuration.upstreams), mx_from(configuration.mx))


def routes_of(configuration: Configuration) -> tuple[Rule, ...]:
    """Every [route:NAME] ready for work, in file order. Raises as `profiles_of`."""
    outbox = configuration.next_hop.outbox
    return tuple(
        Rule(name, _named(configuration, options.upstream, outbox), options.match, options.profile)
        for name, options in configuration.routes
    )


def upstreams_of(configuration: Configuration) -> list[Upstream]:
    """Every next hop, once, those that nothing uses as well. Raises as `profiles_of`."""
    used = [one.upstreams for one in profiles_of(configuration)]
    used += [one.upstreams for one in routes_of(configuration)]
    found = {up.name: up for upstreams in used for up in upstreams}
    return list(found.values()) + [upstream_from(hop, n) for n, hop in configuration.upstreams if n not in found]


def hostname_of_system() -> str:
    """This host's name, where it is one."""
    name = socket.gethostname()
    return name if name.isascii() and name.replace("-", "").replace(".", "").isalnum() else "localhost"


def limits_of(configuration: Configuration, meter: Meter) -> Limits:
    """What clients and profiles may do, counted by `meter`."""
    limited = {one.name: one.limits for one in configuration.notifications if one.limits != ProfileLimits()}
    return Limits(configuration.clients, limited, meter)


def token_folder(configuration: Configuration) -> Path:
    """Where OAuth2 tokens are kept: in the spool's folder, which is the relay's alone."""
    return Path(configuration.spool.path, "tokens")


def policy_folder(configuration: Configuration) -> Path:
    """Where MTA-STS policies are kept: there, too."""
    return Path(configuration.spool.path, "mta-sts")


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

    def fault_once(self, section: str, option: str, text: str) -> None:
        """As `fault`; what a profile only inherits is said of [notification] alone."""
        if not _said(self.faults, option, text):
            self.fault(section, option, text)

    def is_wrong(self, option: str, *sections: str) -> bool:
        """True when a fault of this option was found in one of these sections."""
        return any(fault.option == option and fault.section in sections for fault in self.faults)

    def warn_once(self, section: str, option: str, text: str) -> None:
        """As `warn`, with the same exception."""
        if not _said(self.warnings, option, text):
            self.warn(section, option, text)

    def warn(self, section: str, option: str, text: str) -> None:
        """Something that a person should know, and that is allowed."""
        self.warnings.append(Fault(self.line(section, option), section, option, text))

    def exposed(self, section: str, option: str, path: Path) -> bool:
        """True when the file of a secret may not be read: that is a fault, with `secret_modes = warn` a warning.

        One that is not there, or no regular file, is a fault in either case.
        """
        why = secretfile.exposed(path)
        lenient = self.ini.lenient and os.path.isfile(path)
        if why:
            (self.warn_once if lenient else self.fault)(section, option, why)
        return bool(why) and not lenient

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


def _said(found: list[Fault], option: str, text: str) -> bool:
    return any((fault.section, fault.option, fault.text) == (DEFAULT, option, text) for fault in found)


@dataclass(frozen=True, slots=True)
class Reloaded:
    """What a reload brought: faults, which keep the old configuration, or warnings about the new one."""

    faults: list[str]
    warnings: list[str] = field(default_factory=list)

    def log(self) -> None:
        """Say it in the log as well."""
        for line in (*self.faults, *self.warnings):
            journal.warning("", f"reload: {line}")
        journal.info("", "the old configuration stays" if self.faults else "configuration reloaded")


def needs_restart(old: Configuration, new: Configuration) -> list[str]:
    """What a reload can not change."""
    texts: list[str] = []
    if old.submission_socket != new.submission_socket:
        texts.append("[listener] submission has changed: that needs a restart; the old socket stays")
    if old.listener.listen != new.listener.listen:
        texts.append("[listener] listen has changed: that needs a restart; the old addresses stay")
    if old.spool != new.spool:
        texts.append("[spool] has changed: that needs a restart; the old spool stays")
    return texts
