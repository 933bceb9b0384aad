"""The room that speaks with systemd: what it takes over, and what it tells."""

import asyncio
import fcntl
import os
import socket
import subprocess
import sys
import textwrap
import time

import pytest

from relay.systemd import Systemd


@pytest.fixture
def told(tmp_path):
    """(environment, function that returns the next thing told or None)."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(tmp_path / "notify"))
        channel.setblocking(False)

        def next_one():
            try:
                return channel.recv(4096).decode()
            except BlockingIOError:
                return None

        yield {"NOTIFY_SOCKET": str(tmp_path / "notify")}, next_one


def test_what_is_told(told):
    environ, next_one = told
    service = Systemd(environ)
    service.ready("listening on a\nREADY=0")
    assert next_one() == "READY=1\nSTATUS=listening on a\\nREADY=0"  # no value forges a further one
    before = time.monotonic_ns() // 1000
    service.reloading()
    state, _, at = next_one().partition("\nMONOTONIC_USEC=")
    assert state == "RELOADING=1"
    assert before <= int(at) <= time.monotonic_ns() // 1000
    service.stopping()
    assert next_one().startswith("STOPPING=1\n")
    assert environ == {}, "no child of ours speaks to systemd in our name"


def test_an_abstract_socket_is_reached():
    name = f"tracker-relay-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(f"\0{name}")
        channel.settimeout(5)
        Systemd({"NOTIFY_SOCKET": f"@{name}"}).stopping()
        assert channel.recv(100).startswith(b"STOPPING=1")


def test_without_systemd_nothing_happens():
    service = Systemd({})
    service.ready("x")
    service.reloading()
    service.stopping()
    assert service.sockets == {}


def test_systemd_that_is_gone_or_does_not_read_stops_nothing(told, caplog):
    Systemd({"NOTIFY_SOCKET": "/nowhere/notify"}).ready("x")
    assert "systemd could not be told READY=1: No such file or directory" in caplog.text
    environ, _ = told
    service = Systemd(environ)
    begun = time.monotonic()
    for _ in range(1000):  # more than a queue of datagrams holds
        service.stopping()
    assert time.monotonic() - begun < 10
    assert "systemd could not be told STOPPING=1: Resource temporarily unavailable" in caplog.text


def beats(environ, seconds, block=0.0):
    async def story():
        async with Systemd(environ).watched():
            await asyncio.sleep(0)
            time.sleep(block)
            await asyncio.sleep(seconds)

    asyncio.run(story())


def test_a_sign_of_life_comes_twice_within_the_time_that_is_set(told):
    environ, next_one = told
    beats({**environ, "WATCHDOG_USEC": "200000", "WATCHDOG_PID": str(os.getpid())}, 0.55)
    signs = list(iter(next_one, None))
    assert set(signs) == {"WATCHDOG=1"}
    assert 4 <= len(signs) <= 6


def test_an_event_loop_that_stands_still_gives_no_sign_of_life(told):
    environ, next_one = told
    beats({**environ, "WATCHDOG_USEC": "100000"}, 0, block=0.5)
    assert len(list(iter(next_one, None))) <= 2


@pytest.mark.parametrize(
    "variables",
    [{}, {"WATCHDOG_USEC": "100000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "x"}, {"WATCHDOG_USEC": "0"}],
)
def test_no_sign_of_life_where_none_is_wanted_of_us(told, variables):
    environ, next_one = told
    beats({**environ, **variables}, 0.15)
    assert next_one() is None


def test_sockets_for_another_process_are_not_ours():
    for variables in (
        {"LISTEN_PID": "1", "LISTEN_FDS": "1"},
        {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "one"},
        {"LISTEN_FDS": "1"},
    ):
        environ = {**variables, "LISTEN_FDNAMES": "a"}
        assert Systemd(environ).sockets == {}
        assert environ == {}


def started(program, *sockets, names):
    """Run Python code as systemd would: the sockets from descriptor 3 on, LISTEN_PID its own."""
    passed = [fcntl.fcntl(one.fileno(), fcntl.F_DUPFD, 100) for one in sockets]  # free ones, whatever else is open
    script = " ".join(f"{3 + at}<&{number}" for at, number in enumerate(passed))
    try:
        return subprocess.run(
            ["bash", "-c", f'LISTEN_PID=$$ exec "$@" {script}', "-", sys.executable, "-c", textwrap.dedent(program)],
            env={**os.environ, "LISTEN_FDS": str(len(sockets)), "LISTEN_FDNAMES": names},
            pass_fds=passed,
            capture_output=True,
            text=True,
            timeout=60,
        )
    finally:
        for number in passed:
            os.close(number)


SHOW = """
    import os
    from relay.errors import ConfigError
    from relay.systemd import Systemd
    try:
        sockets = Systemd(os.environ).sockets
    except ConfigError as fault:
        raise SystemExit(str(fault))
    print({name: [(s.fileno(), s.family.name, os.get_inheritable(s.fileno())) for s in found] for name, found in sockets.items()})
    print([name for name in os.environ if name.startswith("LISTEN_")])
"""


def test_sockets_come_by_name_and_are_kept_from_children():
    with socket.create_server(("127.0.0.1", 0)) as a, socket.socket(socket.AF_UNIX) as b:
        done = started(SHOW, a, b, a, names="web:local:web")
        assert done.stdout.splitlines() == [
            str({"web": [(3, "AF_INET", False), (5, "AF_INET", False)], "local": [(4, "AF_UNIX", False)]}),
            "[]",
        ], done.stderr
        done = started(SHOW, a, names="")
        assert done.stdout.splitlines()[0] == str({"unknown": [(3, "AF_INET", False)]}), done.stderr


def test_what_is_no_socket_is_named():
    with open(os.devnull) as file:
        done = started(SHOW, file, names="fifo")
    assert done.stderr == "systemd handed over 'fifo', which is no socket: take it out of the unit\n"
