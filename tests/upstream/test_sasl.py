"""Log-ins on the wire: SCRAM bound to the real certificate, client certificates, servers that cheat over TLS."""

import hashlib
import re
import ssl
import threading

import pytest

from relay.auth.scram import MOST
from relay.entry import Cause, Disposition
from relay.options import Secret
from tests.upstream.conftest import PASSWORD
from tests.upstream.sasl import Scram

RELAYED, DEFERRED = Disposition.RELAYED, Disposition.DEFERRED


def only(attempt):
    [outcome] = attempt.outcomes
    return outcome


def binding(certificates):
    """What RFC 5929 makes of the peer's certificate, the first in its file."""
    [pem] = re.findall("(?s)-----BEGIN CERT.*?END CERTIFICATE-----", (certificates / "good.pem").read_text())[:1]
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).digest()


@pytest.mark.parametrize("implicit", [False, True])
@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-1-PLUS"])
def test_scram_over_tls(stage, run, tls, certificates, mechanism, implicit):
    server = Scram(PASSWORD, digest="sha1" if "SHA-1" in mechanism else "sha256", binding=binding(certificates))

    async def story():
        options = {
            "certificate": tls(),
            "implicit": implicit,
            "auth": f"PLAIN LOGIN {mechanism}",
            "log_in": server.log_in,
        }
        async with stage.peer(**options) as peer:
            attempt = await stage.attempt(stage.secured(peer, tls="implicit" if implicit else "starttls"))
            assert only(attempt).disposition is RELAYED, attempt
            assert peer.auths == 1
            assert PASSWORD.encode() not in peer.clear + peer.secured

    run(story)
    assert server.header == ("p=tls-server-end-point,," if "PLUS" in mechanism else "y,,")


def test_whoever_stands_between_is_seen(stage, run, tls):
    """A man in the middle with a certificate of his own hands our log-in on: bound to his, the server refuses."""
    server = Scram(PASSWORD, binding=b"the real server's certificate")

    async def story():
        async with stage.peer(certificate=tls(), auth="SCRAM-SHA-256-PLUS", log_in=server.log_in) as peer:
            outcome = only(await stage.attempt(stage.secured(peer)))
            assert (outcome.disposition, outcome.cause) == (DEFERRED, Cause.AUTH)
            assert "bound to another connection" in outcome.reply.text
            assert peer.mails == []

    run(story)


@pytest.mark.parametrize(
    ("twist", "text"),
    [
        ({"final": "v=AAAA"}, "can not prove that it knows the password"),
        ({"final": None}, "not believed"),
        ({"first": "r=other,s=QQ==,i=4096"}, "does not continue ours"),
    ],
)
def test_a_server_that_does_not_prove_itself_gets_no_mail(stage, run, tls, twist, text):
    async def story():
        async with stage.peer(certificate=tls(), auth="SCRAM-SHA-256", log_in=Scram(PASSWORD, **twist).log_in) as peer:
            outcome = only(await stage.attempt(stage.secured(peer)))
            assert (outcome.disposition, outcome.cause) == (DEFERRED, Cause.AUTH)
            assert text in outcome.reply.text
            assert (peer.mails, peer.commands.count("*")) == ([], 0 if text == "not believed" else 1)
            assert not any(line.startswith("MAIL") for line in peer.commands)

    run(story)


def test_promise_10_a_dear_iteration_count_blocks_nobody(stage, run, tls, monkeypatch):
    """Half a second of computing, by the server's wish: not on the event loop (hashlib lets other threads run)."""
    where, real = [], hashlib.pbkdf2_hmac

    def computed(*arguments):
        where.append(threading.current_thread())
        return real(*arguments)

    monkeypatch.setattr(hashlib, "pbkdf2_hmac", computed)

    async def story():
        server = Scram(PASSWORD, count=MOST, final="v=AAAA")
        server.talk = cheap(server)
        async with stage.peer(certificate=tls(), auth="SCRAM-SHA-256", log_in=server.log_in) as peer:
            assert only(await stage.attempt(stage.secured(peer))).disposition is DEFERRED

    stage.timeouts = type(stage.timeouts)(connect=5.0, greeting=5.0, command=20.0)
    run(story)
    assert len(where) == 1
    assert where[0] is not threading.main_thread()


def cheap(server):
    """The server's side without the computing: only the client is measured."""

    def talk(initial):
        nonce = initial.decode().rpartition("r=")[2]
        yield f"r={nonce}S,s=QQ==,i={server.count}".encode()
        yield b"v=AAAA"

    return talk


def cram(_mechanism, _initial):
    answer = yield b"PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2UucmVzdG9uLm1jaS5uZXQ+"
    return "235 in" if len(answer) > 20 else "535 no"


def test_cram_md5(stage, run, tls):
    async def story():
        async with stage.peer(certificate=tls(), auth="LOGIN PLAIN CRAM-MD5", log_in=cram) as peer:
            assert only(await stage.attempt(stage.secured(peer))).disposition is RELAYED
            assert [line for line in peer.commands if line.startswith("AUTH")] == ["AUTH CRAM-MD5"]

    run(story)


@pytest.mark.parametrize("auth", ["CRAM-MD5", "SCRAM-SHA-256", "LOGIN", "PLAIN"])
def test_promise_6_no_mechanism_without_proof_of_the_server(stage, run, tls, auth, monkeypatch):
    """Challenges and proofs can be guessed at offline: they need verified TLS as the password does."""
    monkeypatch.setattr("relay.tls.is_local", lambda _: False)

    async def story():
        for options in ({"tls": "none"}, {"tls": "opportunistic"}, {"tls": "starttls", "proof": "none"}):
            async with stage.peer(certificate=tls() if options["tls"] != "none" else None, auth=auth) as peer:
                outcome = only(await stage.attempt(stage.secured(peer, **options)))
                assert (outcome.disposition, outcome.cause, peer.auths) == (DEFERRED, Cause.TLS, 0)

    run(story)


def external(_mechanism, initial):
    return "235 in" if initial in (b"=", b"bWU=") else "535 who?"
    yield


@pytest.mark.parametrize(
    "options", [{"auth": "external", "user": ""}, {"user": "me"}, {"user": "me", "auth": "external"}]
)
def test_external_with_a_client_certificate(stage, run, tls, certificates, options):
    async def story():
        context = tls()
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(certificates / "ca.pem")
        async with stage.peer(certificate=context, auth="PLAIN EXTERNAL", log_in=external) as peer:
            ours = {"client_certificate": str(certificates / "good.pem"), "password": Secret("")}
            assert only(await stage.attempt(stage.secured(peer, **ours, **options))).disposition is RELAYED
            [said] = [line for line in peer.commands if line.startswith("AUTH")]
            assert said == ("AUTH EXTERNAL bWU=" if options["user"] else "AUTH EXTERNAL =")

    run(story)


def test_a_pinned_mechanism_never_falls_back(stage, run, tls):
    async def story():
        async with stage.peer(certificate=tls(), auth="PLAIN LOGIN CRAM-MD5") as peer:
            outcome = only(await stage.attempt(stage.secured(peer, auth="scram-sha-256")))
            assert (outcome.disposition, outcome.cause, peer.auths) == (DEFERRED, Cause.AUTH, 0)
            assert outcome.reply.text == "the server offers no AUTH that we know (SCRAM-SHA-256): CRAM-MD5 LOGIN PLAIN"

    run(story)


def test_garbage_for_a_challenge_is_cancelled(stage, run, tls):
    def garbage(_mechanism, _initial):
        yield b"\xff\xfe not base64"

    async def story():
        async with stage.peer(certificate=tls(), auth="CRAM-MD5", log_in=garbage) as peer:
            outcome = only(await stage.attempt(stage.secured(peer)))
            assert (outcome.disposition, peer.commands[-1]) == (DEFERRED, "*")
            assert "no base64" in outcome.reply.text

    run(story)
