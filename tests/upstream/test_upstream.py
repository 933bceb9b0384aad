"""One attempt at a next hop that does its worst. Rows of the table of library faults carry their number."""

import asyncio
import ssl
from dataclasses import replace

import pytest

from relay.entry import Cause, Disposition
from relay.message import BytesBody, Message, parse_bytes
from relay.routing import Route

RELAYED, DEFERRED, REFUSED = Disposition.RELAYED, Disposition.DEFERRED, Disposition.REFUSED
SECRETS = (b"hunter2", b"aHVudGVyMg==", b"AG1lAGh1bnRlcjI=", b"bWU=")


def ends(attempt):
    return [outcome.disposition for outcome in attempt.outcomes]


@pytest.mark.parametrize("features", [("PIPELINING",), ()])
def test_a_mail_and_its_dots(stage, run, features):
    async def story():
        async with stage.peer(features=features) as peer:
            attempt = await stage.attempt(stage.hop(peer), stage.mail("a@example.org", "b@example.org"))
            assert ends(attempt) == [RELAYED, RELAYED]
            assert [str(o.reply) for o in attempt.outcomes] == ["250 2.0.0 kept"] * 2
            assert attempt.outcomes[0].host == f"localhost[127.0.0.1]:{peer.port}"
            assert peer.mails == [(("a@example.org", "b@example.org"), b"Subject: hi\r\n\r\nhello\r\n.dot\r\n")]

    run(story)


def test_pipelining_sends_the_envelope_in_one_write(stage, run):
    async def story():
        async with stage.peer() as peer:
            await stage.attempt(stage.hop(peer), stage.mail("a@example.org", "b@example.org"))
            assert peer.commands[1:5] == [
                "MAIL FROM:<bot@example.com> SIZE=28",
                "RCPT TO:<a@example.org>",
                "RCPT TO:<b@example.org>",
                "DATA",
            ]

    run(story)


STAGES = ["greeting", "EHLO", "MAIL", "RCPT", "DATA", "dot"]


@pytest.mark.parametrize("features", [("PIPELINING",), ()])
@pytest.mark.parametrize("fault", ["DROP", "RESET", "STALL", "GARBAGE", "FLOOD", "421 4.3.2 later", "450 4.2.1 later"])
@pytest.mark.parametrize("at", STAGES)
def test_faults_defer_and_only_the_dot_is_ambiguous(stage, run, at, fault, features):
    """Every transient fault at every stage: the mail waits, and another attempt with a healthy hop succeeds."""

    async def story():
        async with stage.peer(features=features, script={at: fault}) as peer, stage.upstreams() as upstreams:
            route, mail = Route(stage.hop(peer)), stage.mail("a@example.org", "b@example.org")
            attempt = await upstreams.attempt(route, mail)
            assert ends(attempt) == [DEFERRED, DEFERRED], attempt
            unclear = at == "dot" and not fault.startswith("4")
            assert [o.ambiguous for o in attempt.outcomes] == [unclear, unclear]
            assert all(o.reply.transient and str(o.reply).isprintable() for o in attempt.outcomes)
            peer.script.clear()
            peer.mails.clear()
            if at in ("greeting", "EHLO"):
                await asyncio.sleep(1.1)  # the hop is left alone for a moment
            assert ends(await upstreams.attempt(route, mail)) == [RELAYED, RELAYED]
            assert len(peer.mails) == 1

    run(story)


@pytest.mark.parametrize("features", [("PIPELINING",), ()])
@pytest.mark.parametrize("at", ["MAIL", "DATA", "dot"])
def test_5xx_at_mail_data_and_dot_refuses_everybody(stage, run, at, features):
    async def story():
        async with stage.peer(features=features, script={at: "554 5.7.1 no"}) as peer:
            attempt = await stage.attempt(stage.hop(peer), stage.mail("a@example.org", "b@example.org"))
            assert ends(attempt) == [REFUSED, REFUSED]
            assert {str(o.reply) for o in attempt.outcomes} == {"554 5.7.1 no"}
            assert peer.mails == []

    run(story)


@pytest.mark.parametrize("at", ["greeting", "EHLO"])
def test_5xx_before_any_mail_defers(stage, run, at):
    async def story():
        async with stage.peer(script={at: "554 5.7.1 go away", "HELO": "554 5.7.1 go away"}) as peer:
            attempt = await stage.attempt(stage.hop(peer))
            assert ends(attempt) == [DEFERRED]
            assert "554 5.7.1 go away" in attempt.outcomes[0].reply.text

    run(story)


@pytest.mark.parametrize("features", [("PIPELINING",), ()])
def test_B5_C13_each_recipient_has_its_own_answer(stage, run, features):
    async def story():
        script = {
            "RCPT:b@example.org": "550 5.1.1 unknown",
            "RCPT:c@example.org": "450 4.2.1 full",
            "RCPT:d@example.org": "552 too many",
        }
        async with stage.peer(features=features, script=script) as peer:
            attempt = await stage.attempt(stage.hop(peer), stage.mail(*(f"{x}@example.org" for x in "abcde")))
            assert ends(attempt) == [RELAYED, REFUSED, DEFERRED, DEFERRED, RELAYED]
            assert str(attempt.outcomes[1].reply) == "550 5.1.1 unknown"
            assert [o.cause for o in attempt.outcomes] == [Cause.PEER] * 5
            assert peer.mails[0][0] == (
                "a@example.org",
                "b@example.org",
                "c@example.org",
                "d@example.org",
                "e@example.org",
            )

    run(story)


@pytest.mark.parametrize("features", [("PIPELINING",), ()])
def test_B5_a_drop_in_the_middle_keeps_the_answers_so_far(stage, run, features):
    async def story():
        script = {"RCPT:a@example.org": "550 5.1.1 unknown", "RCPT:c@example.org": "DROP"}
        async with stage.peer(features=features, script=script) as peer:
            attempt = await stage.attempt(stage.hop(peer), stage.mail(*(f"{x}@example.org" for x in "abc")))
            assert ends(attempt) == [REFUSED, DEFERRED, DEFERRED]

    run(story)


@pytest.mark.parametrize("features", [("PIPELINING",), ()])
def test_nobody_accepted_sends_no_content_and_the_connection_lives(stage, run, features):
    async def story():
        async with (
            stage.peer(features=features, script={"RCPT": "550 5.1.1 no"}) as peer,
            stage.upstreams() as upstreams,
        ):
            route = Route(stage.hop(peer))
            assert ends(await upstreams.attempt(route, stage.mail())) == [REFUSED]
            peer.script.clear()
            assert ends(await upstreams.attempt(route, stage.mail())) == [RELAYED]
            assert b"hello" in peer.mails[-1][1]
            assert [m for m in peer.mails if m[1]] == [peer.mails[-1]]
            assert peer.connections == 1

    run(story)


@pytest.mark.parametrize("code", ["250 ok", "251 forwarded", "252 maybe", "200 odd", "299 odder"])
@pytest.mark.parametrize("at", ["MAIL", "RCPT", "dot"])
def test_C6_any_2xx_is_success(stage, run, at, code):
    async def story():
        async with stage.peer(script={at: code}) as peer:
            assert ends(await stage.attempt(stage.hop(peer))) == [RELAYED]

    run(story)


def test_a_server_without_esmtp(stage, run):
    async def story():
        async with stage.peer(script={"EHLO": "500 what?"}) as peer:
            assert ends(await stage.attempt(stage.hop(peer))) == [RELAYED]
            assert peer.commands[1] == "HELO relay.example.com"
            assert peer.commands[2] == "MAIL FROM:<bot@example.com>"

    run(story)


def test_many_mails_over_one_connection(stage, run):
    async def story():
        async with stage.peer() as peer, stage.upstreams() as upstreams:
            for _ in range(20):
                assert ends(await upstreams.attempt(Route(stage.hop(peer)), stage.mail())) == [RELAYED]
            assert (peer.connections, len(peer.mails)) == (1, 20)

    run(story)


def test_side_by_side(stage, run):
    async def story():
        async with stage.peer() as peer, stage.upstreams() as upstreams:
            attempts = await asyncio.gather(
                *(upstreams.attempt(Route(stage.hop(peer)), stage.mail(f"a{n}@example.org")) for n in range(60))
            )
            assert [ends(a) for a in attempts] == [[RELAYED]] * 60
            assert sorted(m[0] for m in peer.mails) == sorted((f"a{n}@example.org",) for n in range(60))
            assert peer.connections <= 20

    run(story)


def test_an_idle_connection_that_died_is_replaced(stage, run):
    async def story():
        async with stage.peer() as peer, stage.upstreams() as upstreams:
            route = Route(stage.hop(peer))
            await upstreams.attempt(route, stage.mail())
            for task in peer.tasks:
                task.cancel()
            await asyncio.sleep(0.05)
            assert ends(await upstreams.attempt(route, stage.mail())) == [RELAYED]
            assert peer.connections == 2

    run(story)


def test_B2_a_cancelled_attempt_leaves_nothing_for_the_next(stage, run):
    async def story():
        async with stage.peer(script={"dot": "STALL"}) as peer, stage.upstreams() as upstreams:
            route = Route(stage.hop(peer))
            task = asyncio.create_task(upstreams.attempt(route, stage.mail()))
            while "DATA" not in peer.commands:
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            peer.script.clear()
            attempt = await upstreams.attempt(route, stage.mail("b@example.org"))
            assert ends(attempt) == [RELAYED]
            assert peer.mails[-1][0] == ("b@example.org",)
            assert peer.connections == 2

    run(story)


# --- TLS and AUTH: promise 6 -------------------------------------------------------------------------


def clean(peer):
    """Nothing of the mail or the log-in crossed the connection in clear."""
    return not any(secret in peer.clear for secret in (*SECRETS, b"AUTH", b"MAIL FROM", b"hello"))


@pytest.mark.parametrize("implicit", [False, True])
def test_starttls_and_implicit_tls_with_a_log_in(stage, run, tls, implicit):
    async def story():
        async with stage.peer(certificate=tls(), implicit=implicit) as peer:
            mode = "implicit" if implicit else "starttls"
            attempt = await stage.attempt(stage.secured(peer, tls=mode))
            assert ends(attempt) == [RELAYED]
            assert attempt.tls == f"TLSv1.3 {mode} verified"
            assert clean(peer)
            assert peer.auths == 1
            assert b"AUTH PLAIN AG1lAGh1bnRlcjI=" in peer.secured

    run(story)


TLS_FAULTS = {
    "C1 B1 not offered": ({"starttls": False}, "good", "offers no STARTTLS"),
    "refused for now": ({"script": {"STARTTLS": "454 4.7.0 not now"}}, "good", "STARTTLS refused: 454"),
    "refused": ({"script": {"STARTTLS": "502 no"}}, "good", "STARTTLS refused: 502"),
    "B9 C8 wrong name": ({}, "othername", "certificate not accepted"),
    "expired": ({}, "expired", "certificate not accepted"),
    "self-signed": ({}, "selfsigned", "certificate not accepted"),
    "no answer": ({"script": {"STARTTLS": "DROP"}}, "good", ""),
    "stall": ({"script": {"STARTTLS": "STALL"}}, "good", ""),
    "garbage": ({"script": {"STARTTLS": "GARBAGE"}}, "good", ""),
}


@pytest.mark.parametrize("name", TLS_FAULTS)
def test_no_fault_of_tls_leaks_a_log_in_or_a_mail(stage, run, tls, name):
    options, certificate, text = TLS_FAULTS[name]

    async def story():
        async with stage.peer(certificate=tls(certificate), **options) as peer:
            attempt = await stage.attempt(stage.secured(peer))
            assert ends(attempt) == [DEFERRED]
            assert text in attempt.outcomes[0].reply.text
            if text:
                assert attempt.outcomes[0].cause is Cause.TLS
            assert clean(peer)
            assert peer.auths == 0

    run(story)


def test_an_old_version_of_tls_is_refused(stage, run, tls):
    async def story():
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context = tls(minimum_version=ssl.TLSVersion.TLSv1, maximum_version=ssl.TLSVersion.TLSv1_1)
        async with stage.peer(certificate=context) as peer:
            attempt = await stage.attempt(stage.secured(peer))
            assert ends(attempt) == [DEFERRED]
            assert attempt.outcomes[0].cause is Cause.TLS
            assert clean(peer)

    run(story)


def test_plaintext_injected_behind_220_is_no_part_of_the_session(stage, run, tls):
    async def story():
        script = {"STARTTLS": "220 go\r\n250 injected\r\n235 injected"}
        async with stage.peer(certificate=tls(), script=script) as peer:
            attempt = await stage.attempt(stage.secured(peer))
            assert clean(peer)
            assert ends(attempt) in ([RELAYED], [DEFERRED])
            if ends(attempt) == [RELAYED]:
                assert peer.auths == 1

    run(story)


def test_an_implicit_demand_meets_a_plain_port(stage, run):
    async def story():
        async with stage.peer() as peer:
            attempt = await stage.attempt(stage.secured(peer, tls="implicit"))
            assert ends(attempt) == [DEFERRED]
            assert attempt.outcomes[0].cause is Cause.TLS
            assert clean(peer)

    run(story)


def test_a_starttls_client_meets_a_tls_port(stage, run, tls):
    """The deadlock of the guide: both wait for the other; here a time limit ends it."""

    async def story():
        async with stage.peer(certificate=tls(), implicit=True) as peer:
            assert ends(await stage.attempt(stage.secured(peer))) == [DEFERRED]
            assert clean(peer)

    run(story)


def test_unverified_tls_takes_mail_but_never_a_password(stage, run, tls):
    async def story():
        async with stage.peer(certificate=tls("selfsigned")) as peer:
            attempt = await stage.attempt(stage.hop(peer, tls="starttls", verify=False))
            assert ends(attempt) == [RELAYED]
            assert attempt.tls == "TLSv1.3 starttls encrypted"

    run(story)


def test_promise_6_no_password_without_proof(stage, run, tls, monkeypatch):
    """Loopback is excepted by the rules: here the hop only pretends not to be on it."""
    monkeypatch.setattr("relay.tls.is_local", lambda server: False)

    async def story():
        for options in ({"tls": "none"}, {"tls": "opportunistic"}, {"tls": "starttls", "verify": False}):
            async with stage.peer(certificate=tls()) as peer:
                attempt = await stage.attempt(stage.secured(peer, **options))
                assert ends(attempt) == [DEFERRED]
                assert "not protected by verified TLS" in attempt.outcomes[0].reply.text
                assert peer.auths == 0

    run(story)


@pytest.mark.parametrize("certificate", ["good", "selfsigned", "expired"])
def test_opportunistic_uses_what_there_is(stage, run, tls, certificate):
    async def story():
        async with stage.peer(certificate=tls(certificate)) as peer:
            attempt = await stage.attempt(stage.hop(peer, tls="opportunistic"))
            assert (ends(attempt), attempt.tls) == ([RELAYED], "TLSv1.3 opportunistic encrypted")
        async with stage.peer() as peer:
            attempt = await stage.attempt(stage.hop(peer, tls="opportunistic"))
            assert (ends(attempt), attempt.tls) == ([RELAYED], "")
        async with stage.peer(certificate=tls(), script={"STARTTLS": "454 not now"}) as peer:
            attempt = await stage.attempt(stage.hop(peer, tls="opportunistic"))
            assert (ends(attempt), attempt.tls) == ([RELAYED], "")

    run(story)


@pytest.mark.parametrize(
    ("offered", "pinned", "used"),
    [
        ("LOGIN PLAIN", "", "PLAIN"),
        ("CRAM-MD5 LOGIN", "", "LOGIN"),
        ("LOGIN PLAIN", "login", "LOGIN"),
        ("=LOGIN", "", "LOGIN"),
    ],
)
def test_C7_B4_one_mechanism_per_connection(stage, run, tls, offered, pinned, used):
    async def story():
        async with stage.peer(certificate=tls(), auth=offered) as peer:
            assert ends(await stage.attempt(stage.secured(peer, auth=pinned))) == [RELAYED]
            assert [c.split()[1] for c in peer.commands if c.startswith("AUTH")] == [used]

    run(story)


@pytest.mark.parametrize(("offered", "pinned"), [("", ""), ("CRAM-MD5 XOAUTH2", ""), ("LOGIN", "plain")])
def test_no_mechanism_in_common_waits(stage, run, tls, offered, pinned):
    async def story():
        async with stage.peer(certificate=tls(), auth=offered) as peer:
            attempt = await stage.attempt(stage.secured(peer, auth=pinned))
            assert ends(attempt) == [DEFERRED]
            assert attempt.outcomes[0].cause is Cause.AUTH
            assert "offers no AUTH that we know" in attempt.outcomes[0].reply.text
            assert peer.auths == 0

    run(story)


def test_C7_B4_a_refused_log_in_is_tried_once_whatever_the_queue(stage, run, tls):
    async def story():
        async with (
            stage.peer(certificate=tls(), script={"AUTH": "535 5.7.8 wrong"}) as peer,
            stage.upstreams() as upstreams,
        ):
            for _ in range(10):
                attempt = await upstreams.attempt(Route(stage.secured(peer)), stage.mail())
                assert ends(attempt) == [DEFERRED]
                assert attempt.outcomes[0].cause is Cause.AUTH
                assert "535 5.7.8 wrong" in attempt.outcomes[0].reply.text
                assert "hunter2" not in repr(attempt)
            assert peer.auths == 1

    run(story)


def test_a_corrected_password_is_tried_at_once(stage, run, tls):
    from relay.options import Secret

    async def story():
        async with (
            stage.peer(certificate=tls(), script={"AUTH": "535 5.7.8 wrong"}) as peer,
            stage.upstreams() as upstreams,
        ):
            await upstreams.attempt(Route(stage.secured(peer)), stage.mail())
            peer.script.clear()
            attempt = await upstreams.attempt(Route(stage.secured(peer, password=Secret("right"))), stage.mail())
            assert ends(attempt) == [RELAYED]

    run(story)


# --- dead hops -----------------------------------------------------------------------------------------


def test_a_dead_hop_is_not_hammered_by_a_backlog(stage, run):
    async def story():
        async with stage.peer() as peer:
            pass
        async with stage.upstreams() as upstreams:
            for _ in range(50):
                attempt = await upstreams.attempt(Route(stage.hop(peer)), stage.mail())
                assert ends(attempt) == [DEFERRED]
                assert attempt.outcomes[0].cause is Cause.CONNECT
                assert "connect to localhost[127.0.0.1]" in attempt.outcomes[0].reply.text

    run(story)


def test_a_name_that_does_not_resolve_defers(stage, run):
    async def story():
        async with stage.peer() as peer:
            attempt = await stage.attempt(stage.hop(peer, server="no-such-host.invalid"))
            assert ends(attempt) == [DEFERRED]
            assert attempt.outcomes[0].cause is Cause.DNS

    run(story)


def test_a_ca_file_that_is_gone_defers_and_names_the_option(stage, run, tls):
    async def story():
        async with stage.peer(certificate=tls()) as peer:
            attempt = await stage.attempt(stage.secured(peer, ca_file="/nonexistent"))
            assert ends(attempt) == [DEFERRED]
            assert attempt.outcomes[0].cause is Cause.TLS
            assert "tls_ca_file" in attempt.outcomes[0].reply.text

    run(story)


def test_a_unix_socket(stage, run, tmp_path):
    async def story():
        async with stage.peer() as peer:
            path = str(tmp_path / "s")
            server = await asyncio.start_unix_server(peer._serve, path)
            attempt = await stage.attempt(stage.hop(peer, server=f"unix:{path}"))
            assert ends(attempt) == [RELAYED]
            assert attempt.outcomes[0].host == f"unix:{path}"
            server.close()

    run(story)


# --- what the hop can take -------------------------------------------------------------------------------

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
        stage.timeouts = replace(stage.timeouts, command=0.3, final_dot=5.0)

        def slowly(peer):
            return "250 kept"

        async with stage.peer() as peer:
            original = peer._act

            async def act(at, default, reader, writer, **more):
                if at == "dot":
                    await asyncio.sleep(0.8)
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


def test_nothing_of_a_hop_shows_its_password(stage, run, tls, caplog):
    async def story():
        with caplog.at_level("DEBUG"):
            async with stage.peer(certificate=tls(), script={"AUTH": "535 no"}) as peer:
                hop = stage.secured(peer)
                attempt = await stage.attempt(hop)
                assert "hunter2" not in f"{hop!r}{hop}{attempt!r}{caplog.text}"

    run(story)


def test_bodies_are_read_again_for_each_attempt(stage, run):
    async def story():
        mail = replace(stage.mail(), message=Message(parse_bytes(b"Subject: x\r\n\r\n").fields, BytesBody(b"once\r\n")))
        async with stage.peer(script={"dot": "450 later"}) as peer, stage.upstreams() as upstreams:
            await upstreams.attempt(Route(stage.hop(peer)), mail)
            peer.script.clear()
            await upstreams.attempt(Route(stage.hop(peer)), mail)
            assert peer.mails[-1][1] == b"Subject: x\r\n\r\nonce\r\n"

    run(story)
