"""A next hop that does what its script says, records every octet it saw, and never touches the network beyond loopback."""

import asyncio
import contextlib
import random
import ssl
import threading
from dataclasses import dataclass, field

import pytest
import trustme

from relay.address import parse
from relay.discovery import Discovery
from relay.exchangers import MxOptions
from relay.mail import Envelope, Mail, Recipient
from relay.message import parse_bytes
from relay.options import Secret
from relay.records import DnsOptions, Nameserver
from relay.resolver import Resolver
from relay.routing import Route, Upstream, mx_from, route
from relay.transaction import Timeouts
from relay.upstream import Upstreams
from tests.e2e.tools import free_port
from tests.nameserver import Zone, serving

PASSWORD = "hunter2"
DROP, RESET, STALL, GARBAGE, FLOOD = "DROP", "RESET", "STALL", "GARBAGE", "FLOOD"


@dataclass
class Peer:
    """`script` maps a stage (greeting, EHLO, STARTTLS, AUTH, MAIL, RCPT, RCPT:address, DATA, dot, RSET) to a reply or a fault."""

    certificate: ssl.SSLContext | None = None
    implicit: bool = False
    features: tuple = ("PIPELINING", "SIZE 1000000", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES")
    auth: str = "PLAIN LOGIN"
    starttls: bool = True
    script: dict = field(default_factory=dict)
    log_in: object = None
    """A generator function for AUTH: (mechanism, initial response or None), yields challenges, returns the reply."""
    clear: bytes = b""
    secured: bytes = b""
    mails: list = field(default_factory=list)
    connections: int = 0
    auths: int = 0
    commands: list = field(default_factory=list)
    host: str = "127.0.0.1"
    port: int = 0

    async def start(self):
        context = self.certificate if self.implicit else None
        self.server = await asyncio.start_server(self._serve, self.host, self.port, ssl=context, limit=1 << 20)
        self.port = self.server.sockets[0].getsockname()[1]
        self.tasks = set()

    async def stop(self):
        self.server.close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def _serve(self, reader, writer):
        self.tasks.add(asyncio.current_task())
        self.connections += 1
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
                await self._talk(reader, writer)
        finally:
            writer.transport.abort()

    async def _act(self, stage, default, reader, writer, *, keep=True):
        """Send the scripted reply; False when the connection is over."""
        answer = self.script.get(stage, default)
        if callable(answer):
            answer = answer(self)
        match answer:
            case "DROP":
                await writer.drain()
                writer.close()
                await asyncio.sleep(0.05)
                return False
            case "RESET":
                writer.transport.abort()
                return False
            case "STALL":
                await asyncio.sleep(30)
                return False
            case "GARBAGE":
                writer.write(b"\xff\xfe what? \0\r\nnonsense\r\n")
            case "FLOOD":
                with contextlib.suppress(ConnectionError):
                    for _ in range(200):
                        writer.write(b"250-" + b"x" * 10_000 + b"\r\n")
                        await writer.drain()
                return False
            case str():
                writer.write(answer.encode() + b"\r\n")
        await writer.drain()
        return not (isinstance(answer, str) and answer.startswith(("421", "221"))) and keep

    async def _talk(self, reader, writer):
        secured = self.implicit
        if not await self._act("greeting", "220 peer ESMTP", reader, writer):
            return
        rcpts = []
        while line := await reader.readline():
            if secured:
                self.secured += line
            else:
                self.clear += line
            verb = line.split()[0].upper().decode("ascii", "replace") if line.split() else ""
            self.commands.append(line.decode("utf-8", "replace").strip())
            match verb:
                case "EHLO" | "HELO":
                    offers = ["peer", *self.features]
                    if self.auth and (secured or not self.certificate):
                        offers.append(f"AUTH{self.auth}" if self.auth.startswith("=") else f"AUTH {self.auth}")
                    if self.certificate and not secured and self.starttls:
                        offers.append("STARTTLS")
                    default = "\r\n".join([f"250-{o}" for o in offers[:-1]] + [f"250 {offers[-1]}"])
                    if not await self._act(verb, default if verb == "EHLO" else "250 peer", reader, writer):
                        return
                case "STARTTLS":
                    if not await self._act("STARTTLS", "220 go", reader, writer):
                        return
                    if self.script.get("STARTTLS", "220 go").startswith("220"):
                        await writer.start_tls(self.certificate)
                        secured = True
                case "AUTH":
                    self.auths += 1
                    if not await self._auth(line, reader, writer, secured):
                        return
                case "RCPT":
                    path = line.decode().partition("<")[2].partition(">")[0]
                    stage = f"RCPT:{path}" if f"RCPT:{path}" in self.script else "RCPT"
                    rcpts.append(path)
                    if not await self._act(stage, "250 2.1.5 ok", reader, writer):
                        return
                case "DATA":
                    if not await self._act("DATA", "354 go", reader, writer):
                        return
                    if self.script.get("DATA", "354 go").startswith("354"):
                        if not await self._content(reader, writer, rcpts, secured):
                            return
                        rcpts = []
                case _:
                    defaults = {"MAIL": "250 2.1.0 ok", "RSET": "250 ok", "NOOP": "250 ok", "QUIT": "221 bye"}
                    if not await self._act(verb, defaults.get(verb, "500 what?"), reader, writer):
                        return
                    if verb == "RSET":
                        rcpts = []

    async def _auth(self, line, reader, writer, secured):
        words = line.split()
        if self.log_in:
            dialogue = self.log_in(words[1].decode(), words[2] if words[2:] else None)
            try:
                challenge = next(dialogue)
                while True:
                    writer.write(b"334 " + challenge + b"\r\n")
                    await writer.drain()
                    answer = await reader.readline()
                    self.commands.append(answer.decode().strip())
                    if answer == b"*\r\n":
                        return await self._act("cancel", "501 5.7.0 as you wish", reader, writer)
                    challenge = dialogue.send(answer.strip())
            except StopIteration as over:
                return await self._act("AUTH", over.value, reader, writer)
        if words[1].upper() == b"LOGIN":
            for challenge in (b"VXNlcm5hbWU6", b"UGFzc3dvcmQ6"):
                writer.write(b"334 " + challenge + b"\r\n")
                await writer.drain()
                answer = await reader.readline()
                if secured:
                    self.secured += answer
                else:
                    self.clear += answer
        return await self._act("AUTH", "235 2.7.0 in", reader, writer)

    async def _content(self, reader, writer, rcpts, secured):
        if self.script.get("content") in (DROP, RESET):
            await reader.read(10)
            return await self._act("content", "", reader, writer)
        octets = b""
        while (line := await reader.readline()) != b".\r\n":
            if not line:
                return False
            octets += line[1:] if line.startswith(b".") else line
        if secured:
            self.secured += octets
        else:
            self.clear += octets
        answer = self.script.get("dot", "250 2.0.0 kept")
        if isinstance(answer, str) and answer.startswith("2") and octets:
            self.mails.append((tuple(rcpts), octets))
        return await self._act("dot", answer, reader, writer)


@contextlib.contextmanager
def in_a_thread(peer):
    """The peer in an event loop of its own, for tests that have none."""
    loop, ready = asyncio.new_event_loop(), threading.Event()

    def serve():
        asyncio.set_event_loop(loop)
        loop.run_until_complete(peer.start())
        ready.set()
        loop.run_forever()
        loop.run_until_complete(peer.stop())
        loop.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield peer
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)


class Stage:
    def __init__(self, certificates):
        self.certificates = certificates
        self.timeouts = Timeouts(connect=1.0, greeting=1.0, command=1.0, data_block=1.0, final_dot=1.0)

    @contextlib.asynccontextmanager
    async def peer(self, **options):
        peer = Peer(**options)
        await peer.start()
        try:
            yield peer
        finally:
            await peer.stop()

    @contextlib.asynccontextmanager
    async def upstreams(self):
        made = Upstreams(self.timeouts, "relay.example.com", lambda: 1e9)
        try:
            yield made
        finally:
            await made.close()

    def hop(self, peer, **options):
        base = {"tls": "none", "ca_file": str(self.certificates / "ca.pem")}
        return Upstream("hop", **{"server": "localhost", "port": peer.port, **base, **options})

    def secured(self, peer, **options):
        return self.hop(peer, **{"tls": "starttls", "user": "me", "password": Secret(PASSWORD), **options})

    def mail(self, *rcpt, raw=b"Subject: hi\r\n\r\nhello\r\n.dot\r\n", sender="bot@example.com", **more):
        recipients = tuple(Recipient.accepted(parse(r)) for r in rcpt or ("eve@example.org",))
        return Mail(Envelope(parse(sender) if sender else None, recipients), parse_bytes(raw), **more)

    async def attempt(self, upstream, mail=None):
        async with self.upstreams() as upstreams:
            return await upstreams.attempt(Route(upstream), mail or self.mail())


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates")
    trustme.CA().cert_pem.write_to_path(folder / "stranger.pem")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    for name, cert in (
        ("good", authority.issue_cert("localhost", "127.0.0.1")),
        ("othername", authority.issue_cert("mail.example.net")),
        ("expired", authority.issue_cert("localhost", not_after=__import__("datetime").datetime(2020, 1, 1))),
        ("selfsigned", trustme.CA().issue_cert("localhost")),
    ):
        cert.private_key_and_cert_chain_pem.write_to_path(folder / f"{name}.pem")
    return folder


@pytest.fixture
def tls(certificates):
    def make(name="good", **options):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates / f"{name}.pem")
        for key, value in options.items():
            setattr(context, key, value)
        return context

    return make


@pytest.fixture
def stage(certificates):
    return Stage(certificates)


@pytest.fixture
def run():
    def run_bounded(story):
        async def bounded():
            async with asyncio.timeout(60):
                return await story()

        return asyncio.run(bounded())

    return run_bounded


class Net:
    """The zone of a test, and the discovery that asks it; `port` is that of all its mail servers."""

    def __init__(self, stage, zone, upstreams):
        self.stage, self.zone, self.upstreams = stage, zone, upstreams
        self.port = free_port()
        self.mx = mx_from(MxOptions(port=self.port))
        resolver = Resolver(DnsOptions((Nameserver("127.0.0.1", zone.port),), 0.5))
        self.discovery = Discovery(resolver, upstreams, lambda: 1e9, random.random)

    def peer(self, last, **options):
        return self.stage.peer(host=f"127.0.0.{last}", port=self.port, **options)

    async def send(self, *rcpt, mx=None, others=()):
        """One attempt for each domain; the outcomes, by recipient."""
        routed = route(self.stage.mail(*rcpt), (mx or self.mx, *others))
        attempts = await asyncio.gather(*(self.discovery.attempt(*pair) for pair in routed))
        assert {attempt.upstream for attempt in attempts} == {"mx"}
        return {outcome.address: outcome for attempt in attempts for outcome in attempt.outcomes}

    async def one(self, rcpt="eve@a.test", **more):
        [outcome] = (await self.send(rcpt, **more)).values()
        return outcome


@pytest.fixture
def net(stage, run):
    """A decorator: run a story in the net of these records."""

    def with_records(records, **zone):
        def runs(story):
            async def whole():
                async with stage.upstreams() as upstreams:
                    await story(Net(stage, zone_, upstreams))

            with serving(Zone(records, **zone)) as zone_:
                run(whole)

        return runs

    return with_records
