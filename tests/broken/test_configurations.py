"""Broken configurations, each with every line that `check` says about it."""

import os

import pytest

from relay import cli
from tests.e2e.tools import ROOT_ONLY

OK = "[notification]\nsmtp_enabled = true\nsmtp_from = bugs@example.com\n"
HOP = OK + "smtp_server = mail.example.com\n"

CASES = {
    "neither sender": (
        "[notification]\nsmtp_enabled = true\n",
        [
            "1: [notification] smtp_from: neither smtp_from nor smtp_replyto is set: set one of them to the address that mail comes from"
        ],
    ),
    "neither sender, but a user who is an address": (
        "[notification]\nsmtp_enabled = true\nsmtp_server = smtp.gmail.com\nsmtp_port = 587\nuse_tls = true\nsmtp_user = user@gmail.com\nsmtp_password = x\n",
        ["1: [notification] smtp_from: neither smtp_from nor smtp_replyto is set: set smtp_from = user@gmail.com"],
    ),
    "a name with a mark that nobody sees": (
        OK + "m\ufeffime_encoding = qp\nmime_encoding = q\x1bp\n",
        [
            "4: [notification] m\\ufeffime_encoding: no such option: did you mean mime_encoding?",
            "5: [notification] mime_encoding: 'q\\x1bp' is none of base64, qp, none, auto, keep, none-strict",
        ],
    ),
    "limits that nobody can mean": (
        HOP + "limits = hotmail\nconnections = 0\nmails_per_minute = some\n",
        [
            "5: [notification] limits: 'hotmail' is none of none, microsoft, gmail, workspace",
            "6: [notification] connections: '0' is not a whole number from 1 to 200",
            "7: [notification] mails_per_minute: 'some' is not a whole number from 0 to 100000",
        ],
    ),
    "a log file without its folder": (
        OK + "[log]\nfile = /nonexistent/relay.log\n",
        ["5: [log] file: there is no folder /nonexistent: make it, for the relay's user"],
    ),
    "a log file that is a folder": (OK + "[log]\nfile = /\n", ["5: [log] file: it is a folder: name a file in it"]),
    "a canary that would be a nuisance": (
        HOP + "canary = 5s\n",
        ["5: [notification] canary: a look each 5s would be a nuisance: 30s or more, or off"],
    ),
    "unknown mime_encoding": (
        OK + "mime_encoding = utf8\n",
        ["4: [notification] mime_encoding: 'utf8' is none of base64, qp, none, auto, keep, none-strict"],
    ),
    "credentials without TLS": (
        HOP + "smtp_user = me\nsmtp_password = x\nuse_tls = false\n",
        [
            "5: [notification] smtp_user: the password would cross an unprotected connection (tls is none): set use_tls = true"
        ],
    ),
    "credentials over opportunistic TLS": (
        HOP + "smtp_user = me\nsmtp_password = x\n",
        [
            "5: [notification] smtp_user: the password would cross an unprotected connection (tls is opportunistic): set use_tls = true"
        ],
    ),
    "credentials without proof of the name": (
        HOP + "smtp_user = me\nsmtp_password = x\nuse_tls = true\ntls_verify = false\n",
        [
            "5: [notification] smtp_user: the password would cross an unprotected connection (tls_verify is false): set use_tls = true"
        ],
    ),
    "our own listener": (
        "[listener]\nlisten = 127.0.0.1:2525\n" + OK + "smtp_server = localhost\nsmtp_port = 2525\n",
        [
            "6: [notification] smtp_server: that is this relay's own listener (127.0.0.1:2525): name the mail server that it shall send to"
        ],
    ),
    "our own socket": (
        "[listener]\nlisten = unix:s.sock\n" + OK + "smtp_server = unix:s.sock\n",
        [
            "6: [notification] smtp_server: that is this relay's own listener (unix:{folder}/s.sock): name the mail server that it shall send to"
        ],
    ),
    "the drop-in's socket": (
        OK + "smtp_server = unix:var/submission.sock\n",
        [
            "4: [notification] smtp_server: that is this relay's own listener (unix:{folder}/var/submission.sock): name the mail server that it shall send to"
        ],
    ),
    "a user that this host has not": (
        "[listener]\nallow_uids = root, no-such-user\n" + OK,
        ["2: [listener] allow_uids: 'no-such-user': this host has no such user"],
    ),
    "unknown option with a near name": (
        OK + "smtp_alwayscc = a@example.org\n",
        ["4: [notification] smtp_alwayscc: no such option: did you mean smtp_always_cc?"],
    ),
    "unknown option without one": (
        OK + "colour = red\n",
        ["4: [notification] colour: no such option: see `tracker-relay reference`"],
    ),
    "unknown section": (OK + "[notifications]\n", ["4: [notifications]: no such section: did you mean notification?"]),
    "an option of another section": (
        OK + "max_size = 10M\n",
        ["4: [notification] max_size: no such option here: it belongs into [listener]"],
    ),
    "an address list that does not parse": (
        OK + "smtp_always_cc = a@example.org, alice@evil.test)bob@good.test\n",
        ["4: [notification] smtp_always_cc: 'alice@evil.test)bob@good.test' is not an address: bad domain"],
    ),
    "a sender that is no address": (
        "[notification]\nsmtp_enabled = true\nsmtp_from = Bugs Team\n",
        ["3: [notification] smtp_from: 'Bugs Team' is not an address: bad local part"],
    ),
    "a bare sender": (
        "[notification]\nsmtp_enabled = true\nsmtp_from = bugs\n",
        ["3: [notification] smtp_from: bugs has no domain: write it whole, or set smtp_default_domain"],
    ),
    "contradiction of use_tls and tls": (
        HOP + "use_tls = true\ntls = opportunistic\n",
        ["6: [notification] tls: use_tls = true demands TLS, tls = opportunistic does not: remove one of them"],
    ),
    "contradiction the other way": (
        HOP + "use_tls = false\ntls = implicit\n",
        ["6: [notification] tls: use_tls = false forbids TLS, tls = implicit demands it: remove use_tls"],
    ),
    "port 465 without implicit TLS": (
        HOP + "smtp_port = 465\ntls = starttls\n",
        [
            "6: [notification] tls: port 465 is TLS from the first octet, tls = starttls is not: tls = implicit, or port 587"
        ],
    ),
    "a user without a password": (
        HOP + "use_tls = true\nsmtp_user = me\n",
        ["6: [notification] smtp_user: there is no password for it: set smtp_password_file or smtp_password"],
    ),
    "a mechanism that nobody knows": (
        HOP + "use_tls = true\nsmtp_user = me\nsmtp_password = x\nauth = digest-md5\n",
        [
            "8: [notification] auth: 'digest-md5' is none of external, oauthbearer, xoauth2, scram-sha-256-plus, scram-sha-1-plus, scram-sha-256, scram-sha-1, cram-md5, plain, login"
        ],
    ),
    "a log-in by certificate without one": (
        HOP + "use_tls = true\nauth = external\n",
        ["6: [notification] auth: auth = external logs in with a client certificate: set client_certificate"],
    ),
    "a log-in by certificate with a password": (
        HOP + "use_tls = true\nauth = external\nclient_certificate = c.pem\nsmtp_user = me\nsmtp_password = x\n",
        [
            "9: [notification] smtp_password: auth = external logs in with the client certificate alone: remove the password"
        ],
    ),
    "a log-in by certificate without TLS": (
        HOP + "use_tls = false\nauth = external\nclient_certificate = c.pem\n",
        ["6: [notification] auth: auth = external needs TLS, and tls is none: set use_tls = true"],
    ),
    "a user without a server": (
        OK + "smtp_user = me\nsmtp_password = x\n",
        [
            "4: [notification] smtp_user: there is no smtp_server to log in to: set smtp_server, or remove it",
            "5: [notification] smtp_password: there is no smtp_server to log in to: set smtp_server, or remove it",
        ],
    ),
    "a port that is none": (
        HOP + "smtp_port = 70000\n",
        ["5: [notification] smtp_port: '70000' is not a whole number from 1 to 65535"],
    ),
    "no number at all": (
        HOP + "smtp_port = smtp\n",
        ["5: [notification] smtp_port: 'smtp' is not a whole number from 1 to 65535"],
    ),
    "a size that is none": (
        "[listener]\nmax_size = huge\n" + OK,
        ["2: [listener] max_size: 'huge' is no size such as 4096, 50M or 1G"],
    ),
    "limits of nothing, where somebody means none": (
        "[listener]\nmax_size = 0\nidle_timeout = 0\n[spool]\nlease = 0\n[timeouts]\nconnect = 0\nfinal_dot = 0.5\n"
        + OK,
        [
            "2: [listener] max_size: '0' would let nothing through; there is no value for `no limit`",
            "3: [listener] idle_timeout: '0' is shorter than 1s",
            "5: [spool] lease: '0' is shorter than 1m",
            "7: [timeouts] connect: '0' is shorter than 1s",
            "8: [timeouts] final_dot: '0.5' is shorter than 1s",
        ],
    ),
    "a duration that is none": (
        "[retry]\nfirst = soon\n" + OK,
        ["2: [retry] first: 'soon' is no duration such as 90s, 5m, 1h or 5d"],
    ),
    "an address to listen on that is none": (
        "[listener]\nlisten = 2525\n" + OK,
        ["2: [listener] listen: '2525' is none of host:port, [v6]:port, unix:PATH, systemd:NAME"],
    ),
    "everybody may send": (
        "[listener]\nallow = 0.0.0.0/0\n" + OK,
        ["2: [listener] allow: 0.0.0.0/0 is everybody, and there is no AUTH: name the networks that may send"],
    ),
    "reachable from outside": (
        "[listener]\nlisten = 0.0.0.0:2525\n" + OK,
        ["2: [listener] listen: 0.0.0.0:2525 can be reached from other hosts: set allow to the networks that may send"],
    ),
    "defaults for all": (
        "[DEFAULT]\nx = y\n" + OK,
        ["1: [DEFAULT]: there are no defaults for all sections: move its options"],
    ),
    "an option twice": (
        OK + "smtp_from = x@example.com\n",
        ["4: [notification] smtp_from: it stands at line 3 too: remove one"],
    ),
    "a section twice": (OK + "[notification]\n", ["4: [notification]: the section stands at line 1 too: join them"]),
    "no option": (OK + "use_tls true\n", ["4: [notification]: no option: write `name = value` instead of 'use_tls'"]),
    "an option without a section": (
        "smtp_from = x\n" + OK,
        ["1: smtp_from: it stands before the first [section]: move it into one"],
    ),
    "not UTF-8": (
        OK.encode() + b"smtp_from_name = H\xe4fen\n",
        ["4: [notification]: not UTF-8: save the file as UTF-8"],
    ),
    "a secret twice": (
        HOP + "use_tls = true\nsmtp_user = me\nsmtp_password = x\nsmtp_password_file = y\n",
        [
            "6: [notification] smtp_user: there is no password for it: set smtp_password_file or smtp_password",
            "7: [notification] smtp_password: smtp_password_file is set too: keep that one",
        ],
    ),
    "a secret file that is not there": (
        HOP + "use_tls = true\nsmtp_user = me\nsmtp_password_file = gone\n",
        [
            "6: [notification] smtp_user: there is no password for it: set smtp_password_file or smtp_password",
            "7: [notification] smtp_password_file: {folder}/gone: No such file or directory: create it, with mode 600",
        ],
    ),
    "a secret file that is a device": (
        "[log]\nsecret_modes = warn\n" + HOP + "use_tls = true\nsmtp_user = me\nsmtp_password_file = /dev/zero\n",
        [
            "8: [notification] smtp_user: there is no password for it: set smtp_password_file or smtp_password",
            "9: [notification] smtp_password_file: /dev/zero: no regular file: name the file that holds the secret",
        ],
    ),
    "several faults at once, by line": (
        "[listener]\nmax_size = x\n[notification]\nmime_encoding = y\nsmtp_fron = z\n",
        [
            "2: [listener] max_size: 'x' is no size such as 4096, 50M or 1G",
            "3: [notification] smtp_from: neither smtp_from nor smtp_replyto is set: set one of them to the address that mail comes from",
            "4: [notification] mime_encoding: 'y' is none of base64, qp, none, auto, keep, none-strict",
            "5: [notification] smtp_fron: no such option: did you mean smtp_from?",
        ],
    ),
}


def check(tmp_path, capsys, text, mode=0o600, command="check"):
    path = tmp_path / "config.ini"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)
    status = cli.main(["--config", str(path), command])
    out, err = capsys.readouterr()
    return status, (out + err).splitlines(), path


@pytest.mark.parametrize("name", CASES)
def test_broken(tmp_path, capsys, name):
    text, expected = CASES[name]
    for command in ("check", "run"):
        status, lines, path = check(tmp_path, capsys, text, command=command)
        assert status == 78
        faults = [line for line in lines if not line.startswith("warning: ")]
        assert faults == [f"{path}:{line.replace('{folder}', str(tmp_path))}" for line in expected]


def test_example_18_neither_sender_does_not_start(tmp_path, capsys):
    for command in ("check", "run"):
        status, lines, _ = check(tmp_path, capsys, CASES["neither sender"][0], command=command)
        assert status != 0
        assert "smtp_from" in lines[0]
        assert "smtp_replyto" in lines[0]


def test_example_35_an_unknown_encoding_does_not_start(tmp_path, capsys):
    for command in ("check", "run"):
        status, lines, _ = check(tmp_path, capsys, CASES["unknown mime_encoding"][0], command=command)
        assert status == 78
        assert "mime_encoding: 'utf8' is none of" in lines[0]


def test_there_are_enough_of_them():
    assert len(CASES) >= 25


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o666])
def test_a_secret_that_others_may_read_is_refused(tmp_path, capsys, mode):
    """Wherever it stands: in config.ini, or in a file of its own."""
    secret = "hunter2-%s-ä"
    status, lines, path = check(
        tmp_path, capsys, HOP + f"use_tls = true\nsmtp_user = me\nsmtp_password = {secret}\n", mode
    )
    assert status == 78
    assert lines == [
        f"{path}:7: [notification] smtp_password: others may read {path}, which holds a secret: chmod o-rwx {path}"
    ]
    file = tmp_path / "pw"
    file.write_text(secret)
    file.chmod(mode)
    status, lines, path = check(tmp_path, capsys, HOP + "use_tls = true\nsmtp_user = me\nsmtp_password_file = pw\n")
    assert status == 78
    assert (
        f"{path}:7: [notification] smtp_password_file: others may read {file}, which holds a secret: chmod o-rwx {file}"
        in lines
    )
    assert secret not in "\n".join(lines)


@ROOT_ONLY
def test_a_foreign_group_may_not_read_it_either(tmp_path, capsys):
    file = tmp_path / "pw"
    file.write_text("x")
    file.chmod(0o640)
    text = HOP + "use_tls = true\nsmtp_user = me\nsmtp_password_file = pw\n"
    assert check(tmp_path, capsys, text)[0] == 0, "the daemon's own group may"
    os.chown(file, -1, 65534)
    status, lines, path = check(tmp_path, capsys, text)
    assert status == 78
    assert (
        f"{path}:7: [notification] smtp_password_file: a foreign group may read {file}, which holds a secret: chmod g-rwx {file}"
        in lines
    )


def test_containers_may_ask_for_a_warning_instead(tmp_path, capsys):
    text = "[log]\nsecret_modes = warn\n" + HOP + "use_tls = true\nsmtp_user = me\nsmtp_password = x\n"
    status, lines, path = check(tmp_path, capsys, text, 0o644)
    assert status == 0
    assert any(line.startswith(f"warning: {path}:9: [notification] smtp_password: others may read") for line in lines)


def test_the_credentials_of_the_service_are_exempt(tmp_path, capsys, monkeypatch):
    folder = tmp_path / "credentials"
    folder.mkdir()
    (folder / "smtp_password").write_text("x\n")
    (folder / "smtp_password").chmod(0o444)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    assert check(tmp_path, capsys, HOP + "use_tls = true\nsmtp_user = me\n")[0] == 0
    assert check(tmp_path, capsys, HOP + "use_tls = true\nsmtp_user = me\nsmtp_password_file = smtp_password\n")[0] == 0


@pytest.mark.parametrize("state", ["", "smtp_enabled = false\n", "smtp_enabled = maybe\n"])
def test_dropping_everything_is_said_loudly(tmp_path, capsys, state):
    status, lines, _ = check(tmp_path, capsys, "[notification]\nsmtp_from = bugs@example.com\n" + state)
    assert status == 0
    assert any("EVERY notification is accepted and dropped; set smtp_enabled = true" in line for line in lines)


def test_options_of_trac_without_effect_are_named_not_refused(tmp_path, capsys):
    text = (
        OK
        + "email_sender = SmtpEmailSender\ndefault_format.email = text/html\nsmtp_from_author = true\nticket_subject_template = x\nadmit_domains = localdomain\n"
    )
    status, lines, path = check(tmp_path, capsys, text)
    assert status == 0
    assert len([line for line in lines if line.startswith(f"warning: {path}:")]) == 5


def test_a_missing_file(tmp_path, capsys):
    for command in ("check", "run"):
        status = cli.main(["--config", str(tmp_path / "none.ini"), command])
        out, err = capsys.readouterr()
        assert status == 78
        assert (
            f"{tmp_path}/none.ini:1: No such file or directory: name the file with --config" in (out + err).splitlines()
        )


@pytest.mark.parametrize("arguments", [[], ["fly"], ["check", "--fast"]])
def test_a_wrong_command_line_is_one_line_and_64(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 64
    assert len(capsys.readouterr().err.splitlines()) == 1
