"""Limits: who may send as whom, to whom, and how much in a time; as Replies, None where there is nothing against it.

A client is limited by the first [client:NAME] that it fits, a profile by its own section. What was taken is
remembered in memory: a restart forgets it.
"""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from relay.address import Address, AddressError, ascii_domain, parse, parse_domain
from relay.entry import Client
from relay.options import integer, option
from relay.profiles import Match
from relay.reply import Reply

KINDS = ("host", "user", "listener")
_FORMS = "host: NETWORK, user: LOGIN or listener: ADDRESS"
_MINUTE, _DAY = 60.0, 86400.0
_MOST = 10**9


def client_matches(value: str) -> tuple[Match, ...]:
    """The conditions, of which any is enough: one a line, or separated by commas."""
    return tuple(_match(part) for part in re.split(r"[,\n]", value) if part.strip())


def _match(text: str) -> Match:
    kind, colon, wanted = (part.strip() for part in text.partition(":"))
    if not colon or kind.lower() not in KINDS or not wanted:
        raise ValueError(f"{text.strip()!r} says nothing about a client: write {_FORMS}")
    if kind.lower() == "host":
        try:
            wanted = str(ipaddress.ip_network(wanted))
        except ValueError as fault:
            raise ValueError(f"{text.strip()!r}: {fault}") from fault
    return Match(kind.lower(), wanted)


def path_list(value: str) -> tuple[Address, ...]:
    """Addresses and @domains, `<>` for the null path (an address of nothing), separated by commas or blanks."""
    return tuple(_path(word) for word in re.split(r"[,\s]+", value.strip()) if word)


def _path(word: str) -> Address:
    try:
        if word == "<>":
            return Address("")
        return Address("", parse_domain(word[1:])) if word.startswith("@") else parse(word)
    except AddressError as fault:
        raise ValueError(f"{word!r} is none of an address, @DOMAIN and <>: {fault}") from fault


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """[client:NAME]"""

    match: tuple[Match, ...] = option(
        (),
        "Which clients: host: NETWORK, user: LOGIN (of AUTH, or the local user behind a unix socket) or listener:"
        " ADDRESS. Several: one a line, or separated by commas; any of them is enough",
        client_matches,
    )
    senders: tuple[Address, ...] = option(
        (), "What it may say in MAIL FROM: addresses, @DOMAIN, <> for the null path; empty: anything", path_list
    )
    recipients: tuple[Address, ...] = option(
        (), "What it may say in RCPT TO: addresses, bare names, @DOMAIN; empty: anything", path_list
    )
    mails_per_minute: int = option(0, "Mails that it may begin in a minute; 0: no limit", integer(0, _MOST))
    recipients_per_minute: int = option(0, "Recipients that it may name in a minute; 0: no limit", integer(0, _MOST))
    mails_per_day: int = option(0, "Mails that it may begin in a day; 0: no limit", integer(0, _MOST))


@dataclass(frozen=True, slots=True)
class ProfileLimits:
    """What may come in for one profile; it is inherited, and counted for each profile by itself."""

    accept_per_minute: int = option(0, "Mails taken from trackers in a minute; 0: no limit", integer(0, _MOST))
    accept_per_day: int = option(0, "Mails taken from trackers in a day; 0: no limit", integer(0, _MOST))


_ROUNDING = 1e-9
"""What sinks in several steps may leave this much of a level that has sunk to nothing."""


class Meter:
    """How much was taken, by whom: a level for each, which sinks with time (a leaky bucket)."""

    def __init__(self) -> None:
        self._levels: dict[tuple[str, str, str], tuple[float, float]] = {}

    def take(self, key: tuple[str, str, str], limit: int, seconds: float, now: float) -> bool:
        """Take one of `limit` in `seconds`, at the time `now`; False, and nothing is taken, when there is none left."""
        level, at = self._levels.get(key, (0.0, now))
        level = max(level - max(now - at, 0.0) * limit / seconds, 0.0)
        taken = level + 1 <= limit + _ROUNDING
        self._levels[key] = (level + taken, now)
        return taken


@dataclass(frozen=True, slots=True)
class Limits:
    """Every [client:NAME] in file order, and the profiles that have a limit. `meter` outlasts a reload."""

    clients: tuple[tuple[str, ClientOptions], ...] = ()
    profiles: Mapping[str, ProfileLimits] = field(default_factory=dict)
    meter: Meter = field(default_factory=Meter)

    def of(self, client: Client) -> tuple[str, ClientOptions] | None:
        """The first section that this client fits."""
        return next((one for one in self.clients if any(fits(match, client) for match in one[1].match)), None)

    def sender(self, client: Client, path: Address | None, now: float) -> Reply | None:
        """Whether it may begin one more mail, from there."""
        if not self.clients or (found := self.of(client)) is None:
            return None
        name, options = found
        if options.senders and not named(path or Address(""), options.senders):
            return Reply(550, "5.7.1", "this client may not send from that address")
        return self._rate("client", name, options.mails_per_minute, options.mails_per_day, now)

    def recipient(self, client: Client, path: Address) -> Reply | None:
        """Whether it may send to that address."""
        if not self.clients or (found := self.of(client)) is None:
            return None
        if found[1].recipients and not named(path, found[1].recipients):
            return Reply(550, "5.7.1", "this client may not send to that address")
        return None

    def recipients(self, client: Client, now: float) -> Reply | None:
        """Whether it may name one more recipient."""
        if not self.clients or (found := self.of(client)) is None:
            return None
        name, limit = found[0], found[1].recipients_per_minute
        if not limit or self.meter.take(("recipients", name, "minute"), limit, _MINUTE, now):
            return None
        return Reply(452, "4.7.1", f"more than {limit} recipients in a minute, try again later")

    def profile(self, name: str, now: float) -> Reply | None:
        """Whether one more mail of that profile may be taken."""
        limits = self.profiles.get(name, ProfileLimits())
        return self._rate("profile", name, limits.accept_per_minute, limits.accept_per_day, now)

    def _rate(self, kind: str, name: str, minute: int, day: int, now: float) -> Reply | None:
        for limit, span, seconds in ((minute, "minute", _MINUTE), (day, "day", _DAY)):
            if limit and not self.meter.take((kind, name, span), limit, seconds, now):
                return Reply(452, "4.7.1", f"more than {limit} mails in a {span}, try again later")
        return None


def fits(match: Match, client: Client) -> bool:
    """True when this condition holds for the client."""
    match match.kind:
        case "user":
            local = match.uid is not None and client.uid == match.uid
            return local or (bool(client.user) and client.user.casefold() == match.value.casefold())
        case "listener":
            return client.listener.casefold() == match.value.casefold()
    if client.uid is not None:
        return False
    address = ipaddress.ip_address(client.address.partition("%")[0])
    address = getattr(address, "ipv4_mapped", None) or address
    return address in ipaddress.ip_network(match.value)


def named(path: Address, listed: tuple[Address, ...]) -> bool:
    """True when the address, or its whole domain, stands in the list."""
    domain = ascii_domain(path.domain)
    for one in listed:
        if one.local == "" and one.domain:
            if domain == ascii_domain(one.domain):
                return True
        elif one.key == path.key:
            return True
    return False
