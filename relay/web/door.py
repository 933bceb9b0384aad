"""Door: the status page opened, on its addresses, with its token."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

from relay import journal, secretfile
from relay.errors import ConfigError
from relay.status import StatusOptions
from relay.statuspage import Sources
from relay.web import access
from relay.web.access import Access
from relay.web.connection import Server
from relay.web.guard import Guard
from relay.web.pages import Pages
from relay.web.render import Renderer


@dataclass(frozen=True, slots=True)
class Page:
    """The running page. `addresses` are where it is served, `token_path` where its token is kept."""

    addresses: tuple[str, ...]
    token_path: Path
    _access: Access
    _server: Server

    @property
    def is_current(self) -> bool:
        """False once the token's file holds another one, or is gone: a reload then opens the page anew."""
        try:
            return self._access.is_token(secretfile.read(self.token_path).strip())
        except (OSError, ValueError):
            return False

    @property
    def link(self) -> str:
        """What a person may open, token and all; "" when it is served on unix sockets only."""
        for address in self.addresses:
            if address.startswith("http:"):
                url = urlsplit(address)
                known = self._access.hosts[0]
                other = f"[{known}]:{url.port}" if ":" in known else f"{known}:{url.port}"
                host = url.netloc if self._access.knows_host(url.netloc) else other
                return f"http://{host}/?token={quote(self._access.token)}"
        return ""

    def close(self) -> None:
        """Serve no more."""
        self._server.close()


async def open_door(options: StatusOptions, state_folder: Path, sources: Sources) -> Page:
    """Serve the page. Raises ConfigError when it can be served nowhere, or has no token."""
    path = access.token_path(options.token_file, state_folder)
    known = Access(await asyncio.to_thread(access.token_in, path), options.hosts)
    renderer = await asyncio.to_thread(Renderer)
    server = Server(application(known, sources, renderer))
    addresses: list[str] = []
    faults: list[ConfigError] = []
    try:
        for listen in options.listen:
            try:
                addresses.append(await server.listen(listen))
            except ConfigError as fault:
                faults.append(fault)
        if not addresses:
            raise faults[0]
    except BaseException:
        server.close()
        raise
    for unserved in faults:
        journal.warning("", f"status page: {unserved}")
    return Page(tuple(addresses), path, known, server)


def application(known: Access, sources: Sources, renderer: Renderer) -> Guard:
    """The page as an ASGI application. No Starlette around the routes: it would answer a fault before the guard can."""
    return Guard(Pages(sources, renderer).router(), known, renderer)
