"""Promise 6 and the demand: no fault of a connection brings a word of a log-in or a mail to who should not have it.

Each peer here keeps every octet that it got outside TLS, and those over a TLS that was not proven to be its.
"""

import asyncio

import pytest

from relay.entry import Cause, Disposition
from relay.routing import Route
from tests.upstream.test_tls_and_auth import SECRETS, ends

RELAYED, DEFERRED = Disposition.RELAYED, Disposition.DEFERRED
CONTENT = (b"MAIL", b"RCPT", b"DATA", b"AUTH", b"Subject", b"hello", b"example.org", *SECRETS)


def leaks(octets):
    return [word for word in CONTENT if word in octets]


class Raw:
    """A peer that says its lines to whatever comes and takes down every octet; `faults` are told to TLS's client hello."""

    def __init__(
        self, greeting=b"220 peer ESMTP\r\n", ehlo=b"250-peer\r\n250-AUTH PLAIN\r\n250 STARTTLS\r\n", then=b""
    ):
        self.greeting, self.ehlo, self.then = greeting, ehlo, then
        self.got, self.connections, self.port = b"", 0, 0

    async def __aenter__(self):
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self.server.close()

    async def _serve(self, reader, writer):
        self.connections += 1
        writer.write(self.greeting)
        greeted = False
        try:
            while data := await reader.read(65536):
                self.got += data
                if not greeted and data.startswith(b"EHLO"):
                    greeted = True
                    writer.write(self.ehlo)
                elif data.startswith(b"STARTTLS"):
                    writer.write(self.then)
                elif data.startswith((b"HELO", b"EHLO", b"AUTH", b"MAIL", b"RCPT", b"DATA", b"RSET", b"QUIT")):
                    writer.write(b"250 go on\r\n")
        except ConnectionError:
            pass
        finally:
            writer.transport.abort()


RAW = {
    "STARTTLS is stripped from EHLO": {"ehlo": b"250-peer\r\n250 AUTH PLAIN\r\n"},
    "STARTTLS is written over": {"ehlo": b"250-peer\r\n250-AUTH PLAIN\r\n250 XXXXXXXA\r\n"},
    "EHLO is refused": {"ehlo": b"502 no\r\n"},
    "EHLO ends in the middle": {"ehlo": b"250-peer\r\n250-STARTTLS\r\n"},
    "an answer to what was never asked": {"greeting": b"220 peer\r\n250-peer\r\n250 AUTH PLAIN\r\n235 in\r\n"},
    "220, then no TLS": {"then": b"220 go\r\n"},
    "220, then garbage": {"then": b"220 go\r\n\xff\xfe\0nonsense\r\n"},
    "220, then plain SMTP": {"then": b"220 go\r\n250-peer\r\n250 AUTH PLAIN\r\n235 2.7.0 in\r\n250 ok\r\n354 go\r\n"},
    "220, then a TLS alert": {"then": b"220 go\r\n\x15\x03\x03\x00\x02\x02\x28"},
    "220, then half a server hello": {"then": b"220 go\r\n\x16\x03\x03\x00\x7a\x02\x00\x00\x76"},
    "220, then SSL 3": {"then": b"220 go\r\n\x16\x03\x00\x00\x2a\x02\x00\x00\x26\x03\x00" + b"\0" * 36},
    "250 to STARTTLS": {"then": b"250 go\r\n"},
    "no number to STARTTLS": {"then": b"go\r\n"},
    "454 to STARTTLS": {"then": b"454 4.7.0 not now\r\n"},
    "500 to STARTTLS": {"then": b"500 what?\r\n"},
    "silence to STARTTLS": {"then": b""},
}
PROOFS = {"pkix": {}, "pin": {"proof": "pin", "pins": (bytes(32),)}, "none": {"proof": "none"}}


@pytest.mark.parametrize("proof", PROOFS)
@pytest.mark.parametrize("name", RAW)
def test_a_man_in_the_middle_of_starttls_reads_nothing(stage, run, name, proof):
    async def story():
        stage.timeouts = stage.timeouts.__class__(connect=0.3, greeting=0.3, command=0.3, data_block=0.3, final_dot=0.3)
        async with Raw(**RAW[name]) as peer:
            attempt = await stage.attempt(stage.secured(peer, **PROOFS[proof]))
            assert ends(attempt) == [DEFERRED]
            assert attempt.tls == ""
            assert attempt.tls_level in (f"!{proof}", f"{proof}?", "!encrypted", "encrypted?")
            assert leaks(peer.got) == []
            assert peer.connections == 1, "no second try without TLS"

    run(story)


@pytest.mark.parametrize(
    "greeting", [b"220 peer ESMTP\r\n", b"\x15\x03\x01\x00\x02\x02\x46", b"", b"HTTP/1.1 400 Bad\r\n\r\n"]
)
def test_implicit_tls_meets_who_speaks_none(stage, run, greeting):
    async def story():
        stage.timeouts = stage.timeouts.__class__(connect=0.3, greeting=0.3, command=0.3, data_block=0.3, final_dot=0.3)
        async with Raw(greeting=greeting) as peer:
            attempt = await stage.attempt(stage.secured(peer, tls="implicit"))
            assert ends(attempt) == [DEFERRED]
            assert leaks(peer.got) == []
            assert not peer.got or peer.got[0] == 0x16, "nothing but TLS"

    run(story)


@pytest.mark.parametrize("certificate", ["othername", "expired", "selfsigned"])
@pytest.mark.parametrize("implicit", [False, True])
def test_a_certificate_that_proves_nothing_sees_nothing(stage, run, tls, certificate, implicit):
    async def story():
        async with stage.peer(certificate=tls(certificate), implicit=implicit) as peer:
            attempt = await stage.attempt(stage.secured(peer, tls="implicit" if implicit else "starttls"))
            assert (ends(attempt), attempt.outcomes[0].cause) == ([DEFERRED], Cause.TLS)
            assert attempt.tls_level == "!pkix"
            assert leaks(peer.clear) == []
            assert peer.secured == b""

    run(story)


def test_a_hop_that_offered_starttls_once_and_no_longer(stage, run, tls):
    """Each connection is judged anew: what was proven before proves nothing now."""

    async def story():
        async with stage.peer(certificate=tls()) as peer, stage.upstreams() as upstreams:
            hop = stage.secured(peer)
            assert ends(await upstreams.attempt(Route(hop), stage.mail())) == [RELAYED]
            peer.script["RCPT"] = "421 4.3.2 going down"
            await upstreams.attempt(Route(hop), stage.mail())
            peer.script.clear()
            upstreams.forgive(["hop"])  # a 421 is a pause
            before, peer.starttls = peer.clear, False
            attempt = await upstreams.attempt(Route(hop), stage.mail())
            assert (ends(attempt), attempt.tls_level) == ([DEFERRED], "!pkix")
            assert leaks(peer.clear[len(before) :]) == []
            peer.starttls = True
            upstreams.forgive(["hop"])
            assert ends(await upstreams.attempt(Route(hop), stage.mail())) == [RELAYED]
            peer.script["RCPT"] = "421 4.3.2 going down"
            await upstreams.attempt(Route(hop), stage.mail())
            peer.script.clear()
            upstreams.forgive(["hop"])
            peer.certificate = tls("selfsigned")
            attempt = await upstreams.attempt(Route(hop), stage.mail())
            assert (ends(attempt), attempt.tls_level) == ([DEFERRED], "!pkix")
            assert leaks(peer.clear) == []
            assert len(peer.mails) == 2

    run(story)


def test_what_is_injected_behind_220_is_never_taken_for_the_sessions(stage, run, tls):
    """CVE-2011-0411 seen from the client: replies that came in the clear answer no command said over TLS."""

    async def story():
        injected = (
            "220 go\r\n250-peer\r\n250-AUTH LOGIN\r\n250 SIZE 1\r\n235 in\r\n250 ok\r\n250 ok\r\n354 go\r\n250 kept"
        )
        async with stage.peer(certificate=tls(), script={"STARTTLS": injected}) as peer:
            attempt = await stage.attempt(stage.secured(peer))
            assert leaks(peer.clear) == []
            if ends(attempt) == [RELAYED]:
                assert peer.auths == len(peer.mails) == 1, "the real session's own answers"

    run(story)


@pytest.mark.parametrize("level", ["opportunistic", "none"])
def test_without_a_demand_the_log_says_so(stage, run, tls, level):
    async def story():
        async with stage.peer() as peer:
            attempt = await stage.attempt(stage.hop(peer, tls=level))
            assert attempt.tls_level == {"opportunistic": "(opportunistic:none)", "none": "none"}[level]
        async with stage.peer(certificate=tls("selfsigned")) as peer:
            attempt = await stage.attempt(stage.hop(peer, tls="opportunistic"))
            assert attempt.tls_level == "opportunistic"
        attempt = await stage.attempt(stage.hop(peer, tls=level))
        assert attempt.tls_level == f"{level}?"

    run(story)
