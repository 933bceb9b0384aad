"""Log-ins at a real server: Postfix with Dovecot's SASL, which shares no line with the relay."""

import asyncio
import ssl
import time

import pytest

from relay.address import parse
from relay.entry import Cause, Disposition
from relay.mail import Envelope, Mail, Recipient
from relay.message import parse_bytes
from relay.oauth.client import Client, Grant
from relay.options import Secret
from relay.renewal import Renewal
from relay.routing import Route, Upstream
from relay.tokens import Keeper
from relay.tokenstore import TokenStore
from relay.transaction import Timeouts
from relay.upstream import Upstreams
from tests.e2e.tools import PASSWORD, USER, until
from tests.oauth.server import TokenServer

RELAYED, DEFERRED = Disposition.RELAYED, Disposition.DEFERRED


@pytest.fixture
def send(postfix, certificates):
    """One mail over STARTTLS or implicit TLS: its one outcome. What was relayed has arrived when the test is over."""
    relayed = []

    def send(*, tls="starttls", keeper=None, **options):
        port = postfix.starttls if tls == "starttls" else postfix.implicit
        base = {"user": USER, "password": Secret(PASSWORD), "ca_file": str(certificates / "ca.pem")}
        hop = Upstream("hop", "localhost", port, tls, **{**base, **options})
        mail = Mail(
            Envelope(parse("bugs@example.com"), (Recipient.accepted(parse("eve@example.org")),)),
            parse_bytes(b"Subject: hi\r\n\r\nhello\r\n"),
        )

        async def story():
            upstreams = Upstreams(Timeouts(), "relay.example.com", time.time, keeper)
            [outcome] = (await upstreams.attempt(Route(hop), mail)).outcomes
            await upstreams.close()
            return outcome

        outcome = asyncio.run(story())
        if outcome.disposition is RELAYED:
            relayed.append(outcome)
        return outcome

    yield send
    if relayed:
        until(lambda: len(postfix.mails()) == len(relayed), "every mail in its box")
        until(lambda: not list(postfix.boxes.glob("*/*/tmp/*")), "Postfix to tidy up")


@pytest.mark.real
@pytest.mark.parametrize("tls", ["starttls", "implicit"])
@pytest.mark.parametrize(
    ("pinned", "used"),
    [
        ("", "SCRAM-SHA-256"),
        ("scram-sha-1", "SCRAM-SHA-1"),
        ("cram-md5", "CRAM-MD5"),
        ("plain", "PLAIN"),
        ("login", "LOGIN"),
    ],
)
def test_every_mechanism_with_a_password(send, postfix, pinned, used, tls):
    before = len(postfix.log())
    assert send(auth=pinned, tls=tls).disposition is RELAYED
    said = f"sasl_method={used}, sasl_username={USER}"
    until(lambda: said in postfix.log()[before:], said)  # its log daemon may be behind


@pytest.mark.real
@pytest.mark.parametrize("pinned", ["scram-sha-256", "scram-sha-1", "cram-md5", "plain", "login"])
def test_a_wrong_password_is_refused_in_the_servers_words(send, pinned):
    outcome = send(auth=pinned, password=Secret("wrong-hunter2"))
    assert (outcome.disposition, outcome.cause) == (DEFERRED, Cause.AUTH)
    assert "535 5.7.8 Error: authentication failed" in outcome.reply.text
    assert "hunter2" not in outcome.reply.text


@pytest.fixture
def tokens(postfix, certificates, tmp_path):
    """A token server that Dovecot asks, too; a keeper, and the client of an upstream."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem")
    server = TokenServer(context, port=postfix.tokens)
    server.start()
    ca = str(certificates / "ca.pem")
    client = Client(
        "custom",
        Grant.CLIENT_CREDENTIALS,
        "app",
        "me@example.com",
        "smtp",
        server.url("token"),
        ca_file=ca,
        secret=Secret("s"),
    )
    yield server, client, Keeper(Renewal(TokenStore(tmp_path / "tokens"), time.time), time.time)
    server.stop()


@pytest.mark.real
@pytest.mark.parametrize("pinned", ["", "xoauth2", "oauthbearer"])
def test_tokens(send, postfix, tokens, pinned):
    server, client, keeper = tokens
    keeper.use([Upstream("hop", oauth=client)])
    before = len(postfix.log())
    outcome = send(auth=pinned, user=client.user, password=Secret(""), oauth=client, keeper=keeper)
    assert outcome.disposition is RELAYED, outcome
    said = f"sasl_method={(pinned or 'oauthbearer').upper()}, sasl_username=me@example.com"
    until(lambda: said in postfix.log()[before:], said)
    assert server.forms("introspect")[-1]["token"] == server.current


@pytest.mark.real
@pytest.mark.parametrize("pinned", ["xoauth2", "oauthbearer"])
def test_a_token_that_has_ended_is_replaced_in_one_go(send, tokens, pinned):
    server, client, keeper = tokens
    keeper.use([Upstream("hop", oauth=client)])
    options = {"auth": pinned, "user": client.user, "password": Secret(""), "oauth": client, "keeper": keeper}
    assert send(**options).disposition is RELAYED
    server.current = "ended"
    assert send(**options).disposition is RELAYED
    assert len(server.forms()) == 2


@pytest.mark.real
@pytest.mark.parametrize(
    ("pinned", "status"), [("xoauth2", '"status":"401"'), ("oauthbearer", '"status":"invalid_token"')]
)
def test_the_json_behind_a_refused_token(send, tokens, pinned, status):
    server, client, keeper = tokens
    keeper.use([Upstream("hop", oauth=client)])
    server.script["introspect"] = [(200, {"active": False})] * 4
    outcome = send(auth=pinned, user=client.user, password=Secret(""), oauth=client, keeper=keeper)
    assert (outcome.disposition, outcome.cause) == (DEFERRED, Cause.AUTH)
    assert "log-in as me@example.com refused: 535 5.7.8" in outcome.reply.text
    assert status in outcome.reply.text
    assert server.current not in outcome.reply.text
