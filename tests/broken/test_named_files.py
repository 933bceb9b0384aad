"""What a configuration or a command line names as a file and is none that can be read to its end: one line says so, at once."""

import contextlib
import io
import os
import sys
import threading
import time

import pytest

from relay import cli, https, journal, namedfile, proving, sendmail
from relay.authorize import browser
from relay.oauth import signing
from relay.routing import Upstream

TAIL = "[notification]\nsmtp_enabled = true\nsmtp_from = bugs@example.com\n"
KINDS = {
    "a device": ("no regular file", lambda path: path.symlink_to("/dev/zero")),
    "a pipe": ("no regular file", os.mkfifo),
    "a folder": ("Is a directory", os.mkdir),
    "ten gigabytes": ("larger than 16777216 octets: is it the right file?", lambda path: sparse(path)),
}
NO_WRITER = "a pipe that nobody writes to"
"""What is said of one where a program might write into it: as a command's argument, not in a configuration."""


def sparse(path):
    path.touch(0o600)
    os.truncate(path, 10 << 30)


@pytest.fixture(params=KINDS)
def odd(request, tmp_path):
    """A path, and what is to be said of it."""
    text, make = KINDS[request.param]
    path = tmp_path / "odd"
    make(path)
    return path, text


def said(capsys, *words, status):
    assert cli.main([str(word) for word in words]) == status
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return (out + err).splitlines()


def config(tmp_path, text=""):
    path = tmp_path / "config.ini"
    path.write_text(text + TAIL)
    path.chmod(0o600)
    return path


def test_the_configuration(odd, capsys):
    path, text = odd
    assert said(capsys, "--config", path, "check", status=78)[0] == f"{path}:1: {text}: name the file with --config"


def test_the_drop_in_takes_the_usual_socket(odd):
    path, _ = odd
    assert sendmail.socket_path(str(path), {}) == sendmail.places.submission_socket(str(path))


def test_a_mail_and_its_envelope(odd, tmp_path, capsys):
    path, text = odd
    text = NO_WRITER if path.is_fifo() else text
    main = config(tmp_path)
    if "larger" in text:
        text = "larger than 52428800 octets: is it the right file?"  # [listener] max_size
    assert said(capsys, "--config", main, "explain", path, status=66) == [f"tracker-relay: {path}: {text}"]
    mail = tmp_path / "mail.eml"
    mail.write_bytes(b"Subject: x\r\n\r\nx\r\n")
    lines = said(capsys, "--config", main, "explain", mail, "--envelope", path, status=66)
    assert lines == [f"tracker-relay: {path}: {text.replace('52428800', '16777216')}"]


def test_a_mail_from_standard_input_has_an_end(tmp_path, capsys, monkeypatch):
    main = config(tmp_path, "[listener]\nmax_size = 1000\n")
    given = io.BytesIO(b"x" * 100_000)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(given))
    lines = said(capsys, "--config", main, "explain", "-", status=66)
    assert lines == ["tracker-relay: -: larger than 1000 octets ([listener] max_size)"]
    assert given.tell() == 1001


@contextlib.contextmanager
def written(octets, *, goes_on=False):
    """The path of a pipe that a program writes to, as a shell makes one of `<(zcat mail.eml.gz)`."""
    reading, writing = os.pipe()

    def write():
        with contextlib.suppress(BrokenPipeError):
            os.write(writing, octets)
        if not goes_on:
            os.close(writing)

    thread = threading.Timer(0.05, write)
    thread.start()
    try:
        yield f"/dev/fd/{reading}"
    finally:
        os.close(reading)
        thread.join()
        if goes_on:
            os.close(writing)


def test_what_a_program_writes_is_read_where_a_command_takes_a_file(tmp_path, capsys):
    main, mail = config(tmp_path), tmp_path / "mail.eml"
    mail.write_bytes(b"Subject: x\r\n\r\nx\r\n")
    with written(b"Subject: crane\r\n\r\n" + b"x\r\n" * 20_000) as path:
        assert "Subject: crane" in said(capsys, "--config", main, "explain", path, status=0)
    with written(b'{"mail_from": null, "rcpt_tos": ["eve@example.org"]}') as path:
        lines = said(capsys, "--config", main, "explain", mail, "--envelope", path, status=0)
        assert any("eve@example.org: gets it" in line for line in lines)
    with written(b"[notification]\nsmtp_enabled = true\nsmtp_from = bugs@example.com\n") as path:
        assert "smtp_from = bugs@example.com" in said(capsys, "import", path, status=0)


def test_a_program_that_is_silent_or_writes_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(namedfile, "PATIENCE", 0.3)
    with written(b"Subject: x\r\n", goes_on=True) as path, pytest.raises(OSError, match=r"nothing came for 0\.3 s"):
        namedfile.read(path, pipes=True)
    with written(b"x" * 11, goes_on=True) as path, pytest.raises(OSError, match="larger than 10 octets"):
        namedfile.read(path, 10, pipes=True)


def test_an_envelope_without_end_is_none(tmp_path, capsys):
    path, mail = tmp_path / "envelope.json", tmp_path / "mail.eml"
    path.write_text("[" * 200_000)
    mail.write_bytes(b"Subject: x\r\n\r\nx\r\n")
    [line] = said(capsys, "--config", config(tmp_path), "explain", mail, "--envelope", path, status=65)
    assert line.startswith(f"tracker-relay: {path}: no envelope: ")


def test_a_trac_ini(odd, tmp_path, capsys):
    path, text = odd
    text = NO_WRITER if path.is_fifo() else text
    if text != "Is a directory":
        assert said(capsys, "import", path, status=66) == [f"tracker-relay: {path}: {text}"]
    ini = tmp_path / "trac.ini"
    ini.write_text(f"[inherit]\nfile = {path}\n[notification]\nsmtp_enabled = true\n")
    told = "".join(said(capsys, "import", ini, status=0)).replace("#", "").replace(" ", "")
    assert f"{path}, which it inherits from: {text}: left out".replace(" ", "") in told


def test_a_trac_ini_that_inherits_without_end(tmp_path, capsys):
    """Sixteen ways to each of the next files, eight deep, would be four milliards."""
    for number in range(9):
        ways = ", ".join(f"{'./' * way}{number + 1}.ini" for way in range(16))
        (tmp_path / f"{number}.ini").write_text(f"[inherit]\nfile = {ways}\n[notification]\nsmtp_enabled = true\n")
    [line] = said(capsys, "import", tmp_path / "0.ini", status=65)
    assert "100 files" in line


def test_a_log_file_that_is_a_pipe_without_a_reader(tmp_path):
    os.mkfifo(tmp_path / "log")
    with pytest.raises(OSError, match="No such device"):
        journal.setup(journal.LogOptions(file=str(tmp_path / "log")))


def test_a_file_of_passwords(odd, tmp_path, capsys):
    path, text = odd
    main = config(tmp_path, f"[listener]\npasswd_file = {path}\n")
    [line] = said(capsys, "--config", main, "check", status=78)
    assert line.startswith(f"{main}:2: [listener] passwd_file: {path}: ")
    lines = said(capsys, "--config", main, "passwd", "dana", "--delete", status=65)
    assert lines == [f"tracker-relay: {path}: {text}"]


def test_a_certificate(odd, tmp_path, capsys):
    path, _ = odd
    main = config(tmp_path, f"[listener]\nsecret_modes = warn\ntls_certificate = {path}\n")
    lines = said(capsys, "--config", main, "check", status=78)
    assert any(line.startswith(f"{main}:3: [listener] tls_certificate: {path}: ") for line in lines), lines


def test_authorities_and_a_certificate_for_a_next_hop(odd):
    path, text = odd
    with pytest.raises(https.HttpFault, match=text.partition(":")[0]):
        https.trust(str(path))
    for hop in (
        Upstream("a", "mail.example.com", tls="starttls", ca_file=str(path)),
        Upstream("a", "mail.example.com", tls="none", client_certificate=str(path)),
    ):
        with pytest.raises(OSError) as caught:
            proving.context_of(hop)
        assert (caught.value.strerror, caught.value.filename) == (text, str(path))


def test_a_file_that_grows_while_it_is_read_is_too_large(tmp_path):
    """One in /proc says that it has no octets."""
    with pytest.raises(OSError, match="larger than 10 octets"):
        namedfile.read("/proc/self/status", 10)
    path = tmp_path / "exact"
    path.write_bytes(b"0123456789")
    assert namedfile.read(path, 10) == b"0123456789"


@pytest.mark.parametrize("line", ["a" + " " * 200_000 + "b", "a" * 200_000, "a" + " =" * 100_000])
def test_a_line_of_a_trac_ini_is_read_in_linear_time(tmp_path, capsys, line):
    path = tmp_path / "trac.ini"
    path.write_text(f"[notification]\n{line}\n")
    began = time.thread_time()
    said(capsys, "import", path, status=0 if "=" in line else 65)
    assert time.thread_time() - began < 1


@pytest.mark.parametrize("text", [" " * 100_000, "A" * 100_000, "-----BEGIN CERTIFICATE-----" * 5000])
def test_a_certificate_is_looked_for_in_linear_time(text):
    began = time.thread_time()
    with pytest.raises(signing.CanNotSign, match="no certificate in PEM form"):
        signing._der(f"-----BEGIN CERTIFICATE-----{text}".encode())
    assert time.thread_time() - began < 1


def test_a_terminal_that_is_gone_ends_the_pasting():
    """Its read fails for ever: the command would have filled the screen with tracebacks."""
    ours, theirs = os.openpty()
    os.close(ours)
    try:
        assert browser._read(theirs) == b""
    finally:
        os.close(theirs)
