"""STARTTLS, TLS at once, and AUTH at the listener."""

import asyncio
import base64
import contextlib
import ipaddress
import ssl
from dataclasses import replace

import pytest
import trustme

from relay import login, passwords
from relay.admission import Listen
from relay.auth import Channel, Credentials
from relay.auth.scram import scram
from relay.gate import Gate, gate_of
from relay.listening import Listener
from relay.options import Secret
from tests.edges.conftest import runner

MAIL = b"Subject: x\r\n\r\nhello\r\n.\r\n"


def plain(user="dana", word="s3crét", on_behalf=""):
    return base64.b64encode(f"{on_behalf}\0{user}\0{word}".encode()).decode()


def b64(text):
    return base64.b64encode(text.encode()).decode()


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request):
    """Transports differ: whatever concerns them is tried with both."""
    if request.param == "uvloop":
        return runner(pytest.importorskip("uvloop").new_event_loop)
    return runner()


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(login, "_PAUSE", 0.01)
    monkeypatch.setattr(passwords, "ITERATIONS", 4096)


@pytest.fixture
def guarded(stage, tmp_path):
    """A stage with a certificate and one login; `trust` is a client's context that knows the CA."""
    authority = trustme.CA()
    made = authority.issue_cert("localhost", "127.0.0.1")
    made.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "both.pem"))
    (tmp_path / "passwd").write_text(f"# who\n\ndana:{passwords.hashed('s3crét', b'x' * 16)}\n")
    stage.options = replace(
        stage.options, tls_certificate=str(tmp_path / "both.pem"), passwd_file=str(tmp_path / "passwd")
    )
    plain_setting = stage.setting
    stage.setting = lambda: replace(plain_setting(), gate=gate_of(stage.options))
    stage.trust = ssl.create_default_context()
    authority.configure_trust(stage.trust)
    return stage


async def secured(stage, talk):
    """STARTTLS, the handshake, and EHLO anew; the offers."""
    assert (await talk.say("STARTTLS")).startswith("220 2.0.0")
    async with asyncio.timeout(10):
        await talk.writer.start_tls(stage.trust, server_hostname="localhost")
    return await talk.say("EHLO tracker.example.com")


def test_nothing_is_offered_unless_configured(stage, run):
    async def story():
        async with stage.listening(), stage.client(hello="") as talk:
            offers = await talk.say("EHLO x")
            assert "STARTTLS" not in offers
            assert "AUTH" not in offers
            assert (await talk.say("STARTTLS")).startswith("502 5.5.1")
            assert (await talk.say(f"AUTH PLAIN {plain()}")).startswith("502 5.5.1")

    run(story)


def test_mail_over_starttls_by_somebody_who_logged_in(guarded, run):
    async def story():
        async with guarded.listening(), guarded.client(hello="") as talk:
            offers = await talk.say("EHLO x")
            assert "250-STARTTLS" in offers
            offers = await secured(guarded, talk)
            assert "STARTTLS" not in offers
            assert "250 AUTH SCRAM-SHA-256 PLAIN LOGIN" in offers
            assert (await talk.say(f"AUTH PLAIN {plain()}")).startswith("235 2.7.0")
            assert (await talk.mail(MAIL)).startswith("250 2.0.0 queued as")
            entry = await guarded.entry()
            assert (entry.client.user, entry.client.protocol) == ("dana", "ESMTPSA")

    run(story)


def test_what_came_with_starttls_counts_for_nothing(guarded, run):
    """CVE-2011-0411: plain text behind the command is not read as if TLS protected it."""

    async def story():
        async with guarded.listening(), guarded.client() as talk:
            await talk.send(b"STARTTLS\r\nMAIL FROM:<evil@example.org>\r\nRSET\r\n")
            assert (await talk.reply()).startswith("220 2.0.0")
            async with asyncio.timeout(10):
                await talk.writer.start_tls(guarded.trust, server_hostname="localhost")
            assert "AUTH" in await talk.say("EHLO x")
            assert (await talk.say("RCPT TO:<eve@example.org>")).startswith("503")
            assert (await talk.say("STARTTLS")).startswith("503 5.5.1")

    run(story)


def test_what_was_said_before_tls_is_forgotten(guarded, run):
    async def story():
        async with guarded.listening(), guarded.client() as talk:
            assert (await talk.say(f"AUTH PLAIN {plain()}")).startswith("235"), (
                "a client of this host may log in without"
            )
            await secured(guarded, talk)
            assert (await talk.say(f"AUTH PLAIN {plain()}")).startswith("235"), "the log-in before TLS is forgotten"

    run(story)


def test_a_handshake_that_fails_ends_that_client_only(guarded, run, caplog):
    async def story():
        async with guarded.listening():
            async with guarded.client() as talk:
                assert (await talk.say("STARTTLS")).startswith("220")
                await talk.send(b"this is no TLS\r\n" * 20)
                await talk.closed()
            async with guarded.client() as talk:
                await secured(guarded, talk)
                assert (await talk.mail(MAIL)).startswith("250 2.0.0")

    run(story)
    [told] = [line for line in caplog.messages if line.startswith("NOQUEUE")]
    assert told.startswith("NOQUEUE: client=127.0.0.1, STARTTLS: 421 4.7.0 TLS handshake: ")


def test_tls_at_once(guarded, run, monkeypatch):
    from relay import listening

    async def story():
        monkeypatch.setattr(listening, "IMPLICIT_PORT", 0)
        listener = Listener(guarded.setting())
        await listener.start()
        try:
            port = listener.addresses[0].port
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", port, ssl=guarded.trust, server_hostname="localhost"
            )
            assert (await reader.readline()).startswith(b"220 ")
            writer.write(b"EHLO x\r\n")
            offers = await reader.readuntil(b"\r\n250 ") + await reader.readline()
            assert b"STARTTLS" not in offers
            assert b"AUTH SCRAM-SHA-256 PLAIN LOGIN" in offers
            writer.close()
            with contextlib.suppress(ssl.SSLError, ConnectionError):
                await writer.wait_closed()
        finally:
            await listener.stop(1)

    run(story)


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        ([f"AUTH PLAIN {plain()}"], "235 2.7.0"),
        (["AUTH PLAIN", plain()], "235 2.7.0"),
        ([f"auth plain {plain(on_behalf='dana')}"], "235 2.7.0"),
        (["AUTH LOGIN", b64("dana"), b64("s3crét")], "235 2.7.0"),
        ([f"AUTH LOGIN {b64('dana')}", b64("s3crét")], "235 2.7.0"),
        ([f"AUTH PLAIN {plain(word='wrong')}"], "535 5.7.8"),
        ([f"AUTH PLAIN {plain(user='Dana')}"], "535 5.7.8"),
        ([f"AUTH PLAIN {plain(user='', word='')}"], "535 5.7.8"),
        ([f"AUTH PLAIN {plain(on_behalf='root')}"], "535 5.7.8"),
        (["AUTH LOGIN", b64("dana"), b64("wrong")], "535 5.7.8"),
        (["AUTH LOGIN", "*"], "501 5.7.0"),
        (["AUTH PLAIN", "*"], "501 5.7.0"),
        (["AUTH PLAIN ="], "501 5.5.2"),
        (["AUTH PLAIN !!!!"], "501 5.5.2"),
        (["AUTH PLAIN", "!!!!"], "501 5.5.2"),
        (["AUTH LOGIN", base64.b64encode(b"\xff\xfe").decode()], "501 5.5.2"),
        ([f"AUTH PLAIN {b64('a')}"], "501 5.5.2"),
        (["AUTH CRAM-MD5"], "504 5.5.4"),
        (["AUTH"], "504 5.5.4"),
    ],
)
def test_exchanges(guarded, run, said, heard):
    async def story():
        async with guarded.listening(), guarded.client() as talk:
            assert (await talk.say(*said)).startswith(heard)
            assert (await talk.say("NOOP")).startswith("250"), "the session goes on"

    run(story)


def test_one_log_in_and_none_within_a_mail(guarded, run):
    async def story():
        async with guarded.listening(), guarded.client() as talk:
            await talk.say("MAIL FROM:<h@t.example.com>")
            assert (await talk.say(f"AUTH PLAIN {plain()}")).startswith("503")
            assert (await talk.say("STARTTLS")).startswith("503")
            await talk.say("RSET")
            assert (await talk.say(f"AUTH PLAIN {plain()}")).startswith("235")
            assert (await talk.say(f"AUTH PLAIN {plain()}")).startswith("503")

    run(story)


def test_the_third_wrong_password_ends_the_session_and_none_is_in_the_log(guarded, run, caplog):
    async def story():
        async with guarded.listening(), guarded.client() as talk:
            for _ in range(3):
                assert (await talk.say(f"AUTH PLAIN {plain(word='guessed-it')}")).startswith("535")
            assert (await talk.reply()).startswith("421 4.7.0 too many wrong passwords")
            await talk.closed()

    run(story)
    assert "wrong password, or no such login: 'dana'" in caplog.text
    assert "guessed-it" not in caplog.text
    assert plain(word="guessed-it") not in caplog.text


def test_a_host_outside_allow_may_send_only_after_it_has_logged_in_over_tls(guarded, run, caplog):
    guarded.options = replace(
        guarded.options, allow=(ipaddress.ip_network("192.0.2.0/24"),), listen=(Listen("127.0.0.1", 0),)
    )

    async def story():
        async with guarded.listening(), guarded.client() as talk:
            refused = "530 5.7.0 log in first: this host may not send without"
            assert await talk.say("MAIL FROM:<h@t.example.com>") == refused
            assert caplog.messages == [f"NOQUEUE: client=127.0.0.1, MAIL: {refused}"]
            await secured(guarded, talk)
            assert (await talk.say("MAIL FROM:<h@t.example.com>")).startswith("530 5.7.0")
            await talk.say(f"AUTH PLAIN {plain()}")
            assert (await talk.mail(MAIL)).startswith("250 2.0.0")

    run(story)


def test_no_password_is_taken_from_another_host_without_tls(guarded, run, monkeypatch, caplog):
    from relay import server

    monkeypatch.setattr(server, "is_local", lambda _: False)

    async def story():
        async with guarded.listening(), guarded.client(hello="") as talk:
            assert "AUTH" not in await talk.say("EHLO x")
            refused = "538 5.7.11 a password needs TLS: STARTTLS first"
            assert await talk.say(f"AUTH PLAIN {plain()}") == refused
            assert caplog.messages == [f"NOQUEUE: client=127.0.0.1, AUTH: {refused}"]
            assert "AUTH" in await secured(guarded, talk)

    run(story)


def test_a_password_may_cross_a_unix_socket(guarded, run, tmp_path):
    guarded.options = replace(guarded.options, listen=(Listen(path=str(tmp_path / "s")),))

    async def story():
        async with guarded.listening(), guarded.client() as talk:
            assert "STARTTLS" in talk.offers, "no less than anywhere else"
            assert "AUTH" in talk.offers
            assert (await talk.say(f"AUTH PLAIN {plain()}")).startswith("235")
            await talk.mail(MAIL)
        assert (await guarded.entry()).client.protocol == "ESMTPA"

    run(story)


def test_the_file_of_passwords():
    made = passwords.hashed("word", b"salt" * 4)
    cheap = str(made).replace(":4096:", ":4095:")
    text = f"a:{made}\n\n# x\nb:plain\nc d:{made}\na:{made}\nz:scrypt:7:8:1:AA==:AA==\ny:{cheap}\nx:{made}:\n"
    known, faults = passwords.read(text)
    assert list(known) == ["a"]
    assert [number for number, _ in faults] == [4, 5, 6, 7, 8, 9]
    assert passwords.verify(known, "a", "word")
    assert not passwords.verify(known, "a", "Word")
    assert not passwords.verify(known, "b", "")
    assert "word" not in str(made)


def test_tries_are_bounded():
    """Each takes a core for a while: a flood of wrong passwords must not take all of them."""
    gate = Gate()
    assert gate._trying._value == 2


def test_everybody_may_come_but_must_log_in(guarded, run):
    guarded.options = replace(guarded.options, allow=(ipaddress.ip_network("0.0.0.0/0"),))

    async def story():
        async with guarded.listening(), guarded.client() as talk:
            assert (await talk.say("MAIL FROM:<h@t.example.com>")).startswith("530 5.7.0")
            await talk.say(f"AUTH PLAIN {plain()}")
            assert (await talk.mail(MAIL)).startswith("250 2.0.0")

    run(story)


async def scrammed(talk, word, *, initial=True):
    """AUTH SCRAM-SHA-256 as our own client does it; the last reply."""
    who = Credentials("dana", Secret(word))
    client = scram("sha256", who, Channel("localhost", 25, "abc"), plus=False)
    first = base64.b64encode(next(client)).decode()
    reply = await (talk.say(f"AUTH SCRAM-SHA-256 {first}") if initial else talk.say("AUTH SCRAM-SHA-256", first))
    while reply.startswith("334"):
        response = client.send(base64.b64decode(reply[4:]))
        reply = await talk.say(base64.b64encode(response).decode())
    return reply


@pytest.mark.parametrize("initial", [True, False])
def test_scram(guarded, run, initial):
    async def story():
        async with guarded.listening(), guarded.client() as talk:
            assert (await scrammed(talk, "wrong", initial=initial)).startswith("535 5.7.8")
            assert (await talk.say("AUTH SCRAM-SHA-256", "*")).startswith("501 5.7.0")
            assert (await talk.say("AUTH SCRAM-SHA-256", b64("nonsense"))).startswith("501 5.5.2")
            assert (await scrammed(talk, "s3crét", initial=initial)).startswith("235 2.7.0")
            assert (await talk.mail(MAIL)).startswith("250 2.0.0")
            assert (await guarded.entry()).client.user == "dana"

    run(story)


def test_a_proof_alone_lets_nobody_in(guarded, run):
    """The client has to hear ours: until then it is not logged in, and may send nothing."""

    async def story():
        async with guarded.listening(), guarded.client() as talk:
            client = scram("sha256", Credentials("dana", Secret("s3crét")), Channel("x", 1, "abc"), plus=False)
            challenge = await talk.say("AUTH SCRAM-SHA-256 " + base64.b64encode(next(client)).decode())
            proof = base64.b64encode(client.send(base64.b64decode(challenge[4:]))).decode()
            assert (await talk.say(proof)).startswith("334 ")
            assert (await talk.say("*")).startswith("501 5.7.0")
            assert (await talk.say(f"AUTH PLAIN {plain()}")).startswith("235"), "it was not logged in before"

    run(story)


def test_scram_is_not_offered_where_an_older_line_stands(guarded, run, tmp_path):
    made = passwords.hashed("s3crét", b"x" * 16)
    old = "scrypt:16:8:1:eHh4eHh4eHh4eHh4eHh4eA==:P3d49pwlF5N8GK0eMX5KiyXNn398olb8KlQs2zHaKrs="
    (tmp_path / "passwd").write_text(f"dana:{old}\nluc:{made}\n")

    async def story():
        async with guarded.listening(), guarded.client(hello="") as talk:
            assert "AUTH PLAIN LOGIN" in await talk.say("EHLO x")
            assert (await scrammed(talk, "s3crét")).startswith("504 5.5.4 AUTH PLAIN or LOGIN")
            assert (await talk.say(f"AUTH PLAIN {plain()}")).startswith("235")

    run(story)
