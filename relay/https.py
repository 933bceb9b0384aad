"""https: one request, one answer, over verified TLS. No redirect, no cookie, no cache; bounded in size and time.

For token servers and MTA-STS policies, whose answers are small and whose authority is the name in
their certificate.
"""

import asyncio
import contextlib
import os
import re
import ssl
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from relay import __version__, namedfile
from relay.errors import RelayError

LARGEST = 65536
"""Octets of an answer's body at most."""
PATIENCE = 30.0
"""Seconds for everything: name, connection, TLS, request and answer."""
MOST_ADDRESSES = 4
"""Of a server that are tried."""
_LINE = 8192
_FIELDS = 100
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5]\d\d)(?: [^\r\n]*)?")


class HttpFault(RelayError):
    """the web server could not be asked, or its answer could not be read"""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: any status, a redirect too, is a value. Field names are lower-case."""

    status: int
    fields: dict[str, str]
    body: bytes


def trust(ca_file: str) -> ssl.SSLContext:
    """Verified TLS 1.2 or later with the system's authorities, or those of a file. Costs 20 ms. Raises HttpFault."""
    try:
        if ca_file:
            namedfile.look(ca_file)
        context = ssl.create_default_context(cafile=ca_file or None)
    except (OSError, ssl.SSLError) as fault:
        raise HttpFault(f"{ca_file}: {fault.strerror or fault}: name a file of certificates in PEM form") from fault
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


async def post(url: str, form: str, context: ssl.SSLContext, *, largest: int = LARGEST) -> Answer:
    """Send a form. Raises HttpFault."""
    fields = ["Content-Type: application/x-www-form-urlencoded", "Accept: application/json"]
    fields.append(f"Content-Length: {len(form)}")
    return await _ask(_Place.of(url), "POST", fields, form.encode("ascii"), context, largest)


async def get(url: str, context: ssl.SSLContext, *, at: Sequence[str] = (), largest: int = LARGEST) -> Answer:
    """Fetch a page, from one of the addresses `at` instead of those that the system knows. Raises HttpFault."""
    return await _ask(_Place.of(url, at), "GET", [], b"", context, largest)


class Browser:
    """Fetches pages with the authorities of the system, whose context is made once."""

    def __init__(self) -> None:
        self._context: ssl.SSLContext | None = None

    async def get(self, url: str, at: Sequence[str]) -> Answer:
        """One page. Raises HttpFault."""
        if self._context is None:
            self._context = await asyncio.to_thread(trust, "")
        return await get(url, self._context, at=at)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where to ask, and for what."""

    host: str
    port: int
    path: str
    addresses: tuple[str, ...] = ()

    @classmethod
    def of(cls, url: str, at: Sequence[str] = ()) -> "_Place":
        """Raises HttpFault: nothing but https is spoken."""
        with contextlib.suppress(ValueError):
            parts = urlsplit(url)
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            fit = url.isascii() and url.isprintable() and " " not in url and parts.username is None
            if parts.scheme == "https" and parts.hostname and fit:
                return cls(parts.hostname, 443 if parts.port is None else parts.port, path, tuple(at))
        raise HttpFault("only https addresses are asked")

    def request(self, method: str, fields: Iterable[str], body: bytes) -> bytes:
        """The octets to send."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        lines = [f"{method} {self.path} HTTP/1.1", f"Host: {host}" + (f":{self.port}" if self.port != 443 else "")]
        lines += [f"User-Agent: tracker-relay/{__version__}", "Connection: close", "Accept-Encoding: identity"]
        return "\r\n".join([*lines, *fields, "", ""]).encode("ascii") + body


async def _ask(  # noqa: PLR0917 - what makes a request
    place: _Place, method: str, fields: Iterable[str], body: bytes, context: ssl.SSLContext, largest: int
) -> Answer:
    host = place.host
    try:
        async with asyncio.timeout(PATIENCE):
            reader, writer = await _connected(place, context)
            try:
                writer.write(place.request(method, fields, body))
                await writer.drain()
                return await _answer(reader, largest)
            finally:
                writer.transport.abort()
    except TimeoutError as fault:
        raise HttpFault(f"{host}: no answer within {PATIENCE:.0f} s") from fault
    except ssl.SSLCertVerificationError as fault:
        raise HttpFault(f"{host}: certificate not accepted: {fault.verify_message}") from fault
    except ssl.SSLError as fault:
        raise HttpFault(f"{host}: TLS failed: {(fault.reason or 'TLS error').replace('_', ' ').lower()}") from fault
    except (OSError, EOFError) as fault:
        raise HttpFault(f"{host}: {_words(fault)}") from fault
    except ValueError as fault:
        raise HttpFault(f"{host}: no answer of a web server: {fault}") from fault


async def _connected(place: _Place, context: ssl.SSLContext) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to the first address that takes one; one that shows a wrong certificate is no reason to go on."""
    last: OSError | None = None
    for address in (place.addresses or (place.host,))[:MOST_ADDRESSES]:
        try:
            return await asyncio.open_connection(
                address, place.port, ssl=context, server_hostname=place.host, limit=_LINE
            )
        except ssl.SSLError:
            raise
        except OSError as fault:
            last = fault
    assert last is not None
    raise last


async def _answer(reader: asyncio.StreamReader, largest: int) -> Answer:
    """Status, fields, body (RFC 9112 6.3). Raises ValueError with what is wrong, EOFError, OSError."""
    status, fields = 100, dict[str, str]()
    for _ in range(10):
        if status >= 200:
            break
        status = await _status(reader)
        fields = await _read_fields(reader)
    if status < 200:
        raise ValueError("it only ever says to wait")
    if fields.get("content-encoding", "identity").lower() != "identity":
        raise ValueError("it is compressed, which was not asked for")
    if status == 204 or 300 <= status < 400:
        return Answer(status, fields, b"")
    length, coding = fields.get("content-length"), fields.get("transfer-encoding", "").lower()
    if coding:
        if coding != "chunked" or length is not None:
            raise ValueError("its length is ambiguous")
        return Answer(status, fields, await _chunks(reader, largest))
    if length is None:
        body = await _up_to(reader, largest)
    elif not re.fullmatch(r"\d{1,15}", length, re.ASCII) or int(length) > largest:
        raise ValueError(f"it is larger than {largest} octets")
    else:
        body = await reader.readexactly(int(length))
    return Answer(status, fields, body)


async def _line(reader: asyncio.StreamReader) -> bytes:
    line = await reader.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    return line.rstrip(b"\r\n")


async def _status(reader: asyncio.StreamReader) -> int:
    found = _STATUS.fullmatch(await _line(reader))
    if not found:
        raise ValueError("its first line is none of HTTP")
    return int(found[1])


async def _read_fields(reader: asyncio.StreamReader) -> dict[str, str]:
    fields: dict[str, str] = {}
    for _ in range(_FIELDS):
        line = await _line(reader)
        if not line:
            return fields
        name, colon, value = line.decode("latin-1").partition(":")
        name = name.lower()
        if not colon or not name or name != name.strip():
            raise ValueError("a header field that is none")
        if name in fields and name in ("content-length", "transfer-encoding"):
            raise ValueError("its length is ambiguous")
        fields.setdefault(name, value.strip())
    raise ValueError("too many header fields")


async def _chunks(reader: asyncio.StreamReader, largest: int) -> bytes:
    body = b""
    while True:
        found = re.fullmatch(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;.*)?", await _line(reader))
        if not found:
            raise ValueError("a chunk without a length")
        size = int(found[1], 16)
        if len(body) + size > largest:
            raise ValueError(f"it is larger than {largest} octets")
        if not size:
            return body  # trailers are of no use, and the connection is closed
        body += await reader.readexactly(size)
        if await _line(reader):
            raise ValueError("a chunk longer than it says")


async def _up_to(reader: asyncio.StreamReader, largest: int) -> bytes:
    body = b""
    while data := await reader.read(largest + 1 - len(body)):
        body += data
        if len(body) > largest:
            raise ValueError(f"it is larger than {largest} octets")
    return body


def _words(fault: Exception) -> str:
    if isinstance(fault, EOFError):
        return "the connection ended in the middle of the answer"
    if isinstance(fault, OSError) and fault.errno and fault.errno > 0:
        return os.strerror(fault.errno)
    return getattr(fault, "strerror", None) or str(fault) or type(fault).__name__
