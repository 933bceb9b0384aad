"""Records: what DNS has said, as values, and where it is asked. No I/O: `resolver.py` asks."""

import ipaddress
import re
from dataclasses import dataclass
from typing import Any

from relay.options import duration, option

DNS_PORT = 53


@dataclass(frozen=True, slots=True)
class Mx:
    """A mail exchanger (RFC 1035 3.3.9): the lower `preference` first. `host` as DNS writes it, "" for the root."""

    preference: int
    host: str


@dataclass(frozen=True, slots=True)
class Srv:
    """Where a service is (RFC 2782); `target` is "" (the root) where it is not offered."""

    priority: int
    weight: int
    port: int
    target: str


@dataclass(frozen=True, slots=True)
class Tlsa:
    """What a certificate must be (RFC 6698 2.1)."""

    usage: int
    selector: int
    matching: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What DNS says to one question; to say nothing is an answer, too.

    `records` are Mx, Srv, Tlsa, addresses (str) or texts (octets), as the question was; `exists` is False
    where there is no such name at all (NXDOMAIN). `authentic`: a validating resolver on this host has
    proved all of it by DNSSEC, that there is nothing as well. `name` is the one that aliases (CNAME) led to.
    """

    name: str
    records: tuple[Any, ...] = ()
    exists: bool = True
    authentic: bool = False


@dataclass(frozen=True, slots=True)
class Nameserver:
    """Where DNS is asked: an address and a port."""

    address: str
    port: int = DNS_PORT

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


_WITH_PORT = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+)):(\d{1,5})")


def nameservers(value: str) -> tuple[Nameserver, ...]:
    """ADDRESS, ADDRESS:PORT or [v6]:PORT, separated by commas or blanks. Raises ValueError."""
    return tuple(_nameserver(word) for word in re.split(r"[,\s]+", value.strip()) if word)


def _nameserver(word: str) -> Nameserver:
    parts = _WITH_PORT.fullmatch(word)
    address, port = (parts[1] or parts[2], int(parts[3])) if parts else (word, DNS_PORT)
    try:
        if not 0 < port < 65536:
            raise ValueError
        return Nameserver(str(ipaddress.ip_address(address)), port)
    except ValueError as fault:
        text = f"{word!r} is no name server: write its address, as in 127.0.0.1, 192.0.2.1:5353 or [2001:db8::1]:53"
        raise ValueError(text) from fault


def patience(value: str) -> float:
    """A duration of 0.1 s to 1 min. Raises ValueError."""
    seconds = duration(value)
    if not 0.1 <= seconds <= 60:
        raise ValueError(f"{value.strip()!r}: between 0.1s and 1m")
    return seconds


@dataclass(frozen=True, slots=True)
class DnsOptions:
    """[dns]: whom we ask about MX, SRV and TLSA. A server's plain address is looked up by the system."""

    nameservers: tuple[Nameserver, ...] = option(
        (),
        "The resolvers to ask: ADDRESS, ADDRESS:PORT or [v6]:PORT; empty: those of /etc/resolv.conf. Only one on this"
        " host (127.0.0.1, ::1) is believed when it says that DNSSEC has proved an answer",
        nameservers,
    )
    timeout: float = option(10.0, "Until a question has its answer, all resolvers together", patience, shown="10s")
