"""Broken [listener] configurations about TLS and log-ins, each with every line that `check` says about it."""

import io

import pytest
import trustme

from relay import cli, passwords

TAIL = "[notification]\nsmtp_enabled = true\nsmtp_from = bugs@example.com\n"
EVERYWHERE = "[listener]\nlisten = 0.0.0.0:2525\n"

BROKEN = {
    "log-ins from other hosts without TLS": (
        EVERYWHERE + "passwd_file = passwd\n" + TAIL,
        [
            "3: [listener] passwd_file: no password is taken from other hosts (0.0.0.0:2525) without TLS: set tls_certificate too"
        ],
    ),
    "a key alone": (
        "[listener]\ntls_key = both.pem\n" + TAIL,
        ["2: [listener] tls_key: there is no tls_certificate that it belongs to: set it too"],
    ),
    "another one's key": (
        "[listener]\ntls_certificate = both.pem\ntls_key = other.pem\n" + TAIL,
        ["2: [listener] tls_certificate: the key belongs to another certificate"],
    ),
    "no certificate in it": (
        "[listener]\ntls_certificate = passwd\n" + TAIL,
        [
            "2: [listener] tls_certificate: no certificate with its private key can be read: both in PEM, the key without a pass phrase"
        ],
    ),
    "a key that others may read": (
        "[listener]\ntls_certificate = open.pem\n" + TAIL,
        [
            "2: [listener] tls_certificate: others may read {folder}/open.pem, which holds a secret: chmod o-rwx {folder}/open.pem"
        ],
    ),
    "passwords that others may read": (
        "[listener]\npasswd_file = open-passwd\n" + TAIL,
        [
            "2: [listener] passwd_file: others may read {folder}/open-passwd, which holds a secret: chmod o-rwx {folder}/open-passwd"
        ],
    ),
    "exposed, which is allowed, and wrong besides": (
        "[listener]\nsecret_modes = warn\ntls_certificate = open.pem\ntls_key = open-other.pem\npasswd_file = open-plain\n"
        + TAIL,
        [
            "3: [listener] tls_certificate: the key belongs to another certificate",
            "5: [listener] passwd_file: {folder}/open-plain:1: no line that `tracker-relay passwd LOGIN` has written",
        ],
    ),
    "a device, where exposed files are allowed": (
        "[listener]\nsecret_modes = warn\npasswd_file = /dev/zero\n" + TAIL,
        ["3: [listener] passwd_file: /dev/zero: no regular file: name the file that holds the secret"],
    ),
    "a line that nobody can read": (
        "[listener]\npasswd_file = plain\n" + TAIL,
        ["2: [listener] passwd_file: {folder}/plain:1: no line that `tracker-relay passwd LOGIN` has written"],
    ),
    "port 465 without a certificate": (
        "[listener]\nlisten = 127.0.0.1:465\n" + TAIL,
        ["2: [listener] listen: 127.0.0.1:465: port 465 speaks TLS at once: set tls_certificate, or another port"],
    ),
}


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.setattr(passwords, "ITERATIONS", 4096)
    authority = trustme.CA()
    one, other = authority.issue_cert("localhost"), authority.issue_cert("localhost")
    one.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "both.pem"))
    one.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "open.pem"))
    for name in ("other.pem", "open-other.pem"):
        other.private_key_pem.write_to_path(str(tmp_path / name))
    for name in ("passwd", "open-passwd"):
        (tmp_path / name).write_text(f"dana:{passwords.hashed('s3cret', b'x' * 16)}\n")
    for name in ("plain", "open-plain"):
        (tmp_path / name).write_text("dana:s3cret\n")
    for path in tmp_path.iterdir():
        path.chmod(0o644 if path.name.startswith("open") else 0o600)


@pytest.mark.parametrize("what", BROKEN)
def test_broken(checked, files, tmp_path, what):
    text, faults = BROKEN[what]
    found = checked(text)
    assert found.faults == [fault.replace("{folder}", str(tmp_path)) for fault in faults]
    assert found.status == 78
    assert "s3cret" not in "".join(found.faults)


def test_whole(checked, files):
    text = "listen = 0.0.0.0:2525\ntls_certificate = both.pem\npasswd_file = passwd\n"
    found = checked("[listener]\n" + text + TAIL)
    assert (found.status, found.faults) == (0, [])


def test_passwd_adds_changes_and_takes_out(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(passwords, "ITERATIONS", 4096)
    config, file = tmp_path / "config.ini", tmp_path / "passwd"
    config.write_text("[listener]\npasswd_file = passwd\n" + TAIL)

    def passwd(*words, typed="", status=0):
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        assert cli.main(["--config", str(config), "passwd", *words]) == status
        return capsys.readouterr()

    assert "dana may log in, by" in passwd("dana", typed="first\n").out
    assert file.stat().st_mode & 0o777 == 0o600
    passwd("luc", typed="other\r\n")
    passwd("dana", typed="second\n")
    known, faults = passwords.read(file.read_text())
    assert faults == []
    assert passwords.verify(known, "dana", "second")
    assert passwords.verify(known, "luc", "other")
    assert not passwords.verify(known, "dana", "first")
    passwd("dana", "--delete")
    assert list(passwords.read(file.read_text())[0]) == ["luc"]
    assert "has no dana" in passwd("dana", "--delete", status=65).err
    assert "an empty password is none" in passwd("dana", typed="\n", status=65).err
    assert "is no login" in passwd("a b", typed="x\n", status=65).err
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize(
    ("what", "why"), [("folder", "Is a directory"), ("octets", "not UTF-8: is it the right file?")]
)
def test_passwd_says_why_a_file_can_not_be_read(tmp_path, capsys, monkeypatch, what, why):
    config, file = tmp_path / "config.ini", tmp_path / "passwd"
    config.write_text("[listener]\npasswd_file = passwd\n" + TAIL)
    if what == "folder":
        file.mkdir()
    else:
        file.write_bytes(b"\xff\n")
    monkeypatch.setattr("sys.stdin", io.StringIO("s3cret\n"))
    assert cli.main(["--config", str(config), "passwd", "dana"]) == 65
    assert capsys.readouterr().err == f"tracker-relay: {file}: {why}\n"
