"""The token store: ours alone, replaced whole or not at all, one renewal at a time across processes."""

import asyncio
import os
import stat
import subprocess
import sys
import textwrap

import pytest

from relay.tokenstore import StoreFault, TokenStore
from tests.e2e.tools import needs_root


def test_what_is_stored_is_loaded(store):
    assert store.load("a") is None
    store.remove("a")
    assert not store.folder.exists()  # who only looks makes nothing
    store.store("a", b"one")
    store.store("b", b"two")
    store.store("a", b"three")
    assert (store.load("a"), store.load("b")) == (b"three", b"two")
    store.remove("a")
    store.remove("a")
    assert (store.load("a"), store.load("b")) == (None, b"two")


def test_nobody_else_may_read_it(store):
    os.umask(0o000)
    try:
        store.store("a/../b c", b"x")
    finally:
        os.umask(0o022)
    [file] = store.folder.iterdir()
    assert (file.name, stat.S_IMODE(file.stat().st_mode)) == ("a%2F..%2Fb%20c.json", 0o600)
    assert stat.S_IMODE(store.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(store.folder.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "spoil", ["mode", "link", "hard link", "folder", "open folder", "linked folder", "owner", "folder's owner"]
)
def test_what_is_not_ours_is_refused(store, tmp_path, spoil):
    store.store("a", b"one")
    file = store.folder / "a.json"
    match spoil:
        case "mode":
            file.chmod(0o640)
        case "link":
            file.rename(tmp_path / "x")
            file.symlink_to(tmp_path / "x")
        case "hard link":
            os.link(file, tmp_path / "x")
        case "folder":
            file.unlink()
            file.mkdir()
        case "open folder":
            store.folder.chmod(0o750)
        case "linked folder":
            store.folder.rename(tmp_path / "x")
            store.folder.symlink_to(tmp_path / "x")
        case "owner" | "folder's owner":
            needs_root()
            os.chown(file if spoil == "owner" else store.folder, 12345, 12345)
    with pytest.raises(StoreFault):
        store.load("a")


def test_a_write_that_fails_leaves_the_old_one(store, monkeypatch):
    store.store("a", b"one")
    for name in ("fsync", "rename"):
        with monkeypatch.context() as patch:

            def broken(*_args, **_more):
                raise OSError(28, "No space left on device")

            patch.setattr(os, name, broken)
            with pytest.raises(StoreFault, match="No space left on device"):
                store.store("a", b"two")
        assert store.load("a") == b"one"
        assert [path.name for path in store.folder.iterdir()] == ["a.json"]


def test_the_new_one_is_on_disk_before_the_old_one_goes(store, monkeypatch):
    steps = []
    for name in ("fsync", "rename"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, _real=real, _name=name, **k: (steps.append(_name), _real(*a, **k))[1])
    store.store("a", b"one")
    assert steps == ["fsync", "rename", "fsync"]


KILLED = """
import os, signal, sys
from pathlib import Path
from relay.tokenstore import TokenStore
store = TokenStore(Path(sys.argv[1]))
real = getattr(os, sys.argv[2])
def killed(*args, **more):
    if sys.argv[3] == "after":
        real(*args, **more)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(os, sys.argv[2], killed)
store.store("a", b"two" * 1000)
"""


@pytest.mark.parametrize(
    ("step", "when", "left"),
    [("fsync", "before", b"one"), ("rename", "before", b"one"), ("rename", "after", b"two" * 1000)],
)
def test_promise_3_killed_in_the_middle_it_is_the_old_or_the_new(store, step, when, left):
    store.store("a", b"one")
    killed = subprocess.run([sys.executable, "-c", KILLED, store.folder, step, when], timeout=60)
    assert killed.returncode == -9
    assert store.load("a") == left
    store.store("a", b"three")
    assert [path.name for path in store.folder.iterdir()] == ["a.json"]


HELD = """
import asyncio, sys
from pathlib import Path
from relay.tokenstore import TokenStore
async def hold():
    async with TokenStore(Path(sys.argv[1])).locked("a", 5):
        print("held", flush=True)
        await asyncio.to_thread(sys.stdin.read)
asyncio.run(hold())
"""


def test_one_process_at_a_time(store, run):
    other = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(HELD), store.folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert other.stdout.readline() == b"held\n"

        async def story():
            with pytest.raises(StoreFault, match="another process is renewing them"):
                async with store.locked("a", 0.3):
                    pass
            async with store.locked("b", 0.3):
                pass
            other.kill()  # a lock ends with its process
            async with store.locked("a", 5):
                pass

        run(story)
    finally:
        other.kill()
        other.wait(10)
        other.stdin.close()
        other.stdout.close()


def test_one_task_at_a_time(store, run):
    inside = []

    async def enter():
        async with store.locked("a", 5):
            inside.append(1)
            assert sum(inside) == 1
            await asyncio.sleep(0.05)
            inside.append(-1)

    async def story():
        await asyncio.gather(*(enter() for _ in range(5)))

    run(story)


def test_a_folder_that_can_not_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreFault, match="Not a directory"):
        TokenStore(tmp_path / "file" / "tokens").store("a", b"x")
