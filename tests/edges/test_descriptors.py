"""Library fault D10: no descriptor left. The relay says 421, logs a line, and goes on when there are some again."""

import resource
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from relay import descriptors

LIMIT = 60
STORY = """
    import asyncio, logging, resource, sys
    from dataclasses import replace
    sys.path.insert(0, {root!r})
    from relay import journal
    from relay.admission import Listen, ListenerOptions
    from relay.surroundings import Setting
    from relay.listening import Listener
    from relay.spool import SpoolOptions
    from relay.spool.memory import MemorySpool

    resource.setrlimit(resource.RLIMIT_NOFILE, ({limit}, {limit}))
    journal.setup(journal.LogOptions())

    async def main():
        options = replace(ListenerOptions(), listen=(Listen("127.0.0.1", 0),))
        spool = MemorySpool(SpoolOptions(), lambda: 1e9)
        listener = Listener(Setting(options, spool, lambda: "id1", lambda: 1e9, "gw.example.com", "gw.example.com"))
        await listener.start()
        print(listener.addresses[0].port, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        await listener.stop(0)

    with asyncio.Runner({factory}) as runner:
        runner.run(main())
"""


def connected(port, number):
    sockets = []
    for _ in range(number):
        sockets.append(socket.create_connection(("127.0.0.1", port), 5))
        sockets[-1].settimeout(10)
    return sockets


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_no_descriptor_left(loop, tmp_path):
    factory = "" if loop == "asyncio" else "loop_factory=__import__('uvloop').new_event_loop"
    program = textwrap.dedent(STORY.format(root=str(Path(__file__).resolve().parents[2]), limit=LIMIT, factory=factory))
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
        )
    try:
        port = int(process.stdout.readline())
        sockets = connected(port, 200)
        answers = []
        for sock in sockets:
            try:
                answers.append(sock.recv(200)[:3])
            except ConnectionResetError:
                answers.append(b"")
        greeted = answers.count(b"220")
        assert 20 < greeted < LIMIT
        assert answers.count(b"421") + answers.count(b"") == 200 - greeted, "nobody is left waiting"
        assert loop == "uvloop" or answers.count(b"") == 0, "and everybody is told why"
        spent = sum(map(int, Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]))
        for sock in sockets:
            sock.close()
        time.sleep(1.5)
        [again] = connected(port, 1)
        assert again.recv(200).startswith(b"220"), "it goes on by itself"
        again.close()
        assert spent < 300, f"{spent} hundredths of a second of processor time"
    finally:
        process.stdin.close()
        process.wait(20)
        process.stdout.close()
    lines = (tmp_path / "log").read_text().splitlines()
    assert len(lines) <= 5, lines[:10]
    assert not any("Traceback" in line for line in lines)


def test_room_for_clients(monkeypatch):
    limits = [(1024, 4096)]
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _, limit: limits.append(limit))
    assert descriptors.room(100) == 480, "1024 is enough: nothing is raised"
    assert limits == [(1024, 4096)]
    assert descriptors.room(500) == 500
    assert limits[-1] == (1064, 4096)
    assert descriptors.room(5000) == (4096 - 64) // 2, "as far as it may be"
    limits.append((60, 60))
    assert descriptors.room(500) == 15
