"""The listener over real sockets. Rows of the table of library faults carry their number."""

import asyncio
import errno
import smtplib
import socket
from dataclasses import replace

import pytest

from relay import journal
from relay.admission import Listen
from relay.errors import ConfigError, SpoolError, SpoolFull
from relay.listening import Listener

MAIL = b"Subject: hi\r\n\r\nhello\r\n"


async def kept(stage):
    return [octets for _, octets in await stage.spool.mails()]


async def envelope(stage):
    [(entry, _)] = await stage.spool.mails()
    return entry


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


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("<>", None),
        ("<Demo>", "Demo"),
        (" <a@example.com>", "a@example.com"),
        ("a@example.com", "a@example.com"),
        ('<"q q"@example.com> SIZE=10 BODY=8BITMIME', '"q q"@example.com'),
        ("<a@example.com> size=20 AUTH=<>", "a@example.com"),
    ],
)
def test_A3_senders_that_trackers_really_write(stage, run, path, expected):
    async def story():
        async with stage.listening(), stage.client() as talk:
            assert (await talk.say(f"mail from:{path}")).startswith("250 ")
            await talk.say("rcpt to: bob", "RCPT TO:<eve@example.org>", "DATA")
            await talk.send(MAIL + b".\r\n")
            await talk.reply()
        entry = await envelope(stage)
        reverse = entry.envelope.reverse_path
        assert (None if reverse is None else str(reverse)) == expected
        assert [str(r.address) for r in entry.envelope.recipients] == ["bob", "eve@example.org"]

    run(story)


HOSTILE = [
    b"<=?utf-8?q?x=0D=0ADATA?=@good.test>x",
    b"<=?utf-8?q?a=3E_evil?=@good.test",
    b"<a@b.c>\x00",
    b"<a(comment)@b.c>",
    b"<@relay.test:a@b.c>",
    b'<"unclosed@b.c>',
    b"<a b@c.test>",
    b"< a@b.c>",
    b"<a@b.c",
    b"<a@b..c>",
    b"<a@-b.c>",
    b"<a@b@c.test>",
    b"<a,b@c.test>",
    b"<alice@evil.test)bob@good.test>",
    b"<a[b@c>",
    b"<\xff@b.c>",
    b"<" + b"x" * 300 + b"@b.c>",
    b"<a@b.c>junk",
    b"",
]


@pytest.mark.parametrize("path", HOSTILE)
def test_D1_D3_A4_paths_are_whole_or_refused(stage, run, path):
    async def story():
        async with stage.listening(), stage.client() as talk:
            await talk.send(b"MAIL FROM:" + path + b"\r\n")
            assert (await talk.reply())[0] == "5"
            await talk.say("MAIL FROM:<>")
            await talk.send(b"RCPT TO:" + path + b"\r\n")
            assert (await talk.reply())[0] == "5"
            assert (await talk.say("RCPT TO:<>")) == "553 5.1.3 a recipient is never empty"
            assert (await talk.say("RCPT TO:<fine@example.org>", "DATA")).startswith("354")
            await talk.send(MAIL + b".\r\n")
            await talk.reply()
        entry = await envelope(stage)
        assert [str(r.address) for r in entry.envelope.recipients] == ["fine@example.org"]

    run(story)


def test_D1_an_encoded_word_is_a_local_part_like_any_other(stage, run):
    async def story():
        async with stage.listening(), stage.client() as talk:
            await talk.mail(MAIL + b".\r\n", rcpt="=?utf-8?q?x=0D=0ADATA?=@good.test")
        entry = await envelope(stage)
        assert [str(r.address) for r in entry.envelope.recipients] == ["=?utf-8?q?x=0D=0ADATA?=@good.test"]

    run(story)


def test_a_refused_recipient_stands_in_the_entry(stage, run):
    async def story():
        async with stage.listening(), stage.client() as talk:
            await talk.say("MAIL FROM:<>", "RCPT TO:<a b@x>", "RCPT TO:<eve@example.org>", "DATA")
            await talk.send(MAIL + b".\r\n")
            await talk.reply()
        assert (await envelope(stage)).refused_paths == ("<a b@x>",)

    run(story)


def test_no_valid_recipient_is_refused_at_data(stage, run):
    async def story():
        async with stage.listening(), stage.client() as talk:
            await talk.say("MAIL FROM:<>", "RCPT TO:<a b@x>")
            assert await talk.say("DATA") == "554 5.5.1 no valid recipients"

    run(story)


@pytest.mark.parametrize("line", [b"EHLO a\rX-Inj: 1", b"EHLO a\x00b", b"NOOP\x7f", b"MAIL FROM:<a@b>\tX", b"\x1b[31m"])
def test_D2_control_characters_are_refused(stage, run, line):
    async def story():
        async with stage.listening(), stage.client() as talk:
            await talk.send(line + b"\r\n")
            assert (await talk.reply()).startswith("500 5.5.2")
            assert (await talk.say("NOOP")).startswith("250")

    run(story)


@pytest.mark.parametrize(
    ("fault", "reply"),
    [
        (SpoolFull("spool: No space left on device"), "452 4.3.1"),
        (SpoolError("spool: disk I/O error"), "451 4.3.0"),
        (OSError(errno.EIO, "planted", "/var/lib/secret"), "451 4.3.0"),
        (RuntimeError("disk full at /var/lib/secret"), "451 4.3.0"),
    ],
)
def test_D4_A1_our_faults_are_temporary_and_tell_nothing(stage, run, fault, reply):
    async def story():
        for attribute in ("fault", "writes_fail"):
            setattr(stage.spool, attribute, fault)
            async with stage.listening(), stage.client() as talk:
                answer = await talk.mail(MAIL + b".\r\n")
                assert answer.startswith(reply)
                assert "/" not in answer
                assert type(fault).__name__ not in answer
                assert "planted" not in answer
                assert (await talk.say("NOOP")).startswith("250"), "the session goes on"
            setattr(stage.spool, attribute, None)
        assert await kept(stage) == []

    run(story)


def test_D4_an_empty_path_is_a_refusal_like_any_other(stage, run):
    async def story():
        async with stage.listening(), stage.client() as talk:
            assert (await talk.say("MAIL FROM:<")).startswith("553 5.1.7")

    run(story)


ENDINGS = [
    b"\n.\n",
    b"\r.\r",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r\n.\r",
    b"\r\n\x00.\r\n",
    b"\n.\r",
    b"\r\r\n.\r\r\n",
    b"\r\n.\x00\r\n",
    b".\r\n",
]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("split", [0, 1, 2, 3])
def test_only_crlf_dot_crlf_ends_a_mail(stage, run, ending, split):
    """SMTP smuggling: whatever imitates the end stays content, or refuses the mail; never two mails."""

    async def story():
        async with stage.listening(), stage.client() as talk:
            await talk.say("MAIL FROM:<>", "RCPT TO:<eve@example.org>", "DATA")
            octets = b"Subject: a\r\n\r\nhello" + ending + b"MAIL FROM:<evil@x.test>\r\nRCPT TO:<b@x.test>\r\nDATA\r\n"
            at = len(b"Subject: a\r\n\r\nhello") + split
            await talk.send(octets[:at])
            await asyncio.sleep(0.005)
            await talk.send(octets[at:] + b"\r\n.\r\n")
            reply = await talk.reply()
            assert (await talk.say("NOOP")).startswith("250"), "nothing was read as a command"
        mails = await kept(stage)
        if reply.startswith("250"):
            assert len(mails) == 1
            assert b"evil@x.test" in mails[0]
            assert b"\n" not in mails[0].replace(b"\r\n", b"")
        else:
            assert reply.startswith("550 5.5.2")
            assert mails == []

    run(story)


@pytest.mark.parametrize(("policy", "kept_mails"), [("normalize", [b"a\r\nb\r\n"]), ("refuse", [])])
def test_D15_A10_bare_lf(stage, run, policy, kept_mails):
    async def story():
        stage.options = replace(stage.options, bare_newline=policy)
        async with stage.listening(), stage.client() as talk:
            reply = await talk.mail(b"a\nb\r\n.\r\n")
            assert reply.startswith("250" if kept_mails else "550 5.5.2")
        assert await kept(stage) == kept_mails

    run(story)


@pytest.mark.parametrize("octets", [b"a\rb\r\n", b"a\x00b\r\n", b"a\r\r\n"])
def test_D15_bare_cr_and_nul_refuse_the_mail(stage, run, octets):
    async def story():
        async with stage.listening(), stage.client() as talk:
            assert (await talk.mail(octets + b".\r\n")).startswith("550 5.5.2")
            assert (await talk.mail(MAIL + b".\r\n")).startswith("250")
        assert await kept(stage) == [MAIL]

    run(story)


def test_dots_are_unstuffed(stage, run):
    async def story():
        async with stage.listening(), stage.client() as talk:
            await talk.mail(b"..a\r\n..\r\nb\r\n...\r\n.\r\n")
        assert await kept(stage) == [b".a\r\n.\r\nb\r\n..\r\n"]

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
        assert await kept(stage) == [MAIL, MAIL]

    run(story)


def test_D7_A2_a_half_closed_client_loses_nothing(stage, run):
    """`printf ... | nc -N`: all commands at once, then the end of the stream."""

    async def story():
        stage.spool.gate = asyncio.Event()
        async with stage.listening(), stage.client(hello="") as talk:
            await talk.send(b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.c>\r\nDATA\r\n" + MAIL + b".\r\nQUIT\r\n")
            talk.writer.write_eof()
            await asyncio.sleep(0.1)
            stage.spool.gate.set()
            assert b"queued as id000001" in await talk.closed()
        assert await kept(stage) == [MAIL]

    run(story)


@pytest.mark.parametrize("reset", [False, True])
def test_D7_A2_a_client_that_vanishes_behind_the_dot_has_sent_its_mail(stage, run, reset):
    async def story():
        stage.spool.gate = asyncio.Event()
        async with stage.listening():
            async with stage.client() as talk:
                await talk.say("MAIL FROM:<>", "RCPT TO:<a@b.c>", "DATA")
                await talk.send(MAIL + b".\r\n")
                while not stage.spool.begun:
                    await asyncio.sleep(0.01)
                if reset:
                    talk.writer.transport.abort()
            await asyncio.sleep(0.1)
            stage.spool.gate.set()
            await asyncio.sleep(0.1)
            assert await kept(stage) == [MAIL]
            assert not stage.listener.sessions

    run(story)


def test_a_client_that_vanishes_before_the_dot_has_sent_nothing(stage, run):
    async def story():
        async with stage.listening():
            async with stage.client() as talk:
                await talk.say("MAIL FROM:<>", "RCPT TO:<a@b.c>", "DATA")
                await talk.send(MAIL)
            await asyncio.sleep(0.1)
        assert stage.spool.begun == 0

    run(story)


def test_D8_A7_the_timer_runs_from_the_last_octet(stage, run):
    async def story():
        stage.options = replace(stage.options, idle_timeout=0.3)
        async with stage.listening(), stage.client() as talk:
            await talk.say("MAIL FROM:<>", "RCPT TO:<a@b.c>", "DATA")
            for _ in range(8):
                await talk.send(b"x\r\n")
                await asyncio.sleep(0.1)
            await talk.send(b".\r\n")
            assert (await talk.reply()).startswith("250")
            assert (await talk.closed()).startswith(b"421 4.4.2")

    run(story)


def test_D9_a_client_that_does_not_read_is_cut_off(stage, run, monkeypatch):
    monkeypatch.setattr("relay.connection._GRACE", 0.2)

    async def story():
        stage.options = replace(stage.options, idle_timeout=0.5)
        async with stage.listening():
            sock = socket.create_connection((stage.listener.addresses[0].host, stage.listener.addresses[0].port))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.setblocking(False)
            loop = asyncio.get_running_loop()
            try:
                async with asyncio.timeout(1):
                    while True:
                        await loop.sock_sendall(sock, b"EHLO x\r\n" * 1000)
            except (TimeoutError, ConnectionError):
                pass
            for _ in range(100):
                if not stage.listener.sessions:
                    break
                await asyncio.sleep(0.05)
            assert not stage.listener.sessions
            sock.close()

    run(story)


def test_D10_too_many_connections(stage, run):
    async def story():
        stage.options = replace(stage.options, max_connections=2)
        async with stage.listening(), stage.client(), stage.client():
            async with stage.client(hello=None) as third:
                assert (await third.closed()).startswith(b"421 4.3.2")
        assert not stage.listener.sessions

    run(story)


def test_D11_too_many_errors_end_the_session(stage, run):
    async def story():
        async with stage.listening(), stage.client() as talk:
            await talk.send(b"\r\n" * 30)
            answers = await talk.closed()
            assert answers.count(b"500 5.5.2") == 19
            assert answers.endswith(b"421 4.7.0 too many errors\r\n")

    run(story)


def test_D11_too_many_recipients_fail_the_mail_visibly(stage, run):
    async def story():
        stage.options = replace(stage.options, max_recipients=3)
        async with stage.listening(), stage.client() as talk:
            await talk.say("MAIL FROM:<>", *(f"RCPT TO:<a{n}@b.c>" for n in range(3)))
            assert (await talk.say("RCPT TO:<a3@b.c>")).startswith("452 4.5.3")
            assert (await talk.say("DATA")).startswith("452 4.5.3")
            assert (await talk.mail(MAIL + b".\r\n")).startswith("250"), "the next one is free of it"
        assert await kept(stage) == [MAIL]

    run(story)


@pytest.mark.parametrize(
    "octets",
    [
        b"POST / HTTP/1.1\r\nHost: x\r\n\r\nEHLO x\r\nMAIL FROM:<>\r\n",
        b"GET / HTTP/1.0\r\n",
        b"\x16\x03\x01\x02\n",
        b"*1\r\n$4\r\nPING\r\n",
    ],
)
def test_D13_other_protocols_are_sent_away(stage, run, octets):
    async def story():
        async with stage.listening(), stage.client(hello="") as talk:
            await talk.send(octets)
            assert (await talk.closed()).startswith(b"421 4.7.0")

    run(story)


@pytest.mark.parametrize("command", ["STARTTLS", "AUTH PLAIN AGEAYg==", "BDAT 10 LAST", "EXPN x"])
def test_D16_D17_what_is_not_offered_is_not_supported(stage, run, command):
    async def story():
        async with stage.listening(), stage.client() as talk:
            assert await talk.say(command) == "502 5.5.1 command not supported"

    run(story)


@pytest.mark.parametrize("parameter", ["NOTIFY=NEVER", "ORCPT=x", "X"])
def test_A5_unknown_parameters(stage, run, parameter):
    async def story():
        async with stage.listening(), stage.client() as talk:
            assert (await talk.say("MAIL FROM:<a@b.c> RET=HDRS")).startswith("555 5.5.4")
            await talk.say("MAIL FROM:<a@b.c>")
            assert (await talk.say(f"RCPT TO:<a@b.c> {parameter}")).startswith("555 5.5.4")

    run(story)


def test_size_is_judged_at_mail_and_at_data(stage, run):
    async def story():
        stage.options = replace(stage.options, max_size=1000)
        async with stage.listening(), stage.client() as talk:
            assert (await talk.say("MAIL FROM:<a@b.c> SIZE=1001")).startswith("552 5.3.4")
            assert (await talk.say("MAIL FROM:<a@b.c> SIZE=x")).startswith("501")
            assert (await talk.mail(b"x" * 998 + b"\r\n.\r\n")).startswith("250")
            assert (await talk.mail(b"x" * 999 + b"\r\n.\r\n")).startswith("552 5.3.4")
            assert (await talk.say("NOOP")).startswith("250")

    run(story)


def test_hops_and_loops(stage, run):
    async def story():
        async with stage.listening(), stage.client() as talk:
            assert (await talk.mail(b"Received: x\r\n" * 99 + b"\r\n.\r\n")).startswith("250")
            assert (await talk.mail(b"Received: x\r\n" * 100 + b"\r\n.\r\n")).startswith("554 5.4.6")
            assert (await talk.mail(b"X-Tracker-Relay: GW.example.com id=1\r\n\r\n.\r\n")).startswith("554 5.4.6")
            assert (await talk.mail(b"X-Tracker-Relay: gw2.example.com id=1\r\n\r\n.\r\n")).startswith("250")

    run(story)


@pytest.mark.parametrize(
    "header", [b"X: y\r\n" * 1001, b"X: " + b"y" * 65536 + b"\r\n", (b"X: " + b"y" * 60000 + b"\r\n") * 5]
)
def test_header_limits(stage, run, header):
    async def story():
        async with stage.listening(), stage.client() as talk:
            assert (await talk.mail(header + b"\r\n.\r\n")).startswith("552 5.3.4")

    run(story)


def test_smtputf8_is_asked_for(stage, run):
    async def story():
        async with stage.listening(), stage.client() as talk:
            assert (await talk.say("MAIL FROM:<zoë@example.org>")).startswith("553 5.6.7")
            assert (await talk.say("MAIL FROM:<zoë@example.org> SMTPUTF8")).startswith("250")
            assert (await talk.say("RCPT TO:<zoë@münchen.example>")).startswith("250")

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


def test_several_addresses_ipv6_and_a_unix_socket(stage, run, tmp_path):
    async def story():
        path = str(tmp_path / "submission.sock")
        stage.options = replace(stage.options, listen=(Listen("127.0.0.1", 0), Listen("::1", 0), Listen(path=path)))
        async with stage.listening() as listener:
            for at in listener.addresses:
                async with stage.client(at=at) as talk:
                    assert (await talk.mail(MAIL + b".\r\n")).startswith("250")
        clients = [entry.client.address for entry, _ in await stage.spool.mails()]
        assert clients == ["127.0.0.1", "::1", "unix"]
        assert not (tmp_path / "submission.sock").exists()

    run(story)


def test_a_stale_socket_is_replaced_and_a_living_one_is_not(stage, run, tmp_path):
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)

    async def story():
        stage.options = replace(stage.options, listen=(Listen(path=path),))
        async with stage.listening():
            with pytest.raises(ConfigError, match=r"listen: unix:.*in use"):
                await Listener(stage.setting()).start()
            async with stage.client() as talk:
                assert talk.greeting.startswith("220")

    run(story)


def test_an_address_in_use_is_named(stage, run):
    async def story():
        async with stage.listening() as listener:
            stage.options = replace(stage.options, listen=tuple(listener.addresses))
            with pytest.raises(ConfigError, match=r"\[listener\] listen: 127\.0\.0\.1:\d+: Address already in use"):
                await Listener(stage.setting()).start()

    run(story)


def test_a_host_outside_allow_is_sent_away(stage, run):
    async def story():
        stage.options = replace(stage.options, allow=())
        async with stage.listening(), stage.client(hello=None) as talk:
            assert (await talk.closed()).startswith(b"554 5.7.1")

    run(story)


def test_A8_stopping_sends_idle_clients_away_and_waits_for_a_mail(stage, run):
    async def story():
        stage.spool.gate = asyncio.Event()
        async with stage.listening() as listener, stage.client() as idle, stage.client() as busy:
            mail = asyncio.create_task(busy.mail(MAIL + b".\r\n"))
            while not stage.spool.begun:
                await asyncio.sleep(0.01)
            stopping = asyncio.create_task(listener.stop(5))
            assert (await idle.closed()).startswith(b"421 4.3.2")
            assert not stopping.done()
            stage.spool.gate.set()
            assert (await mail).startswith("250")
            async with asyncio.timeout(2):
                await stopping
            with pytest.raises(OSError):
                await asyncio.open_connection(listener.addresses[0].host, listener.addresses[0].port)

    run(story)


def test_A8_stopping_does_not_hang_on_a_client_in_the_middle_of_data(stage, run):
    async def story():
        async with stage.listening() as listener, stage.client() as talk:
            await talk.say("MAIL FROM:<>", "RCPT TO:<a@b.c>", "DATA")
            async with asyncio.timeout(3):
                await listener.stop(0.2)
        assert await kept(stage) == []

    run(story)


def test_the_client_of_the_standard_library(stage, run):
    """Trac, Roundup and most of the world's Python speak through smtplib."""

    def send(port):
        with smtplib.SMTP("127.0.0.1", port, timeout=10) as client:
            return client.sendmail("h@t.example.com", ["eve@example.org", "bob"], "Subject: hi\n\n.dot\nFrom me\n")

    async def story():
        async with stage.listening() as listener:
            assert await asyncio.to_thread(send, listener.addresses[0].port) == {}
        assert await kept(stage) == [b"Subject: hi\r\n\r\n.dot\r\nFrom me\r\n"]

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
