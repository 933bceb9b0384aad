"""LoadCredential=: secrets that only the daemon can read, and what the commands beside it make of that."""

import os

import pytest

from relay import config, secretfile

TEXT = """[notification]
smtp_enabled = true
smtp_from = bugs@example.com
smtp_server = mail.example.com
use_tls = true
smtp_user = me
"""


@pytest.fixture
def read(tmp_path):
    """A function: read a configuration whose service has these credentials."""
    held = tmp_path / "credentials"
    held.mkdir()

    def reading(more="", **credentials):
        (tmp_path / "config.ini").write_text(TEXT + more)
        for name, text in credentials.items():
            (held / name).write_text(text)
        return config.read(tmp_path / "config.ini", {"CREDENTIALS_DIRECTORY": str(held)})

    reading.folder = held
    return reading


def password(loaded):
    assert loaded.fault_lines() == []
    return loaded.configuration.next_hop.smtp_password.reveal()


def test_a_credential_goes_before_the_file_of_that_name(read, tmp_path):
    (tmp_path / "smtp_password").write_text("from the file\n")
    (tmp_path / "smtp_password").chmod(0o600)
    more = "smtp_password_file = smtp_password\n"
    assert password(read(more)) == "from the file"
    assert password(read(more, smtp_password="from systemd\n")) == "from systemd"


def test_a_credential_may_be_readable_in_its_folder(read):
    """systemd sees to who may enter there; its files are 0400 or 0440, as it likes."""
    read(smtp_password="x")
    (read.folder / "smtp_password").chmod(0o644)
    assert password(read()) == "x"


@pytest.mark.parametrize("more", ["", "smtp_password_file = smtp_password\n"], ids=["by option", "by file"])
def test_a_credential_that_only_the_daemon_may_see_is_one_line(read, more, monkeypatch):
    """As for the command of `systemctl reload`, to which systemd names the folder and closes it."""
    path = read.folder / "smtp_password"
    stat, opened = os.stat, os.open

    def closed(known):
        def call(what, *arguments, **named):
            if what == path:
                raise PermissionError(13, "Permission denied", str(path))
            return known(what, *arguments, **named)

        return call

    monkeypatch.setattr(secretfile.os, "stat", closed(stat))
    monkeypatch.setattr(secretfile.os, "open", closed(opened))
    assert any(f"{path}: Permission denied" in line for line in read(more).fault_lines())


@pytest.mark.parametrize("name", ["", "a/b", "../x"])
def test_no_credential_has_such_a_name(tmp_path, name):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").touch()
    assert secretfile.credential(str(tmp_path), name) is None
    assert secretfile.credential(str(tmp_path), "a") is None, "a folder"
    assert secretfile.credential("", "a") is None
