"""Mail moves from one relay to another, with and without a daemon: neither lost nor doubled, and no file of root's."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import pytest

from tests.e2e.daemon import Daemon
from tests.e2e.hop import Administrator, hopping
from tests.e2e.tools import ROOT, ROOT_ONLY, closed_port, until

NOBODY = 65534


@pytest.fixture
def other(tmp_path):
    """A second relay."""
    folder = tmp_path / "other"
    folder.mkdir()
    one = Daemon(folder)
    one.command = Administrator(one).command
    yield one
    if one.process and one.process.poll() is None:
        one.stop()
    assert "Traceback" not in one.log(), one.log()


def rows_of(relay, *filters):
    return json.loads(relay.command("queue", "list", "--json", *filters))


@pytest.mark.parametrize("running", [True, False])
def test_a_queue_moves(relay, other, hop, tmp_path, running):
    relay.set_hop(closed_port()).start()
    subjects = [f"m{number}" for number in range(12)]
    for subject in subjects:
        relay.send(f"Subject: {subject}\r\n\r\n{subject}\r\n".encode() + b"y" * 70 + b"\r\n" * 200_000)
    until(lambda: relay.log().count("status=deferred") == 12, "twelve deferrals")
    if not running:
        relay.stop()
    target = tmp_path / "queue.tar"
    told = relay.command("queue", "export", "--all", "--yes", "-o", str(target))
    assert told.count(": exported\n") == 12
    assert target.stat().st_mode & 0o777 == 0o600
    with tarfile.open(target) as tar:
        assert len(tar.getnames()) == 24
    assert {row["state"] for row in rows_of(relay)} == {"held"}
    assert "0 queued, 0 held" in relay.command("queue", "release", "--all", "--yes"), "not by accident"
    hopping(other, hop.port)
    if running:
        other.start()
    else:
        other.start().stop()
    assert other.command("queue", "import", str(target)).count(": imported\n") == 12
    assert other.command("queue", "import", str(target)).count("is here already") == 12
    if not running:
        other.start()
    until(lambda: len(hop.subjects) >= 12, "everything arrives")
    assert sorted(hop.subjects) == sorted(subjects)
    assert other.command("queue", "import", str(target)).count("is here already") == 12, "known when it is done, too"
    life = other.command("trace", rows_of(relay)[0]["id"])
    assert "imported: from queue.tar by an administrator" in life
    assert "deferred eve@example.org" in life, "with what was tried before"
    relay.command("queue", "drop", "--reason", "exported", "--yes")
    assert rows_of(relay) == []


def test_remove_and_back(relay, hop, tmp_path):
    relay.set_hop(closed_port()).start()
    relay.send(b"Subject: one\r\n\r\nx\r\n")
    relay.wait_log("status=deferred")
    target = str(tmp_path / "queue.tar")
    assert "removed" in relay.command("queue", "export", "--all", "--yes", "--remove", "-o", target)
    assert relay.command("queue", "list") == "the queue is empty\n"
    relay.set_hop(hop.port)
    relay.command("reload")
    assert "imported" in relay.command("queue", "import", target)
    until(lambda: hop.subjects == ["one"], "it leaves")


def test_through_a_pipe(relay, other, hop):
    relay.set_hop(closed_port()).start()
    relay.send(b"Subject: one\r\n\r\nx\r\n")
    relay.wait_log("status=deferred")
    hopping(other, hop.port).start()
    archive = relay.run("queue", "export", "--all", "--yes").stdout
    assert "imported" in other.command("queue", "import", input=archive)
    until(lambda: hop.subjects == ["one"], "it leaves")


@pytest.mark.parametrize("running", [True, False])
def test_an_export_that_fails_leaves_the_queue_as_it_was(relay, running):
    """The archive's disk is full, or its pipe's other end is gone."""
    relay.set_hop(closed_port()).start()
    relay.send(b"Subject: one\r\n\r\nx\r\n")
    relay.send(b"Subject: two\r\n\r\nx\r\n")
    until(lambda: relay.log().count("status=deferred") == 2, "two deferrals")
    held = rows_of(relay)[0]["id"]
    relay.command("queue", "hold", held)
    before = rows_of(relay)
    if not running:
        relay.stop()
    line = [sys.executable, "-m", "relay", "--config", str(relay.folder / "config.ini"), "queue", "export", "--all", "--yes", "-o", "-"]  # fmt: skip
    with open("/dev/full", "wb") as full:
        result = subprocess.run(line, stdout=full, stderr=subprocess.PIPE, timeout=60, cwd=ROOT)
    assert result.returncode == 73, result
    assert b"No space left on device; nothing is exported" in result.stderr
    assert rows_of(relay) == before
    reader, writer = os.pipe()
    os.close(reader)
    result = subprocess.run(line, stdout=writer, stderr=subprocess.PIPE, timeout=60, cwd=ROOT)
    os.close(writer)
    assert result.returncode == 73, result
    assert rows_of(relay) == before


@pytest.mark.parametrize(
    "damage",
    [
        lambda octets: octets[: len(octets) // 2 - 100],
        lambda octets: octets[:512] + b"{nonsense" + octets[521:],
        lambda octets: octets.replace(b".eml", b".exe"),
        lambda octets: b"\x1f\x8b" + octets,
        lambda octets: b"",
    ],
)
def test_a_damaged_archive_is_named_and_nothing_half_comes_in(relay, other, tmp_path, damage):
    relay.set_hop(closed_port()).start()
    relay.send(b"Subject: one\r\n\r\n" + b"x" * 70 + b"\r\n" * 9000)
    relay.wait_log("status=deferred")
    target = tmp_path / "queue.tar"
    relay.command("queue", "export", "--all", "--yes", "-o", str(target))
    target.write_bytes(damage(target.read_bytes()))
    hopping(other, closed_port()).start()
    told = other.command("queue", "import", str(target), status=65)
    assert len(told.splitlines()) == 1
    assert str(target) in told
    assert rows_of(other, "--state", "queued,held,done") == []


@pytest.fixture
def foreign():
    """A relay in a folder that other users may enter, unlike pytest's."""
    folder = Path(tempfile.mkdtemp(prefix="tracker-relay-foreign-"))
    folder.chmod(0o755)
    one = Daemon(folder)
    one.command = Administrator(one).command
    yield one
    if one.process and one.process.poll() is None:
        one.stop()
    shutil.rmtree(folder)


@ROOT_ONLY
def test_root_leaves_no_file_of_its_own_in_a_foreign_spool(foreign, tmp_path):
    """Every command, without a daemon: the spool, its WAL and its bodies stay its owner's; the archive is root's."""
    hopping(foreign, closed_port()).start()
    foreign.send(b"Subject: one\r\n\r\n" + b"x" * 70 + b"\r\n" * 200_000)
    foreign.send(b"Subject: two\r\n\r\nx\r\n")
    until(lambda: foreign.log().count("status=deferred") == 2, "two deferrals")
    foreign.stop()
    spool = foreign.folder / "var" / "spool"
    for path in (spool, *spool.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    target = tmp_path / "queue.tar"
    first = rows_of(foreign)[0]["id"]
    for arguments in (
        ("queue", "hold", first),
        ("queue", "release", first),
        ("queue", "cat", first),
        ("trace", first),
        ("queue", "export", "--all", "--yes", "--remove", "-o", str(target)),
        ("queue", "import", str(target)),
        ("queue", "bounce", first),
        ("queue", "list"),
    ):
        foreign.command(*arguments)
        owners = {path.stat().st_uid for path in (spool, *spool.rglob("*"))}
        assert owners == {NOBODY}, arguments
    assert target.stat().st_uid == 0
    assert len(rows_of(foreign)) == 2, "one mail, and the report on the other"


ASKER = """
import json, os, socket, sys
os.setgroups([int(group) for group in sys.argv[3:]])
os.setgid(65534)
os.setuid(65534)
sock = socket.socket(socket.AF_UNIX)
sock.connect(sys.argv[1])
try:
    sock.sendall(b'{"do": "list"}\\n')
except BrokenPipeError:
    pass
print(sock.makefile().read(), end="")
"""


@ROOT_ONLY
@pytest.mark.parametrize(
    ("groups", "allowed"), [((), False), ((12345,), False), ((os.getegid(),), True)], ids=["nobody", "other", "group"]
)
def test_only_root_the_user_and_the_group_may_ask(foreign, groups, allowed):
    """Even where the socket's mode and its folder would let everybody in, the kernel says who asks."""
    hopping(foreign, closed_port()).start()
    path = foreign.folder / "var" / "spool" / "control.sock"
    for folder in (path.parents[1], path.parent):
        folder.chmod(0o755)
    path.chmod(0o666)
    line = [sys.executable, "-I", "-S", "-c", ASKER, str(path), "--", *map(str, groups)]
    result = subprocess.run(line, capture_output=True, timeout=30, cwd="/")
    path.parent.chmod(0o700)
    answers = [json.loads(answer) for answer in result.stdout.splitlines()]
    assert answers, result
    if allowed:
        assert answers == [{"entries": []}, {"end": True}]
    else:
        assert answers == [{"error": "only root, the relay's user and its group may ask"}]
