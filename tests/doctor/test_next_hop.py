"""Each next hop: every FAIL has its cause and its remedy, told apart from its neighbours; one log-in; never DATA."""

import asyncio
import socket

import pytest

from relay.address import parse
from relay.doctor.hop import hops_of
from tests.e2e.tools import closed_port

STAGES = ["dns", "tcp", "greeting", "tls", "ehlo", "auth", "sender"]


def test_a_healthy_server_is_ok_at_every_stage(stage, tls, run, examined):
    async def story():
        async with stage.peer(certificate=tls()) as peer:
            rows = await examined(peer.port, "use_tls = true")
        assert [row.check for row in rows] == STAGES
        # The authority of these tests signs for less than a year, and longer than two weeks.
        assert {str(row.level) for row in rows} == {"ok"}
        assert "localhost is 127.0.0.1" in rows.row("dns").text
        assert rows.row("greeting").text == "220 peer ESMTP"
        assert "proves localhost by tls_ca_file" in rows.row("tls").text and "days left" in rows.row("tls").text
        assert rows.row("ehlo").text == "SIZE 1000000, 8BITMIME, SMTPUTF8, PIPELINING; AUTH PLAIN LOGIN"
        assert rows.row("auth").text == "logged in as me by PLAIN"
        assert "may send as bot@example.com" in rows.row("sender").text
        assert (peer.auths, peer.connections) == (1, 2)  # one to see that the port answers, one to talk
        assert [c.split()[0] for c in peer.commands[-4:]] == ["MAIL", "RCPT", "RSET", "QUIT"]
        assert not any(c.startswith("DATA") for c in peer.commands)

    run(story)


def test_a_name_that_does_not_resolve(run, examined):
    async def story():
        rows = await examined(25, server="no-such-host.invalid", user="")
        row = rows.row("dns")
        assert rows.checks() == [("dns", "fail")]
        assert "no-such-host.invalid" in row.text
        assert "getent ahosts no-such-host.invalid" in row.remedy

    run(story)


def test_a_closed_port(run, examined):
    async def story():
        rows = await examined(closed_port())
        assert rows.checks() == [("dns", "ok"), ("tcp", "fail")]
        assert "refused: that host is up, and nothing listens on port" in rows.row("tcp").text
        assert rows.row("tcp").remedy.startswith("[notification]\nsmtp_port = ")

    run(story)


def test_a_closed_port_beside_an_open_one(stage, run, examined, monkeypatch):
    async def story():
        async with stage.peer() as peer:
            monkeypatch.setattr("relay.doctor.way.USUAL", (closed_port(), peer.port))
            rows = await examined(closed_port())
        assert rows.row("tcp").text.endswith(f"; port {peer.port} answers there")
        assert rows.row("tcp").remedy == f"[notification]\nsmtp_port = {peer.port}"

    run(story)


@pytest.mark.parametrize(
    ("number", "words"),
    [("ETIMEDOUT", "timed out: a firewall"), ("ENETUNREACH", "no way there"), ("EACCES", "a policy or firewall")],
)
def test_why_an_address_gives_no_connection(run, examined, monkeypatch, number, words):
    import errno

    async def refuse(_loop, _sock, _address):
        code = getattr(errno, number)
        raise OSError(code, number)

    async def story():
        monkeypatch.setattr(asyncio.selector_events.BaseSelectorEventLoop, "sock_connect", refuse)
        rows = await examined(2500)
        assert rows.checks() == [("dns", "ok"), ("tcp", "fail")]
        assert words in rows.row("tcp").text

    run(story)


def test_one_of_several_addresses(stage, run, examined, monkeypatch):
    """The others are a warning: the relay goes on to the next address."""

    async def story():
        async with stage.peer() as peer:

            async def two(_server, port):
                kind = (socket.AF_INET, socket.SOCK_STREAM, 0, "")
                return [(*kind, ("127.0.0.99", port)), (*kind, ("127.0.0.1", port))]

            monkeypatch.setattr("relay.lookup.addresses", two)
            rows = await examined(peer.port, "use_tls = false")
        assert [(c, level) for c, level in rows.checks() if c == "tcp"] == [("tcp", "warn"), ("tcp", "ok")]
        assert rows.row("auth").level == "ok"

    run(story)


def test_port_465_configured_like_587(stage, tls, run, examined):
    async def story():
        async with stage.peer(certificate=tls(), implicit=True) as peer:
            rows = await examined(peer.port, "use_tls = true")
        row = rows.row("tls")
        assert rows.checks()[-1] == ("tls", "fail")
        assert "465 and 587 mixed up" in row.text and "is TLS from the first octet" in row.text
        assert "[notification]\ntls = implicit" in row.remedy
        assert peer.auths == 0

    run(story)


def test_port_587_configured_like_465(stage, tls, run, examined):
    async def story():
        async with stage.peer(certificate=tls()) as peer:
            rows = await examined(peer.port, "tls = implicit")
        row = rows.row("tls")
        assert "465 and 587 mixed up" in row.text and "begins in plain text (220 peer ESMTP)" in row.text
        assert f"[notification]\nsmtp_port = {peer.port}\ntls = starttls" == row.remedy

    run(story)


def test_a_port_that_says_nothing(stage, run, examined):
    async def story():
        async with stage.peer(script={"greeting": "STALL"}) as peer:
            rows = await examined(peer.port, "use_tls = false")
        row = rows.row("greeting")
        assert row.level == "fail" and "no SMTP server greets there" in row.text
        assert "25, 465 or 587" in row.remedy

    run(story)


def test_a_greeting_that_refuses(stage, run, examined):
    async def story():
        async with stage.peer(script={"greeting": "554 5.7.1 go away"}) as peer:
            rows = await examined(peer.port, "use_tls = false")
        row = rows.row("greeting")
        assert row.level == "fail" and "554 5.7.1 go away" in row.text
        assert "let this host in" in row.remedy

    run(story)


@pytest.mark.parametrize(
    ("name", "words", "remedy"),
    [
        ("expired", "certificate has expired", "must renew it"),
        ("othername", "Hostname mismatch", "[notification]\nsmtp_server = mail.example.net"),
        ("selfsigned", "self-signed certificate|unable to get local issuer", "tls_ca_file = "),
    ],
)
@pytest.mark.parametrize("implicit", [False, True])
def test_a_certificate_that_proves_nothing(stage, tls, run, examined, name, words, remedy, implicit):
    async def story():
        async with stage.peer(certificate=tls(name), implicit=implicit) as peer:
            rows = await examined(peer.port, "tls = implicit" if implicit else "use_tls = true")
        row = rows.row("tls")
        assert row.level == "fail"
        assert any(word in row.text for word in words.split("|")), row.text
        assert remedy in row.remedy
        assert "it is a certificate for" in row.text
        assert peer.auths == 0

    run(story)


def test_no_starttls(stage, run, examined):
    async def story():
        async with stage.peer() as peer:
            rows = await examined(peer.port, "use_tls = true")
        row = rows.row("tls")
        assert row.level == "fail" and "offers no STARTTLS" in row.text
        assert "smtp_port = 465" in row.remedy
        assert peer.auths == 0

    run(story)


def test_a_refused_password_is_said_once_in_the_servers_own_words(stage, tls, run, examined):
    async def story():
        async with stage.peer(certificate=tls(), script={"AUTH": "535 5.7.8 wrong hunter2-secret, me"}) as peer:
            rows = await examined(peer.port, "use_tls = true")
        row = rows.row("auth")
        assert row.level == "fail"
        assert "log-in as me refused: 535 5.7.8 wrong ***, me" in row.text
        assert row.remedy == "[notification]\nsmtp_user = me\nsmtp_password_file = (a file with the right password)"
        assert peer.auths == 1

    run(story)


def test_a_server_without_auth(stage, tls, run, examined):
    async def story():
        async with stage.peer(certificate=tls(), auth="") as peer:
            rows = await examined(peer.port, "use_tls = true")
        row = rows.row("auth")
        assert row.level == "fail" and "the server offers no AUTH that we know" in row.text
        assert "587 is for log-ins" in row.remedy

    run(story)


def test_a_sender_that_is_not_ours(stage, run, examined):
    async def story():
        async with stage.peer(script={"MAIL": "550 5.7.60 SendAsDenied"}) as peer:
            rows = await examined(peer.port, "use_tls = false", user="trac@example.com")
        row = rows.row("sender")
        assert row.level == "fail"
        assert row.text == "MAIL FROM:<bot@example.com> is refused: 550 5.7.60 SendAsDenied"
        assert "smtp_from = trac@example.com, or allow trac@example.com to send as bot@example.com" in row.remedy

    run(story)


def test_a_recipient_that_is_refused(stage, run, examined):
    """Our own address need not take mail; one that was named must."""

    async def story():
        async with stage.peer(script={"RCPT": "550 5.1.1 nobody"}) as peer:
            rows = await examined(peer.port, "use_tls = false")
            assert rows.row("sender").level == "warn"
            rows = await examined(peer.port, "use_tls = false", parse("eve@example.org"), user="")
            assert rows.row("sender").level == "fail"
            assert "RCPT TO:<eve@example.org> is refused: 550 5.1.1 nobody" in rows.row("sender").text
            assert "relaying may need a log-in" in rows.row("sender").remedy
        async with stage.peer(script={"RCPT": "451 4.7.1 greylisted"}) as peer:
            rows = await examined(peer.port, "use_tls = false")
            assert rows.row("sender").level == "warn" and "greylisted" in rows.row("sender").text

    run(story)


def test_tls_that_proves_nothing_is_a_warning(stage, tls, run, examined):
    async def story():
        async with stage.peer(certificate=tls("expired")) as peer:
            rows = await examined(peer.port, user="")
        unproved, ended = [row for row in rows if row.check == "tls"]
        assert (unproved.level, ended.level) == ("warn", "warn")
        assert "nothing proves that it is localhost: tls is opportunistic" in unproved.text
        assert unproved.remedy == "[notification]\nuse_tls = true"
        assert "it has ended" in ended.text

    run(story)


def test_profiles_of_one_server_log_in_once(stage, run, configured):
    sections = """
[notification:harbour]
match = project: Harbour
smtp_from = dock@example.com

[notification:crew]
match = project: Crew
upstream = other

[upstream:other]
server = localhost
port = 26
tls = none
"""
    made = configured(25, "use_tls = false", sections=sections)
    first, other = hops_of(made)
    assert first.names == ["notification", "notification:harbour"]
    assert {str(a) for a in first.senders.values()} == {"bot@example.com", "dock@example.com"}
    assert other.section == "upstream:other"
    assert other.line("smtp_port", "465") == "[upstream:other]\nport = 465"


def test_a_ca_file_that_is_not_there(stage, run, examined):
    async def story():
        async with stage.peer() as peer:
            rows = await examined(peer.port, "use_tls = true\nclient_certificate = /nonexistent.pem")
        assert rows.row("tls").level == "fail"
        assert "can not be used" in rows.row("tls").text
        assert "ls -l /nonexistent.pem" in rows.row("tls").remedy

    run(story)
