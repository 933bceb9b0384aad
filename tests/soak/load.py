"""Mail by the hundred thousand: numbered, sent over connections that stay, counted where it arrives."""

import asyncio
import re
import time

TEXT = "\r\n".join(f"line {n} of a notification that says little, at some length" for n in range(38))


def octets(number):
    return (
        f"From: Tracker <tracker@tracker.example.com>\r\nTo: eve@example.org\r\nSubject: soak {number}\r\n"
        f"Message-ID: <{number}@tracker.example.com>\r\nDate: Mon, 02 Nov 2026 10:00:00 +0000\r\n\r\n{TEXT}\r\n"
    ).encode()


class Counter:
    """The next hop: it counts each number once for every time it arrives, over as many connections as come."""

    def __init__(self, mails):
        self.times = bytearray(mails)
        self.arrived = 0
        self.port = 0

    async def start(self):
        self._server = await asyncio.start_server(self._session, "127.0.0.1", 0, limit=1 << 20)
        self.port = self._server.sockets[0].getsockname()[1]

    def stop(self):
        self._server.close()

    async def _session(self, reader, writer):
        try:
            writer.write(b"220 counter\r\n")
            while line := await reader.readline():
                verb = line[:4].upper()
                if verb == b"DATA":
                    writer.write(b"354 go\r\n")
                    data = await reader.readuntil(b"\r\n.\r\n")
                    number = int(re.search(rb"\r\nSubject: soak (\d+)", data)[1])
                    self.times[number] = min(self.times[number] + 1, 255)
                    self.arrived += 1
                    writer.write(b"250 2.0.0 taken\r\n")
                elif verb == b"EHLO":
                    writer.write(b"250-counter\r\n250-PIPELINING\r\n250 8BITMIME\r\n")
                elif verb == b"QUIT":
                    writer.write(b"221 bye\r\n")
                    break
                else:
                    writer.write(b"250 ok\r\n")
        except (OSError, EOFError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


class Senders:
    """`connections` clients; never more than `ahead` mails beyond what has arrived."""

    def __init__(self, port, mails, counter, connections=10, ahead=2000):
        self.port, self.mails, self.counter, self.ahead = port, mails, counter, ahead
        self.acknowledged = bytearray(mails)
        self.sent = 0
        self._tasks = [asyncio.create_task(self._run()) for _ in range(connections)]

    async def _run(self):
        while self.sent < self.mails:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            await reader.readline()
            writer.write(b"EHLO soak\r\n")
            while (await reader.readline())[3:4] == b"-":
                pass
            for _ in range(1000):
                while self.sent - self.counter.arrived > self.ahead:
                    await asyncio.sleep(0.02)
                if self.sent >= self.mails:
                    break
                number, self.sent = self.sent, self.sent + 1
                await self._one(reader, writer, number)
            writer.write(b"QUIT\r\n")
            await reader.readline()
            writer.close()

    async def _one(self, reader, writer, number):
        writer.write(b"MAIL FROM:<tracker@tracker.example.com>\r\nRCPT TO:<eve@example.org>\r\nDATA\r\n")
        for _ in range(3):
            reply = await reader.readline()
        assert reply.startswith(b"354"), reply
        writer.write(octets(number) + b".\r\n")
        reply = await reader.readline()
        assert reply.startswith(b"250"), reply
        self.acknowledged[number] = 1

    async def finish(self):
        await asyncio.gather(*self._tasks)


async def arrived(counter, mails, patience=120.0):
    """Wait for the last one, as long as some still come."""
    seen, since = counter.arrived, time.monotonic()
    while counter.arrived < mails and time.monotonic() - since < patience:
        await asyncio.sleep(0.2)
        if counter.arrived != seen:
            seen, since = counter.arrived, time.monotonic()
