"""Guard: in front of everything that the page serves.

1. Host must be ours, or a foreign page could reach us under its own name (DNS rebinding).
2. `?token=` with the right token sets the cookie and leads to the same page without it.
3. All but /healthz needs the token, or a unix socket.
4. Only GET and HEAD: nothing here changes anything.
5. A fault of ours is one line in the log and a plain 500; an answer that takes too long is a plain 503.
6. Every answer carries the same header fields: no script, no frame, no cache, no referrer, no foreign reader.
"""

import asyncio
import json
from collections.abc import Mapping
from email.utils import formatdate
from typing import Any
from urllib.parse import quote, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from relay import journal
from relay.errors import RelayError
from relay.web.access import Access
from relay.web.render import Renderer

PATIENCE = 30.0
"""Seconds that a page may take to be made and an answer to begin; reading a long one has its own limit."""
OPEN = "/healthz"
"""The one path that needs no token."""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none';"
    " frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_TITLES = {
    400: "Bad request",
    401: "The token is missing",
    403: "Not under this name",
    404: "Not here",
    405: "Only to read",
    500: "A fault of the relay",
    503: "Not now",
}
_TEXTS = {
    400: "The request is not one that this page understands.",
    404: "There is no such page, or the mail is no longer known.",
    405: "This page shows; it changes nothing.",
    500: "The log has a line about it. Mail is not affected.",
    503: "It took too long, and was given up. Ask for less, or try again.",
}


class Refused(Exception):
    """The answer is this status, and the plain page that goes with it."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Guard:
    """An ASGI application around another one."""

    def __init__(self, inner: ASGIApp, access: Access, renderer: Renderer) -> None:
        self._inner, self._access, self._renderer = inner, access, renderer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return
        request = Request(scope)
        watch = asyncio.timeout(PATIENCE)
        begun = given_up = False

        async def finishing(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                if not given_up:
                    watch.reschedule(None)
                _complete(message, request)
            await send(message)

        try:
            async with watch:
                await (self._refusal(request) or self._inner)(scope, receive, finishing)
            return
        except Refused as refused:
            status = refused.status
        except TimeoutError:
            status = 503
        except Exception as fault:
            if begun and isinstance(fault, OSError | RelayError):
                raise  # the mail that was being read has left, or the client has
            journal.fault(f"status page {journal.escaped(scope['path'])}", fault)
            status = 500
        given_up = True
        if begun:
            raise ConnectionAbortedError  # half an answer: the connection is cut off
        await self.refused(request, status)(scope, receive, finishing)

    def _refusal(self, request: Request) -> Response | None:
        """Why this request gets something else than what it asks for."""
        access, path = self._access, request.scope["path"]  # not `request.url`: the Host field is in that
        host = request.headers.get("host", "")
        if not access.knows_host(host):
            text = f"This page is not served under the name {host!r}. Add it to [status] hosts if it is yours."
            return self.refused(request, 403 if host else 400, text if host else "The request names no host.")
        if request.method not in ("GET", "HEAD"):
            return self.refused(request, 405)
        if request.scope["state"]["trusted"] or path == OPEN:
            return None
        token = request.query_params.get("token")
        if token is not None:
            return self._let_in(request) if access.is_token(token) else self._unknown(request, "That is not the token.")
        if access.admits(request.headers.get("authorization", ""), request.cookies.get(access.cookie_name, "")):
            return None
        return self._unknown(request, "This page needs its token.")

    def _unknown(self, request: Request, why: str) -> Response:
        text = (
            f"{why} The relay prints a link with it when it starts; the token is also in the file that"
            " [status] token_file names. If you came here over a link, load the page once more."
        )
        response = self.refused(request, 401, text)
        response.headers["WWW-Authenticate"] = 'Bearer realm="tracker-relay"'
        return response

    def _let_in(self, request: Request) -> Response:
        rest = [(name, value) for name, value in request.query_params.multi_items() if name != "token"]
        # One slash in front: "//host/" would be another server.
        where = "/" + quote(request.scope["path"].lstrip("/\\")) + (f"?{urlencode(rest)}" if rest else "")
        response = RedirectResponse(where, 303)
        response.set_cookie(self._access.cookie_name, self._access.cookie, httponly=True, samesite="strict", path="/")
        return response

    def refused(self, request: Request, status: int, text: str = "") -> Response:
        """A plain page, or JSON for a program, that says what is wrong."""
        text = text or _TEXTS.get(status, "")
        headers = {"Allow": "GET, HEAD"} if status == 405 else None
        if request.scope["path"].startswith("/api/"):
            return as_json({"error": text}, status, headers)
        page = self._renderer.page("refused", status=status, title=_TITLES.get(status, "No"), text=text)
        return HTMLResponse(page, status, headers)


def as_json(form: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """JSON in ASCII: half a surrogate, which a broken mail may bring, is no fault of ours to stumble over."""
    return Response(json.dumps(form), status, headers, media_type="application/json")


def _complete(message: Message, request: Request) -> None:
    headers = MutableHeaders(raw=list(message["headers"]))
    for name, value in HEADERS.items():
        headers[name] = value
    headers["Date"] = formatdate(usegmt=True)
    if _has_body(request.headers):
        headers["Connection"] = "close"  # nobody reads it: what follows it on this connection is not looked for
    message["headers"] = headers.raw


def _has_body(headers: Headers) -> bool:
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"
