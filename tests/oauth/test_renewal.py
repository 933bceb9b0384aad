"""One renewal: the right request, stored before it is used, once among all who want it."""

import asyncio
import datetime
import json
import subprocess
import sys

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from relay.oauth import stored
from relay.oauth.client import Grant
from relay.oauth.replies import Kind, Refusal, Tokens
from relay.oauth.stored import Stored
from relay.options import Secret
from relay.tokenstore import StoreFault

PERSON = Grant.AUTHORIZATION_CODE


def held(store, client):
    return stored.decode(store.load(client.mark))


def put(store, client, clock, *, refresh="refresh-0", lives=3600.0, age=0.0, access="access-0"):
    """Tokens as if they had been obtained `age` seconds ago."""
    at = clock() - age
    store.store(client.mark, stored.encode(Stored(Tokens(Secret(access), at, at + lives, Secret(refresh), "smtp"))))


def test_client_credentials(renewal, store, client, token_server, run):
    who = client()

    async def story():
        answer, kept = await renewal.renew(who)
        assert answer.access.reveal() == token_server.current == "access-1"
        assert held(store, who) == kept == Stored(answer)
        assert await renewal.renew(who) == (answer, kept)  # still fresh: nobody is asked
        again, _ = await renewal.renew(who, force=True)
        assert again.access.reveal() == "access-2"

    run(story)
    [first, _] = token_server.forms()
    assert first == {
        "grant_type": "client_credentials",
        "scope": "smtp",
        "client_id": "app",
        "client_secret": "client-hunter2",
    }


def test_a_refresh_token_that_is_replaced_is_kept_before_its_use(renewal, store, client, token_server, clock, run):
    who = client(PERSON)
    token_server.refresh = "refresh-0"
    put(store, who, clock, age=3000)

    async def story():
        for number in range(1, 4):
            answer, _ = await renewal.renew(who)
            assert answer.refresh.reveal() == held(store, who).tokens.refresh.reveal() == f"refresh-{number}"
            clock.moved += 3000

    run(story)
    assert [form["refresh_token"] for form in token_server.forms()] == ["refresh-0", "refresh-1", "refresh-2"]


def test_nothing_is_used_that_could_not_be_stored(renewal, store, client, monkeypatch, run):
    def full(*_):
        raise StoreFault("No space left on device")

    monkeypatch.setattr(type(store), "store", full)

    async def story():
        with pytest.raises(StoreFault, match="No space left"):
            await renewal.renew(client())

    run(story)


def test_nobody_signed_in(renewal, client, token_server, run):
    async def story():
        answer, _ = await renewal.renew(client(PERSON))
        assert (answer.kind, answer.text) == (Kind.PERSON, "nobody has signed in yet")

    run(story)
    assert token_server.asked == []


def test_a_token_without_a_refresh_token(renewal, store, client, clock, run):
    put(store, client(PERSON), clock, refresh="", age=4000)

    async def story():
        answer, _ = await renewal.renew(client(PERSON))
        assert (answer.kind, answer.text) == (Kind.PERSON, "there is no refresh token")

    run(story)


def test_invalid_grant_is_remembered_and_the_tokens_stay(renewal, store, client, token_server, clock, run):
    who = client(PERSON)
    put(store, who, clock, refresh="refresh-old", age=3000)

    async def story():
        answer, kept = await renewal.renew(who)
        assert (answer.kind, answer.code) == (Kind.PERSON, "invalid_grant")
        assert held(store, who) == kept
        assert (kept.refused, kept.tokens.access.reveal()) == (
            "invalid_grant: the refresh token is used up",
            "access-0",
        )

    run(story)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ((500, {"error": "odd"}), "odd"),
        ((503, b"<html>"), "the token server answered 503 without a reason"),
        ((200, b"not json"), "the token server answered 200 without a token"),
        ((200, b"x" * 70_000), "localhost: no answer of a web server: it is larger than 65536 octets"),
        (
            (302, "", ["Location: https://evil.example/"]),
            "the token server answered 302: it redirects, which is not followed",
        ),
        (b"", "localhost: the connection ended in the middle of the answer"),
    ],
)
def test_faults_of_the_server_pass(renewal, store, client, token_server, clock, run, answer, text):
    who = client(PERSON)
    token_server.refresh = "refresh-0"
    put(store, who, clock, age=3000)
    before = store.load(who.mark)
    token_server.script["token"] = [answer]

    async def story():
        refusal, _ = await renewal.renew(who)
        assert (refusal.kind, refusal.text) == (Kind.LATER, text)
        assert store.load(who.mark) == before
        assert isinstance((await renewal.renew(who))[0], Tokens)

    run(story)


def test_two_who_renew_at_once_ask_once(renewal, store, client, token_server, clock, run):
    who = client(PERSON)
    token_server.refresh, token_server.delay = "refresh-0", 0.2
    put(store, who, clock, age=3000)

    async def story():
        answers = await asyncio.gather(*(renewal.renew(who) for _ in range(5)))
        assert {answer.access.reveal() for answer, _ in answers} == {"access-1"}

    run(story)
    assert len(token_server.forms()) == token_server.most_at_once == 1


OTHER = """
import asyncio, pickle, sys, time
from pathlib import Path
from relay.renewal import Renewal
from relay.tokenstore import TokenStore
who = pickle.loads(sys.stdin.buffer.read())
answer, _ = asyncio.run(Renewal(TokenStore(Path(sys.argv[1])), time.time).renew(who))
print(answer.access.reveal())
"""


def test_two_processes_that_renew_at_once_ask_once(renewal, store, client, token_server, clock, run):
    import pickle

    who = client(PERSON)
    token_server.refresh, token_server.delay = "refresh-0", 1.0
    put(store, who, clock, age=3000)

    async def story():
        others = [
            await asyncio.create_subprocess_exec(
                sys.executable, "-c", OTHER, store.folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            for _ in range(2)
        ]
        told = await asyncio.gather(*(other.communicate(pickle.dumps(who)) for other in others), renewal.renew(who))
        assert [out.decode().strip() for out, _ in told[:2]] == ["access-1", "access-1"]
        assert told[2][0].access.reveal() == "access-1"

    run(story)
    assert len(token_server.forms()) == 1


KILLED = """
import asyncio, os, pickle, signal, sys, time
from pathlib import Path
from relay.renewal import Renewal
from relay.tokenstore import TokenStore
who = pickle.loads(sys.stdin.buffer.read())
TokenStore.store = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(Renewal(TokenStore(Path(sys.argv[1])), time.time).renew(who))
"""


@pytest.mark.parametrize("strict", [False, True])
def test_promise_3_killed_between_rotation_and_store(renewal, store, client, token_server, clock, run, strict):
    """The server has replaced the refresh token, and we never learn of it. What is on disk is whole: a provider that
    takes the last one again goes on, one that does not wants a person; the lock is not left behind."""
    import pickle

    who = client(PERSON)
    token_server.refresh = "refresh-0"
    put(store, who, clock, age=3000)
    killed = subprocess.run([sys.executable, "-c", KILLED, store.folder], input=pickle.dumps(who), timeout=60)
    assert (killed.returncode, token_server.refresh) == (-9, "refresh-1")
    if not strict:
        token_server.refresh = "refresh-0"

    async def story():
        answer, kept = await renewal.renew(who)
        if strict:
            assert (answer.kind, answer.code) == (Kind.PERSON, "invalid_grant")
            assert kept.tokens.alive(clock())  # mail still goes on with the old token
        else:
            assert answer.access.reveal() == token_server.current

    run(story)


def test_a_refresh_token_that_nobody_asked_for_is_left_aside(renewal, store, client, token_server, clock, run):
    """RFC 6749 4.4.3: what needs nobody can not be ended by a refresh token that has."""
    put(store, client(), clock, refresh="of no use", age=3000)

    async def story():
        assert isinstance((await renewal.renew(client()))[0], Tokens)

    run(story)
    assert token_server.forms()[0]["grant_type"] == "client_credentials"


def test_damaged_tokens(renewal, store, client, token_server, run):
    store.store(client().mark, b"{")
    store.store(client(PERSON).mark, b"{")

    async def story():
        assert isinstance((await renewal.renew(client()))[0], Tokens)  # nothing is lost
        with pytest.raises(StoreFault, match=r"damaged tokens: remove it, then log in again"):
            await renewal.renew(client(PERSON))

    run(story)


# --- assertions, and clocks that differ -------------------------------------------------------------


@pytest.fixture(scope="module")
def key():
    return rsa.generate_private_key(65537, 2048)


@pytest.fixture(scope="module")
def pem(key):
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


@pytest.fixture
def certificate(key, tmp_path):
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "relay")])
    day = datetime.datetime(2026, 1, 1)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(day).not_valid_after(day + datetime.timedelta(1))
    path = tmp_path / "client.pem"
    path.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    return str(path)


def checks(token_server, key, field, audience):
    """The token server reads the assertion with its own clock, and allows for 30 s."""

    def check(form):
        claims = jwt.decode(
            form[field],
            key.public_key(),
            ["RS256", "PS256"],
            audience=audience,
            options={"verify_exp": False, "verify_nbf": False, "verify_iat": False},
        )
        now = datetime.datetime.now().timestamp() + token_server.ahead
        if not claims["iat"] - 30 <= now <= claims["exp"]:
            return 400, {"error": "invalid_grant", "error_description": "not valid now"}
        token_server.claims = claims
        return None

    return check


@pytest.mark.parametrize("ahead", [0.0, 7200.0, -7200.0, 10.0])
def test_a_certificate_and_clocks_that_differ(renewal, client, token_server, key, pem, certificate, run, ahead, caplog):
    token_server.ahead = ahead
    who = client(certificate=certificate, key=Secret(pem))
    token_server.script["token"] = [checks(token_server, key, "client_assertion", who.token_url)] * 3

    async def story():
        assert isinstance((await renewal.renew(who))[0], Tokens)
        assert isinstance((await renewal.renew(who, force=True))[0], Tokens)

    run(story)
    far = abs(ahead) > 60
    assert len(token_server.forms()) == (3 if far else 2)  # the second renewal is dated right at once
    assert ("differs from ours" in caplog.text) == far
    assert "client_secret" not in token_server.forms()[0]


def test_a_refusal_that_is_not_about_clocks_is_asked_once(renewal, client, token_server, pem, certificate, run):
    token_server.script["token"] = [(401, {"error": "invalid_client"})] * 2

    async def story():
        assert (await renewal.renew(client(certificate=certificate, key=Secret(pem))))[0].code == "invalid_client"

    run(story)
    assert len(token_server.forms()) == 1


def test_a_service_account_acts_as_the_mailbox(renewal, client, token_server, key, pem, run):
    account = {"type": "service_account", "client_email": "robot@p.example", "private_key_id": "k1", "private_key": pem}
    who = client(Grant.SERVICE_ACCOUNT, account=Secret(json.dumps(account)), secret=Secret(""))
    token_server.script["token"] = [checks(token_server, key, "assertion", who.token_url)]

    async def story():
        assert isinstance((await renewal.renew(who))[0], Tokens)

    run(story)
    assert (token_server.claims["iss"], token_server.claims["sub"], token_server.claims["scope"]) == (
        "robot@p.example",
        "me@example.com",
        "smtp",
    )


def test_what_can_not_sign_wants_a_person(renewal, client, pem, certificate, run, tmp_path):
    async def story():
        for more in (
            {"certificate": str(tmp_path / "none"), "key": Secret(pem)},
            {"certificate": certificate, "key": Secret("x")},
        ):
            answer, _ = await renewal.renew(client(**more))
            assert isinstance(answer, Refusal)
            assert answer.kind is Kind.PERSON

    run(story)


def test_a_server_that_tells_no_date_or_nonsense(renewal, client, token_server, pem, certificate, run):
    who = client(certificate=certificate, key=Secret(pem))
    token_server.ahead = None
    token_server.script["token"] = [None, (200, {"access_token": "A"}, ["Date: tomorrow"])]

    async def story():
        for _ in range(2):
            assert isinstance((await renewal.renew(who, force=True))[0], Tokens)

    run(story)
