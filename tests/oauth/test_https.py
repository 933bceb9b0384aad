"""One request over verified TLS: answers read strictly, bounded in size and time; nothing else is spoken."""

import json
import ssl

import pytest

from relay import https
from relay.https import HttpFault
from tests.oauth.server import TokenServer


@pytest.fixture
def ask(token_server, certificates, run):
    def ask(answer=None, *, url=None, ca="ca.pem", largest=https.LARGEST, method="post"):
        if answer is not None:
            token_server.script = {"x": [answer]}

        async def story():
            context = https.trust(str(certificates / ca))
            if method == "get":
                return await https.get(url or token_server.url("x"), context, largest=largest)
            return await https.post(url or token_server.url("x"), "a=b", context, largest=largest)

        return run(story)

    return ask


def test_a_form_and_its_answer(ask, token_server):
    answer = ask((200, {"x": 1}))
    assert (answer.status, json.loads(answer.body)) == (200, {"x": 1})
    assert token_server.asked == [("x", {"a": "b"})]


def test_a_page(ask, token_server):
    assert ask((200, {"x": 1}), method="get", url=token_server.url("x?y=z").replace("?y=z", "")).body == b'{"x": 1}'


def test_any_status_is_an_answer(ask):
    assert ask((400, {"error": "invalid_grant"})).status == 400
    assert ask((503, "")).status == 503


def test_a_redirect_is_not_followed(ask, token_server):
    answer = ask((302, "", [f"Location: {token_server.url('elsewhere')}"]))
    assert (answer.status, answer.body) == (302, b"")
    assert [path for path, _ in token_server.asked] == ["x"]


@pytest.mark.parametrize(
    ("octets", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n", b"abcde"),
        (b"HTTP/1.0 200\r\n\r\nuntil the end", b"until the end"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxyz", b"x"),
        (b"HTTP/1.1 204 No\r\n\r\n", b""),
        (b"HTTP/1.1 302 Away\r\nContent-Length: 99999999\r\n\r\n", b""),
        (b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", b"ok"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: identity\r\nContent-Length: 2\r\n\r\nok", b"ok"),
    ],
)
def test_the_forms_of_an_answer(ask, octets, body):
    assert ask(octets).body == body


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (b"", "the connection ended"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "the connection ended"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", "the connection ended"),
        (b"SSH-2.0-OpenSSH\r\n", "its first line is none of HTTP"),
        (b"HTTP/2 200\r\n\r\n", "its first line is none of HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 65537\r\n\r\n", "larger than 65536 octets"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999\r\n\r\n", "larger than"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "larger than"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 70_000, "larger than 65536 octets"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"8000\r\n" + b"x" * 32768 + b"\r\n8001\r\n", "larger than 65536 octets"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "a chunk without a length"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n", "a chunk longer than it says"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "its length is ambiguous"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", "its length is ambiguous"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx", "its length is ambiguous"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n", "compressed"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 101 + b"\r\n", "too many header fields"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 9000 + b"\r\n\r\n", "no answer of a web server"),
        (b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "a header field that is none"),
        (b"HTTP/1.1 200 OK\r\n folded: x\r\n\r\n", "a header field that is none"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 11, "only ever says to wait"),
    ],
    ids=range(21),
)  # fmt: skip
def test_answers_that_are_none(ask, octets, text):
    with pytest.raises(HttpFault, match=text):
        ask(octets)


def test_a_server_that_does_not_answer(ask, token_server, monkeypatch):
    monkeypatch.setattr(https, "PATIENCE", 0.3)
    token_server.delay = 5
    with pytest.raises(HttpFault, match="no answer within 0 s"):
        ask()


@pytest.mark.parametrize(
    "url", ["http://localhost/x", "https:///x", "https://u:p@localhost/x", "https://u@localhost/", "https://local host/", "https://localhost/\r\nX: y", "https://lo\u00e4/", "https://localhost:99999/", "https://[::1/", "ftp://x/"],
)  # fmt: skip
def test_only_https(ask, url):
    with pytest.raises(HttpFault, match="only https addresses are asked"):
        ask(url=url)


def test_the_certificate_must_prove_the_name(ask, token_server, certificates):
    with pytest.raises(HttpFault, match="certificate not accepted"):
        ask(ca="stranger.pem")
    for name in ("othername", "expired", "selfsigned"):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates / f"{name}.pem")
        server = TokenServer(context)
        server.start()
        try:
            with pytest.raises(HttpFault, match="certificate not accepted"):
                ask(url=server.url("x"))
            assert server.asked == []
        finally:
            server.stop()


def test_old_tls_is_not_spoken(ask, certificates):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "good.pem")
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1
    server = TokenServer(context)
    server.start()
    try:
        with pytest.raises(HttpFault, match=r"localhost: "):
            ask(url=server.url("x"))
        assert server.asked == []
    finally:
        server.stop()


def test_nobody_there(ask):
    with pytest.raises(HttpFault, match="localhost: "):
        ask(url="https://localhost:1/x")
    with pytest.raises(HttpFault, match=r"nowhere\.invalid: "):
        ask(url="https://nowhere.invalid/x")


def test_a_ca_file_that_is_none(tmp_path):
    with pytest.raises(HttpFault, match="name a file of certificates"):
        https.trust(str(tmp_path / "none.pem"))
    (tmp_path / "empty.pem").write_text("nothing")
    with pytest.raises(HttpFault, match="name a file of certificates"):
        https.trust(str(tmp_path / "empty.pem"))
