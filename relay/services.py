"""Services: which hosts take submissions for a domain, in the order to try, by its SRV records (RFC 6186, RFC 8314).

1. `_submissions._tcp`, TLS from the first octet, comes before `_submission._tcp`, where STARTTLS is demanded.
2. Within each the lowest priority first, equal ones by chance and weight (RFC 2782); "." is no host: not offered.
3. A log-in goes there, and DNS is a stranger's word: a host outside of the domain must be named in `srv_targets`,
   or DNSSEC must have proved the records (RFC 6186 6). What the certificate must prove is that host's name.
"""

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from relay.address import AddressError, ascii_domain, parse_domain
from relay.exchangers import Draw, by_weight, is_host_name
from relay.records import Answer, Srv

PREFIX = "srv:"
"""In front of a domain, where a server is named: its SRV records say who that is."""
SERVICES = {"implicit": "_submissions._tcp", "starttls": "_submission._tcp"}
"""By the TLS mode of a service, the better one first: its name in DNS."""
EITHER = ", ".join(SERVICES)
"""The TLS mode of a next hop that takes what is offered of both."""
MOST_HOSTS = 6
"""Hosts of one domain that are tried."""


def server_name(value: str) -> str:
    """A host's name or address, unix:PATH or srv:DOMAIN, as it is written, or nothing. Raises ValueError.

    A name of a local network may be anything that a hosts file may hold; two servers, a port or a URL are none.
    """
    value = value.strip()
    name, _, port = value.rpartition(":")
    if not value or value.startswith(("unix:", PREFIX)) or is_address(value):
        return value
    if port.isdecimal() and (is_address(name) or (name and not _NO_NAME.search(name))):
        raise ValueError(f"{value!r} is a server and a port: keep {name}, and give the port an option of its own")
    if _NO_NAME.search(value):
        raise ValueError(f"{value!r} is none of host, IP address, unix:PATH, srv:DOMAIN")
    return value


_NO_NAME = re.compile(r"[\s:/@,;<>\[\]\"']")


def is_address(text: str) -> bool:
    """True for an IP address, one of version 6 in brackets or not."""
    bracketed = text.startswith("[") and text.endswith("]")
    try:
        return ipaddress.ip_address(text[1:-1] if bracketed else text).version == 6 or not bracketed
    except ValueError:
        return False


class Options(Protocol):
    """The options of a next hop that matter here."""

    @property
    def smtp_server(self) -> str: ...  # noqa: D102 - as routing.NextHopOptions declares them
    @property
    def smtp_port(self) -> int | None: ...  # noqa: D102
    @property
    def use_tls(self) -> bool | None: ...  # noqa: D102
    @property
    def tls(self) -> str: ...  # noqa: D102
    @property
    def srv_targets(self) -> tuple[str, ...]: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Service:
    """One host that takes submissions. `tls` is implicit or starttls; `authentic`: DNSSEC has proved its record."""

    host: str
    port: int
    tls: str
    authentic: bool = False


def domain_of(server: str) -> str:
    """The domain whose SRV records name the server; "" for a server that is named itself."""
    return ascii_domain(server.removeprefix(PREFIX).strip()) if server.startswith(PREFIX) else ""


def target(value: str) -> str:
    """NAME, or .DOMAIN for all hosts below it; in lower-case A-labels. Raises ValueError."""
    try:
        name = ascii_domain(parse_domain(value.removeprefix(".")))
    except AddressError as fault:
        raise ValueError(f"{value!r} is no host name: {fault}") from fault
    if not is_host_name(name):
        raise ValueError(f"{value!r} is no host name")
    return f".{name}" if value.startswith(".") else name


def faults(options: Options) -> list[tuple[str, str]]:
    """Every contradiction: the option's name, and what is wrong and what to do."""
    if not options.smtp_server.startswith(PREFIX):
        text = "smtp_server is no srv:DOMAIN, so no DNS names the server: remove it"
        return [("srv_targets", text)] if options.srv_targets else []
    try:
        usable = is_host_name(ascii_domain(parse_domain(options.smtp_server.removeprefix(PREFIX).strip())))
    except AddressError:
        usable = False
    if not usable:
        return [("smtp_server", f"{options.smtp_server!r} names no domain: write srv: and a domain")]
    found: list[tuple[str, str]] = []
    if options.smtp_port:
        found.append(("smtp_port", f"DNS says the port of {options.smtp_server}: remove it"))
    always = "srv: is always TLS: implicit (_submissions), starttls (_submission), or both where it is absent"
    if options.tls in ("none", "opportunistic"):
        found.append(("tls", always))
    elif options.use_tls is False:
        found.append(("use_tls", always))
    return found


def questions(domain: str, tls: str) -> dict[str, str]:
    """By TLS mode: the name to ask DNS for. `tls` is that of the next hop: implicit, starttls or EITHER."""
    return {mode: f"{name}.{domain}" for mode, name in SERVICES.items() if mode in tls}


def offered(
    domain: str, answers: Mapping[str, Answer], targets: Sequence[str], draw: Draw
) -> tuple[list[Service], list[str]]:
    """The hosts in the order to try, and the names that DNS has said and nothing vouches for; `answers` by TLS mode."""
    found: list[Service] = []
    strange: list[str] = []
    for mode in SERVICES:
        if mode not in answers:
            continue
        answer = answers[mode]
        for row in _in_order(answer.records, draw):
            name = row.target.lower()
            if not is_host_name(name) or not row.port:
                continue
            if answer.authentic or any(_is(name, one) for one in (domain, f".{domain}", *targets)):
                found.append(Service(name, row.port, mode, answer.authentic))
            else:
                strange.append(name)
    return list(dict.fromkeys(found))[:MOST_HOSTS], list(dict.fromkeys(strange))


def _in_order(records: Sequence[Srv], draw: Draw) -> list[Srv]:
    priorities = sorted({row.priority for row in records})
    return [
        row
        for priority in priorities
        for row in by_weight([row for row in records if row.priority == priority], lambda row: row.weight, draw)
    ]


def _is(name: str, wanted: str) -> bool:
    return name.endswith(wanted) if wanted.startswith(".") else name == wanted


def nobody(domain: str, tls: str, strange: Sequence[str]) -> str:
    """Why no host is left, for people."""
    if strange:
        named = ", ".join(strange[:MOST_HOSTS])
        text = f"DNS names {named}, outside of {domain} and not proved by DNSSEC"
        return f"{text}: if that is right, set srv_targets = {named}"
    return f"{domain} offers no {' and no '.join(SERVICES[mode] for mode in SERVICES if mode in tls)}"
