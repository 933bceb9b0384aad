"""Who may see the page: token, cookie, unix socket; under which name, by which method, with which header fields."""

import os
import re
import socket
import stat

import pytest

from relay.errors import ConfigError
from relay.web import access
from relay.web.access import Access
from tests.web.conftest import Site, ask


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """One for all of these: nothing here changes anything."""
    made = Site(tmp_path_factory.mktemp("site"))
    yield made
    made.close()


EVERY = [
    *("/", "/queue", "/history", "/search?q=x", "/outbox", "/metrics", "/style.css", "/favicon.ico", "/nowhere"),
    *(
        "/mail/abc",
        "/mail/abc/source",
        "/outbox/abc",
        "/outbox/abc/source",
        "/healthz/",
        "/healthz/x",
        "//healthz",
        "/HEALTHZ",
    ),
    *(
        "/api/status",
        "/api/queue",
        "/api/history",
        "/api/search",
        "/api/mail/abc",
        "/api/outbox",
        "/api/outbox/abc",
        "/api/",
    ),
    *("/%68ealthz/..", "/healthz/../", "/healthz%2f..", "/healthz%00", "/?path=/healthz", "/#/healthz"),
]


@pytest.mark.parametrize("path", EVERY)
def test_everything_but_healthz_needs_the_token(site, path):
    for headers in (
        {},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Basic {site.token}"},
        {"Authorization": f"Bearer {site.token}x"},
        {"Authorization": f"Bearer {site.token[:-1]}"},
        {"Cookie": f"{site.page._access.cookie_name}={site.token}"},
        {"Cookie": f"token={site.token}"},
        {"X-Forwarded-For": "127.0.0.1", "X-Original-URL": "/healthz"},
    ):
        answer = site.ask(path, token=False, headers=headers)
        assert answer.status == 401, (headers, answer.status)
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert site.token not in answer.text
    assert site.ask("/healthz", token=False).body == b"ok"


def test_the_token_is_given_once_and_a_cookie_follows(site):
    answer = site.get(f"/queue?state=held&token={site.token}&q=a%26b", 303, token=False)
    assert answer.headers["Location"] == "/queue?state=held&q=a%26b"
    cookie = answer.headers["Set-Cookie"]
    assert re.fullmatch(r"tracker-relay-[0-9a-f]{8}=[0-9a-f]{64}; HttpOnly; Path=/; SameSite=strict", cookie)
    assert site.token not in cookie
    held = {"Cookie": f"other=1; {cookie.partition(';')[0]}; more=2"}
    assert site.get("/queue?state=held", token=False, headers=held).status == 200
    assert site.get("/?token=wrong", 401, token=False, headers=held).status == 401
    changed = {"Cookie": cookie.partition(";")[0][:-1]}
    assert site.get("/", 401, token=False, headers=changed).status == 401


@pytest.mark.parametrize(
    "path", ["//evil.example/", "/\\evil.example/", "//evil.example", "/%2f%2fevil.example", "///x"]
)
def test_the_way_on_never_leads_to_another_server(site, path):
    answer = site.get(f"{path}?token={site.token}", 303, token=False)
    assert re.match(r"/(?![/\\])", answer.headers["Location"]), answer.headers["Location"]


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST", "127.0.0.1", "localhost:8025", "127.0.0.1:1", "[::1]", "[::1]:8025", "localhost."],
)
def test_the_page_knows_its_names(site, host):
    assert site.get("/", headers={"Host": host}).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8025",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "127.0.0.2",
        "localhost:x",
        "localhost@evil.example",
        "localhost/healthz?",
        "localhost:80:80",
        "[::1",
        "::1]",
        "[::2]",
        "0",
        "2130706433",
        "*",
    ],
)
def test_another_name_is_refused_whatever_comes_with_it(site, host):
    """A page of evil.example that has its name point to us (DNS rebinding) reads nothing."""
    for path in ("/", "/healthz", f"/?token={site.token}", "/api/status"):
        assert site.ask(path, headers={"Host": host}).status in (400, 403), path
    assert ask(site.folder / "page.sock", "/", headers={"Host": host}).status in (400, 403)


def test_no_name_at_all_is_refused(site):
    with socket.create_connection(site.address) as sock:
        sock.sendall(f"GET / HTTP/1.0\r\nAuthorization: Bearer {site.token}\r\n\r\n".encode())
        assert sock.makefile("rb").readline().split()[1] == b"400"


def test_an_absolute_target_with_another_host_is_no_way_round(site):
    with socket.create_connection(site.address) as sock:
        line = (
            f"GET http://localhost/healthz HTTP/1.1\r\nHost: evil.example\r\nAuthorization: Bearer {site.token}\r\n\r\n"
        )
        sock.sendall(line.encode())
        assert sock.makefile("rb").readline().split()[1] == b"403"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"])
def test_nothing_can_be_changed(site, method):
    for path in ("/", "/queue", "/mail/abc", "/healthz", "/api/queue", "/nowhere"):
        answer = site.ask(path, method=method, body=b"x" * 100_000)
        assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")
        assert "Access-Control-Allow-Origin" not in answer.headers


def test_head_is_a_get_without_its_body(site):
    for path in ("/", "/queue", "/api/status", "/healthz"):
        answer = site.ask(path, method="HEAD")
        assert (answer.status, answer.body) == (200, b"")
        assert int(answer.headers["Content-Length"]) > 0


@pytest.mark.parametrize(
    ("path", "status"), [("/", 200), ("/nowhere", 404), ("/healthz", 200), ("/style.css", 200), ("/api/x", 404)]
)
@pytest.mark.parametrize("token", [True, False])
def test_every_answer_carries_the_same_protection(site, path, status, token):
    answer = site.ask(path, token=token, headers={"Origin": "http://evil.example"})
    assert answer.status == (status if token or path == "/healthz" else 401)
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["Content-Security-Policy"].split(";"))
    assert policy == {
        "default-src": "'none'",
        "style-src": "'self'",
        "form-action": "'self'",
        "base-uri": "'none'",
        "frame-ancestors": "'none'",
    }
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "Server" not in answer.headers
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]
    assert "uvicorn" not in str(answer.headers).lower() + answer.text.lower()


def test_over_the_unix_socket_its_mode_is_the_token(site):
    path = site.folder / "page.sock"
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert ask(path, "/api/status").json["counts"] == {"queued": 0, "held": 0, "done": 0}
    assert ask(path, "/?token=whatever").status == 200


def test_the_token_is_made_once_and_closed_to_others(tmp_path):
    path = tmp_path / "state" / "status.token"
    old = os.umask(0)
    try:
        token = access.token_in(path)
    finally:
        os.umask(old)
    assert len(token) >= 43
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert access.token_in(path) == token
    assert [p.name for p in path.parent.iterdir()] == ["status.token"]
    path.unlink()
    assert access.token_in(path) != token


@pytest.mark.parametrize(
    "text", ["", "\n", "short", "x" * 15 + "\n", "a" * 20 + "\0", "ä" * 20, "a" * 20 + "\n" + "b" * 20]
)
def test_a_token_that_is_none_is_refused(tmp_path, text):
    path = tmp_path / "token"
    path.write_text(text)
    with pytest.raises(ConfigError, match="remove the file, and a new one is made"):
        access.token_in(path)


def test_a_token_of_ones_own(tmp_path, monkeypatch):
    path = tmp_path / "token"
    path.write_text("  correct horse battery & staple\n")
    known = Access(access.token_in(path), ("localhost",))
    assert known.token not in repr(known)
    assert known.admits("Bearer correct horse battery & staple", "")
    assert not known.admits("Bearer correct horse battery", "")
    assert known.cookie != Access("another token of some length", ("localhost",)).cookie
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert access.token_path("/etc/somewhere/token", tmp_path / "state") == path
    assert access.token_path("", tmp_path / "state") == tmp_path / "state" / "status.token"
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    assert str(access.token_path("/etc/somewhere/token", tmp_path)) == "/etc/somewhere/token"


def test_a_token_of_ones_own_in_a_link(site):
    usual = site.token
    object.__setattr__(site.page._access, "token", "correct horse & staple+%20")
    try:
        link = site.page.link
        assert link.startswith(f"http://127.0.0.1:{site.port}/?token=")
        assert ask(site.address, link.partition(f":{site.port}")[2]).status == 303
    finally:
        object.__setattr__(site.page._access, "token", usual)
