"""The archive of `queue export`, with the daemon played by a function."""

import base64
import io
import tarfile

import pytest

from relay.commands import archive
from relay.errors import NoSuchMail


def playing(octets):
    """A daemon that gives these octets in lines, or knows no such mail."""

    def ask(request):
        assert request == {"do": "cat", "id": "a"}
        if octets is None:
            raise NoSuchMail
        for at in range(0, len(octets), 1000):
            yield {"octets": base64.b64encode(octets[at : at + 1000]).decode()}

    return ask


@pytest.mark.parametrize("octets", [b"", b"x", b"y" * 1000, b"z" * 250_001])
def test_a_mail_is_written_whole(octets):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w|") as tar:
        assert archive._added(tar, playing(octets), "a", {"size": len(octets), "received_at": 12.5})
    file.seek(0)
    with tarfile.open(fileobj=file) as tar:
        assert [(m.name, m.mode, m.mtime) for m in tar] == [("a.json", 0o600, 12), ("a.eml", 0o600, 12)]
        assert tar.extractfile("a.eml").read() == octets


def test_a_mail_that_has_left_leaves_nothing_in_the_file():
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w|") as tar:
        assert not archive._added(tar, playing(None), "a", {"size": 1, "received_at": 12.5})
    file.seek(0)
    with tarfile.open(fileobj=file) as tar:
        assert tar.getnames() == []


def test_a_mail_that_is_shorter_than_it_should_be_is_a_fault():
    with tarfile.open(fileobj=io.BytesIO(), mode="w|") as tar, pytest.raises(OSError):
        archive._added(tar, playing(b"x" * 10), "a", {"size": 11, "received_at": 12.5})
