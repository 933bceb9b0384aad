"""The daemon and the command together: a sign-in that ends holds mail, a new one frees it; nothing secret is left anywhere."""

import base64
import re
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.daemon import daemon
from tests.e2e.tools import until
from tests.oauth.commands import fetch
from tests.upstream.conftest import Peer, in_a_thread

__all__ = ["daemon"]

CONFIG = """
[retry]
first = 1h
longest = 1h

[notification]
smtp_enabled = true
smtp_from = me@example.com
smtp_server = localhost
smtp_port = {port}
use_tls = true
tls_ca_file = {ca}
smtp_user = me@example.com
oauth = custom
oauth_grant = authorization_code
oauth_client_id = app
oauth_client_secret_file = client.secret
oauth_scope = smtp
oauth_ca_file = {ca}
oauth_token_url = {token}
oauth_auth_url = {auth}
oauth_revoke_url = {revoke}
"""
NOTE = b"From: Demo <me@example.com>\r\nSubject: [Demo] #12: hi\r\n\r\nhello\r\n"


@pytest.fixture
def peer(token_server, certificates):
    """The scripted SMTP server, in a thread of its own; it takes the current token only."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "good.pem")

    def log_in(_mechanism, initial):
        token = base64.b64decode(initial or (yield b"")).decode().partition("auth=Bearer ")[2].rstrip("\1")
        if token and token == token_server.current:
            return "235 2.7.0 in"
        yield base64.b64encode(b'{"status":"400","schemes":"Bearer","scope":"https://mail.example.com/"}')
        return "535 5.7.8 not accepted"

    with in_a_thread(Peer(certificate=context, auth="XOAUTH2", log_in=log_in)) as made:
        yield made


@pytest.fixture
def relay(daemon, peer, token_server, certificates):
    urls = {name: token_server.url(name) for name in ("token", "auth", "revoke")}
    (daemon.folder / "client.secret").write_text("client-hunter2\n")
    (daemon.folder / "client.secret").chmod(0o600)
    daemon.configure(CONFIG.format(port=peer.port, ca=certificates / "ca.pem", **urls))
    return daemon


def auth(relay, *words, talk=None):
    """One `tracker-relay auth`: exit status and both streams."""
    command = [sys.executable, "-m", "relay", "--config", relay.folder / "config.ini", "auth", *words]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    out = ""
    try:
        while talk and (line := process.stdout.readline()):
            out += line
            if found := re.search(r"^https://\S+", line):
                talk(found[0])
                talk = None
        rest, _ = process.communicate(timeout=30)
    finally:
        process.kill()
    return process.returncode, out + rest


def sign_in(relay, token_server):
    code, out = auth(relay, "login", talk=lambda page: fetch(token_server.consent(page)))
    assert code == 0, out
    return out


def test_from_no_sign_in_to_a_revoked_one_and_back(relay, peer, token_server):
    relay.start()
    relay.wait_log(
        r"ALARM: the token of notification can not be renewed \(type: tracker-relay auth login notification; its mail waits\): nobody has signed in yet"
    )
    relay.send(NOTE)
    relay.wait_log(
        r"status=deferred \(454 4.7.0 no OAuth2 token for notification \(type: tracker-relay auth login notification\): nobody has signed in yet\)"
    )
    assert peer.connections == 0

    out = sign_in(relay, token_server)
    assert "1 mail that waited for it: tried now" in out
    relay.wait_sent(1)

    token_server.refresh = token_server.current = "somebody-revoked-it"
    relay.stop()
    relay.start()
    relay.send(NOTE)
    relay.wait_log(
        r'status=deferred \(454 4.7.8 log-in as me@example.com refused: 535 5.7.8 not accepted; of the token it says \{"status":"400","schemes":"Bearer","scope":"https://mail.example.com/"\}\)'
    )
    relay.wait_log(r"ALARM: the token of notification can not be renewed .*: invalid_grant")
    command = [sys.executable, "-m", "relay", "--config", relay.folder / "config.ini"]
    trace = subprocess.run([*command, "trace", "#12"], capture_output=True, text=True, timeout=30).stdout
    assert '"status":"400"' in trace

    sign_in(relay, token_server)
    relay.wait_sent(2)
    assert len(peer.mails) == 2

    assert auth(relay, "refresh")[0] == 0
    code, out = auth(relay, "status")
    assert (code, "token good until" in out) == (0, True)
    assert auth(relay, "revoke")[0] == 0
    relay.stop()  # a connection that is logged in would still carry mail
    relay.start()
    relay.send(NOTE)
    relay.wait_log(
        r"(?s)status=sent.*status=sent.*status=deferred \(454 4.7.0 no OAuth2 token for notification .*: nobody has signed in yet"
    )
    relay.stop()
    written = b"".join(
        path.read_bytes() for path in Path(relay.folder).rglob("*") if path.is_file() and path.name != "client.secret"
    )
    assert not re.search(rb"access-\d|refresh-\d|hunter2", written)  # nothing is left of a token once it is revoked


def test_nothing_but_the_token_file_holds_a_token(relay, token_server):
    relay.start()
    sign_in(relay, token_server)
    relay.send(NOTE)
    relay.wait_sent(1)
    auth(relay, "refresh")
    relay.stop()
    holders = [
        path.name
        for path in Path(relay.folder).rglob("*")
        if path.is_file() and re.search(rb"access-\d|refresh-\d", path.read_bytes())
    ]
    [name] = holders
    assert name.startswith("custom-")


def test_the_daemon_renews_by_itself_and_a_command_beside_it_does_not_clash(relay, peer, token_server):
    token_server.lives = 3
    relay.start()
    sign_in(relay, token_server)
    until(lambda: token_server.issued >= 3, "two renewals")
    for _ in range(3):
        assert auth(relay, "refresh")[0] == 0
    relay.send(NOTE)
    relay.wait_sent(1)
    relay.stop()
    assert "invalid_grant" not in relay.log()  # each refresh token was used once
    assert token_server.most_at_once == 1


def test_a_reload_brings_other_credentials(relay, peer, token_server):
    path = relay.folder / "config.ini"
    path.write_text(path.read_text().replace("authorization_code", "client_credentials"))
    token_server.script["token"] = [(401, {"error": "invalid_client"})]
    relay.start()
    relay.send(NOTE)
    relay.wait_log(r"ALARM: .*\(correct the oauth options of notification.*: invalid_client")
    (relay.folder / "client.secret").write_text("another-hunter2\n")
    command = [sys.executable, "-m", "relay", "--config", path, "reload"]
    assert subprocess.run(command, capture_output=True, timeout=30).returncode == 0
    until(lambda: token_server.forms()[-1]["client_secret"] == "another-hunter2", "the new secret")
    relay.send(NOTE)
    relay.wait_sent(1)


def test_without_the_extra_check_names_it(relay, tmp_path):
    path = relay.folder / "config.ini"
    text = (
        path.read_text()
        .replace("authorization_code", "client_credentials")
        .replace(
            "oauth_client_secret_file = client.secret", "oauth_certificate = c.pem\noauth_key_file = client.secret"
        )
    )
    path.write_text(text)
    (relay.folder / "c.pem").write_text("")
    code = "import sys; sys.modules['jwt'] = None; from relay.cli import main; raise SystemExit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, "--config", path, "check"], capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 78
    assert "oauth_certificate: oauth_certificate holds no certificate in PEM form" in done.stdout
    pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    (relay.folder / "c.pem").write_text(pem)
    done = subprocess.run(
        [sys.executable, "-c", code, "--config", path, "check"], capture_output=True, text=True, timeout=30
    )
    assert "signing needs the extra `crypto`: pip install 'tracker-relay[crypto]'" in done.stdout
