"""The next hop of these tests: takes mail, compares every octet, remembers when it answered, and can be told to act.

A recipient decides: `later-...@` is deferred the first time, `refuse-...@` refused, all others taken.
"""

import asyncio
import collections
import contextlib
import random
import re
import threading
import time
from dataclasses import dataclass

SMALL, LARGE = 2_000, 600_000


def octets(token):
    """The mail of a token: its size by its first letter, its content by the rest."""
    dice = random.Random(token)
    size = LARGE if token.startswith("L") else SMALL
    lines = [dice.randbytes(32).hex() for _ in range(size // 66)]
    text = "\r\n".join(lines)
    return (
        f"From: Tracker <tracker@tracker.example.com>\r\nTo: eve@example.org\r\nSubject: crash {token}\r\n"
        f"Message-ID: <{token}@tracker.example.com>\r\nDate: Mon, 02 Nov 2026 10:00:00 +0000\r\n\r\n{text}\r\n"
    ).encode()


@dataclass(frozen=True)
class Delivery:
    """One time that the sink took a mail: when its reply left, and whether the octets were the right ones."""

    at: float
    whole: bool


class Sink:
    """A small SMTP server in a thread of its own. `step` is told every stage of every session."""

    def __init__(self):
        self.taken = collections.defaultdict(list)
        self.reports = collections.Counter()
        self.deferred = set()
        self.step = lambda name, token: None
        self.delay = 0.0
        self.port = 0
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

    def _run(self):
        asyncio.set_event_loop(self._loop)
        self._stopping = asyncio.Event()
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self):
        server = await asyncio.start_server(self._session, "127.0.0.1", 0, limit=1 << 22)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stopping.wait()
        server.close()
        for task in asyncio.all_tasks():
            if task is not asyncio.current_task():
                task.cancel()
        await asyncio.sleep(0.05)

    def stop(self):
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(10)

    async def _session(self, reader, writer):
        with contextlib.suppress(OSError, EOFError, asyncio.CancelledError):
            await self._talk(reader, writer)
        writer.close()

    async def _talk(self, reader, writer):
        def say(text):
            writer.write(text.encode() + b"\r\n")

        say("220 sink")
        self.step("connected", "")
        sender, rcpts = "", []
        while line := await reader.readline():
            verb, _, rest = line.decode().strip().partition(" ")
            match verb.upper():
                case "EHLO":
                    say("250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 100000000")
                case "MAIL":
                    self.step("MAIL", "")
                    sender, rcpts = re.search("<(.*?)>", rest)[1], []
                    say("250 ok")
                case "RCPT":
                    rcpt = re.search("<(.*?)>", rest)[1]
                    self.step("RCPT", rcpt)
                    if rcpt.startswith("refuse-"):
                        say("550 5.1.1 no such user")
                    elif rcpt.startswith("later-") and rcpt not in self.deferred:
                        self.deferred.add(rcpt)
                        say("450 4.2.0 later")
                    else:
                        rcpts.append(rcpt)
                        say("250 ok")
                case "DATA" if rcpts:
                    say("354 go")
                    self.step("DATA", "")
                    await self._mail(reader, writer, sender)
                case "DATA":
                    say("554 no recipients")
                case "QUIT":
                    say("221 bye")
                    break
                case _:
                    say("250 ok")
            await writer.drain()

    async def _mail(self, reader, writer, sender):
        lines = []
        while (line := await reader.readline()) != b".\r\n":
            if not line:
                raise EOFError
            lines.append(line.removeprefix(b"."))
            if len(lines) == 20:
                self.step("content", "")
        data = b"".join(lines)
        found = re.search(rb"^Subject: crash (\S+)\r\n", data, re.M)
        token = found[1].decode() if found else ""
        self.step("dot", token)
        if self.delay:
            await asyncio.sleep(self.delay)
        if not sender:
            self.reports[re.search(rb"(refuse-\S+?)@", data)[1].decode()] += 1
        else:
            whole = data.partition(b"\r\n\r\n")[2] == octets(token).partition(b"\r\n\r\n")[2]
            self.taken[token].append(Delivery(time.monotonic(), whole))
        writer.write(b"250 2.0.0 taken\r\n")
        await writer.drain()
        self.step("answered", token)
        return token
