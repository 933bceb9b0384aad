"""MTA-STS policies from a real web server with TLS: the name in its certificate is the policy's authority."""

import asyncio
import contextlib
import ssl

import pytest
import trustme

from relay import https
from relay.policies import Policies
from relay.records import Answer
from relay.tokenstore import TokenStore

TEXT = "version: STSv1\nmode: enforce\nmx: mx.a.test\nmax_age: 864000\n"
AUTHORITY = trustme.CA()


def answer(body=TEXT, status="200 OK", kind="text/plain"):
    octets = body.encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(octets)}\r\n"
    return head.encode() + b"\r\n" + octets


class Web:
    """One page for every request; `asked` are the requests."""

    def __init__(self, page, name="mta-sts.a.test", authority=AUTHORITY):
        self.page, self.asked, self.names = page, [], []
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(name).configure_cert(self.context)
        self.context.sni_callback = lambda _socket, name, _context: self.names.append(name)

    async def __aenter__(self):
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.context)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self.server.close()

    async def _serve(self, reader, writer):
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            self.asked.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(self.page)
            await writer.drain()
        writer.close()


@pytest.fixture
def mode(tmp_path, run, monkeypatch):
    """The mode of the policy that this web server gives, None for none."""
    monkeypatch.setattr(https, "PATIENCE", 3.0)
    trust = ssl.create_default_context()
    AUTHORITY.configure_trust(trust)

    def look(page, addresses=("127.0.0.1",), **options):
        async def story():
            async with Web(page, **options) as web:

                class Dns:
                    async def ask(self, name, kind):
                        records = {"TXT": (b"v=STSv1; id=1",), "A": addresses}.get(kind, ())
                        return Answer(name, records)

                async def fetch(url, at):
                    return await https.get(url, trust, at=at)

                store = TokenStore(tmp_path / "mta-sts", "MTA-STS policies")
                found = await Policies(store, Dns, fetch, lambda: 1e9, web.port).of("a.test")
                return (found.mode if found else None), web

        return run(story)

    return look


def test_a_policy_over_verified_tls(mode):
    found, web = mode(answer())
    assert found == "enforce"
    [request] = web.asked
    assert request.startswith(b"GET /.well-known/mta-sts.txt HTTP/1.1\r\nHost: mta-sts.a.test")
    assert web.names == ["mta-sts.a.test"]


PAGES = {
    "a redirect": answer(status="301 Moved\r\nLocation: https://evil.test/.well-known/mta-sts.txt"),
    "not found": answer(status="404 Not Found"),
    "a page": answer(kind="text/html"),
    "too large": answer(TEXT + "x: y\n" * 20_000),
    "cut off": answer()[:-30],
    "no HTTP": b"220 mail ESMTP\r\n",
    "nothing": b"",
}


@pytest.mark.parametrize("name", PAGES)
def test_what_is_no_policy(mode, name):
    found, web = mode(PAGES[name])
    assert found is None
    assert len(web.asked) == 1, "asked once, and nobody else"


@pytest.mark.parametrize("options", [{"name": "a.test"}, {"name": "mta-sts.b.test"}, {"authority": trustme.CA()}])
def test_a_certificate_that_does_not_prove_the_name(mode, options):
    found, web = mode(answer(), **options)
    assert found is None
    assert web.asked == []


def test_an_address_that_is_dead_is_passed_over(mode):
    assert mode(answer(), addresses=("127.0.0.9", "127.0.0.1"))[0] == "enforce"
    assert mode(answer(), addresses=("127.0.0.9", "127.0.0.8"))[0] is not None, "the one that is kept"
