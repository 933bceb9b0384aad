"""The engine at its end: what is under way ends or stays due, and nothing hangs."""

import asyncio

from relay import delivery
from relay.entry import State

DAY = 86400


def test_drain_lets_running_attempts_end(house, say):
    h = house()
    begun = asyncio.Event()

    async def slow(route, mail):
        begun.set()
        await asyncio.sleep(0.05)
        return h.relayed(mail)

    h.answers["a@example.org"] = [slow]
    h.mail("m1", "a@example.org")

    async def story():
        await begun.wait()
        h.mail("m2", "b@example.org")
        await h.engine.drain(3.0)

    h.run(story)
    assert h.spool.entry("m1").state is State.DONE


def test_drain_cuts_off_what_takes_too_long_and_it_stays_due(house, say):
    h = house()
    begun, closed = asyncio.Event(), []

    async def endless(route, mail):
        begun.set()
        try:
            await asyncio.sleep(3600)
        finally:
            closed.append(mail)

    h.answers["a@example.org"] = [endless]
    h.mail("m1", "a@example.org", received_at=h.clock() - 9 * DAY)

    async def story():
        await begun.wait()
        async with asyncio.timeout(2):
            await h.engine.drain(0.02)

    h.run(story)
    entry = h.spool.entry("m1")
    assert closed
    assert entry.state is State.QUEUED
    assert entry.due == say.born
    assert not h.spool.leased("m1")
    assert "interrupted" in entry.attempts[0].outcomes[0].reply.text
    assert entry.answered == ()


def test_drain_keeps_the_answer_of_the_route_that_ended(house, say):
    h = house()
    begun = asyncio.Event()

    async def endless(route, mail):
        begun.set()
        await asyncio.sleep(3600)

    h.answers["b@example.org"] = [endless]
    h.prepared = h.split
    h.mail("m1", "a@example.org", "b@example.org")

    async def story():
        await begun.wait()
        await asyncio.sleep(0.01)
        await h.engine.drain(0.0)

    h.run(story)
    entry = h.spool.entry("m1")
    assert (entry.state, entry.due) == (State.QUEUED, say.born)
    assert [o.origin for o in entry.answered] == ["rcpt:a@example.org"]


def test_an_attempt_that_would_begin_after_the_grace_does_not(house, say, monkeypatch):
    h = house()
    h.engine._grace_over.set()
    h.mail("m1", "a@example.org")

    async def story():
        await h.until(lambda: h.spool.settled)

    h.run(story)
    assert h.tried == []
    assert h.spool.entry("m1").state is State.QUEUED


def test_drain_does_not_wait_for_ever_for_an_attempt_that_ignores_it(house, monkeypatch, caplog):
    monkeypatch.setattr(delivery, "CANCEL_GRACE", 0.02)
    h = house()
    begun, end = asyncio.Event(), asyncio.Event()

    async def deaf(route, mail):
        begun.set()
        while not end.is_set():
            try:
                await end.wait()
            except asyncio.CancelledError:
                continue
        raise ConnectionError

    h.answers["a@example.org"] = [deaf]
    h.mail("m1", "a@example.org")

    async def story():
        await begun.wait()
        async with asyncio.timeout(2):
            await h.engine.drain(0.0)
        assert any("do not end" in r.message for r in caplog.records)
        end.set()

    h.run(story)
    assert h.spool.entry("m1").state is State.QUEUED


def test_what_is_claimed_as_the_drain_begins_is_given_back(house):
    h = house()
    real = h.spool.claim

    async def claim(wanted, wait):
        claims = await real(wanted, wait)
        if claims:
            h.engine._draining.set()
        return claims

    h.spool.claim = claim
    h.mail("m1", "a@example.org")

    async def story():
        await h.until(lambda: h.spool.settled)

    h.run(story)
    assert h.tried == []
    assert h.spool.entry("m1").attempts == ()
    assert not h.spool.leased("m1")


def test_a_claim_that_can_not_be_given_back_ends_with_its_lease(house, say, caplog):
    h = house()
    h.engine._draining.set()
    h.mail("m1", "a@example.org")
    h.spool.faults["settle"] = [say.spool_error()]

    async def story():
        assert await h.engine._claim() == []

    asyncio.run(story())
    assert h.spool.leased("m1")
    assert any("fault in release" in r.message for r in caplog.records)


def test_drain_of_an_engine_that_does_not_run_returns_at_once(house):
    h = house()

    async def story():
        async with asyncio.timeout(1):
            await h.engine.drain(30.0)

    asyncio.run(story())


def test_a_spool_that_fails_to_the_last_does_not_hang_the_drain(house, say, caplog):
    h = house()
    h.spool.faults["settle"] = [say.spool_error("disk full")] * 100_000
    h.mail("m1", "a@example.org")

    async def story():
        await h.until(lambda: h.tried)
        await asyncio.sleep(0.01)
        async with asyncio.timeout(2):
            await h.engine.drain(0.01)

    h.run(story)
    assert any("m1: the spool failed to the last: this mail may be sent again" in r.message for r in caplog.records)
