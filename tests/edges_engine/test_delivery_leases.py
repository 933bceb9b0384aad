"""The engine and its spool: leases, a spool that fails, clocks that jump, as many at once as there are workers."""

import asyncio
from dataclasses import replace

import pytest

from relay import delivery, journal
from relay.entry import Attempt, State
from relay.prepare import Prepared
from relay.spool import Wanted
from tests.edges_engine.said import reports

DAY = 86400


def test_never_more_under_way_than_workers_and_a_slow_one_stops_no_other(house, say):
    h = house(options={"workers": 6})
    stuck, most = asyncio.Event(), 0

    async def slow(route, mail):
        nonlocal most
        most = max(most, len(h.engine._working))
        await stuck.wait()
        raise ConnectionError

    h.answers["slow@example.org"] = [slow]
    h.mail("s1", "slow@example.org")
    h.mail("s2", "slow@example.org")
    for n in range(20):
        h.mail(f"m{n}", "a@example.org", due=h.clock())

    async def story():
        await h.until(lambda: len(h.spool.entries(State.DONE)) == 20)
        stuck.set()
        await h.quiet()

    h.run(story)
    assert 0 < most <= 6
    assert h.spool.entry("s1").state is State.QUEUED


def test_cancelling_run_closes_running_attempts(house):
    h = house()
    begun, closed = asyncio.Event(), []

    async def endless(route, mail):
        begun.set()
        try:
            await asyncio.sleep(3600)
        finally:
            closed.append(mail)

    h.answers["a@example.org"] = [endless]
    h.mail("m1", "a@example.org")

    async def story():
        running = asyncio.create_task(h.engine.run())
        await begun.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await asyncio.sleep(0)

    asyncio.run(story())
    assert closed
    assert h.spool.entry("m1").attempts == ()


def test_a_lost_lease_records_nothing_and_stops_no_other(house, say, caplog):
    h = house()

    async def stolen(route, mail):
        h.spool.take("m1")
        return Attempt(
            0.0,
            "up",
            tuple(replace(say.never, origin=r.origin, address=str(r.address)) for r in mail.envelope.recipients),
        )

    h.answers["a@example.org"] = [stolen]
    h.mail("m1", "a@example.org")
    h.mail("m2", "b@example.org")

    async def story():
        await h.until(lambda: h.spool.entry("m2").state is State.DONE and not h.engine._working)

    h.run(story)
    assert h.spool.entry("m1").answered == ()
    assert reports(h) == []
    assert any("m1: lease lost" in r.message for r in caplog.records)
    assert [d.discarded for d in h.spool.drafts] == [True]
    assert h.engine.reports._under_way == set()


def test_leases_of_long_attempts_are_extended(house, say):
    h = house(options={"extend_every": 0.01})

    async def slow(route, mail):
        await h.until(lambda: h.spool.extended >= 3)
        return h.relayed(mail)

    h.answers["a@example.org"] = [slow]
    h.spool.faults["extend"] = [None, say.spool_error()]
    h.mail("m1", "a@example.org")
    h.run(h.quiet)
    assert h.spool.entry("m1").state is State.DONE


def test_what_is_under_way_for_an_hour_is_told_once(house, caplog):
    h = house(options={"extend_every": 0.01})

    async def stuck(route, mail):
        before = h.spool.extended
        await h.until(lambda: h.spool.extended >= before + 3)
        assert alarms() == []
        h.clock.now += delivery.LONG + 1
        await h.until(lambda: h.spool.extended >= before + 9)
        return h.relayed(mail)

    def alarms():
        return [r.getMessage() for r in caplog.records if "ALARM" in r.getMessage()]

    h.answers["a@example.org"] = [stuck]
    h.mail("m1", "a@example.org")
    h.run(h.quiet)
    assert h.spool.entry("m1").state is State.DONE
    [alarm] = alarms()
    assert "delivery of m1 has been under way for an hour" in alarm


def test_an_attempt_whose_lease_is_lost_is_cut_off(house, say):
    h = house(options={"extend_every": 0.01})
    closed = []

    async def endless(route, mail):
        h.spool.take("m1")
        try:
            await asyncio.sleep(3600)
        finally:
            closed.append(mail)

    h.answers["a@example.org"] = [endless]
    h.mail("m1", "a@example.org")

    async def story():
        await h.until(lambda: closed and not h.engine._working)

    h.run(story)
    assert h.spool.entry("m1").attempts == ()


def test_an_entry_whose_lease_ran_out_here_is_not_worked_on_twice(house, say):
    h = house()

    async def slow(route, mail):
        h.clock.now += 1000
        h.engine.wake()
        await h.until(lambda: h.engine._working["m1"].claim.token == 2)
        return h.relayed(mail)

    h.answers["a@example.org"] = [slow]
    h.mail("m1", "a@example.org")
    h.run(h.quiet)
    assert len(h.tried) == 1
    assert h.spool.entry("m1").state is State.DONE


def test_an_entry_that_another_node_changed_is_left_to_its_new_lease(house, say, caplog):
    h = house()

    async def slow(route, mail):
        h.clock.now += 1000
        h.spool.add(h.spool.entry("m1").with_event(0.0, "rule", "elsewhere"))
        h.engine.wake()
        await h.until(lambda: h.spool.leases["m1"][0] == 2)
        await asyncio.sleep(0.01)
        return h.relayed(mail)

    h.answers["a@example.org"] = [slow]
    h.mail("m1", "a@example.org")

    async def story():
        await h.until(lambda: h.tried and not h.engine._working)

    h.run(story)
    assert h.spool.entry("m1").events[-1].text == "elsewhere"
    assert any("lease lost" in r.message for r in caplog.records)


def test_a_spool_that_fails_is_asked_again_and_the_mail_is_sent_once(house, say, caplog):
    h = house(answers={"a@example.org": [say.never]})
    h.spool.faults["settle"] = [say.spool_error("disk full"), OSError("odd"), say.spool_error("disk full")]
    h.spool.faults["claim"] = [say.spool_error("disk full"), ValueError("odd")]
    h.spool.faults["draft"] = [say.spool_error("disk full")]
    h.mail("m1", "a@example.org")
    h.run(h.quiet)
    assert [t[1] for t in h.tried] == [["a@example.org"], ["bot@example.com"]]
    assert h.spool.entry("m1").state is State.DONE
    assert len(reports(h)) == 1
    assert sum("fault in settle of m1" in r.message for r in caplog.records) == 4
    assert [d.discarded for d in h.spool.drafts] == [True, True, True, False]


def test_a_lease_renewed_while_settling_is_used(house, say):
    h = house()
    real = h.spool.settle

    async def settle(claims, *follow_ups):
        h.spool.settle = real
        h.engine._working["m1"].claim = h.spool.take("m1")
        await real(claims, *follow_ups)

    h.spool.settle = settle
    h.mail("m1", "a@example.org")
    h.run(h.quiet)
    assert h.spool.entry("m1").state is State.DONE
    assert len(h.tried) == 1


def test_a_fault_of_the_engine_itself_is_logged_and_ends_nothing(house, caplog, monkeypatch):
    h = house()
    real = journal.info

    def broken(entry_id, text):
        if entry_id == "m1":
            raise RuntimeError("pen broken")
        real(entry_id, text)

    monkeypatch.setattr(journal, "info", broken)
    h.prepared = lambda entry, body: Prepared(())
    h.mail("m1")
    h.mail("m2")
    h.run(h.quiet)
    assert h.spool.entry("m2").state is State.DONE
    assert any("pen broken" in r.message for r in caplog.records)


def test_mail_stranded_by_a_clock_that_was_ahead_is_due_again_at_start(house):
    h = house()
    h.mail("far", "a@example.org", due=h.clock() + 400 * DAY)
    h.mail("near", "b@example.org", due=h.clock() + 3000)
    h.mail("held", "c@example.org", due=h.clock() + 400 * DAY, state=State.HELD)

    async def story():
        await h.until(lambda: h.spool.entry("far").state is State.DONE)

    h.run(story)
    assert h.spool.entry("near").state is State.QUEUED
    assert h.spool.entry("held").state is State.HELD


def test_more_stranded_mail_than_a_page_is_freed_and_what_is_worked_on_is_left(house, monkeypatch):
    monkeypatch.setattr("relay.stranded.PAGE", 3)
    h = house()
    for n in range(8):
        h.mail(f"far{n}", "a@example.org", due=h.clock() + 400 * DAY)
    for n in (1, 4):
        h.spool.take(f"far{n}")

    async def story():
        await h.until(lambda: len(h.spool.entries(State.DONE)) == 6)
        await h.quiet()

    h.run(story)
    assert sorted(e.id for e in h.spool.entries(State.QUEUED)) == ["far1", "far4"]


def test_a_clock_that_leaps_ahead_and_comes_back_unseen_strands_nothing(house):
    """Nobody looked while it was ahead; a mail came just then."""
    h = house(options={"extend_every": 0.01})

    async def story():
        await h.quiet()
        h.mail("m1", "a@example.org", due=h.clock() + 5 * DAY)
        h.mail("last", "a@example.org", due=h.clock() + 3660)  # as the longest pause may be, and a little
        await h.until(lambda: h.spool.entry("m1").state is State.DONE)

    h.run(story)
    assert h.spool.entry("last").state is State.QUEUED


def test_a_clock_set_back_while_running_strands_nothing(house, say):
    h = house(answers={"a@example.org": [say.later, say.ok]}, options={"extend_every": 0.01})
    h.mail("m1", "a@example.org")

    async def story():
        await h.quiet()
        h.clock.now -= 400 * DAY
        h.spool.faults["due_after"] = [say.spool_error(), None]
        await asyncio.sleep(0.03)
        h.clock.now -= 400 * DAY
        await h.until(lambda: h.spool.entry("m1").state is State.DONE)

    h.run(story)


def test_the_spool_is_asked_for_as_many_as_there_are_workers(house):
    h = house(options={"workers": 5})
    asked = []
    real = h.spool.claim

    async def claim(wanted, wait):
        asked.append(wanted)
        return await real(wanted, wait)

    h.spool.claim = claim
    for n in range(12):
        h.mail(f"m{n}", "a@example.org")
    h.run(h.quiet)
    assert asked[0] == Wanted(limit=5)
    assert all(1 <= wanted.limit <= 5 for wanted in asked)
    assert len(h.spool.entries(State.DONE)) == 12


def test_a_lease_that_ends_because_its_mail_is_being_settled_is_no_loss(house, say, caplog):
    h = house(options={"extend_every": 0.005})
    real, asked = h.spool.settle, []

    async def slow(claims, *follow_ups):
        h.spool.faults["extend"] = [say.lease_lost()] * 2
        await h.until(lambda: not h.spool.faults["extend"])
        asked.append(claims)
        await real(claims, *follow_ups)

    h.spool.settle = slow
    h.mail("m1", "a@example.org")
    h.run(h.quiet)
    assert len(asked) == 1
    assert h.spool.entry("m1").state is State.DONE
    assert not any("lease" in r.message for r in caplog.records)
