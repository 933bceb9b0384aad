"""Pages: each address of the status page, for people and, under /api/, for programs. Nothing changes anything.

One page is made at a time, and as long as it took the next one rests: however hard the page is asked,
the mail road has at least half of the time.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from relay import journal
from relay.entry import State
from relay.message import PIECE, Body
from relay.queue import ALL, summary
from relay.status import unready
from relay.statuspage import Sources
from relay.web import captured, reading
from relay.web.guard import Refused, as_json
from relay.web.health import Health
from relay.web.render import Renderer

LONGEST_REST = 0.25
"""Seconds of rest behind one page at most."""
LONGEST_SEARCH = 200
"""Characters of a search."""
MOST_ROWS = 1000
"""Rows that a program gets at once."""
_ID = re.compile(r"[0-9A-Za-z._-]{1,64}")
_LISTINGS = {"queue": reading.QUEUE, "history": reading.HISTORY, "search": ALL}

Endpoint = Callable[[Request], Awaitable[Response]]


class Pages:
    """All addresses, over the sources."""

    def __init__(self, sources: Sources, renderer: Renderer) -> None:
        self._sources, self._renderer = sources, renderer
        self._turn = asyncio.Lock()
        self._health = Health(sources)

    def router(self) -> Router:
        """Every address. Raises Refused for what is not there or not understood."""
        routes = [
            Route("/healthz", self._healthz),
            Route("/style.css", self._style),
            *(Route(path, self._paced(endpoint)) for path, endpoint in self._endpoints().items()),
        ]
        return Router(routes, redirect_slashes=False, default=_nowhere)

    def _endpoints(self) -> dict[str, Endpoint]:
        return {
            "/": self._overview,
            "/queue": self._listing,
            "/history": self._listing,
            "/search": self._listing,
            "/mail/{name}": self._life,
            "/mail/{name}/source": self._source,
            "/outbox": self._outbox,
            "/outbox/{name}": self._captured,
            "/outbox/{name}/source": self._captured_source,
            "/metrics": self._metrics,
            "/readyz": self._readyz,
            "/api/status": self._overview,
            "/api/queue": self._listing,
            "/api/history": self._listing,
            "/api/search": self._listing,
            "/api/mail/{name}": self._life,
            "/api/outbox": self._outbox,
            "/api/outbox/{name}": self._captured,
        }

    def _paced(self, endpoint: Endpoint) -> Endpoint:
        async def paced(request: Request) -> Response:
            loop = asyncio.get_running_loop()
            await self._turn.acquire()
            began = loop.time()
            try:
                return await endpoint(request)
            finally:
                loop.call_later(min(loop.time() - began, LONGEST_REST), self._turn.release)

        return paced

    async def _html(self, name: str, request: Request, **context: Any) -> Response:
        """A page, made in a thread: one about a mail to a thousand takes a while."""
        here = request.scope["path"].strip("/").partition("/")[0]
        now = self._sources.clock()
        return HTMLResponse(await asyncio.to_thread(lambda: self._renderer.page(name, here=here, now=now, **context)))

    # --- what is open to all, and what costs nothing ------------------------------------------------

    async def _healthz(self, _request: Request) -> Response:
        word = await self._health.word()
        return PlainTextResponse(word or "ok", 503 if word else 200)

    async def _readyz(self, _request: Request) -> Response:
        """Whether mail is taken, and can leave: a line for each reason why not."""
        word = await self._health.word()
        ways = {p.name: [hop.name for hop in p.upstreams] for p in self._sources.setting().profiles}
        down = {hop.name: row["trouble"] for hop, row in self._sources.hops() if row["trouble"] and not hop.is_mx}
        found = [*([word] if word else []), *unready(ways, down)]
        return PlainTextResponse("\n".join(map(journal.escaped, found)) or "ok", 503 if found else 200)

    async def _style(self, _request: Request) -> Response:
        return Response(self._renderer.style, media_type="text/css")

    # --- the pages ---------------------------------------------------------------------------------

    async def _overview(self, request: Request) -> Response:
        seen = await reading.overview(self._sources)
        if _for_programs(request):
            return as_json(reading.overview_json(seen))
        return await self._html("overview", request, seen=seen, counters=dict(journal.COUNTERS))

    async def _listing(self, request: Request) -> Response:
        kind = request.scope["path"].rpartition("/")[2]
        query = request.query_params
        text, beyond, oldest = query.get("q", "").strip(), query.get("beyond", ""), query.get("order") == "oldest"
        states = _states(query.get("state", ""), _LISTINGS[kind])
        if len(text) > LONGEST_SEARCH or (beyond and not _ID.fullmatch(beyond)):
            raise Refused(400)
        limit = _number(query.get("limit"), reading.ROWS, MOST_ROWS)
        page = await reading.listing(self._sources, states, text=text, beyond=beyond, oldest_first=oldest, limit=limit)
        if _for_programs(request):
            return as_json({"entries": [summary(entry) for entry in page.entries], "beyond": page.following})
        asked = {"q": text, "state": query.get("state", ""), "order": "oldest" if oldest else ""}
        return await self._html("listing", request, kind=kind, page=page, asked=asked, beyond=beyond)

    async def _life(self, request: Request) -> Response:
        seen = await reading.life(self._sources, _name(request, _ID))
        if seen is None:
            raise Refused(404)
        if _for_programs(request):
            return as_json(reading.life_json(seen))
        return await self._html("life", request, seen=seen, entry=seen.entry, moments=reading.moments(seen.entry))

    async def _source(self, request: Request) -> Response:
        name = _name(request, _ID)
        body = await reading.octets(self._sources, name)
        if body is None:
            raise Refused(404)
        return _octets(body, name)

    async def _outbox(self, request: Request) -> Response:
        before = request.query_params.get("beyond", "")
        if before and not captured.NAME.fullmatch(before):
            raise Refused(400)
        limit = _number(request.query_params.get("limit"), reading.ROWS, MOST_ROWS)
        rows, more, number = await reading.outbox(self._sources, before, limit)
        following = rows[-1]["name"] if more and rows else ""
        if _for_programs(request):
            return as_json({"mails": rows, "beyond": following, "number": number})
        return await self._html("outbox", request, rows=rows, following=following, number=number, beyond=before)

    async def _captured(self, request: Request) -> Response:
        found = await reading.one_captured(self._sources, _name(request, captured.NAME))
        if found is None:
            raise Refused(404)
        mail, content = found
        if _for_programs(request):
            return as_json({"name": mail.name, "at": mail.at, "envelope": mail.envelope, "content": content.as_json})
        return await self._html("captured", request, mail=mail, content=content)

    async def _captured_source(self, request: Request) -> Response:
        name = _name(request, captured.NAME)
        found = await asyncio.to_thread(captured.find, self._sources.outboxes(), name)
        if found is None:
            raise Refused(404)
        return _octets(found.body, name)

    async def _metrics(self, _request: Request) -> Response:
        counts = await self._sources.spool.counts()
        lines = [
            "# HELP tracker_relay_events_total What happened since the start.",
            "# TYPE tracker_relay_events_total counter",
        ]
        lines += [f'tracker_relay_events_total{{event="{name}"}} {n}' for name, n in sorted(journal.COUNTERS.items())]
        lines += ["# HELP tracker_relay_mails Mails in the spool.", "# TYPE tracker_relay_mails gauge"]
        lines += [f'tracker_relay_mails{{state="{state}"}} {counts[state]}' for state in State]
        lines += [
            "# HELP tracker_relay_upstream_up Whether the next hop works, as far as is known.",
            "# TYPE tracker_relay_upstream_up gauge",
        ]
        up = {hop.name: 0 if row["trouble"] and not hop.is_mx else 1 for hop, row in self._sources.hops()}
        lines += [f'tracker_relay_upstream_up{{upstream="{_label(name)}"}} {n}' for name, n in up.items()]
        return PlainTextResponse("\n".join(lines) + "\n", media_type="text/plain; version=0.0.4")


def _label(name: str) -> str:
    """A name as the value of a label."""
    return name.replace("\\", "\\\\").replace('"', '\\"')


async def _nowhere(_scope: Scope, _receive: Receive, _send: Send) -> None:
    raise Refused(404)


def _for_programs(request: Request) -> bool:
    return bool(request.scope["path"].startswith("/api/"))


def _name(request: Request, form: re.Pattern[str]) -> str:
    name = str(request.path_params["name"])
    if not form.fullmatch(name):
        raise Refused(404)
    return name


def _states(asked: str, known: tuple[State, ...]) -> tuple[State, ...]:
    if not asked:
        return known
    chosen = tuple(state for state in known if state == asked)
    if not chosen:
        raise Refused(400)
    return chosen


def _number(given: str | None, default: int, most: int) -> int:
    if given is None:
        return default
    if not re.fullmatch(r"[1-9]\d{0,3}", given):
        raise Refused(400)
    return min(int(given), most)


def _octets(body: Body, name: str) -> Response:
    """A mail's source as text: whatever it contains, a browser shows it as it stands."""

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, body.size, PIECE):
            yield await asyncio.to_thread(body.read, start, start + PIECE)

    headers = {"Content-Disposition": f'inline; filename="{name}.eml"', "Content-Length": str(body.size)}
    return StreamingResponse(pieces(), media_type="text/plain", headers=headers)
