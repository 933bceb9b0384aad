"""`tracker-relay auth` as a person meets it, in a process of its own, against the token server."""

import contextlib
import json
import re
import subprocess
import sys
import urllib.request

import pytest

from relay import cli

HEAD = """[listener]
listen =

[spool]
path = var/spool

[notification]
smtp_enabled = true
smtp_from = me@example.com
smtp_server = localhost
smtp_port = 587
use_tls = true
smtp_user = me@example.com
oauth = custom
oauth_client_id = app
oauth_scope = smtp
oauth_ca_file = {ca}
oauth_token_url = {token}
oauth_revoke_url = {revoke}
"""
SECRET = "oauth_client_secret = client-hunter2\n"


class Command:
    """One run of the command line, with its streams in our hands."""

    def __init__(self, config, *words, stdin=subprocess.PIPE):
        arguments = [sys.executable, "-m", "relay", "--config", config, "auth", *words]
        self.process = subprocess.Popen(
            arguments, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.out = ""

    def read_until(self, pattern):
        """Standard output up to a line that fits; the match."""
        while line := self.process.stdout.readline():
            self.out += line
            if found := re.search(pattern, line):
                return found
        raise AssertionError((self.out, self.process.stderr.read()))

    def say(self, text):
        self.process.stdin.write(text)
        self.process.stdin.flush()

    def end(self):
        out, err = self.process.communicate(timeout=30)
        self.out += out
        assert "Traceback" not in err
        for shown in (self.out, err):
            assert not re.search(r"access-\d|refresh-\d|hunter2", shown)
        return self.process.returncode, err


@pytest.fixture
def configured(tmp_path, token_server, certificates):
    def configure(*lines):
        urls = {name: token_server.url(name) for name in ("token", "revoke")}
        text = HEAD.format(ca=certificates / "ca.pem", **urls) + "".join(f"{line}\n" for line in lines)
        path = tmp_path / "config.ini"
        path.write_text(text.replace("listen =", f"listen = unix:{tmp_path}/in.sock"))
        path.chmod(0o600)
        return str(path)

    return configure


@pytest.fixture
def command():
    made = []

    def run(*arguments, **more):
        made.append(Command(*arguments, **more))
        return made[-1]

    yield run
    for one in made:
        one.process.kill()
        one.process.wait(10)
        for stream in (one.process.stdin, one.process.stdout, one.process.stderr):
            if stream:
                with contextlib.suppress(OSError):
                    stream.close()


def status(config, capsys, *words):
    code = cli.main(["--config", config, "auth", "status", "--json", *words])
    return code, json.loads(capsys.readouterr().out)


def files(tmp_path):
    return sorted(path for path in (tmp_path / "var" / "spool" / "tokens").iterdir() if path.suffix == ".json")


@pytest.fixture
def browser(configured, token_server):
    return configured("oauth_grant = authorization_code", f"oauth_auth_url = {token_server.url('auth')}", SECRET)


def page_of(login):
    page = login.read_until(r"^(https://\S+)")[1]
    login.read_until("Paste the address")
    return page


def fetch(address):
    try:
        with urllib.request.urlopen(address, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read().decode()
