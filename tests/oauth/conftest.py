"""A token server, a store, and a client that knows both; an SMTP peer that takes the current token only."""

import asyncio
import base64
import ssl
import time
from dataclasses import replace

import pytest

from relay.oauth.client import Client, Grant
from relay.options import Secret
from relay.renewal import Renewal
from relay.tokens import Keeper
from relay.tokenstore import TokenStore
from tests.oauth.commands import browser, command, configured
from tests.oauth.keeping import hop, signed_in
from tests.oauth.server import TokenServer
from tests.upstream.conftest import Stage, certificates, run, stage, tls

__all__ = ["browser", "certificates", "command", "configured", "hop", "run", "signed_in", "stage", "tls"]


@pytest.fixture
def token_server(certificates):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "good.pem")
    server = TokenServer(context)
    server.start()
    yield server
    server.stop()


class Clock:
    """Wall-clock time that a test can move."""

    def __init__(self):
        self.moved = 0.0

    def __call__(self):
        return time.time() + self.moved


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(tmp_path):
    return TokenStore(tmp_path / "spool" / "tokens")


@pytest.fixture
def renewal(store, clock):
    return Renewal(store, clock)


@pytest.fixture
def client(token_server, certificates):
    """A client whose refresh token the store must already hold, or which needs nobody: `grant`."""

    def make(grant=Grant.CLIENT_CREDENTIALS, **more):
        made = Client(
            "custom",
            grant,
            "app",
            "me@example.com",
            "smtp",
            token_server.url("token"),
            token_server.url("auth"),
            token_server.url("device"),
            token_server.url("revoke"),
            "http://127.0.0.1",
            str(certificates / "ca.pem"),
            Secret("client-hunter2"),
        )
        return replace(made, **more)

    return make


@pytest.fixture
def keeper(renewal, clock):
    return Keeper(renewal, clock)


class Mail:
    """An upstream with tokens, and an SMTP peer that asks the token server's books."""

    def __init__(self, stage: Stage, server, keeper, tls):
        self.stage, self.server, self.keeper, self.tls = stage, server, keeper, tls

    def log_in(self, mechanism, initial):
        response = base64.b64decode(initial or (yield b"")).decode()
        token = response.partition("auth=Bearer ")[2].rstrip("\1")
        if token and token == self.server.current:
            return "235 2.7.0 in"
        error = b'{"status":"401","schemes":"bearer","scope":"https://mail.example.com/"}'
        answer = yield base64.b64encode(error)
        assert answer == (b"AQ==" if mechanism == "OAUTHBEARER" else b"")
        return "535 5.7.8 not accepted"

    def peer(self, **options):
        base = {"certificate": self.tls(), "auth": "PLAIN LOGIN XOAUTH2 OAUTHBEARER", "log_in": self.log_in}
        return self.stage.peer(**{**base, **options})

    def hop(self, peer, client, **options):
        return self.stage.secured(peer, user=client.user, password=Secret(""), oauth=client, **options)

    def upstreams(self):
        from relay.upstream import Upstreams

        return Upstreams(self.stage.timeouts, "relay.example.com", time.time, self.keeper)


@pytest.fixture
def mail(stage, token_server, keeper, tls):
    return Mail(stage, token_server, keeper, tls)


@pytest.fixture
def soon():
    """Wait, bounded, until something is so."""

    async def wait(condition, seconds=10):
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.02)

    return wait
