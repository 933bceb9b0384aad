"""The command line as scripts use it: where --config stands, and what goes to which stream with which status."""

import json
import os
import subprocess
import sys

import pytest

from relay import cli

CONFIG = "[notification]\nsmtp_enabled = true\nsmtp_from = bot@example.com\n[status]\nlisten =\n[spool]\nreserve = 0\n"
MAIL = b"Subject: x\r\n\r\nx\r\n"


@pytest.fixture
def told(tmp_path, capsys):
    """Run a command; its status and what it said: (status, out, err)."""
    (tmp_path / "config.ini").write_text(CONFIG)
    (tmp_path / "in.eml").write_bytes(MAIL)

    def run(*words, at=0):
        words = list(words)
        words[at:at] = ["--config", str(tmp_path / "config.ini")]
        try:
            status = cli.main(words)
        except SystemExit as ended:
            status = ended.code
        return (status, *capsys.readouterr())

    return run


@pytest.mark.parametrize(
    "words", [["check"], ["explain", "in.eml"], ["queue", "list"], ["trace", "x"], ["upstream", "list"], ["reload"]]
)
def test_config_may_stand_before_and_behind_the_command(told, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = told(*words)
    assert before[0] != 64
    assert str(tmp_path) in before[1] + before[2] or words[0] in ("reload", "explain")
    if words[0] != "explain":  # it tells the time
        assert told(*words, at=1) == before
        assert told(*words, at=len(words)) == before
    else:
        assert told(*words, at=1)[0] == told(*words, at=len(words))[0] == 0


def test_the_config_behind_the_command_is_the_one_that_counts(told, tmp_path):
    status, out, _err = told("check", "--config", "none.ini")
    assert (status, out) == (78, "none.ini:1: No such file or directory: name the file with --config\n")


def test_the_reference_as_json_has_what_the_text_has(told):
    _status, text, _ = told("reference")
    status, out, err = told("reference", "--json")
    rows = json.loads(out)
    assert (status, err) == (0, "")
    assert {tuple(row) for row in rows} == {("section", "option", "default", "meaning")}
    told_of = {(row["section"], row["option"]) for row in rows}
    assert ("notification", "smtp_from") in told_of
    assert ("upstream:NAME", "password_file") in told_of
    assert ("users", "LOGIN") in told_of
    for row in rows:
        assert f"\n[{row['section']}]\n" in f"\n{text}"
        assert f"\n{row['option']} = {row['default']}".rstrip() + f"\n    {row['meaning']}\n" in text, row


def test_an_envelope_file_that_is_not_there_is_66_as_a_mail_is(told, tmp_path):
    mail, gone = str(tmp_path / "in.eml"), str(tmp_path / "none.json")
    assert told("explain", gone) == (66, "", f"tracker-relay: {gone}: No such file or directory\n")
    assert told("explain", mail, "--envelope", gone) == (66, "", f"tracker-relay: {gone}: No such file or directory\n")


def test_an_envelope_that_is_none_is_65(told, tmp_path):
    broken = tmp_path / "broken.json"
    broken.write_text('{"mail_from": 5}')
    status, out, err = told("explain", str(tmp_path / "in.eml"), "--envelope", str(broken))
    assert (status, out) == (65, "")
    assert err == f"tracker-relay: {broken}: no envelope: mail_from is a string or null\n"


@pytest.mark.parametrize("also", [["--from", "a@x.example"], ["--to", "b@x.example"]])
def test_an_envelope_has_its_own_sender_and_recipients(told, tmp_path, also):
    status, out, err = told("explain", str(tmp_path / "in.eml"), "--envelope", "e.json", *also)
    assert (status, out) == (64, "")
    assert err == "tracker-relay: --envelope has its own sender and recipients: leave --from and --to out\n"


def test_a_configuration_that_may_not_be_read(tmp_path, capsys, monkeypatch):
    if os.geteuid() == 0:  # root may read anything
        monkeypatch.setattr("relay.namedfile.read", _forbidden)
    path = tmp_path / "config.ini"
    path.write_text(CONFIG)
    path.chmod(0)
    line = f"{path}:1: Permission denied: run this as root or as the relay's user\n"
    for words in (["check"], ["run"], ["queue", "list"], ["reload"], ["explain", "x.eml"]):
        assert cli.main(["--config", str(path), *words]) == 78
        assert "".join(capsys.readouterr()) == line


def _forbidden(_path):
    raise PermissionError(13, "Permission denied")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["explain", "no\nsuch\x1b[31m.eml"], "tracker-relay: no\\nsuch\\x1b[31m.eml: No such file or directory\n"),
        (["import", "no\nsuch"], "tracker-relay: no\\nsuch: No such file or directory\n"),
        (["suppress", "add", "a\nb"], "tracker-relay: argument ADDRESS: 'a\\nb' is not an address: control character"),
        (["fly\n"], "tracker-relay: argument COMMAND: invalid choice: 'fly\\n'"),
        (["queue", "import", "no\nsuch"], "tracker-relay: no\\nsuch: No such file or directory\n"),
        (["queue", "export", "x\ny", "-o", "a\nb/c"], "tracker-relay: a\\nb/c: No such file or directory; nothing"),
    ],
)
def test_an_error_is_one_line_whatever_was_typed(told, tmp_path, words, said):
    (tmp_path / "var" / "spool").mkdir(parents=True, mode=0o700)
    _status, out, err = told(*words)
    assert out == ""
    assert err.startswith(said)
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("command", ["show", "hold", "retry", "cat"])
def test_an_id_with_a_line_feed_is_one_line_too(told, tmp_path, command):
    (tmp_path / "var" / "spool").mkdir(parents=True, mode=0o700)
    status, out, err = told("queue", command, "x\ny\x1b")
    assert (status, out) == (66, "")
    assert "x\\ny\\x1b" in err
    assert len(err.splitlines()) == 1


def test_a_name_of_the_configuration_with_a_line_feed(tmp_path, capsys):
    assert cli.main(["--config", str(tmp_path / "no\nsuch"), "check"]) == 78
    line = f"{tmp_path}/no\\nsuch:1: No such file or directory: name the file with --config\n"
    assert capsys.readouterr().out == line


def test_output_that_can_not_be_written_is_74_and_said_once(tmp_path):
    (tmp_path / "config.ini").write_text(CONFIG)
    (tmp_path / "var" / "spool").mkdir(parents=True, mode=0o700)
    start = [sys.executable, "-m", "relay", "--config", str(tmp_path / "config.ini")]
    for words in (["reference"], ["queue", "list", "--json"]):
        with open("/dev/full", "w") as full:
            ended = subprocess.run([*start, *words], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
        assert (ended.returncode, ended.stderr) == (74, "tracker-relay: standard output: No space left on device\n")
