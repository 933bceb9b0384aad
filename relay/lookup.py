"""Lookup: the addresses of a configured server, by the system's own resolver: hosts file, LAN names, DNS.

The system answers in a call that blocks, for half a minute where a name server is down. The event
loop would wait for it in a few threads that all the world shares, so that one dead name would keep
every other next hop's names waiting, and the files of the spool (promise 7). Here each lookup has a
thread of its own; the caller bounds how many there are.
"""

import asyncio
import contextlib
import ipaddress
import socket
import threading
from collections.abc import Sequence
from typing import Any

Found = Sequence[tuple[socket.AddressFamily, socket.SocketKind, int, str, Any]]
"""As `socket.getaddrinfo` gives it."""


async def addresses(server: str, port: int) -> Found:
    """Every address of a server, in the system's order. Raises OSError and UnicodeError."""
    try:
        ipaddress.ip_address(server.partition("%")[0])
    except ValueError:
        return await _in_thread(server, port)
    return numeric([server], port)


def numeric(addresses: Sequence[str], port: int) -> Found:
    """The same for addresses that are known already."""
    flags = socket.AI_NUMERICHOST
    return [way for one in addresses for way in socket.getaddrinfo(one, port, type=socket.SOCK_STREAM, flags=flags)]


async def _in_thread(server: str, port: int) -> Found:
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Found] = loop.create_future()

    def look() -> None:
        found: Found = ()
        fault: Exception | None = None
        try:
            found = socket.getaddrinfo(server, port, type=socket.SOCK_STREAM)
        except Exception as error:
            fault = error
        with contextlib.suppress(RuntimeError):  # the loop is gone, and with it whoever waited
            loop.call_soon_threadsafe(_tell, answer, found, fault)

    threading.Thread(target=look, name=f"lookup {server}", daemon=True).start()
    return await answer


def _tell(answer: "asyncio.Future[Found]", found: Found, fault: Exception | None) -> None:
    if answer.done():
        return  # nobody waits any more
    if fault:
        answer.set_exception(fault)
    else:
        answer.set_result(found)
