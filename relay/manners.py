"""Manners: how much a next hop may be asked: connections, mails over each, mails a minute, recipients a day. Pure.

Known providers' limits are data with their source (`PROVIDERS`); each can be overridden. A minute is
counted exactly: any 60 seconds hold at most so many mails. A day is 24 hours that glide along, in
steps of an hour, which errs on the side of fewer.
"""

import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from relay.options import choice, duration, duration_or_off, integer, option

AS_OF = "2026-11"
"""When the providers' pages were read last."""
MINUTE, HOUR = 60.0, 3600.0
HOURS = 24
MOST_WAIT = 120.0
"""Seconds that a mail waits for its place in the minute with a worker of its own; behind that it stays in the queue."""


@dataclass(frozen=True, slots=True)
class Manners:
    """What a next hop is asked at most; 0 is no limit for what follows `mails`. `age` is a connection's, in seconds."""

    connections: int = 20
    mails: int = 100
    age: float = 300.0
    per_minute: int = 0
    per_day: int = 0
    canary: float | None = 300.0
    """Seconds between two looks at whether it works, None for none."""


@dataclass(frozen=True, slots=True)
class Provider:
    """The documented limits of one provider, for each account; `source` says where they stand."""

    servers: tuple[str, ...]
    limits: Mapping[str, int]
    source: str
    user_domains: tuple[str, ...] = ()
    """Log-ins that it is about, by their domain; empty: all of those servers."""


PROVIDERS: dict[str, Provider] = {
    # Checked in this order: a consumer's Gmail account stands before Workspace.
    "microsoft": Provider(
        ("smtp.office365.com", "smtp.office365.us", "smtp-legacy.office365.com", "smtp-mail.outlook.com"),
        {"connections": 3, "per_minute": 30, "per_day": 10000},
        "https://learn.microsoft.com/en-us/exchange/troubleshoot/send-emails/smtp-submission-improvements",
    ),
    "gmail": Provider(
        ("smtp.gmail.com", "smtp.googlemail.com"),
        {"per_day": 500},
        "https://support.google.com/mail/answer/22839",
        ("gmail.com", "googlemail.com"),
    ),
    "workspace": Provider(
        ("smtp.gmail.com", "smtp.googlemail.com"),
        {"per_day": 2000},
        "https://support.google.com/a/answer/166852",
    ),
}
NONE = "none"


@dataclass(frozen=True, slots=True)
class MannersOptions:
    """How much this next hop is asked; absent ones are the provider's documented limits, else ours."""

    limits: str = option(
        "",
        f"Whose documented limits hold: {', '.join(PROVIDERS)}, or none; empty: those of the server's provider",
        choice("", NONE, *PROVIDERS),
    )
    connections: int | None = option(None, "Connections at one time at most", integer(1, 200), shown="(20)")
    connection_mails: int | None = option(
        None, "Mails over one connection at most", integer(1, 1_000_000), shown="(100)"
    )
    connection_age: float | None = option(
        None, "A connection this old takes no further mail; 0: no limit", duration, shown="(5m)"
    )
    mails_per_minute: int | None = option(
        None, "Mails in any 60 seconds at most; 0: no limit", integer(0, 100_000), shown="(0)"
    )
    recipients_per_day: int | None = option(
        None, "Recipients in any 24 hours at most, counted across restarts; 0: no limit", integer(0, 10**8), shown="(0)"
    )
    canary: float | None = option(
        300.0,
        "How often it is tried out (connect, TLS, log-in, NOOP) while no mail proves that it works; off: never",
        duration_or_off,
        shown="5m",
    )


OPTION_NAMES = tuple(f.name for f in fields(MannersOptions))
SHORTEST_CANARY = 30.0


def faults(options: MannersOptions) -> list[tuple[str, str]]:
    """What can not be meant: the option's name, and what to do."""
    if options.canary is not None and options.canary < SHORTEST_CANARY:
        return [("canary", f"a look each {options.canary:g}s would be a nuisance: 30s or more, or off")]
    return []


def provider_of(server: str, user: str) -> str:
    """The provider whose server that is, "" when it is nobody's known here."""
    name = server.strip("[]").rstrip(".").lower()
    domain = user.rpartition("@")[2].lower()
    for provider, known in PROVIDERS.items():
        if name in known.servers and (not known.user_domains or domain in known.user_domains):
            return provider
    return ""


def manners_of(options: MannersOptions, server: str, user: str) -> Manners:
    """The limits that hold for a server under a log-in: what is given, else the provider's, else ours."""
    chosen = options.limits or provider_of(server, user)
    known: dict[str, float] = dict(PROVIDERS[chosen].limits) if chosen in PROVIDERS else {}
    given = {
        "connections": options.connections,
        "mails": options.connection_mails,
        "age": options.connection_age,
        "per_minute": options.mails_per_minute,
        "per_day": options.recipients_per_day,
    }
    known |= {name: value for name, value in given.items() if value is not None}
    return Manners(**known, canary=options.canary)  # type: ignore[arg-type]


@dataclass(slots=True)
class Minute:
    """Places for mails in time: any 60 seconds hold at most `most`. Times are those of one steady clock."""

    most: int
    _places: deque[float] = field(init=False)
    _behind: int = 0

    def __post_init__(self) -> None:
        self._places = deque(maxlen=self.most)

    def limit(self, most: int) -> None:
        """So many from now on; the places that are taken stay taken."""
        if most != self.most:
            self.most, self._places = most, deque(self._places, most)

    def wait(self, now: float) -> float:
        """Seconds until one more mail may begin."""
        return max(self._places[0] + MINUTE - now, 0.0) if len(self._places) == self.most else 0.0

    def take(self, now: float) -> float:
        """Take the next place; seconds until it comes, 0.0 for now."""
        wait = self.wait(now)
        self._places.append(now + wait)
        self._behind = 0
        return wait

    def stand_behind(self, now: float) -> float:
        """Without a place: seconds after which to ask again, so that those who asked before have asked before."""
        self._behind += 1
        return self.wait(now) + self._behind * MINUTE / self.most


@dataclass(slots=True)
class Day:
    """Recipients in the last 24 hours, counted by the hour. Times are wall-clock seconds since 1970.

    What is kept on disk runs ahead of what was sent, by a hundredth of the limit: a crash makes the
    count too high by no more, never too low, and few mails wait for the disk.
    """

    most: int
    _counts: dict[int, int] = field(default_factory=dict)
    _ahead: int = 0

    def used(self, now: float) -> int:
        """Recipients of the last 24 hours."""
        hour = int(now // HOUR)
        for old in [h for h in self._counts if h <= hour - HOURS or h > hour]:
            del self._counts[old]
        return sum(self._counts.values())

    def wait(self, now: float, recipients: int) -> float:
        """Seconds until so many more may be had; 0.0 for now. A mail to more than all of a day never fits."""
        over = self.used(now) + recipients - self.most
        if over <= 0:
            return 0.0
        for hour in sorted(self._counts):
            over -= self._counts[hour]
            if over <= 0:
                return (hour + HOURS) * HOUR - now
        return HOURS * HOUR

    def take(self, now: float, recipients: int) -> bool:
        """Count them; True when `kept` must be on disk before the mail goes."""
        hour = int(now // HOUR)
        self._counts[hour] = self._counts.get(hour, 0) + recipients
        self._ahead -= recipients
        if self._ahead >= 0:
            return False
        self._ahead = max(self.most // 100, 1)
        return True

    def give_back(self, recipients: int) -> None:
        """So many of those that were taken last have got nothing. What is kept on disk stays ahead of the count."""
        for hour in sorted(self._counts, reverse=True):
            back = min(recipients, self._counts[hour])
            self._counts[hour] -= back
            self._ahead += back
            recipients -= back

    def kept(self, now: float, *, exact: bool = False) -> str:
        """The count as it is stored; `exact` at an orderly end."""
        counts = dict(self._counts)
        if not exact:
            hour = int(now // HOUR)
            counts[hour] = counts.get(hour, 0) + self._ahead
        return json.dumps(counts)

    def restore(self, kept: str) -> None:
        """What was stored; nothing of it when it can not be read."""
        try:
            counts = {int(hour): int(number) for hour, number in json.loads(kept).items()}
        except (ValueError, TypeError, AttributeError):
            return
        for hour, number in counts.items():
            self._counts[hour] = self._counts.get(hour, 0) + max(number, 0)
