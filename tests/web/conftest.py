"""The status page on a free port of loopback, in a thread with an event loop of its own, over a real spool and outbox."""

import asyncio
import http.client
import json
import random
import socket
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from relay import app, config, outbox
from relay.address import parse
from relay.admission import Listen
from relay.entry import Attempt, Cause, Client, Disposition, Entry, Event, Outcome, State, new_id
from relay.events import Events
from relay.hops import row
from relay.known import HopState
from relay.mail import Envelope, Mail, Recipient
from relay.message import parse_bytes
from relay.reply import Reply
from relay.spool import SpoolOptions, SqliteSpool, Wanted
from relay.status import StatusOptions
from relay.statuspage import Sources
from relay.web import door
from relay.web.render import Renderer
from tests.e2e.daemon import daemon

__all__ = ["daemon"]

INI = """
[notification]
smtp_enabled = true
smtp_from = bugs@example.com
smtp_server = mail.example.com
smtp_port = 587
use_tls = true
smtp_user = robot
smtp_password = hunter2-secret
smtp_subject_prefix = [Harbour]
"""


RENDERER = Renderer()


@dataclass
class Answer:
    status: int
    headers: "http.client.HTTPMessage"
    body: bytes

    @property
    def text(self):
        return self.body.decode()

    @property
    def json(self):
        assert self.headers["Content-Type"] == "application/json"
        return json.loads(self.body)


def ask(address, path, *, method="GET", headers=None, body=None):
    """One request over a connection of its own; `address` is (host, port) or the path of a unix socket."""
    connection = http.client.HTTPConnection("localhost", timeout=30)
    if isinstance(address, tuple):
        connection.sock = socket.create_connection(address, 30)
    else:
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(str(address))
    try:
        connection.putrequest(method, path, skip_host="Host" in (headers or {}))
        for name, value in (headers or {}).items():
            if value is not None:
                connection.putheader(name, value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read())
    finally:
        connection.close()


@dataclass
class Site:
    """`ask` with the token unless told otherwise; the spool, the outbox and the next hops to fill."""

    folder: Path
    ini: str = INI
    now: float = 1_760_000_000.0
    hops: dict = field(default_factory=dict)
    paused: str = ""
    refusing: str = ""

    def __post_init__(self):
        path = self.folder / "config.ini"
        path.write_text(self.ini)
        path.chmod(0o600)
        loaded = config.read(path, {})
        assert not loaded.faults, loaded.fault_lines()
        self.setting = app.setting_of(loaded.configuration)
        self.outbox = self.folder / "outbox"
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.run(self._open())

    def run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(60)

    async def _open(self):
        self.spool = SqliteSpool(SpoolOptions(path=str(self.folder / "spool")), lambda: self.now)
        await self.spool.open()
        self.events = Events(self.spool, lambda: self.now)
        upstreams = [hop for profile in self.setting.profiles for hop in profile.upstreams]
        self.sources = Sources(
            self.spool,
            lambda: self.now,
            lambda: self.setting,
            lambda: self.refusing,
            lambda: [(hop, row(hop, self.hops.get(hop.name, HopState()), self.paused)) for hop in upstreams],
            lambda: [self.outbox],
            self.events.would_be_first,
        )
        door.Renderer = lambda: RENDERER  # templates are compiled once for all tests
        listens = (Listen("127.0.0.1", 0), Listen(path=str(self.folder / "page.sock")))
        self.page = await door.open_door(StatusOptions(listens), self.folder / "state", self.sources)
        self.port = int(self.page.addresses[0].rpartition(":")[2])
        self.token = (self.folder / "state" / "status.token").read_text().strip()

    def close(self):
        async def close():
            self.page.close()
            await asyncio.sleep(0.05)
            await self.spool.close()

        self.run(close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()

    @property
    def address(self):
        return ("127.0.0.1", self.port)

    def ask(self, path, *, token=True, method="GET", headers=None, body=None):
        given = {"Authorization": f"Bearer {self.token}"} if token else {}
        return ask(self.address, path, method=method, headers=given | (headers or {}), body=body)

    def get(self, path, status=200, **more):
        answer = self.ask(path, **more)
        assert answer.status == status, (path, answer.status, answer.text)
        return answer

    # --- filling ------------------------------------------------------------------------------------

    def entry(self, octets=b"", to=("eve@example.org",), **more):
        self.now += 1
        envelope = Envelope(parse("trac@example.com"), tuple(Recipient.accepted(parse(a)) for a in to))
        given = {
            "id": new_id(self.now, random.getrandbits(30)),
            "received_at": self.now,
            "due": self.now + 60,
            "size": len(octets),
            "client": Client("127.0.0.1", "tracker.example.com"),
            "events": (Event(self.now, "accepted", "from 127.0.0.1"),),
        }
        return Entry(envelope=envelope, **(given | more))

    def put(self, octets=b"Subject: x\r\n\r\nbody\r\n", **more):
        """A queued mail, or one in another state."""
        entry = self.entry(octets, **more)

        async def put():
            draft = self.spool.draft()
            draft.write(octets)
            await self.spool.put(entry, draft)

        self.run(put())
        return entry

    def finish(self, entry, *outcomes, **more):
        """Make a queued mail history."""

        async def finish():
            [claim] = await self.spool.claim(Wanted(id=entry.id), 0)
            done = replace(entry, state=State.DONE, answered=outcomes, done_at=self.now, **more)
            await self.spool.settle([claim], (done, None))

        self.run(finish())

    def capture(self, octets, to=("eve@example.org",), sender="bugs@example.com"):
        """A mail in the outbox; its name."""
        envelope = Envelope(parse(sender), tuple(Recipient.accepted(parse(a)) for a in to))
        return outbox.store(self.outbox, Mail(envelope, parse_bytes(octets)))


def outcome(address="eve@example.org", *, what=Disposition.RELAYED, code=250, text="ok", **more):
    return Outcome(
        f"rcpt:{address}", address, what, Reply.read(code, text), **{"host": "mail.example.com[192.0.2.1]:587", **more}
    )


def deferred(address="eve@example.org", *, cause=Cause.AUTH, code=535, text="5.7.8 bad credentials", **more):
    return outcome(address, what=Disposition.DEFERRED, code=code, text=text, cause=cause, **more)


def attempt(at, *outcomes, tls="TLSv1.3 starttls verified"):
    return Attempt(at, "notification", outcomes, tls)


@pytest.fixture
def site(tmp_path):
    made = Site(tmp_path)
    yield made
    made.close()


@pytest.fixture
def make_site(tmp_path):
    """Sites with a configuration of their own."""
    made = []

    def make(ini):
        folder = tmp_path / f"site{len(made)}"
        folder.mkdir()
        made.append(Site(folder, ini))
        return made[-1]

    yield make
    for one in made:
        one.close()


def wait_for(condition, what, seconds=20):
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, what
        time.sleep(0.02)
    return value
