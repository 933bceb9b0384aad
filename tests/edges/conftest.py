"""A listener on loopback over a spool in memory, and clients that speak octet by octet."""

import asyncio
import contextlib
import itertools
from dataclasses import replace

import pytest

from relay.admission import Listen, ListenerOptions
from relay.listening import Listener
from relay.spool import SpoolOptions, Wanted
from relay.spool.memory import MemorySpool
from relay.surroundings import Setting


class Spy(MemorySpool):
    """A spool whose `put` can be made slow or faulty."""

    fault = None
    gate = None
    writes_fail = None
    begun = 0

    async def put(self, entry, draft):
        self.begun += 1
        if self.gate:
            await self.gate.wait()
        if self.fault:
            raise self.fault
        await super().put(entry, draft)

    def draft(self):
        draft = super().draft()
        if self.writes_fail:
            fault = self.writes_fail

            def write(data):
                raise fault

            draft.write = write
        return draft

    async def mails(self):
        """Entry and octets of everything kept."""
        claims = await self.claim(Wanted(limit=100_000), 0)
        return [(c.entry, c.body.read(0, c.body.size)) for c in claims]


class Talk:
    """A client that sends octets and reads replies."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    async def send(self, octets):
        self.writer.write(octets)
        await self.writer.drain()

    async def reply(self):
        """One whole reply, lines joined by newlines, without its CRLF."""
        lines = []
        while True:
            async with asyncio.timeout(10):
                line = (await self.reader.readline()).decode()
            lines.append(line.rstrip("\r\n"))
            if line[3:4] != "-":
                return "\n".join(lines)

    async def say(self, *commands):
        """Commands one by one; the last reply."""
        for command in commands:
            await self.send(command.encode() + b"\r\n")
            reply = await self.reply()
        return reply

    async def mail(self, octets, rcpt="eve@example.org"):
        """A whole transaction; `octets` go out as they are, final dot included."""
        await self.say("MAIL FROM:<h@t.example.com>", f"RCPT TO:<{rcpt}>", "DATA")
        await self.send(octets)
        return await self.reply()

    async def closed(self):
        """What still comes until the server hangs up."""
        async with asyncio.timeout(10):
            return await self.reader.read()


class Stage:
    def __init__(self):
        self.options = replace(ListenerOptions(), listen=(Listen("127.0.0.1", 0),))
        self.spool = Spy(SpoolOptions(), lambda: 1e9)
        ids = itertools.count(1)
        self.new_id = lambda: f"id{next(ids):06}"

    def setting(self):
        return Setting(self.options, self.spool, self.new_id, lambda: 1e9, "gw.example.com", "gw.example.com")

    async def kept(self):
        """The octets of every mail in the spool."""
        return [octets for _, octets in await self.spool.mails()]

    async def entry(self):
        """The one entry in the spool."""
        [(entry, _)] = await self.spool.mails()
        return entry

    @contextlib.asynccontextmanager
    async def listening(self):
        self.listener = Listener(self.setting())
        await self.listener.start()
        try:
            yield self.listener
        finally:
            await self.listener.stop(1)

    @contextlib.asynccontextmanager
    async def client(self, hello="EHLO tracker.example.com", at=None):
        at = at or self.listener.addresses[0]
        if at.path:
            reader, writer = await asyncio.open_unix_connection(at.path, limit=1 << 20)
        else:
            reader, writer = await asyncio.open_connection(at.host, at.port, limit=1 << 20)
        talk = Talk(reader, writer)
        try:
            if hello is not None:
                talk.greeting = await talk.reply()
                talk.offers = await talk.say(hello) if hello else ""
            yield talk
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


@pytest.fixture
def stage():
    return Stage()


def runner(loop_factory=None):
    """A function that runs a story, bounded in time."""

    def run_bounded(story):
        async def bounded():
            async with asyncio.timeout(60):
                return await story()

        with asyncio.Runner(loop_factory=loop_factory) as made:
            return made.run(bounded())

    return run_bounded


@pytest.fixture
def run():
    return runner()
