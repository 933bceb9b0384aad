"""`tracker-relay auth login`: a person signs in with a code or a browser, and everything that may go wrong with it."""

import contextlib
import re
import socket
import stat
import subprocess
import time

import pytest

from relay.authorize import device as flow
from relay.oauth.client import Grant
from tests.oauth.commands import SECRET, fetch, files, page_of, status

# --- device ----------------------------------------------------------------------------------------


@pytest.fixture
def device(configured, token_server):
    return configured("oauth_grant = device_code", f"oauth_device_url = {token_server.url('device')}")


def test_device_code(device, command, token_server, tmp_path, capsys):
    token_server.polls_before = 2
    login = command(device, "login", "notification")
    login.read_until(rf"Open {re.escape(token_server.url('signin'))} in any browser, sign in as me@example.com")
    login.read_until("and enter the code ABCD-EFGH")
    code, err = login.end()
    assert (code, err) == (0, "")
    assert "notification: token stored, good until" in login.out
    assert len(token_server.forms()) == 3
    [file] = files(tmp_path)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    code, [row] = status(device, capsys)
    assert (code, row["upstream"], row["alive"], row["usable"], row["refresh_token"]) == (
        0,
        "notification",
        True,
        True,
        True,
    )
    assert row["file"] == str(file)


def test_device_code_slow_down_and_a_server_that_stumbles(client, renewal, token_server, run, monkeypatch, capsys):
    monkeypatch.setattr(flow, "SLOWER", 1.0)
    times = []

    def answers(*given):
        return [lambda _, answer=answer: times.append(time.monotonic()) or answer for answer in given]

    async def story():
        token_server.script["token"] = answers((400, {"error": "slow_down"}), None)
        assert (await flow.sign_in(client(Grant.DEVICE_CODE), renewal)).access.reveal() == "access-1"
        token_server.script["token"] = answers((503, ""), None)
        assert (await flow.sign_in(client(Grant.DEVICE_CODE), renewal)).access.reveal() == "access-2"

    run(story)
    slowed, stumbled = times[1] - times[0], times[3] - times[2]
    assert slowed > 1.9  # one second, and one more
    assert stumbled > 1.9  # the pause is doubled (RFC 8628 3.5)
    assert capsys.readouterr().err == "the token server answered 503 without a reason; still waiting\n"


@pytest.mark.parametrize(
    ("script", "text"),
    [
        ({"token": [(400, {"error": "access_denied"})]}, "access_denied"),
        ({"token": [(400, {"error": "expired_token", "error_description": "too late"})]}, "expired_token: too late"),
        ({"device": [(400, {"error": "unauthorized_client"})]}, "unauthorized_client"),
        ({"device": [(200, {"device_code": "d", "user_code": "u", "verification_uri": "http://x/"})]}, "the token server names a page that is not https"),
        ({"device": [b""]}, "localhost: the connection ended in the middle of the answer"),
    ],
)  # fmt: skip
def test_device_code_that_ends_badly(device, command, token_server, tmp_path, script, text):
    token_server.script = script
    assert command(device, "login").end() == (69, f"tracker-relay: {text}\n")
    assert not (tmp_path / "var" / "spool" / "tokens").exists()


def test_device_code_that_nobody_uses(device, command, token_server):
    answer = {
        "device_code": "d",
        "user_code": "u",
        "verification_uri": "https://x.example/",
        "expires_in": 2,
        "interval": 1,
    }
    token_server.script = {"device": [(200, answer)]}
    token_server.polls_before = 99
    assert command(device, "login").end() == (
        69,
        "tracker-relay: nobody signed in before the code ended: begin again\n",
    )


# --- browser ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("redirect", ["", "http://localhost/back", "http://[::1]"])
def test_the_browser_comes_back_to_a_loopback_port(browser, command, token_server, redirect, configured):
    if redirect:
        browser = configured(
            "oauth_grant = authorization_code",
            f"oauth_auth_url = {token_server.url('auth')}",
            SECRET,
            f"oauth_redirect = {redirect}",
        )
    login = command(browser, "login", "notification")
    back = token_server.consent(page_of(login))
    assert back.startswith(redirect.rstrip("/") or "http://127.0.0.1:") or redirect == "http://localhost/back"
    assert fetch(back.partition("?")[0])[0] == 404
    assert fetch(back.partition("?")[0] + "?code=x&state=forged") == (
        400,
        "that address belongs to another sign-in (its state is not ours): begin again\n",
    )
    assert fetch(back)[0] == 200
    code, err = login.end()
    assert (code, err) == (0, "")
    [form] = token_server.forms()
    assert form["client_secret"] == "client-hunter2"
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", int(re.search(r":(\d+)", back)[1])), 1)


def test_the_address_is_pasted(browser, command, token_server):
    login = command(browser, "login")
    back = token_server.consent(page_of(login))
    login.say("\nhttp://127.0.0.1/?code=x&state=forged\n")
    login.say(f"  {back}  \n")
    assert login.end() == (
        0,
        "tracker-relay: that address belongs to another sign-in (its state is not ours): begin again\n",
    )


def test_the_address_comes_from_a_file_or_nowhere(browser, command, token_server, configured, tmp_path):
    login = command(browser, "login", stdin=subprocess.DEVNULL)
    assert fetch(token_server.consent(page_of(login)))[0] == 200
    assert login.end()[0] == 0
    far = configured(
        "oauth_grant = authorization_code",
        f"oauth_auth_url = {token_server.url('auth')}",
        SECRET,
        "oauth_redirect = https://example.com/done",
    )
    (tmp_path / "pasted").write_text("nothing of use")
    with (tmp_path / "pasted").open() as pasted:
        login = command(far, "login", stdin=pasted)
        code, err = login.end()
    assert (code, err.splitlines()[-1]) == (69, "tracker-relay: no address was pasted")
    login = command(far, "login")
    back = token_server.consent(page_of(login))
    assert back.startswith("https://example.com/done?code=")
    login.say(back + "\n")
    assert login.end() == (0, "")


@pytest.mark.parametrize("pasted", [False, True])
def test_a_person_who_says_no(browser, command, pasted):
    login = command(browser, "login")
    page = page_of(login)
    state = re.search("state=([^&]+)", page)[1]
    port = re.search(r"127.0.0.1%3A(\d+)", page)[1]
    back = f"http://127.0.0.1:{port}/?error=access_denied&state={state}"
    if pasted:
        login.say(back + "\n")
    else:
        assert fetch(back) == (400, "the provider says access_denied\n")
    assert login.end() == (69, "tracker-relay: the provider says access_denied\n")


def test_what_is_no_browser_changes_nothing(browser, command, token_server):
    login = command(browser, "login")
    back = token_server.consent(page_of(login))
    port = int(re.search(r":(\d+)", back)[1])
    for octets in (
        b"",
        b"\x16\x03\x01\n\n",
        b"POST /?state=x HTTP/1.1\r\n\r\n",
        b"GET /" + b"x" * 40_000 + b"?state=1 HTTP/1.1\r\n\r\n",
        b"GET x\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", port), 5) as sock:
            sock.sendall(octets)
            sock.shutdown(socket.SHUT_WR)
            with contextlib.suppress(OSError):
                assert b"200 OK" not in sock.recv(1000)
    assert fetch(back)[0] == 200
    assert login.end() == (0, "")


def test_a_code_that_the_provider_does_not_take(browser, command, token_server):
    login = command(browser, "login")
    back = token_server.consent(page_of(login))
    token_server.codes.clear()
    fetch(back)
    assert (
        login.end() == (69, "tracker-relay: invalid_grant: ***, address or verifier\n")
        or login.process.returncode == 69
    )


def test_no_refresh_token_is_said(browser, command, token_server):
    token_server.script["token"] = [(200, {"access_token": "access-9", "expires_in": 60})]
    login = command(browser, "login")
    fetch(token_server.consent(page_of(login)))
    code, err = login.end()
    assert code == 0
    assert "the provider gave no refresh token: mail stops when this token ends" in err


def test_interrupted(browser, command):
    login = command(browser, "login")
    page_of(login)
    login.process.send_signal(2)
    assert login.end()[0] == 130


def test_a_port_that_is_taken(configured, command, token_server):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        port = sock.getsockname()[1]
        config = configured(
            "oauth_grant = authorization_code",
            f"oauth_auth_url = {token_server.url('auth')}",
            f"oauth_redirect = http://localhost:{port}/",
        )
        assert command(config, "login").end() == (
            69,
            f"tracker-relay: oauth_redirect http://localhost:{port}/: Address already in use\n",
        )
