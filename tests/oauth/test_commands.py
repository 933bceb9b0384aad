"""`tracker-relay auth`: without a person, status, refresh, revoke; whom it works as."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from relay import cli
from tests.e2e.tools import ROOT_ONLY
from tests.oauth.commands import HEAD, SECRET, fetch, files, page_of, status

# --- without a person; status, refresh, revoke -----------------------------------------------------


def test_client_credentials_need_nobody(configured, command, token_server, capsys):
    config = configured(SECRET)
    code, [row] = status(config, capsys)
    assert (code, row["usable"], row["expires_at"]) == (0, True, None)
    login = command(config, "login")
    assert login.end() == (0, "")
    assert "nobody needs to sign in" in login.out
    assert status(config, capsys)[1][0]["alive"]
    refresh = command(config, "refresh", "notification")
    assert refresh.end() == (0, "")
    assert token_server.issued == 2


def test_status_for_people(configured, browser, capsys, token_server, command):
    assert cli.main(["--config", browser, "auth", "status"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "notification: custom, authorization_code, as me@example.com",
        "  no token yet",
        "  type: tracker-relay auth login notification",
    ]
    login = command(browser, "login")
    fetch(token_server.consent(page_of(login)))
    login.end()
    assert cli.main(["--config", browser, "auth", "status"]) == 0
    out = capsys.readouterr().out
    assert re.search(
        r"  token good until \d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ, renewed from .*Z on\n  with a refresh token\n$", out
    )
    token_server.refresh = "another"
    refresh = command(browser, "refresh")
    assert refresh.end() == (69, "tracker-relay: invalid_grant: the refresh token is used up\n")
    assert cli.main(["--config", browser, "auth", "status"]) == 0  # the old token still lives
    assert "refused at" in (out := capsys.readouterr().out)
    assert "invalid_grant: the refresh token is used up" in out


def test_revoke(browser, command, token_server, tmp_path, capsys):
    login = command(browser, "login")
    fetch(token_server.consent(page_of(login)))
    login.end()
    token_server.script["revoke"] = [(503, "")]
    code, err = command(browser, "revoke").end()
    assert (code, err) == (
        69,
        "tracker-relay: the provider did not take the tokens back: it answered 503; --forget forgets them all the same\n",
    )
    assert len(files(tmp_path)) == 1
    revoke = command(browser, "revoke")
    assert revoke.end() == (0, "")
    assert revoke.out == "notification: tokens revoked\nnotification: nothing is kept here any more\n"
    assert token_server.forms("revoke")[-1]["token"] == "refresh-1"
    assert files(tmp_path) == []
    assert command(browser, "revoke").end() == (0, "")


def test_revoke_that_forgets(browser, command, token_server, tmp_path):
    login = command(browser, "login")
    fetch(token_server.consent(page_of(login)))
    login.end()
    files(tmp_path)[0].write_text("{")
    assert command(browser, "revoke").end()[0] == 69
    assert command(browser, "revoke", "--forget").end() == (0, "")
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (
            ["login", "nobody"],
            64,
            "tracker-relay: no upstream nobody has oauth: name one of notification, notification:harbour, gmail",
        ),
        (["login"], 64, "tracker-relay: name one of notification, notification:harbour, gmail"),
        (["refresh", "gmail"], 69, "tracker-relay: nobody has signed in yet"),
        (["refresh", "upstream:gmail"], 69, "tracker-relay: nobody has signed in yet"),
        (["refresh", "harbour"], 69, "tracker-relay: nobody has signed in yet"),
    ],
)
def test_which_upstream(configured, token_server, capsys, words, code, text):
    device = f"oauth_device_url = {token_server.url('device')}"
    config = configured(device, "", "[notification:harbour]", "match = project: Harbour", "smtp_user = you@example.com", "oauth_client_id = other", "", "[upstream:gmail]", "server = smtp.gmail.com", "tls = starttls", "user = me@gmail.com", "oauth = google", "oauth_client_id = g", "oauth_client_secret = s")  # fmt: skip
    assert cli.main(["--config", config, "auth", *words]) == code
    assert capsys.readouterr().err.splitlines()[-1] == text


def test_no_upstream_has_tokens(tmp_path, capsys):
    path = tmp_path / "config.ini"
    path.write_text("[notification]\nsmtp_enabled = true\nsmtp_from = me@example.com\n")
    assert cli.main(["--config", str(path), "auth", "status"]) == 64
    assert capsys.readouterr().err == "tracker-relay: no upstream has oauth: see docs/upstreams.md\n"


@ROOT_ONLY
def test_root_leaves_no_file_of_its_own(token_server, certificates):
    """pytest's own folders are closed to others: this one is not."""
    with tempfile.TemporaryDirectory(prefix="tracker-relay-auth-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        shutil.copy(certificates / "ca.pem", folder)
        text = HEAD.format(ca="ca.pem", token=token_server.url("token"), revoke="") + SECRET
        (folder / "config.ini").write_text(text.replace("listen =", "listen = unix:in.sock"))
        (folder / "config.ini").chmod(0o600)
        (folder / "var").mkdir()
        os.chown(folder / "var", 12345, 12345)
        command = [sys.executable, "-m", "relay", "--config", folder / "config.ini", "auth", "login"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")
        made = list((folder / "var").rglob("*"))
        assert made
        assert {path.stat().st_uid for path in made} == {12345}


@ROOT_ONLY
def test_a_stranger_is_told_whom_to_be(token_server):
    with tempfile.TemporaryDirectory(prefix="tracker-relay-auth-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        text = HEAD.format(ca="", token=token_server.url("token"), revoke="").replace("path = var", "path = closed/var")
        (folder / "config.ini").write_text(
            text.replace("listen =", "listen = unix:in.sock") + "oauth_device_url = https://x.example/\n"
        )
        (folder / "closed").mkdir(mode=0o700)
        code = (
            "import os, sys; sys.path.insert(0, os.getcwd()); from relay import cli; os.setegid(12345); os.seteuid(12345);"
            "raise SystemExit(cli.main(sys.argv[1:]))"
        )
        command = [sys.executable, "-c", code, "--config", folder / "config.ini", "auth", "status"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 69
        assert done.stderr.endswith("/closed/var/spool: Permission denied: be root, or the relay's user\n")


def test_a_token_server_that_proves_nothing_is_told_nothing(configured, command, token_server):
    config = Path(configured(SECRET))
    config.write_text(config.read_text().replace("ca.pem", "stranger.pem"))
    code, err = command(str(config), "login").end()
    assert (code, token_server.asked) == (69, [])
    assert "certificate not accepted" in err
