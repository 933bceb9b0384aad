"""Ports: what a server does at the first octet, which tells a port of TLS from one that begins in plain text."""

import asyncio
import contextlib
import ssl
from dataclasses import dataclass

from relay.doctor.finding import printable


@dataclass(frozen=True, slots=True)
class Ports:
    """An address and port of a server; `limit` in seconds for each look."""

    address: tuple[str, int]
    limit: float

    async def plain_greeting(self) -> str:
        """The line with which it greets in plain text, unasked; "" when it does not."""
        with contextlib.suppress(OSError, TimeoutError, ValueError):
            async with asyncio.timeout(self.limit):
                reader, writer = await asyncio.open_connection(*self.address, limit=4096)
                try:
                    line = printable((await reader.readline()).decode("utf-8", "replace").strip())
                    return line[:200] if line[:3].isdigit() else ""
                finally:
                    writer.transport.abort()
        return ""

    async def speaks_tls(self) -> bool:
        """Whether a handshake of TLS succeeds at once. Nothing is said over it."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with contextlib.suppress(OSError, TimeoutError, ValueError):
            async with asyncio.timeout(self.limit):
                _, writer = await asyncio.open_connection(*self.address, ssl=context)
                writer.transport.abort()
                return True
        return False
