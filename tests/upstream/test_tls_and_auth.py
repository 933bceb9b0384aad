"""Promise 6 against a next hop: TLS and AUTH. Rows of the table of library faults carry their number."""

import asyncio
import ssl

import pytest

from relay.entry import Cause, Disposition
from relay.routing import Route

RELAYED, DEFERRED, REFUSED = Disposition.RELAYED, Disposition.DEFERRED, Disposition.REFUSED


SECRETS = (b"hunter2", b"aHVudGVyMg==", b"AG1lAGh1bnRlcjI=", b"bWU=")


def ends(attempt):
    return [outcome.disposition for outcome in attempt.outcomes]


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
            attempt = await stage.attempt(stage.hop(peer, tls="starttls", proof="none"))
            assert ends(attempt) == [RELAYED]
            assert attempt.tls == "TLSv1.3 starttls encrypted"

    run(story)


def test_promise_6_no_password_without_proof(stage, run, tls, monkeypatch):
    """Loopback is excepted by the rules: here the hop only pretends not to be on it."""
    monkeypatch.setattr("relay.tls.is_local", lambda server: False)

    async def story():
        for options in ({"tls": "none"}, {"tls": "opportunistic"}, {"tls": "starttls", "proof": "none"}):
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
        ("DIGEST-MD5 GSSAPI LOGIN", "", "LOGIN"),
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


@pytest.mark.parametrize(("offered", "pinned"), [("", ""), ("DIGEST-MD5 XOAUTH2", ""), ("LOGIN", "plain")])
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


@pytest.mark.parametrize("reply", ["535 5.7.8 wrong", "235 2.7.0 in"])
def test_C7_B4_many_mails_at_once_are_one_log_in_until_one_has_worked(stage, run, tls, reply):
    """A wrong password is said once, be there ever so many mails that wait for a connection at that moment."""

    async def story():
        async with stage.peer(certificate=tls(), script={"AUTH": reply}) as peer, stage.upstreams() as upstreams:
            hop = stage.secured(peer)
            attempts = await asyncio.gather(*(upstreams.attempt(Route(hop), stage.mail()) for _ in range(30)))
            if reply.startswith("5"):
                assert {ends(attempt)[0] for attempt in attempts} == {DEFERRED}
                assert {attempt.outcomes[0].cause for attempt in attempts} == {Cause.AUTH}
                assert all("535 5.7.8 wrong" in attempt.outcomes[0].reply.text for attempt in attempts)
                assert (peer.auths, peer.connections) == (1, 1)
            else:
                assert {ends(attempt)[0] for attempt in attempts} == {RELAYED}
                assert peer.connections > 1  # once one has worked, the others are made side by side

    run(story)


def test_a_first_connection_that_is_cut_off_leaves_the_next_to_others(stage, run, tls):
    async def story():
        async with stage.peer(certificate=tls(), script={"AUTH": "STALL"}) as peer, stage.upstreams() as upstreams:
            hop = stage.secured(peer)
            first = asyncio.create_task(upstreams.attempt(Route(hop), stage.mail()))
            while not peer.auths:
                await asyncio.sleep(0.01)
            second = asyncio.create_task(upstreams.attempt(Route(hop), stage.mail()))
            await asyncio.sleep(0.05)
            peer.script.clear()
            first.cancel()
            assert ends(await second) == [RELAYED]

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


def test_a_ca_file_that_is_gone_defers_and_names_the_option(stage, run, tls):
    async def story():
        async with stage.peer(certificate=tls()) as peer:
            attempt = await stage.attempt(stage.secured(peer, ca_file="/nonexistent"))
            assert ends(attempt) == [DEFERRED]
            assert attempt.outcomes[0].cause is Cause.TLS
            assert "tls_ca_file" in attempt.outcomes[0].reply.text

    run(story)


def test_nothing_of_a_hop_shows_its_password(stage, run, tls, caplog):
    async def story():
        with caplog.at_level("DEBUG"):
            async with stage.peer(certificate=tls(), script={"AUTH": "535 no"}) as peer:
                hop = stage.secured(peer)
                attempt = await stage.attempt(hop)
                assert "hunter2" not in f"{hop!r}{hop}{attempt!r}{caplog.text}"

    run(story)


def test_a_reload_reads_the_certificates_anew(stage, run, tls, certificates, tmp_path):
    async def story():
        authorities = tmp_path / "ca.pem"
        authorities.write_bytes((certificates / "stranger.pem").read_bytes())
        async with stage.peer(certificate=tls()) as peer, stage.upstreams() as upstreams:
            route = Route(stage.secured(peer, ca_file=str(authorities)))
            assert ends(await upstreams.attempt(route, stage.mail())) == [DEFERRED]
            authorities.write_bytes((certificates / "ca.pem").read_bytes())
            upstreams.reloaded(stage.timeouts, "other.example.com")
            upstreams.forgive(["hop"])
            assert ends(await upstreams.attempt(route, stage.mail())) == [RELAYED]
            assert b"EHLO other.example.com" in peer.secured

    run(story)
