"""A damaged spool starts, sets aside what is bad with one clear line, and goes on; nothing is lost without a word."""

import json
import os

import pytest

from relay import entry as entries
from relay.entry import State
from relay.errors import SpoolError
from relay.spool import Wanted, leases
from tests.e2e.tools import needs_root

BIG = b"Subject: big\r\n\r\n" + b"x" * 400_000


@pytest.fixture(autouse=True)
def nothing_ready(monkeypatch):
    """Every claim reads the disk: new mail does not lie ready in memory."""
    monkeypatch.setattr(leases, "FRESH", 0)


def warnings(caplog, word=""):
    return [r.getMessage() for r in caplog.records if r.levelname in ("WARNING", "ERROR") and word in r.getMessage()]


def body(claim):
    return claim.body.read(0, claim.body.size)


async def damage(spool, sql, *values):
    await spool._do(lambda connection: connection.execute(sql, values))


def body_file(sqlite):
    [path] = (sqlite.folder / "bodies").iterdir()
    return path


ROW = {
    "record is no entry": ("UPDATE entries SET entry = x'00ff' WHERE id = 'bad'", "checksum differs"),
    "record with one other octet": (
        "UPDATE entries SET entry = CAST(replace(CAST(entry AS TEXT), 'eve@', 'evf@') AS BLOB) WHERE id = 'bad'",
        "checksum differs",
    ),
    "record of another mail": (
        "UPDATE entries SET (entry, crc) = (SELECT entry, crc FROM entries WHERE id = 'good') WHERE id = 'bad'",
        "another mail's",
    ),
    "text where octets stood": ("UPDATE entries SET entry = 'x' WHERE id = 'bad'", "checksum differs"),
    "octets cut short": (
        "UPDATE bodies SET data = substr(data, 1, 5) WHERE seq = (SELECT seq FROM entries WHERE id = 'bad')",
        "cut short",
    ),
    "one other octet": (
        "UPDATE bodies SET data = CAST(replace(CAST(data AS TEXT), 'body', 'bodi') AS BLOB)"
        " WHERE seq = (SELECT seq FROM entries WHERE id = 'bad')",
        "octets are damaged",
    ),
    "octets gone": ("DELETE FROM bodies WHERE seq = (SELECT seq FROM entries WHERE id = 'bad')", "gone"),
}


@pytest.mark.parametrize("what", ROW)
def test_a_bad_row_is_set_aside_and_the_others_go_on(sqlite, run, caplog, what):
    sql, reason = ROW[what]

    async def story():
        async with sqlite.open() as spool:
            await sqlite.put(spool, "bad")
            await sqlite.put(spool, "good")
            await damage(spool, sql)
            assert [c.entry.id for c in await spool.claim(Wanted(limit=9), 0)] == ["good"]
            assert sum((await spool.counts()).values()) == 1
        assert json.loads((sqlite.folder / "corrupt" / "bad.json").read_text())["reason"]
        assert (sqlite.folder / "corrupt" / "bad.eml").exists() is (what != "octets gone")

    run(story())
    [line] = warnings(caplog)
    assert line.startswith("bad: ")
    assert reason in line
    assert str(sqlite.folder / "corrupt") in line


def _symlink(path):
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


def _other_owner(path):
    os.chown(path, 12345, 12345)


FILE = {
    "cut short": (lambda p: os.truncate(p, 1000), "has 1000 octets"),
    "grown to 10 GB": (lambda p: os.truncate(p, 10 << 30), "has 10737418240 octets"),
    "gone": (lambda p: p.unlink(), "No such file"),
    "a symbolic link": (_symlink, "no regular file"),
    "with a second name": (lambda p: p.with_name("second").hardlink_to(p), "second name"),
    "a folder": (lambda p: (p.unlink(), p.mkdir()), "no regular file"),
    "a fifo": (lambda p: (p.unlink(), os.mkfifo(p)), "no regular file"),
    "of another user": (_other_owner, "another owner"),
}


@pytest.mark.parametrize("what", FILE)
def test_a_bad_body_file_is_set_aside_and_the_others_go_on(sqlite, run, caplog, what):
    if what == "of another user":
        needs_root()
    change, reason = FILE[what]

    async def story():
        async with sqlite.open() as spool:
            await sqlite.put(spool, "bad", octets=BIG)
            await sqlite.put(spool, "good")
        change(body_file(sqlite))
        async with sqlite.open() as spool:
            assert [c.entry.id for c in await spool.claim(Wanted(limit=9), 0)] == ["good"]
        async with sqlite.open() as spool:
            assert (await spool.counts())[State.QUEUED] == 1

    run(story())
    [line] = warnings(caplog, "bad: ")
    assert reason in line
    assert len(warnings(caplog, "were set aside; look")) == 1, "each later start reminds"


def test_one_other_octet_in_a_body_file_never_leaves(sqlite, run):
    async def story():
        async with sqlite.open() as spool:
            await sqlite.put(spool, "bad", octets=BIG)
            with body_file(sqlite).open("r+b") as file:
                file.seek(200_000)
                file.write(b"y")
            [claim] = await spool.claim(Wanted(), 0)
            for _ in range(2):
                with pytest.raises(SpoolError, match="checksum differs"):
                    claim.body.read(0, 100)

    run(story())


def test_stray_files_disturb_nobody(sqlite, run, caplog):
    caplog.set_level("INFO")

    async def story():
        async with sqlite.open() as spool:
            await sqlite.put(spool, "a", octets=BIG)
        bodies = sqlite.folder / "bodies"
        (bodies / "readme.txt").write_text("x")
        (bodies / "folder.eml").mkdir()
        (bodies / "link.eml").symlink_to("/etc/hostname")
        (bodies / "orphan.eml").write_bytes(b"x")
        (sqlite.folder / "core").write_bytes(b"x" * 100_000)
        async with sqlite.open() as spool:
            assert [body(c) for c in await spool.claim(Wanted(limit=9), 0)] == [BIG]
            left = {path.name for path in bodies.iterdir()}
            assert {"readme.txt", "folder.eml"} < left
            assert len(left) == 3
            assert os.path.exists("/etc/hostname")

    run(story())
    assert warnings(caplog) == []
    assert "bodies: 2 files that no mail names are removed" in caplog.text


def test_mail_of_a_later_program_waits_for_it(sqlite, run, caplog, monkeypatch):
    async def story():
        async with sqlite.open() as spool:
            with monkeypatch.context() as later:
                later.setattr(entries, "FORMAT", entries.FORMAT + 1)
                await sqlite.put(spool, "later")
            await sqlite.put(spool, "now")
            assert [c.entry.id for c in await spool.claim(Wanted(limit=9), 0)] == ["now"]
            assert (await spool.counts())[State.QUEUED] == 1
        async with sqlite.open() as spool:
            monkeypatch.setattr(entries, "FORMAT", entries.FORMAT + 1)
            assert {c.entry.id for c in await spool.claim(Wanted(limit=9), 0)} == {"later", "now"}

    run(story())
    [line] = warnings(caplog)
    assert line.startswith("later: left alone")
