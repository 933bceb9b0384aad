"""Many clients at once that do no good: the others are served, and memory grows by 64 MiB at most."""

import contextlib
import resource
import socket
import time

import pytest

from tests.hostile.session import BEGIN

CROWD = BEGIN.replace(b"@TAG@", b"eve@example.org")
LINE = b"y" * 70 + b"\r\n"
CROWDS = {
    "2,000 that are idle": (2000, b""),
    "2,000 in the middle of a mail": (2000, CROWD),
    "300 with half of a mail of 250 kB": (300, CROWD + b"DATA\r\n" + LINE * 3500),
    "200 with a mail of 1 MB and no end": (200, CROWD + b"DATA\r\n" + LINE * 14_000),
    "300 with 60,000 commands that read no answer": (300, b"HELP\r\n" * 60_000),
    "300 with 1,000 recipients": (300, CROWD + b"RCPT TO:<" + b"a" * 200 + b"@example.org>\r\n" * 1000),
    "300 with a line without end": (300, b"EHLO " + b"x" * 300_000),
    "300 that refuse to go": (300, b"FOO\r\n" * 50_000),
}


@pytest.fixture(autouse=True)
def room():
    """Descriptors for the crowd, on our side."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4096 if hard == resource.RLIM_INFINITY else min(4096, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("name", CROWDS)
def test_a_crowd(world, name):
    number, octets = CROWDS[name]
    before = world.memory("VmRSS")
    with contextlib.ExitStack() as open_ones:
        crowd = []
        for _ in range(number):
            client = open_ones.enter_context(socket.create_connection(("127.0.0.1", world.daemon.port), 10))
            crowd.append(client)
        assert all(client.recv(3) == b"220" for client in crowd)
        if octets:
            for client in crowd:
                client.settimeout(0.5)
                with contextlib.suppress(OSError):
                    client.sendall(octets)
        assert min(world.greeted() for _ in range(5)) < 1
        highest = before
        for _ in range(10):
            highest = max(highest, world.memory("VmRSS"))
            time.sleep(0.02)
        assert highest - before < 64 << 20
    assert world.greeted() < 5
