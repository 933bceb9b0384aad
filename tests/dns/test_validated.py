"""DANE with a real validating resolver and a real signed zone: what is proved counts, what is broken bars the way."""

import asyncio
import contextlib
import json
import random
import ssl
import subprocess
import sys

import pytest

from relay.discovery import Discovery
from relay.entry import Cause, Disposition
from relay.exchangers import MxOptions
from relay.records import DnsOptions, Nameserver
from relay.resolver import Resolver
from relay.routing import Route, Upstream, mx_from, route
from relay.tlsa import Published
from relay.upstream import Upstreams
from tests.upstream.test_leaks import leaks

RELAYED, DEFERRED = Disposition.RELAYED, Disposition.DEFERRED


class Delivering:
    def __init__(self, stage, servers):
        self.stage, self.names, self.dns = stage, servers.names, servers.port

    def context(self, name):
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.load_cert_chain(self.names.folder / f"{name}.pem")
        return made

    def peer(self, certificate="own", last=2, **options):
        context = self.context(certificate) if certificate else None
        return self.stage.peer(host=f"127.0.0.{last}", port=self.names.port, certificate=context, **options)

    @contextlib.asynccontextmanager
    async def _parts(self):
        resolver = Resolver(DnsOptions((Nameserver("127.0.0.1", self.dns),), 5.0))
        made = Upstreams(self.stage.timeouts, "relay.test", lambda: 1e9, published=Published(lambda: resolver))
        try:
            yield resolver, made
        finally:
            await made.close()
            await resolver.close()

    async def direct(self, domain):
        """One attempt for a recipient at that domain."""
        async with self._parts() as (resolver, made):
            discovery = Discovery(resolver, made, lambda: 1e9, random.random)
            mx = mx_from(MxOptions(port=self.names.port))
            [(way, mail)] = route(self.stage.mail(f"eve@{domain}"), (mx,))
            return await discovery.attempt(way, mail)

    async def smarthost(self, server, last=2, tls="starttls"):
        """One attempt at a configured server, whose address the system would have to know: it is given."""
        async with self._parts() as (_, made):
            hop = Upstream("hop", server, self.names.port, tls, "dane", addresses=(f"127.0.0.{last}",))
            return await made.attempt(Route(hop), self.stage.mail())


@pytest.fixture
def delivering(stage, servers):
    return Delivering(stage, servers)


def ends(attempt):
    return [outcome.disposition for outcome in attempt.outcomes]


def test_the_resolver_tells_what_it_has_proved(servers, run):
    async def story():
        resolver = Resolver(DnsOptions((Nameserver("127.0.0.1", servers.port),), 5.0))
        try:
            for name, kind, proved in (
                ("for-right.secure.test", "MX", True),
                ("right.secure.test", "A", True),
                ("right.secure.test", "AAAA", True),
                ("nobody.secure.test", "MX", True),
                ("alias.secure.test", "A", True),
                ("for-right.plain.test", "MX", False),
                ("nobody.plain.test", "A", False),
            ):
                assert (await resolver.ask(name, kind)).authentic is proved, (name, kind)
        finally:
            await resolver.close()

    run(story)


CASES = {
    "for-right.secure.test": ("own", RELAYED, "dane"),
    "for-wrong.secure.test": ("own", DEFERRED, "!dane"),
    "for-ta.secure.test": ("issued", RELAYED, "dane"),
    "for-useless.secure.test": ("own", RELAYED, "encrypted"),
    "for-none.secure.test": ("own", RELAYED, "opportunistic"),
    "for-bogus.secure.test": ("own", DEFERRED, "dane?"),
    "for-right.plain.test": ("issued", RELAYED, "opportunistic"),
    "for-wrong.plain.test": ("own", RELAYED, "opportunistic"),
    "cross.secure.test": ("own", DEFERRED, "!dane"),
    "cross.plain.test": ("own", RELAYED, "opportunistic"),  # nobody proves that its mail server is that one
}


@pytest.mark.parametrize("domain", CASES)
def test_direct_delivery(delivering, run, domain):
    certificate, disposition, level = CASES[domain]

    async def story():
        async with delivering.peer(certificate) as peer:
            attempt = await delivering.direct(domain)
            assert (ends(attempt), attempt.tls_level) == ([disposition], level)
            if disposition is DEFERRED:
                assert leaks(peer.clear + peer.secured) == []
                assert not peer.mails
            if level == "dane?":
                assert peer.connections == 0
                assert "SERVFAIL" in attempt.outcomes[0].reply.text

    run(story)


def test_a_host_whose_record_is_forged_is_passed_over(delivering, run):
    async def story():
        async with delivering.peer() as first, delivering.peer(last=3) as second:
            attempt = await delivering.direct("for-two.secure.test")
            assert (ends(attempt), attempt.tls_level) == ([RELAYED], "dane")
            assert (first.connections, len(second.mails)) == (0, 1)

    run(story)


@pytest.mark.parametrize("domain", ["for-right.secure.test", "for-useless.secure.test"])
def test_starttls_that_is_stripped(delivering, run, domain):
    async def story():
        async with delivering.peer(None) as peer:
            attempt = await delivering.direct(domain)
            assert (ends(attempt), attempt.outcomes[0].cause) == ([DEFERRED], Cause.TLS)
            assert leaks(peer.clear) == []

    run(story)


@pytest.mark.parametrize(
    ("server", "disposition", "cause"),
    [
        ("right.secure.test", RELAYED, None),
        ("alias.secure.test", RELAYED, None),
        ("wrong.secure.test", DEFERRED, Cause.TLS),
        ("none.secure.test", DEFERRED, Cause.TLS),
        ("useless.secure.test", DEFERRED, Cause.TLS),
        ("right.plain.test", DEFERRED, Cause.TLS),
        ("bogus.secure.test", DEFERRED, Cause.DNS),
    ],
)
def test_a_smarthost(delivering, run, server, disposition, cause):
    async def story():
        async with delivering.peer() as peer:
            attempt = await delivering.smarthost(server)
            assert ends(attempt) == [disposition]
            if cause:
                assert attempt.outcomes[0].cause is cause
                assert not peer.mails and leaks(peer.clear + peer.secured) == []
            else:
                assert attempt.tls == "TLSv1.3 starttls dane"

    run(story)


def test_the_daemon_tells_it_in_log_and_trace(delivering, servers, daemon, run):
    daemon.configure(
        f"""
        [dns]
        nameservers = 127.0.0.1:{servers.port}

        [mx]
        port = {servers.names.port}
        mta_sts = false

        [retry]
        first = 1h

        [notification]
        smtp_enabled = true
        smtp_from = bugs@example.com
        upstream = mx
        """
    )

    async def story():
        async with delivering.peer() as peer:
            await asyncio.to_thread(daemon.start)
            to = [f"eve@for-{name}.secure.test" for name in ("right", "wrong", "bogus")]
            await asyncio.to_thread(daemon.send, b"Subject: proved\r\n\r\nhello\r\n", to)
            await asyncio.to_thread(daemon.wait_log, "for-bogus.secure.test>.* status=")
            await asyncio.to_thread(daemon.wait_log, "for-wrong.secure.test>.* status=")
            assert [rcpts for rcpts, _ in peer.mails] == [("eve@for-right.secure.test",)]

    run(story)
    log = daemon.log()
    for name, status, level in (
        ("right", "sent", "dane"),
        ("wrong", "deferred", "!dane"),
        ("bogus", "deferred", "dane?"),
    ):
        [line] = [line for line in log.splitlines() if f"to=<eve@for-{name}.secure.test>" in line]
        assert f"status={status} (" in line
        assert line.endswith(f"), tls={level}")
    told = trace(daemon)
    assert {a["tls_level"] for a in told["attempts"]} == {"dane", "!dane", "dane?"}


def trace(daemon):
    line = [sys.executable, "-m", "relay", "--config", str(daemon.folder / "config.ini")]
    listed = subprocess.run([*line, "queue", "list", "--json"], capture_output=True, check=True, timeout=60)
    [row] = json.loads(listed.stdout)
    found = subprocess.run([*line, "trace", row["id"], "--json"], capture_output=True, check=True, timeout=60)
    [life] = json.loads(found.stdout)
    return life
