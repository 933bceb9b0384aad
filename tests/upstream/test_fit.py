"""What a next hop can take: 8-bit, SIZE, SMTPUTF8, large mail. Rows of the table of library faults carry their number."""

import asyncio
from dataclasses import replace

import pytest

from relay.entry import Disposition
from relay.message import Field, Message, parse_bytes

RELAYED, DEFERRED, REFUSED = Disposition.RELAYED, Disposition.DEFERRED, Disposition.REFUSED


def ends(attempt):
    return [outcome.disposition for outcome in attempt.outcomes]


EIGHT = "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nhélas\r\n".encode()


SIGNED = b"Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\n" + "hélas".encode() + b"\r\n--b--\r\n"


def test_example_33_C10_8bitmime_is_declared_when_needed_and_converted_when_not_offered(stage, run):
    async def story():
        async with stage.peer() as peer:
            await stage.attempt(stage.hop(peer), stage.mail(raw=EIGHT))
            assert "BODY=8BITMIME" in peer.commands[1]
            assert peer.mails[-1][1] == EIGHT
        async with stage.peer(features=("PIPELINING",)) as peer:
            await stage.attempt(stage.hop(peer), stage.mail(raw=EIGHT))
            assert "BODY" not in peer.commands[1]
            assert peer.mails[-1][1].isascii()
            assert b"h=C3=A9las" in peer.mails[-1][1]

    run(story)


@pytest.mark.parametrize("case", ["signed", "keep"])
def test_8bit_that_must_not_be_touched_is_bounced_5_6_3(stage, run, case):
    async def story():
        mail = stage.mail(raw=SIGNED) if case == "signed" else stage.mail(raw=EIGHT, keep_body=True)
        async with stage.peer(features=()) as peer:
            attempt = await stage.attempt(stage.hop(peer), mail)
            assert ends(attempt) == [REFUSED]
            assert attempt.outcomes[0].reply.status == "5.6.3"
            assert peer.mails == []

    run(story)


def test_size_is_respected(stage, run):
    async def story():
        async with stage.peer(features=("SIZE 20",)) as peer:
            attempt = await stage.attempt(stage.hop(peer))
            assert ends(attempt) == [REFUSED]
            assert attempt.outcomes[0].reply.status == "5.3.4"
            assert "MAIL" not in "".join(peer.commands)
        async with stage.peer(features=("SIZE",)) as peer:
            assert ends(await stage.attempt(stage.hop(peer))) == [RELAYED]

    run(story)


def test_B9_smtputf8_only_when_needed(stage, run):
    async def story():
        async with stage.peer() as peer:
            await stage.attempt(stage.hop(peer), stage.mail("a@münchen.example"))
            assert "SMTPUTF8" not in peer.commands[1]
            assert peer.mails[-1][0] == ("a@xn--mnchen-3ya.example",)
            await stage.attempt(stage.hop(peer), stage.mail("zoë@example.org"))
            assert "SMTPUTF8" in "".join(peer.commands)
            assert peer.mails[-1][0] == ("zoë@example.org",)
        async with stage.peer(features=()) as peer:
            attempt = await stage.attempt(stage.hop(peer), stage.mail("zoë@example.org", "a@münchen.example"))
            assert ends(attempt) == [REFUSED, RELAYED]
            assert attempt.outcomes[0].reply.status == "5.6.7"

    run(story)


def test_who_needs_smtputf8_keeps_no_mail_from_the_others(stage, run):
    """Shown in Cc he would make the whole header need it; there he becomes a group without members (RFC 6858)."""

    async def story():
        mail = stage.mail("a@example.org", "zoë@example.org")
        shown = replace(
            mail.message, fields=(*mail.message.fields, Field("Cc: Zoë <zoë@example.org>, a@example.org\r\n".encode()))
        )
        mail = replace(mail, message=shown)
        async with stage.peer(features=("SMTPUTF8",)) as peer:
            assert ends(await stage.attempt(stage.hop(peer), mail)) == [RELAYED, RELAYED]
            assert "zoë@example.org>, a@".encode() in peer.mails[-1][1]
        async with stage.peer(features=()) as peer:
            assert sorted(ends(await stage.attempt(stage.hop(peer), mail))) == sorted([REFUSED, RELAYED])
            assert peer.mails[-1][0] == ("a@example.org",)
            assert peer.mails[-1][1].isascii()
            assert b":;, a@example.org\r\n" in peer.mails[-1][1]

    run(story)


ODD = [
    '"a,b"@c.test',
    '"a b"@c.test',
    "x&y@c.test",
    "o'reilly@c.test",
    "=?utf-8?q?x?=@c.test",
    "bob",
    '"q\\"q"@c.test',
    "a@[127.0.0.1]",
]


@pytest.mark.parametrize("address", ODD)
def test_C2_paths_are_said_as_they_are(stage, run, address):
    async def story():
        async with stage.peer() as peer:
            await stage.attempt(stage.hop(peer), stage.mail(address, sender=address))
            assert f"MAIL FROM:<{address}>" in peer.commands[1]
            assert f"RCPT TO:<{address}>" in peer.commands

    run(story)


def test_C4_A3_the_null_path(stage, run):
    async def story():
        async with stage.peer() as peer:
            assert ends(await stage.attempt(stage.hop(peer), stage.mail(sender=""))) == [RELAYED]
            assert peer.commands[1].startswith("MAIL FROM:<>")

    run(story)


def test_C12_what_a_peer_says_stays_one_line(stage, run):
    async def story():
        async with stage.peer(script={"RCPT": "550 5.1.1 \x1b[31mno\x00\x07 way\u2028x"}) as peer:
            attempt = await stage.attempt(stage.hop(peer))
            assert ends(attempt) == [REFUSED]
            assert str(attempt.outcomes[0].reply).isprintable()

    run(story)


def test_C9_B3_the_limit_for_the_dot_is_its_own(stage, run):
    async def story():
        stage.timeouts = replace(stage.timeouts, command=1.0, final_dot=20.0)

        async with stage.peer() as peer:
            original = peer._act

            async def act(at, default, reader, writer, **more):
                if at == "dot":
                    await asyncio.sleep(1.5)
                return await original(at, default, reader, writer, **more)

            peer._act = act
            assert ends(await stage.attempt(stage.hop(peer))) == [RELAYED]

    run(story)


def test_a_server_that_refuses_in_the_middle_of_a_mail_is_heard(stage, run):
    async def story():
        class Endless:
            size = 50 << 20

            def read(self, start, stop):
                return b"x" * 78 + b"\r\n" if start < self.size else b""

        async def serve(reader, writer):
            writer.write(b"220 x\r\n")
            while line := await reader.readline():
                if line.startswith(b"DATA"):
                    writer.write(b"354 go\r\n")
                    await reader.read(100_000)
                    writer.write(b"552 5.3.4 too much\r\n")
                    await writer.drain()
                    writer.close()
                    return
                writer.write(b"250 ok\r\n")

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        hop = replace(stage.hop(type("P", (), {"port": server.sockets[0].getsockname()[1]})))
        mail = replace(stage.mail(), message=Message(parse_bytes(b"Subject: x\r\n\r\n").fields, Endless()))
        attempt = await stage.attempt(hop, mail)
        assert ends(attempt) in ([REFUSED], [DEFERRED])
        server.close()

    run(story)


def test_promise_9_a_large_mail_streams(stage, run):
    import tracemalloc

    class Large:
        size = 25 << 20

        def read(self, start, stop):
            return (b"y" * 78 + b"\r\n") * 800 if start < self.size else b""

    async def story():
        async def serve(reader, writer):
            writer.write(b"220 x\r\n")
            while line := await reader.readline():
                if line.startswith(b"DATA"):
                    writer.write(b"354 go\r\n")
                    tail = b""
                    while not tail.endswith(b"\r\n.\r\n"):
                        tail = (tail + await reader.read(65536))[-5:]
                writer.write(b"250 ok\r\n")
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        hop = stage.hop(type("P", (), {"port": server.sockets[0].getsockname()[1]}))
        mail = replace(stage.mail(), message=Message(parse_bytes(b"Subject: x\r\n\r\n").fields, Large()))
        tracemalloc.start()
        attempt = await stage.attempt(hop, mail)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        server.close()
        assert ends(attempt) == [RELAYED]
        assert peak < 6 << 20, peak

    run(story)
