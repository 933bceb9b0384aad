"""What an administrator does to a mail: every recipient keeps exactly one end (promise 2)."""

from dataclasses import replace

import pytest

from relay.entry import Cause, Disposition, Entry, Event, Outcome, State
from relay.mail import Envelope
from relay.queue.changes import Word, try_now
from relay.reply import Reply
from relay.spool import Wanted
from tests.queue.conftest import tried

RELAYED = Outcome("rcpt:eve@example.org", "eve@example.org", Disposition.RELAYED, Reply(250, "2.0.0", "ok"))


def ends(row):
    return {o["address"]: o["disposition"] for o in row["answered"]}


def test_hold_release_retry(stage, run):
    async def story():
        async with stage.open():
            await stage.put("a", due=stage.now + 500)
            assert await stage.change("release", "a") == {"a": "already"}
            assert await stage.change("hold", "a") == {"a": "done"}
            assert await stage.change("hold", "a") == {"a": "already"}
            assert await stage.spool.claim(Wanted(limit=9), 0) == []
            row = await stage.life("a")
            assert (row["state"], row["reason"]) == ("held", "by an administrator (root)")
            assert await stage.change("release", "a") == {"a": "done"}
            assert (await stage.life("a"))["due"] == stage.now
            [claim] = await stage.spool.claim(Wanted(limit=9), 0)
            assert [e.kind for e in claim.entry.events] == ["accepted", "held", "released"]
            await stage.spool.settle([claim], (claim.entry, None))
            await stage.change("hold", "a")
            assert await stage.change("retry", "a") == {"a": "done"}
            assert [e["kind"] for e in (await stage.life("a"))["events"]][-2:] == ["held", "released"]
            assert stage.woken == 4

    run(story)


def test_drop_answers_for_everybody_who_has_no_answer(stage, run):
    """As accepted, completed or added by rules, and refused at RCPT; who has the mail already keeps his end."""

    async def story():
        async with stage.open():
            attempts = (tried(stage.now, address="list@example.org"),)
            await stage.put("a", rcpt=("eve@example.org", "bob"), answered=(RELAYED,), attempts=attempts, refused_paths=("<a b>",))  # fmt: skip
            assert await stage.change("drop", "a") == {"a": "done"}
            row = await stage.life("a")
            assert row["state"] == "done"
            assert ends(row) == {
                "eve@example.org": "relayed",
                "bob": "dropped",
                "list@example.org": "dropped",
                "a b": "dropped",
            }
            assert await stage.octets("a") is None
            assert [e async for e in stage.spool.browse(Wanted(limit=9))] == [], "nobody is told"

    run(story)


@pytest.mark.parametrize("broken", [False, True])
def test_bounce_reports_as_if_the_hop_had_refused(stage, run, broken):
    async def story():
        async with stage.open():
            if broken:
                stage.prepared = RuntimeError("a rule fails")
            await stage.put("a", rcpt=("eve@example.org", "luc@example.net"), answered=(RELAYED,), state=State.HELD)
            assert await stage.change("bounce", "a") == {"a": "done"}
            row = await stage.life("a")
            assert ends(row) == {"eve@example.org": "relayed", "luc@example.net": "refused"}
            assert [e["kind"] for e in row["events"]] == ["accepted", "bounced", "reported"]
            [report] = await stage.spool.claim(Wanted(limit=9), 0)
            assert (report.entry.report, report.entry.envelope.reverse_path) == (True, None)
            assert [str(r.address) for r in report.entry.envelope.recipients] == ["admin@example.com"]
            text = report.body.read(0, 1 << 20)
            assert b"luc@example.net" in text
            assert b"550 5.0.0 returned by an administrator" in text
            assert b"root" not in text, "who it was is nobody's business outside"
            assert b"eve@example.org" not in text

    run(story)


def test_promise_5_a_report_that_is_bounced_is_not_reported(stage, run):
    async def story():
        async with stage.open():
            await stage.put("a", report=True)
            assert await stage.change("bounce", "a") == {"a": "done"}
            assert [e async for e in stage.spool.browse(Wanted(limit=9))] == []

    run(story)


@pytest.mark.parametrize("verb", ["hold", "release", "retry", "drop", "bounce", "set-aside"])
def test_what_is_being_delivered_is_left_alone(stage, run, verb, monkeypatch):
    monkeypatch.setattr("relay.queue.changing.PATIENCE", 0.15)

    async def story():
        async with stage.open():
            entry = await stage.put("a")
            [claim] = await stage.spool.claim(Wanted(), 0)
            assert await stage.change(verb, "a") == {"a": "busy"}
            await stage.spool.settle([claim], (entry, None))
            assert (await stage.spool.peek("a"))[0] == entry

    run(story)


def test_a_change_waits_a_moment_for_a_delivery(stage, run):
    async def story():
        import asyncio

        async with stage.open():
            entry = await stage.put("a")
            [claim] = await stage.spool.claim(Wanted(), 0)
            asking = asyncio.create_task(stage.change("hold", "a"))
            await asyncio.sleep(0.2)
            await stage.spool.settle([claim], (entry, None))
            assert await asking == {"a": "done"}

    run(story)


def test_unknown_and_gone_are_told_apart(stage, run):
    async def story():
        async with stage.open():
            await stage.put("a")
            await stage.change("drop", "a")
            assert await stage.change("drop", "a", "b") == {"a": "gone", "b": "unknown"}

    run(story)


def test_what_is_not_any_more_what_was_found_is_left_alone(stage, run):
    """Between the count that a person has confirmed and the change, somebody else was quicker."""

    async def story():
        async with stage.open():
            await stage.put("a", state=State.HELD, reason="disk")
            await stage.put("b", state=State.HELD, reason="other")
            await stage.change("release", "a")
            assert await stage.change("drop", "a", states=["held"]) == {"a": "other"}
            assert await stage.change("drop", "b", search={"reason": "disk"}) == {"b": "other"}
            assert await stage.found() == ["b", "a"]
            assert [c.entry.id for c in await stage.spool.claim(Wanted(limit=9), 0)] == ["a"], "nothing stays claimed"

    run(story)


def test_many_at_once(stage, run):
    async def story():
        async with stage.open():
            names = [f"m{n:03}" for n in range(230)]
            for name in names:
                await stage.put(name)
            assert set((await stage.change("hold", *names)).values()) == {"done"}
            assert await stage.found(states=["held"]) == names[::-1]

    run(story)


@pytest.mark.parametrize("verb", ["retry", "release"])
def test_who_says_now_means_now_each_waited_for_hop_is_asked_once(stage, run, verb):
    async def story():
        async with stage.open():
            for name in "abc":
                await stage.put(name, attempts=(tried(stage.now),))
            await stage.put("d", attempts=(tried(stage.now, disposition=Disposition.RELAYED),))
            if verb == "release":
                await stage.change("hold", *"abcd")
            assert stage.lifted == []
            await stage.change(verb, *"abcd")
            assert stage.lifted == [["notification"]], "once, whatever the queue's length; not where nothing has failed"
            await stage.change("drop", "a")
            assert stage.lifted == [["notification"]]

    run(story)


def test_what_waited_for_a_next_hop_that_is_back_is_due_oldest_first_and_no_other_pause_ends(stage, run):
    async def story():
        async with stage.open():
            down = tried(stage.now, reply=Reply(451, "4.4.1", "connect: refused"))
            down = replace(down, outcomes=tuple(replace(o, cause=Cause.CONNECT) for o in down.outcomes))
            spare = replace(down, upstream="spare")
            lives = {"a": (down, spare), "b": (down,), "c": (down,), "d": (tried(stage.now),)}
            for number, (name, attempts) in enumerate(lives.items()):
                await stage.put(name, due=stage.now + 900 - number, attempts=attempts)
            stage.now += 5
            why = "next hop notification takes mail again"
            assert await stage.queue.back(["notification"], why, (Cause.CONNECT,)) == 3
            claims = await stage.spool.claim(Wanted(limit=9), 0)
            assert [claim.entry.id for claim in claims] == ["a", "b", "c"]
            assert (claims[0].entry.events[-1].kind, claims[0].entry.events[-1].text) == ("retry", why)
            assert stage.lifted == []

    run(story)


def test_a_next_hop_that_falls_and_rises_all_day_makes_no_mails_history_long():
    def events(entry):
        return [(event.at, event.kind, event.text) for event in entry.events]

    entry = Entry("m1", 1.0, Envelope(None, ()), events=(Event(1.0, "accepted", "x"),))
    for now in range(2, 100):
        entry = try_now(entry, Word("", float(now), because="next hop a takes mail again"))
    assert events(entry) == [(1.0, "accepted", "x"), (99.0, "retry", "next hop a takes mail again")]
    entry = try_now(try_now(entry, Word("root", 100.0)), Word("root", 101.0))
    assert [at for at, _, _ in events(entry)] == [1.0, 99.0, 100.0, 101.0], "what people do stands there each time"
