"""Exim, OpenSMTPD and Dovecot's submission service as next hops: STARTTLS, AUTH, and every octet at its place."""

import asyncio
import json
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
from tests.e2e.hop import Administrator
from tests.e2e.mta import LIMIT
from tests.e2e.tools import until
from tests.oauth.server import TokenServer

RELAYED, DEFERRED, REFUSED = Disposition.RELAYED, Disposition.DEFERRED, Disposition.REFUSED
HEAD = b"Date: Sat, 28 Nov 2026 10:00:00 +0000\r\nFrom: bugs@example.com\r\nTo: a@example.org\r\nSubject: [Harbour] #12: Crane jams\r\nMessage-ID: <%b@example.com>\r\n"
NUMBERED = b"".join(b"%07d .. the quick brown fox\r\n" % n for n in range(9000))
BODIES = {
    "dots": b".\r\n..\r\n...\r\n. \r\n.a\r\n\r\n.",
    "blanks and tabs": b" \r\n\t\r\nend with blanks  \t \r\n\r\n\r\n\r\n",
    "no line end": b"the last line is not closed",
    "nothing": b"",
    "From": b"From me\r\n>From you\r\n\r\nFrom: nobody\r\n",
    "a line of 998": b"x" * 998 + b"\r\n.\r\n",
    "like SMTP": b"QUIT\r\nRSET\r\n.\r\nMAIL FROM:<x@example.org>\r\n",
    "large": NUMBERED,
    "8 bit": "Grüße, 時計 ☃\r\n.\r\n".encode(),
}
EIGHT_BIT = b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n"


class Sender:
    """Sends to one peer; `send` is one mail to some recipients, in a session of its own."""

    def __init__(self, peer, certificates):
        self.peer, self.ca = peer, str(certificates / "ca.pem")
        self.keeper = None

    def hop(self, **options):
        peer = self.peer
        base = {"user": peer.user, "password": Secret(peer.password), "ca_file": self.ca}
        if not peer.user:
            return Upstream("hop", "localhost", peer.port, "none", **options)
        return Upstream("hop", "localhost", peer.port, "starttls", **{**base, **options})

    @staticmethod
    def mail(raw, *rcpts):
        recipients = tuple(Recipient.accepted(parse(r)) for r in rcpts or ("a@example.org",))
        return Mail(Envelope(parse("bugs@example.com"), recipients), parse_bytes(raw))

    def send_all(self, mails, **options):
        """All at once over the connections of one hop; an attempt for each."""

        async def story():
            timeouts = Timeouts(connect=20.0, greeting=20.0, command=20.0, data_block=20.0, final_dot=20.0)
            upstreams = Upstreams(timeouts, "relay.example.com", time.time, self.keeper)
            route = Route(self.hop(**options))
            try:
                return await asyncio.gather(*(upstreams.attempt(route, mail) for mail in mails))
            finally:
                await upstreams.close()

        return asyncio.run(story())

    def send(self, raw=HEAD % b"1" + b"\r\nhello\r\n", *rcpts, **options):
        [attempt] = self.send_all([self.mail(raw, *rcpts)], **options)
        return attempt.outcomes

    def arrived(self, number):
        until(lambda: len(self.peer.stored()) >= number, f"{number} mails at {self.peer.name}: {self.peer.said()}")
        time.sleep(0.2)
        found = self.peer.stored()
        assert len(found) == number, found
        return found


@pytest.fixture
def sender(peer, certificates):
    return Sender(peer, certificates)


def as_stored(raw):
    """As a Maildir keeps it: lines end as this host ends them, the last one is closed."""
    octets = raw.replace(b"\r\n", b"\n")
    return octets if octets.endswith(b"\n") else octets + b"\n"


@pytest.mark.real
def test_every_octet_arrives_whatever_the_mail(sender):
    mails = {}
    for number, (name, body) in enumerate(BODIES.items()):
        head = HEAD % str(number).encode() + (b"" if body.isascii() else EIGHT_BIT)
        mails[name] = head + b"X-Folded: one\r\n\ttwo\r\n  three\r\n\r\n" + body
    attempts = sender.send_all([sender.mail(raw) for raw in mails.values()])
    assert {o.disposition for attempt in attempts for o in attempt.outcomes} == {RELAYED}, attempts
    assert {attempt.tls for attempt in attempts} == {"TLSv1.3 starttls verified" if sender.peer.user else ""}
    stored = sender.arrived(len(mails))
    for name, raw in mails.items():
        [found] = [octets for octets in stored if octets.endswith(as_stored(raw))] or [b""]
        assert found, f"{name}: {stored}"
        trace = found.removesuffix(as_stored(raw)).decode()
        fields = {line.partition(":")[0].lower() for line in trace.splitlines() if not line[0].isspace()}
        known = {"return-path", "envelope-to", "delivery-date", "received", "delivered-to", "x-original-to"}
        assert fields <= known, f"{name}: more than trace fields: {fields - known}"


@pytest.mark.real
def test_many_at_once_arrive_once_each(sender):
    mails = [sender.mail(HEAD % str(number).encode() + b"\r\nnumber %d.\r\n" % number) for number in range(40)]
    attempts = sender.send_all(mails)
    assert {o.disposition for attempt in attempts for o in attempt.outcomes} == {RELAYED}, attempts
    stored = sender.arrived(40)
    assert sorted(int(octets.rpartition(b"number ")[2].rstrip(b".\n")) for octets in stored) == list(range(40))


@pytest.mark.real
def test_one_of_three_is_refused_and_the_others_get_it(sender):
    outcomes = sender.send(HEAD % b"1" + b"\r\nhello\r\n", "a@example.org", "nobody@example.org", "b@example.org")
    assert [o.disposition for o in outcomes] == [RELAYED, REFUSED, RELAYED], outcomes
    assert outcomes[1].reply.permanent
    assert outcomes[1].cause is Cause.PEER
    sender.arrived(2)


@pytest.mark.real
def test_a_mail_of_refused_recipients_is_not_sent_and_the_connection_goes_on(sender):
    mails = [sender.mail(HEAD % b"1" + b"\r\nx\r\n", rcpt) for rcpt in ("nobody@example.org", "b@example.org") * 3]
    attempts = sender.send_all(mails)
    assert [attempt.outcomes[0].disposition for attempt in attempts] == [REFUSED, RELAYED] * 3, attempts
    sender.arrived(3)


@pytest.mark.real
def test_a_mail_larger_than_it_takes_is_not_even_sent(sender):
    small, large = (HEAD % b"1" + b"\r\n" + b"x" * 70 + b"\r\n" for _ in range(2))
    large += (b"y" * 70 + b"\r\n") * (LIMIT // 72 + 1)
    [refused] = sender.send(large)
    assert (refused.disposition, refused.cause) == (REFUSED, Cause.RULE), refused
    assert f"5.3.4 the mail has {len(large)} octets, the hop takes {LIMIT}" in str(refused.reply)
    assert sender.send(small)[0].disposition is RELAYED
    sender.arrived(1)


@pytest.mark.real
def test_what_is_outside_ascii(sender):
    """SMTPUTF8 where the peer knows it; else an address that can not be said is refused, and the others get the mail."""
    utf8 = sender.peer.utf8
    raw = HEAD % b"1" + ("Comments: Grüße\r\n" if utf8 else "").encode() + b"\r\nhello\r\n"
    ends = {o.address: o for o in sender.send(raw, "a@example.org", "jörg@example.org")}
    assert ends["a@example.org"].disposition is RELAYED, ends
    if not utf8:
        assert str(ends["jörg@example.org"].reply).startswith("553 5.6.7")
    assert all(octets.endswith(as_stored(raw)) for octets in sender.arrived(2 if utf8 else 1))


MECHANISMS = {
    "Exim": ("cram-md5", "plain", "login"),
    "Dovecot": ("scram-sha-256", "scram-sha-1", "cram-md5", "plain", "login"),
}


@pytest.mark.real
@pytest.mark.parametrize("peer_server", ["exim", "dovecot"], indirect=True)
def test_every_mechanism_with_a_password(sender):
    for pinned in MECHANISMS[sender.peer.name]:
        assert sender.send(auth=pinned)[0].disposition is RELAYED, pinned
        [refused] = sender.send(auth=pinned, password=Secret("wrong-hunter2"))
        assert (refused.disposition, refused.cause) == (DEFERRED, Cause.AUTH)
        assert "refused: 535" in refused.reply.text
        assert "hunter2" not in refused.reply.text
    [missing] = sender.send(auth="external", client_certificate="")
    assert (missing.disposition, missing.cause) == (DEFERRED, Cause.AUTH)
    sender.arrived(len(MECHANISMS[sender.peer.name]))


@pytest.mark.real
@pytest.mark.parametrize("peer_server", ["exim"], indirect=True)
def test_a_client_certificate_logs_in(sender, certificates):
    options = {"user": "", "password": Secret(""), "auth": "external"}
    assert sender.send(**options, client_certificate=str(certificates / "client.pem"))[0].disposition is RELAYED
    assert "A=external:relay@example.com" in sender.peer.said()
    [refused] = sender.send(**options)
    assert (refused.disposition, refused.cause) == (DEFERRED, Cause.AUTH)
    sender.arrived(1)


@pytest.mark.real
@pytest.mark.parametrize("peer_server", ["exim", "dovecot"], indirect=True)
def test_an_authority_that_we_do_not_know(sender, tmp_path):
    import trustme

    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    [outcome] = sender.send(ca_file=str(tmp_path / "other.pem"))
    assert (outcome.disposition, outcome.cause) == (DEFERRED, Cause.TLS)
    assert "certificate not accepted" in outcome.reply.text
    assert sender.peer.stored() == []


@pytest.mark.real
@pytest.mark.parametrize("peer_server", ["dovecot"], indirect=True)
@pytest.mark.parametrize("pinned", ["", "xoauth2", "oauthbearer"])
def test_tokens_at_dovecots_submission_service(sender, postfix, certificates, tmp_path, pinned):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem")
    server = TokenServer(context, port=postfix.tokens)
    server.start()
    try:
        client = Client(
            "custom",
            Grant.CLIENT_CREDENTIALS,
            "app",
            "me@example.com",
            "smtp",
            server.url("token"),
            ca_file=sender.ca,
            secret=Secret("s"),
        )
        sender.keeper = Keeper(Renewal(TokenStore(tmp_path / "tokens"), time.time), time.time)
        sender.keeper.use([Upstream("hop", oauth=client)])
        options = {"auth": pinned, "user": client.user, "password": Secret(""), "oauth": client}
        assert sender.send(**options)[0].disposition is RELAYED
        server.current = "ended"
        assert sender.send(**options)[0].disposition is RELAYED, "a new token at once"
        server.script["introspect"] = [(200, {"active": False})] * 4
        [refused] = sender.send(**options)
        assert (refused.disposition, refused.cause) == (DEFERRED, Cause.AUTH)
        assert "refused: 535" in refused.reply.text
        assert '"status":' in refused.reply.text
        assert server.current not in refused.reply.text
        sender.arrived(2)
    finally:
        server.stop()


@pytest.mark.real
def test_the_whole_relay_in_front_of_it(daemon, sender, certificates):
    peer = sender.peer
    secured = f"tls_ca_file = {certificates}/ca.pem\nsmtp_user = {peer.user}\nsmtp_password_file = password\n"
    tls = f"tls = starttls\n{secured}" if peer.user else "tls = none\n"
    daemon.configure(
        "[notification]\nsmtp_enabled = true\nsmtp_from = bugs@example.com\nsmtp_server = localhost\n"
        f"smtp_port = {peer.port}\n{tls}"
    )
    (daemon.folder / "password").write_text(peer.password + "\n")
    daemon.start()
    daemon.send(HEAD % b"7" + EIGHT_BIT + "\r\nGrüße\r\n".encode(), ("a@example.org", "b@example.org"))
    daemon.wait_sent(2)
    assert all(b"Message-ID: <7@example.com>" in octets for octets in sender.arrived(2))
    assert daemon.log().count(f"tls={'pkix' if peer.user else 'none'}") == 2
    asked = json.loads(Administrator(daemon).command("doctor", "--json"))
    checked = {
        row["check"]: row["level"] for row in asked if row["check"] in ("greeting", "tls", "ehlo", "auth", "sender")
    }
    assert set(checked.values()) <= {"ok", "warn"}, (
        asked
    )  # example.com is no domain of theirs: a test mail may be refused
    assert checked["ehlo"] == "ok", asked
    assert {"auth", "tls"} <= set(checked) or not peer.user
    [probed] = json.loads(Administrator(daemon).command("upstream", "probe", "notification", "--json"))
    assert probed["ok"]
