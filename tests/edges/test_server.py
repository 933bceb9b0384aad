"""The dialogue over real sockets. Rows of the table of library faults carry their number."""

import asyncio
import math
import smtplib

import pytest

from relay import journal

MAIL = b"Subject: hi\r\n\r\nhello\r\n"


def test_a_mail_is_accepted_with_its_id(stage, run):
    async def story():
        async with stage.listening(), stage.client() as talk:
            assert talk.greeting == "220 gw.example.com ESMTP"
            assert await talk.mail(MAIL + b".\r\n") == "250 2.0.0 queued as id000001"
            assert await talk.say("QUIT") == "221 2.0.0 bye"
        [(entry, octets)] = await stage.spool.mails()
        assert octets == MAIL
        assert (entry.id, entry.size, str(entry.envelope.reverse_path)) == ("id000001", len(MAIL), "h@t.example.com")
        assert [r.origin for r in entry.envelope.recipients] == ["rcpt:eve@example.org"]
        assert (entry.client.address, entry.client.helo, entry.client.protocol) == (
            "127.0.0.1",
            "tracker.example.com",
            "ESMTP",
        )
        assert entry.summary == "hi"

    run(story)


def test_ehlo_offers_exactly_what_the_contract_says(stage, run):
    async def story():
        async with stage.listening(), stage.client() as talk:
            lines = [line[4:] for line in talk.offers.split("\n")]
            assert lines == [
                "gw.example.com",
                "PIPELINING",
                "SIZE 52428800",
                "8BITMIME",
                "SMTPUTF8",
                "ENHANCEDSTATUSCODES",
            ]

    run(story)


def test_promise_1_no_250_before_put_has_returned(stage, run):
    async def story():
        stage.spool.gate = asyncio.Event()
        async with stage.listening(), stage.client() as talk:
            reply = asyncio.create_task(talk.mail(MAIL + b".\r\n"))
            while not stage.spool.begun:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)
            assert not reply.done()
            stage.spool.gate.set()
            assert (await reply).startswith("250 2.0.0 queued as ")

    run(story)


@pytest.mark.parametrize("line", [b"EHLO a\rX-Inj: 1", b"EHLO a\x00b", b"NOOP\x7f", b"MAIL FROM:<a@b>\tX", b"\x1b[31m"])
def test_D2_control_characters_are_refused(stage, run, line):
    async def story():
        async with stage.listening(), stage.client() as talk:
            await talk.send(line + b"\r\n")
            assert (await talk.reply()).startswith("500 5.5.2")
            assert (await talk.say("NOOP")).startswith("250")

    run(story)


def test_a_pipelined_session_in_one_packet(stage, run):
    async def story():
        async with stage.listening(), stage.client(hello="") as talk:
            await talk.send(
                b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.c>\r\nRCPT TO:<d@e.f>\r\nDATA\r\n"
                + MAIL
                + b".\r\nMAIL FROM:<>\r\nRCPT TO:<g@h.i>\r\nDATA\r\n"
                + MAIL
                + b".\r\nQUIT\r\n"
            )
            codes = [(await talk.reply())[:3] for _ in range(10)]
            assert codes == ["250", "250", "250", "250", "354", "250", "250", "250", "354", "250"]
            assert (await talk.closed()).startswith(b"221")
        assert await stage.kept() == [MAIL, MAIL]

    run(story)


@pytest.mark.parametrize(
    "octets",
    [
        b"POST / HTTP/1.1\r\nHost: x\r\n\r\nEHLO x\r\nMAIL FROM:<>\r\n",
        b"GET / HTTP/1.0\r\n",
        b"PROPFIND /x HTTP/1.1\r\nHost: x\r\n\r\nMAIL FROM:<>\r\n",
        b"\x16\x03\x01\x02\n",
        b"*1\r\n$4\r\nPING\r\n",
    ],
)
def test_D13_other_protocols_are_sent_away(stage, run, octets, caplog):
    async def story():
        async with stage.listening(), stage.client(hello="") as talk:
            await talk.send(octets)
            assert await talk.closed() == b"421 4.7.0 this is SMTP\r\n"
        assert caplog.messages == ["NOQUEUE: client=127.0.0.1, session: 421 4.7.0 this is SMTP"]

    run(story)


@pytest.mark.parametrize("command", ["STARTTLS", "AUTH PLAIN AGEAYg==", "BDAT 10 LAST", "EXPN x"])
def test_D16_D17_what_is_not_offered_is_not_supported(stage, run, command):
    async def story():
        async with stage.listening(), stage.client() as talk:
            assert await talk.say(command) == "502 5.5.1 command not supported"

    run(story)


def test_order_of_commands(stage, run):
    async def story():
        async with stage.listening(), stage.client() as talk:
            assert (await talk.say("RCPT TO:<a@b.c>")).startswith("503")
            assert (await talk.say("DATA")).startswith("503")
            assert (await talk.say("MAIL FROM:<a@b.c>", "MAIL FROM:<a@b.c>")).startswith("503")
            assert (await talk.say("DATA")).startswith("503")
            assert (await talk.say("RSET", "DATA")).startswith("503")
            assert (await talk.say("EHLO")).startswith("501")
            assert (await talk.say("HELO x")) == "250 gw.example.com"
            assert (await talk.say("VRFY x")).startswith("252")
            assert (await talk.say("HELP")).startswith("214")
            assert (await talk.say("FOO")).startswith("500 5.5.1")
            assert (await talk.say("DATA x")).startswith("501")

    run(story)


def test_an_overlong_line_is_refused_and_the_next_one_served(stage, run):
    async def story():
        async with stage.listening(), stage.client() as talk:
            await talk.send(b"NOOP " + b"x" * 200_000 + b"\r\n")
            assert await talk.reply() == "500 5.5.2 line too long"
            assert (await talk.say("NOOP")).startswith("250")

    run(story)


def test_the_client_of_the_standard_library(stage, run):
    """Trac, Roundup and most of the world's Python speak through smtplib."""

    def send(port):
        with smtplib.SMTP("127.0.0.1", port, timeout=10) as client:
            return client.sendmail("h@t.example.com", ["eve@example.org", "bob"], "Subject: hi\n\n.dot\nFrom me\n")

    async def story():
        async with stage.listening() as listener:
            assert await asyncio.to_thread(send, listener.addresses[0].port) == {}
        assert await stage.kept() == [b"Subject: hi\r\n\r\n.dot\r\nFrom me\r\n"]

    run(story)


def test_no_line_of_a_client_forges_a_log_line(stage, run, caplog):
    async def story():
        async with stage.listening(), stage.client() as talk:
            await talk.send("RCPT TO:<\u2028x\u202ey>\r\n".encode())
            await talk.reply()

    with caplog.at_level("INFO", logger="tracker-relay"):
        run(story)
    assert all(record.getMessage().isprintable() for record in caplog.records)
    assert journal.clean("a\nb\x1b[31m") == "a\\nb\\x1b[31m"


def test_D12_a_bare_lf_ends_a_command_line_and_nothing_else(stage, run):
    """As Postfix takes it. Only CRLF "." CRLF ends a mail, so none can hide a second one behind it."""

    async def story():
        async with stage.listening(), stage.client() as talk:
            await talk.send(b"MAIL FROM:<>\nRCPT TO:<a@b.c>\nDATA\n")
            assert [(await talk.reply())[:3] for _ in range(3)] == ["250", "250", "354"]
            await talk.send(b"Subject: hi\n\nhello\n.\nMAIL FROM:<evil@b.c>\nRCPT TO:<x@b.c>\nDATA\nevil\n\r\n.\r\n")
            assert (await talk.reply()).startswith("250 2.0.0 queued as")
        [mail] = await stage.kept()
        assert b"\r\nMAIL FROM:<evil@b.c>\r\n" in mail

    run(story)


def test_A11_no_client_waits_for_a_look_up_of_our_name(stage, run, monkeypatch):
    def asked(*_):
        raise AssertionError("the resolver was asked")

    for name in ("getfqdn", "gethostbyaddr", "getnameinfo"):
        monkeypatch.setattr(f"socket.{name}", asked)

    async def story():
        async with stage.listening(), stage.client() as talk:
            assert talk.greeting == "220 gw.example.com ESMTP"
            assert "SIZE 52428800" in talk.offers

    run(story)


@pytest.mark.parametrize("fault", [None, RuntimeError("broken")], ids=["kept", "not kept"])
def test_clients_that_wait_for_their_250_count_as_talking(stage, run, fault):
    """Long steps wait for clients that talk; who is silent because we owe an answer does not make room for them."""

    async def story():
        async with stage.listening() as listener, stage.client() as one, stage.client() as other:
            pulse = listener.setting.pulse
            gates, stage.spool.fault = [asyncio.Event(), asyncio.Event()], fault
            asking = []
            for number, talk in enumerate((one, other)):
                stage.spool.gate = gates[number]
                asking.append(asyncio.create_task(talk.mail(b"Subject: %d\r\n\r\nhello\r\n.\r\n" % number)))
                while stage.spool.begun == number:
                    await asyncio.sleep(0.001)
            assert pulse.heard == math.inf
            gates[0].set()
            await asking[0]
            assert pulse.heard == math.inf, "the other one waits still"
            before = asyncio.get_running_loop().time()
            gates[1].set()
            await asking[1]
            assert before <= pulse.heard <= asyncio.get_running_loop().time()

    run(story)
