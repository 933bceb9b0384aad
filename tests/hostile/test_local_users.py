"""What another local user may have planted where the relay writes: each attack by its name.

The relay refuses with one clear line or is not impressed; it writes through no link and takes nobody's file for its
own. Links to the spool's own files are in conformance/test_disk.py, to body files in conformance/test_damage.py, to
token files in oauth/test_store.py, to captured mails in web/test_outbox_page.py.
"""

import asyncio
import base64
import contextlib
import json
import os
import socket
import sqlite3
import stat

import pytest

from relay import listening, outbox, unixsocket
from relay.address import parse
from relay.control import Control
from relay.entry import Cause, Disposition
from relay.errors import ConfigError, SpoolError
from relay.mail import Envelope, Mail, Recipient
from relay.message import parse_bytes
from relay.routing import OUTBOX, Route, Upstream
from relay.spool import SpoolOptions
from relay.spool.aside import Aside
from relay.spool.files import BodyFiles
from relay.spool.folder import enter
from relay.spool.room import Room
from tests.e2e.tools import needs_root

OTHER = 12345
THEIRS = b"what another user wrote\n"


@pytest.fixture
def theirs(tmp_path):
    """Another user's folder with a file in it; at the test's end it is as it was."""
    folder = tmp_path / "theirs"
    folder.mkdir()
    file = folder / "file"
    file.write_bytes(THEIRS)
    file.chmod(0o640)
    yield folder
    assert [path.name for path in folder.iterdir()] == ["file"]
    assert file.read_bytes() == THEIRS
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


# --- the spool's folder -------------------------------------------------------------------------------


def _linked(path, theirs):
    path.symlink_to(theirs)


def _open_to_others(path, _theirs):
    path.mkdir()
    path.chmod(0o707)


def _of_another(path, _theirs):
    needs_root()
    path.mkdir(0o700)
    os.chown(path, OTHER, OTHER)


def _a_file(path, _theirs):
    path.write_bytes(b"")


def _dangling(path, theirs):
    path.symlink_to(theirs / "to be made")


FOLDERS = {
    "a link into another's folder": (_linked, "no folder of user"),
    "a link to nothing": (_dangling, "no folder of user"),
    "a folder that others may enter": (_open_to_others, "others may enter it: chmod 700"),
    "a folder of another user": (_of_another, "no folder of user"),
    "a file": (_a_file, "no folder of user"),
}


@pytest.mark.parametrize("inner", ["", "bodies"])
@pytest.mark.parametrize("name", FOLDERS)
def test_the_spools_folder(tmp_path, theirs, name, inner):
    plant, reason = FOLDERS[name]
    spool = tmp_path / "spool"
    if inner:
        spool.mkdir(0o700)
    plant(spool / inner if inner else spool, theirs)
    with pytest.raises(SpoolError) as fault:
        enter(spool, (spool / "bodies",), spool / "spool.sqlite")
    assert str(fault.value).startswith(f"spool {spool / inner}: {reason}")


@pytest.mark.parametrize("what", ["hard link", "symlink", "fifo"])
def test_a_damaged_mails_file_that_is_planted(tmp_path, theirs, what):
    """A row is set aside under its own name: what lies there goes, and not what it names."""
    spool = tmp_path / "spool"
    (spool / "corrupt").mkdir(parents=True, mode=0o700)
    for name in ("bad.json", "bad.eml"):
        _plant(spool / "corrupt" / name, theirs, what)
    with contextlib.closing(sqlite3.connect(":memory:")) as rows:
        rows.execute("CREATE TABLE damaged (id, reason, file, entry, data)")
        rows.execute("INSERT INTO damaged VALUES ('bad', 'why', '', NULL, x'6f6b')")
        Aside(spool, BodyFiles(spool / "bodies", None)).empty_table(rows)
    assert json.loads((spool / "corrupt" / "bad.json").read_text())["reason"] == "why"
    assert (spool / "corrupt" / "bad.eml").read_bytes() == base64.b16decode("6F6B")


def _plant(path, theirs, what):
    match what:
        case "hard link":
            path.hardlink_to(theirs / "file")
        case "symlink":
            path.symlink_to(theirs / "file")
        case "fifo":
            os.mkfifo(path)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("what", ["hard link", "symlink", "fifo"])
def test_a_file_of_the_reserve_that_is_planted(tmp_path, theirs, what):
    spool = tmp_path / "spool"
    (spool / "reserve").mkdir(parents=True, mode=0o700)
    _plant(spool / "reserve" / "0", theirs, what)
    room = Room(SpoolOptions(path=str(spool), reserve=40960, min_free=0, min_free_inodes=0))
    room.fill()
    room.release()
    room.fill()
    assert {path.stat().st_size for path in (spool / "reserve").iterdir()} == {10240}


@pytest.mark.parametrize("filled", [True, False])
def test_the_reserve_is_a_link_into_anothers_folder(tmp_path, theirs, caplog, filled):
    """Filled it would grow their files, given back it would remove them."""
    spool = tmp_path / "spool"
    spool.mkdir(0o700)
    (spool / "reserve").symlink_to(theirs)
    room = Room(SpoolOptions(path=str(spool), reserve=40960, min_free=0, min_free_inodes=0))
    for _ in range(2):
        room.fill() if filled else room.release()
    [line] = [record.getMessage() for record in caplog.records]
    assert f"{spool / 'reserve'} is no folder of ours: there is no reserve until it is moved away" in line


# --- the outbox ---------------------------------------------------------------------------------------


def _world(path, _theirs):
    path.mkdir()
    path.chmod(0o707)


BOX = {
    "a link into another's folder": (_linked, "is a symbolic link: put the folder itself there"),
    "a link to nothing": (_dangling, "is a symbolic link: put the folder itself there"),
    "a folder that others may write": (_world, "may be written by others: chmod o-w it"),
    "a folder of another user": (_of_another, f"belongs to user {OTHER}: chown it to {os.geteuid()}"),
    "a file": (_a_file, "is no folder: move it away"),
}


def _deliver(box):
    mail = Mail(
        Envelope(parse("bot@example.com"), (Recipient.accepted(parse("eve@example.org")),)),
        parse_bytes(b"Subject: x\r\n\r\nsecret\r\n"),
    )
    [outcome] = asyncio.run(outbox.deliver(Route(Upstream(OUTBOX, path=str(box))), mail)).outcomes
    return outcome


@pytest.mark.parametrize("inner", outbox.FOLDERS)
@pytest.mark.parametrize("name", BOX)
def test_a_folder_of_the_outbox(tmp_path, theirs, name, inner):
    plant, reason = BOX[name]
    box = tmp_path / "outbox"
    box.mkdir(0o700)
    plant(box / inner, theirs)
    outcome = _deliver(box)
    assert (outcome.disposition, outcome.cause) == (Disposition.DEFERRED, Cause.LOCAL)
    assert str(outcome.reply) == f"451 4.3.0 the outbox can not be written: {box / inner} {reason}"
    (box / inner).rmdir() if (box / inner).is_dir() and not (box / inner).is_symlink() else (box / inner).unlink()
    assert _deliver(box).disposition is Disposition.RELAYED


@pytest.mark.parametrize("plant", [_world, _of_another])
def test_the_outbox_itself(tmp_path, theirs, plant):
    plant(tmp_path / "outbox", theirs)
    outcome = _deliver(tmp_path / "outbox")
    assert outcome.disposition is Disposition.DEFERRED
    assert not list((tmp_path / "outbox").rglob("*.json"))


# --- sockets ------------------------------------------------------------------------------------------


@pytest.fixture
def raced(monkeypatch, theirs):
    """Between bind and chmod somebody puts something else in the socket's place."""

    def at(path, what):
        real = unixsocket.give_mode

        def give_mode(name, mode):
            path.unlink()
            if what == "another's socket":
                needs_root()
                with socket.socket(socket.AF_UNIX) as other:
                    other.bind(str(path))
                os.chown(path, OTHER, OTHER)
            else:
                _plant(path, theirs, what)
            real(name, mode)

        monkeypatch.setattr(unixsocket, "give_mode", give_mode)

    return at


RACES = ["hard link", "symlink", "fifo", "another's socket"]


@pytest.mark.timeout(20)
@pytest.mark.parametrize("what", RACES)
def test_a_race_for_the_control_socket(tmp_path, raced, what):
    path = tmp_path / "control.sock"
    raced(path, what)

    async def story():
        control = Control(path, None)
        with pytest.raises(ConfigError, match="somebody put something else in its place"):
            await control.start()
        await control.stop()

    asyncio.run(story())


@pytest.mark.timeout(20)
@pytest.mark.parametrize("what", RACES)
def test_a_race_for_a_listeners_socket(tmp_path, raced, what):
    path = tmp_path / "s.sock"
    raced(path, what)

    async def story():
        listener = listening.Listener(None)
        try:
            with pytest.raises(OSError, match="somebody put something else in its place"):
                await listener._bind(listening.Listen(path=str(path)), "x")
        finally:
            await listener.stop(0)

    asyncio.run(story())


@pytest.mark.parametrize("what", ["hard link", "symlink", "fifo"])
def test_a_socket_is_made_in_place_of_nothing_but_a_dead_one(tmp_path, theirs, what):
    path = tmp_path / "s.sock"
    _plant(path, theirs, what)
    with pytest.raises(FileExistsError, match="not a socket"):
        unixsocket.refuse_living(str(path))


def test_a_link_to_a_living_socket_of_another_is_no_socket(tmp_path):
    with socket.socket(socket.AF_UNIX) as living:
        living.bind(str(tmp_path / "living"))
        living.listen()
        (tmp_path / "s.sock").symlink_to(tmp_path / "living")
        with pytest.raises(FileExistsError, match="not a socket"):
            unixsocket.refuse_living(str(tmp_path / "s.sock"))
