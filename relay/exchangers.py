"""Exchangers: which hosts take the mail of a domain, in the order to try, out of what DNS has said (RFC 5321 5.1).

1. The MX with the lowest preference first, equal ones in the order that chance says.
2. A null MX (RFC 7505) takes no mail; no MX at all makes the domain itself the host.
3. We ourselves among them, and all that are no better than we, are left out: else mail would go in a circle.

DNS is a stranger's word: what is no host name is left out, and only the first MOST_HOSTS are looked at.
"""

import ipaddress
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TypeVar

from relay.options import boolean, choice, integer, option
from relay.records import Answer
from relay.reply import Reply

MOST_HOSTS = 10
"""Hosts of one domain whose addresses are asked for."""
MOST_ADDRESSES = 6
"""Addresses that one attempt tries to connect to; each may take until `[timeouts] connect`."""
_NAME = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")

Choice = TypeVar("Choice")
_SMALL = 0.01
"""What a weight of 0 weighs."""
Draw = Callable[[], float]
"""Chance: a number from 0 to 1, another one each time."""


@dataclass(frozen=True, slots=True)
class MxOptions:
    """[mx]: delivery to the recipients' own mail servers, where a next hop is `mx`."""

    port: int = option(25, "The port of mail servers", integer(1, 65535))
    ip: str = option(
        "any",
        "any, ipv4 or ipv6: which of their addresses to use; ipv4 where this host's IPv6 address has no name in DNS,"
        " which large providers refuse",
        choice("any", "ipv4", "ipv6"),
    )
    dane: bool = option(
        True, "Their TLSA records prove who they are (RFC 7672), where a resolver on this host validates", boolean
    )
    mta_sts: bool = option(True, "Heed the MTA-STS policies of the recipients' domains (RFC 8461)", boolean)


@dataclass(frozen=True, slots=True)
class Host:
    """One host to try. `name` is in lower-case A-labels: what a certificate of it proves.

    `preference` is that of its MX; `authentic`: DNSSEC has proved the way from the domain to this name.
    """

    name: str
    preference: int = 0
    authentic: bool = False
    addresses: tuple[str, ...] = ()


def exchangers(domain: str, answer: Answer, draw: Draw) -> tuple[Host, ...] | Reply:
    """The hosts of `domain` by its MX records, the best first; or the refusal that this is."""
    if not answer.exists:
        return Reply(550, "5.1.2", f"there is no domain {domain}")
    if not answer.records:
        return (Host(answer.name, authentic=answer.authentic),)
    if {mx.host for mx in answer.records} == {""}:
        return Reply(556, "5.1.10", f"{domain} takes no mail (null MX, RFC 7505)")
    ranked = sorted(answer.records, key=lambda mx: (mx.preference, draw()))
    found: dict[str, Host] = {}
    for mx in ranked:
        name = mx.host.lower()
        if is_host_name(name):
            found.setdefault(name, Host(name, mx.preference, answer.authentic))
    return tuple(found.values()) or Reply(550, "5.4.4", f"no MX of {domain} is a host name")


def before(hosts: Sequence[Host], ours: Collection[str]) -> tuple[Host, ...]:
    """Those that are better than we are; `ours` are the names among them that are this relay."""
    own = [host.preference for host in hosts if host.name in ours]
    return tuple(host for host in hosts if not own or host.preference < min(own))


def loop(domain: str) -> Reply:
    """The refusal where nobody is better than we."""
    advice = "if another server of this host takes its mail, lead it there by a [route:NAME]"
    return Reply(554, "5.4.6", f"the mail server of {domain} is this relay itself: {advice}")


def nowhere(domain: str, hosts: Sequence[Host]) -> Reply:
    """The refusal where no host has an address, and DNS is sure of it."""
    if [host.name for host in hosts] == [domain]:
        return Reply(550, "5.1.2", f"{domain} has no mail server: neither MX nor address")
    return Reply(550, "5.4.4", f"the mail servers of {domain} have no address: {', '.join(h.name for h in hosts)}")


def addresses(v6: Sequence[str], v4: Sequence[str], draw: Draw, ip: str = "any") -> tuple[str, ...]:
    """The addresses of a host that can be somebody's, in the order to try: IPv6 and IPv4 in turns, else by chance."""
    kinds = [_usable(v6, draw) if ip != "ipv4" else [], _usable(v4, draw) if ip != "ipv6" else []]
    turns = [kind[n] for n in range(max(map(len, kinds))) for kind in kinds if n < len(kind)]
    return tuple(dict.fromkeys(turns))


def _usable(found: Sequence[str], draw: Draw) -> list[str]:
    kept: list[str] = []
    for text in found:
        address = ipaddress.ip_address(text)
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        # "This host" is reached under the unspecified address as well; nobody's mail server lies there on purpose.
        if not (address.is_unspecified or address.is_multicast or address.is_link_local or text == "255.255.255.255"):
            kept.append(str(address))
    return sorted(kept, key=lambda _: draw())


def shortened(hosts: Sequence[Host]) -> tuple[Host, ...]:
    """The hosts that one attempt tries, each with some of its addresses: MOST_ADDRESSES in all, no host with none."""
    tried = [host for host in hosts if host.addresses][:MOST_ADDRESSES]
    each = MOST_ADDRESSES // len(tried) if tried else 0
    return tuple(Host(h.name, h.preference, h.authentic, h.addresses[:each]) for h in tried)


def by_weight(choices: Sequence[Choice], weight: Callable[[Choice], int], draw: Draw) -> list[Choice]:
    """An order by chance: the next one is each with the probability of its weight, 0 a small one (RFC 2782)."""
    left = [(one, weight(one) or _SMALL) for one in choices]
    found: list[Choice] = []
    while left:
        point = draw() * sum(share for _, share in left)
        running, taken = 0.0, left[-1]
        for one in left:
            running += one[1]
            if running > point:
                taken = one
                break
        left.remove(taken)
        found.append(taken[0])
    return found


def is_host_name(name: str) -> bool:
    """True for what can be a host's name: an address in a name's clothes is none."""
    return len(name) <= 253 and bool(_NAME.fullmatch(name)) and not name.rpartition(".")[2].isdigit()


def literal(domain: str) -> str:
    """The address that an address literal such as [192.0.2.1] stands for; "" for a domain."""
    return domain[1:-1].removeprefix("ipv6:") if domain.startswith("[") else ""
