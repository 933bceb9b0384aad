"""What a connection shows on its way is told, also of one that fails; a command outside any mail has its reply."""

import pytest

from relay.dialogue import Stale
from relay.link import Seen, connect
from relay.linkfault import LinkFault
from relay.proving import context_of
from relay.tls import Level


async def _connected(stage, hop, seen):
    return await connect(hop, context_of(hop), stage.timeouts, "relay.example.com", seen=seen)


def test_every_stage_is_told(stage, tls, run):
    async def story():
        seen = Seen()
        async with stage.peer(certificate=tls()) as peer:
            link = await _connected(stage, stage.secured(peer), seen)
            await link.quit()
        assert seen.greeting == "220 peer ESMTP"
        assert seen.level is Level.VERIFIED
        assert seen.version.startswith("TLS") and seen.cipher and seen.certificate_octets
        assert ("DNS", "localhost") in seen.certificate["subjectAltName"]
        assert seen.keywords["SIZE"] == "1000000"
        assert "PLAIN" in seen.mechanisms and seen.mechanism == "PLAIN"
        assert seen.tls_fault is None

    run(story)


def test_a_failed_log_in_leaves_what_came_before(stage, tls, run):
    async def story():
        seen = Seen()
        async with stage.peer(certificate=tls(), script={"AUTH": "535 5.7.8 no"}) as peer:
            with pytest.raises(LinkFault):
                await _connected(stage, stage.secured(peer), seen)
        assert (seen.level, seen.mechanism) == (Level.VERIFIED, "PLAIN")

    run(story)


def test_opportunistic_tls_that_was_given_up_is_told(stage, tls, run):
    async def story():
        seen = Seen()
        async with stage.peer(certificate=tls(), script={"STARTTLS": "454 4.7.0 not now"}) as peer:
            await (await _connected(stage, stage.hop(peer, tls="opportunistic"), seen)).quit()
        assert "not now" in str(seen.tls_fault)
        assert seen.level is Level.PLAIN

    run(story)


def test_a_command_outside_any_mail(stage, run):
    async def story():
        async with stage.peer(script={"NOOP": "250 2.0.0 here"}) as peer:
            link = await _connected(stage, stage.hop(peer), Seen())
            assert str(await link.ask("NOOP")) == "250 2.0.0 here"
            assert str(await link.ask("RSET")) == "250 ok"
            assert link.usable
            await link.quit()
        async with stage.peer(script={"NOOP": "STALL"}) as peer:
            link = await _connected(stage, stage.hop(peer), Seen())
            with pytest.raises(Stale, match="did not answer in time"):
                await link.ask("NOOP")
            with pytest.raises(Stale):
                await link.ask("NOOP")

    run(story)
