"""Browser: a person signs in on the provider's page; the code comes back to a loopback port, or is pasted.

The relay's host mostly has no browser: then the last page, on `localhost` of another machine, can not be
shown, and its address is pasted here. PKCE (RFC 7636) makes the code worthless to whoever else sees it.
"""

import asyncio
import contextlib
import os
import secrets
import sys
from collections.abc import AsyncIterator
from urllib.parse import urlsplit, urlunsplit

from relay.errors import RelayError
from relay.oauth import requests
from relay.oauth.client import Client
from relay.oauth.replies import Refusal, Tokens
from relay.options import Secret
from relay.renewal import Renewal

PATIENCE = 900.0
"""Seconds that somebody may take to sign in."""
LONGEST_LINE = 16384


async def sign_in(client: Client, renewal: Renewal) -> Tokens:
    """Show the address of the page, wait for the code, change it for tokens. Raises RelayError."""
    verifier, state = Secret(secrets.token_urlsafe(64)), secrets.token_urlsafe(24)
    returned: asyncio.Future[Secret] = asyncio.get_running_loop().create_future()
    async with _listening(client.redirect, state, returned) as (redirect, listens):
        print(f"Open this page in a browser and sign in as {client.user}:", end="\n\n")
        print(requests.sign_in_page(client, redirect, state, verifier), end="\n\n")
        pasting = asyncio.create_task(_pasted(state, returned, alone=not listens))
        try:
            async with asyncio.timeout(PATIENCE):
                code = await returned
        except TimeoutError as fault:
            raise RelayError(f"nobody signed in within {PATIENCE / 60:.0f} minutes: begin again") from fault
        finally:
            pasting.cancel()
            await asyncio.wait((pasting,))
    answer = await renewal.ask(
        client, lambda proof: requests.code_exchange(client, code, verifier, redirect, proof), None
    )
    if isinstance(answer, Refusal):
        raise RelayError(answer.text)
    return answer


@contextlib.asynccontextmanager
async def _listening(redirect: str, state: str, returned: asyncio.Future[Secret]) -> AsyncIterator[tuple[str, bool]]:
    """Where the browser shall return to, and whether we listen there: only on loopback, and only for that long."""
    parts = urlsplit(redirect)
    if parts.scheme != "http":
        yield redirect, False
        return
    tasks: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(_answer(reader, writer, state, returned))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    host = "::1" if parts.hostname == "::1" else "127.0.0.1"
    try:
        server = await asyncio.start_server(connected, host, parts.port or 0, limit=LONGEST_LINE)
    except OSError as fault:
        raise RelayError(f"oauth_redirect {redirect}: {os.strerror(fault.errno or 0)}") from fault
    try:
        port = server.sockets[0].getsockname()[1]
        name = f"[{parts.hostname}]" if parts.hostname == "::1" else parts.hostname
        yield urlunsplit((parts.scheme, f"{name}:{port}", parts.path or "/", "", "")), True
    finally:
        server.close()
        if tasks:
            await asyncio.wait(tasks, timeout=2)


async def _answer(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, state: str, returned: asyncio.Future[Secret]
) -> None:
    """One request of a browser. What does not carry our state is another page's, and changes nothing."""
    try:
        async with asyncio.timeout(10):
            line = (await reader.readline()).decode("latin-1").split(" ")
            while (await reader.readline()).strip():
                pass  # its header is of no use
            status, text = _judged(line, state, returned)
            octets = text.encode()
            head = f"HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {len(octets)}\r\n"
            writer.write(f"{head}Connection: close\r\n\r\n".encode() + octets)
            await writer.drain()
    except (OSError, TimeoutError, ValueError):
        pass  # it left, or is no browser
    finally:
        writer.close()


def _judged(line: list[str], state: str, returned: asyncio.Future[Secret]) -> tuple[str, str]:
    """The answer's status and text for a request line; a code that is ours ends the waiting."""
    if len(line) != 3 or line[0] != "GET" or "state=" not in line[1]:
        return "404 Not Found", "There is nothing here.\n"
    if fault := _take(line[1], state, returned):
        return "400 Bad Request", f"{fault}\n"
    return "200 OK", "Signed in. You can close this page and go back to the command line.\n"


def _take(address: str, state: str, returned: asyncio.Future[Secret]) -> str:
    """End the waiting by what this address says; why it does not, or says no."""
    try:
        code = requests.returned_code(address, state)
    except requests.Declined as fault:
        if not returned.done():
            returned.set_exception(RelayError(str(fault)))
        return str(fault)
    except ValueError as fault:
        return str(fault)
    if not returned.done():
        returned.set_result(code)
    return ""


async def _pasted(state: str, returned: asyncio.Future[Secret], *, alone: bool) -> None:
    """Read addresses from standard input until one carries our code; `alone`: nothing else can bring it."""
    print("It ends on a page that can not be shown? Paste the address of that page here:", flush=True)
    async for line in _standard_input():
        fault = _take(line, state, returned) if line else ""
        if returned.done():
            return
        if fault:
            print(f"tracker-relay: {fault}", file=sys.stderr)
    if alone and not returned.done():
        returned.set_exception(RelayError("no address was pasted"))


def _read(file: int) -> bytes:
    """What has come; nothing, as at the end, where the terminal is gone."""
    try:
        return os.read(file, LONGEST_LINE)
    except OSError:
        return b""


async def _standard_input() -> AsyncIterator[str]:
    """Its lines, without a thread that nobody could end; none where it is closed."""
    try:
        file = sys.stdin.fileno()
    except (AttributeError, ValueError):
        return
    arrived: asyncio.Queue[bytes] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    try:
        loop.add_reader(file, lambda: arrived.put_nowait(_read(file)))
    except PermissionError:  # a plain file, or /dev/null: it never lets wait
        for data in (os.read(file, 1 << 20), b""):
            arrived.put_nowait(data)
    left = b""
    try:
        while data := await arrived.get():
            *lines, left = (left + data).split(b"\n")
            left = left[:LONGEST_LINE]
            for line in lines:
                yield line.decode("utf-8", "replace").strip()
        yield left.decode("utf-8", "replace").strip()
    finally:
        loop.remove_reader(file)
