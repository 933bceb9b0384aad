"""A secret's file is read at once and by a bounded part; what is no regular file is refused, without waiting for it."""

import os

import pytest

from relay import secretfile


def test_one_line_end_is_dropped(tmp_path):
    path = tmp_path / "secret"
    for octets, text in ((b"a b\n\n", "a b\n"), (b"x\r\n", "x"), (b"x", "x"), (b"", "")):
        path.write_bytes(octets)
        assert secretfile.read(path) == text


def test_the_longest(tmp_path):
    path = tmp_path / "secret"
    path.write_bytes(b"x" * secretfile.LONGEST)
    assert len(secretfile.read(path)) == secretfile.LONGEST
    path.write_bytes(b"x" * secretfile.LONGEST + b"\n")
    with pytest.raises(ValueError, match=r"secret: larger than 65536 octets: is it the right file\?$"):
        secretfile.read(path)
    os.truncate(path, 1 << 40)
    with pytest.raises(ValueError, match="larger than 65536 octets"):
        secretfile.read(path)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("what", ["device", "pipe", "folder"])
def test_no_regular_file(tmp_path, what):
    path = tmp_path / "secret"
    match what:
        case "device":
            path.symlink_to("/dev/zero")
        case "pipe":
            os.mkfifo(path, 0o600)
        case _:
            path.mkdir(0o700)
    before = os.listdir("/proc/self/fd")
    for ask in (secretfile.read, lambda path: _raise(secretfile.exposed(path))):
        with pytest.raises(ValueError) as fault:
            ask(path)
        assert str(fault.value) == f"{path}: no regular file: name the file that holds the secret"
    assert os.listdir("/proc/self/fd") == before


def _raise(why):
    raise ValueError(why)
