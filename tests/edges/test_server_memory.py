"""Promise 9 at the listener: D5 (lines without end) and D6 (a line is no object) in a process of its own."""

import socket
import subprocess
import sys
import textwrap

import pytest

SERVE = """
import asyncio, resource, sys, tempfile, time
from dataclasses import replace
from relay.admission import Listen, ListenerOptions
from relay.surroundings import Setting
from relay.listening import Listener
from relay.spool import SpoolOptions, create

async def main():
    with tempfile.TemporaryDirectory() as folder:
        spool = create(SpoolOptions(path=folder + "/spool"), time.time)
        await spool.open()
        options = replace(ListenerOptions(), listen=(Listen("127.0.0.1", 0),))
        listener = Listener(Setting(options, spool, lambda: str(time.time_ns()), time.time, "gw", "gw"))
        await listener.start()
        print(listener.addresses[0].port, flush=True)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        await asyncio.to_thread(sys.stdin.readline)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, flush=True)
        await listener.stop(1)
        await spool.close()

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("octets", "times", "code"),
    [
        pytest.param(b"x" * 65536, 1024, b"552", id="D5 64 MiB without a line end"),
        pytest.param(b"\r\n" * 32768, 256, b"250", id="D6 16 MiB of empty lines"),
        pytest.param(b"y" * 70 + b"\r\n", 400_000, b"250", id="27 MiB of text"),
    ],
)
def test_D5_D6_memory_does_not_grow_with_the_mail(octets, times, code):
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SERVE)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        port = int(process.stdout.readline())
        with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
            lines = client.makefile("rb")
            lines.readline()
            client.sendall(b"HELO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.c>\r\nDATA\r\n")
            for _ in range(4):
                lines.readline()
            client.sendall(b"Subject: long\r\n\r\n")
            block = octets * max(1, 65536 // len(octets))
            for _ in range(times * len(octets) // len(block)):
                client.sendall(block)
            client.sendall(b"\r\n.\r\n")
            assert lines.readline().startswith(code)
            lines.close()
        growth = int(process.communicate(b"\n", timeout=60)[0])
    finally:
        process.kill()
        process.communicate()
    assert growth < 16 * 1024, f"{growth} KiB"
