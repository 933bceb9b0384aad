"""Way: the name of a next hop resolves, and each of its addresses takes a connection. No word is said there."""

import asyncio
import errno
import os
import socket
import time
from collections.abc import AsyncIterator
from typing import Any

from relay import lookup
from relay.doctor import confinement
from relay.doctor.finding import Finding, fail, ok, warn
from relay.doctor.hop import Hop

MOST = 16
"""Addresses of one name that are tried."""
USUAL = (587, 465, 25)
"""Where mail servers listen, the best one first."""
OTHERS = 3.0
"""Seconds for a look at them."""
_NOT_FOUND = (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME))


async def resolve(hop: Hop, limit: float) -> tuple[Finding, lookup.Found]:
    """Every address of the server, and the row that says so."""
    server, port = hop.upstream.server, hop.upstream.port
    if hop.upstream.addresses:
        found = lookup.numeric(hop.upstream.addresses, port)
        return ok("dns", hop.about, f"{server} is {', '.join(hop.upstream.addresses)}"), found
    if server.startswith("unix:"):
        path = server[5:]
        found = [(socket.AF_UNIX, socket.SOCK_STREAM, 0, "", path)]
        return ok("dns", hop.about, f"a socket of this host, {path}"), found
    try:
        async with asyncio.timeout(limit):
            addresses = await lookup.addresses(server.strip("[]"), port)
    except TimeoutError:
        text = f"no name server has answered for {server} within {limit:.0f} s"
        return fail("dns", hop.about, text, f"cat /etc/resolv.conf\ngetent ahosts {server}"), ()
    except (OSError, UnicodeError) as fault:
        return _unresolved(hop, fault), ()
    named = list(dict.fromkeys(str(address[0]) for *_, address in addresses))
    return ok("dns", hop.about, f"{server} is {', '.join(named)}"), addresses


def _unresolved(hop: Hop, fault: Exception) -> Finding:
    server = hop.upstream.server
    if isinstance(fault, UnicodeError):
        return fail("dns", hop.about, f"{server} can be no host name", hop.line("smtp_server", "(its right name)"))
    if isinstance(fault, OSError) and fault.errno in _NOT_FOUND:
        text = f"there is no host {server}: {fault.strerror}"
        return fail("dns", hop.about, text, f"{hop.line('smtp_server', '(its right name)')}\ngetent ahosts {server}")
    text = f"{server} can not be looked up now: {getattr(fault, 'strerror', None) or fault}"
    return fail("dns", hop.about, text, f"cat /etc/resolv.conf\ngetent ahosts {server}")


async def connections(
    hop: Hop, found: lookup.Found, limit: float
) -> AsyncIterator[tuple[Finding, tuple[str, int] | None]]:
    """A row for each address; that one fails while another answers is a warning: the relay goes on to the next.

    Beside it the address that answers, None for a unix socket and for one that does not answer.
    """
    tried = list(dict.fromkeys((family, kind, proto, "", address) for family, kind, proto, _, address in found))[:MOST]
    ended = await asyncio.gather(*(_connect(family, address, limit) for family, _, _, _, address in tried))
    reached = any(isinstance(end, float) for end in ended)
    for (family, *_, address), end in zip(tried, ended, strict=True):
        where = address if isinstance(address, str) else f"{address[0]} port {address[1]}"
        if isinstance(end, float):
            network = None if isinstance(address, str) else (str(address[0]), int(address[1]))
            yield ok("tcp", hop.about, f"{where} answers, in {end * 1000:.0f} ms"), network
            continue
        by_dns = bool(hop.upstream.addresses)  # then its port is not ours to choose
        unheard = end.errno in (errno.ECONNREFUSED, errno.ETIMEDOUT)
        text, remedy = (_of_a_stranger if by_dns and unheard else _refusal)(hop, end)
        if not reached and unheard and not by_dns and (port := await _open(family, address)):
            text, remedy = f"{text}; port {port} answers there", hop.line("smtp_port", str(port))
        make = warn if reached else fail
        yield make("tcp", hop.about, f"{where}: {text}", remedy), None


async def _open(family: socket.AddressFamily, address: Any) -> int:
    """The first of the usual ports that takes a connection there, 0 for none."""
    if isinstance(address, str):
        return 0
    host, _, *rest = address
    ended = await asyncio.gather(*(_connect(family, (host, port, *rest), OTHERS) for port in USUAL))
    return next((port for port, end in zip(USUAL, ended, strict=True) if isinstance(end, float)), 0)


async def _connect(family: socket.AddressFamily, address: Any, limit: float) -> float | OSError:
    """Seconds that it took, or why not; a time-out is ETIMEDOUT, whoever said so."""
    began = time.monotonic()
    try:
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.setblocking(False)
            async with asyncio.timeout(limit):
                await asyncio.get_running_loop().sock_connect(sock, address)
    except TimeoutError:
        return OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
    except OSError as fault:
        return fault
    return time.monotonic() - began


def _refusal(hop: Hop, fault: OSError) -> tuple[str, str]:
    """Why, and what to do: a refusal, silence, no way there and a policy are four different matters."""
    port = hop.upstream.port
    match fault.errno:
        case errno.ECONNREFUSED:
            text = f"refused: that host is up, and nothing listens on port {port}"
            return text, f"{hop.line('smtp_port', '(25, 465 or 587, as its provider says)')}"
        case errno.ETIMEDOUT:
            text = "timed out: a firewall on the way swallows it, or that host is down"
            advice = f"providers of rented hosts often block port 25: {hop.line('smtp_port', '587')}"
            return text, advice if port == 25 else f"nc -vz {hop.upstream.server} {port}"
        case errno.ENETUNREACH | errno.EHOSTUNREACH | errno.EADDRNOTAVAIL:
            return "unreachable: this host has no way there", f"ip route; ip -6 route; ping {hop.upstream.server}"
        case errno.EACCES | errno.EPERM:
            text = f"{fault.strerror}: a policy or firewall of this host forbids it, the server was not even asked"
            return text, confinement.outgoing_remedy(port)
        case errno.ENOENT:
            return "there is no such socket: its program does not run", hop.line("smtp_server", "(its right path)")
    return fault.strerror or str(fault), f"nc -vz {hop.upstream.server} {port}"


def _of_a_stranger(hop: Hop, fault: OSError) -> tuple[str, str]:
    """The same of a host that DNS has named."""
    refused = fault.errno == errno.ECONNREFUSED
    text = "timed out: a firewall on the way swallows it, or that host is down"
    if refused:
        text = "refused: that host is up, and takes no mail there"
    remedy = f"ask the administrator of {hop.upstream.server}"
    if hop.upstream.is_exchanger and not refused:
        remedy = (
            "providers of rented hosts often block port 25: ask yours to open it, or send through a mail server:"
            "\n[notification]\nsmtp_server = (its name)"
        )
    return text, remedy
