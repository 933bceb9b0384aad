"""What every spool engine must keep: promises 1 to 3, seen through the verbs."""

import asyncio
from dataclasses import replace

import pytest

from relay.entry import Disposition, Outcome, State
from relay.errors import LeaseLost, SpoolError
from relay.reply import Reply
from relay.spool import Wanted

BIG = bytes(range(256)) * 2048  # 512 KiB: lies in a file with the sqlite engine


async def ids(spool, *states):
    return [entry.id async for entry in spool.browse(Wanted(limit=10_000, states=states))]


def read(claim):
    return claim.body.read(0, claim.body.size)


@pytest.mark.parametrize("octets", [b"", b"Subject: x\r\n\r\nbody\r\n", BIG], ids=["empty", "small", "big"])
def test_what_was_put_is_claimed_whole(case, run, octets):
    async def story():
        async with case.open() as spool:
            entry = await case.put(spool, octets=octets)
            [claim] = await spool.claim(Wanted(), 0)
            assert claim.entry == entry
            assert claim.body.size == len(octets)
            assert read(claim) == octets
            assert claim.body.read(3, 7) == octets[3:7]
            assert await spool.claim(Wanted(limit=10), 0) == []

    run(story())


def test_due_ones_only_and_oldest_first(case, run):
    async def story():
        async with case.open() as spool:
            now = case.clock()
            await case.put(spool, "late", due=now + 50)
            await case.put(spool, "new", due=now)
            await case.put(spool, "old", due=now - 100)
            assert [c.entry.id for c in await spool.claim(Wanted(limit=9), 0)] == ["old", "new"]
            case.clock.now += 50
            assert [c.entry.id for c in await spool.claim(Wanted(limit=9), 0)][:1] == ["late"]

    run(story())


def test_new_mail_wakes_a_waiting_claim(case, run):
    async def story():
        async with case.open() as spool:
            waiting = asyncio.create_task(spool.claim(Wanted(), 30))
            await asyncio.sleep(0.05)
            assert not waiting.done()
            entry = await case.put(spool)
            async with asyncio.timeout(2):
                [claim] = await waiting
            assert claim.entry == entry

    run(story())


def test_waiting_ends_without_mail(case, run):
    async def story():
        async with case.open() as spool:
            assert await spool.claim(Wanted(), 0.05) == []

    run(story())


def test_retry_replaces_the_entry_and_keeps_the_body(case, run):
    async def story():
        async with case.open() as spool:
            await case.put(spool, "a", octets=BIG)
            [claim] = await spool.claim(Wanted(), 0)
            outcome = Outcome(
                "rcpt:eve@example.org", "eve@example.org", Disposition.DEFERRED, Reply(450, "4.2.0", "later")
            )
            later = replace(claim.entry, due=case.clock() + 50, answered=(outcome,)).with_event(1.0, "tried", "x")
            await spool.settle([claim], (later, None))
            assert await spool.claim(Wanted(), 0) == []
            case.clock.now += 50
            [again] = await spool.claim(Wanted(), 0)
            assert again.entry == later
            assert read(again) == BIG

    run(story())


def test_done_is_history_without_a_body(case, run):
    async def story():
        async with case.open() as spool:
            await case.put(spool, "a")
            [claim] = await spool.claim(Wanted(), 0)
            done = replace(claim.entry, state=State.DONE, done_at=case.clock())
            await spool.settle([claim], (done, None))
            assert await ids(spool) == []
            assert await ids(spool, State.DONE) == ["a"]
            assert await spool.claim(Wanted(id="a"), 0) == []
            assert (await spool.counts())[State.DONE] == 1
            with pytest.raises(LeaseLost):
                await spool.extend(claim)

    run(story())


def test_follow_ups_of_another_id_are_put_in_the_same_step(case, run):
    async def story():
        async with case.open() as spool:
            await case.put(spool, "a")
            [claim] = await spool.claim(Wanted(), 0)
            report, draft = case.entry("b", size=6, report=True), spool.draft()
            draft.write(b"report")
            await spool.settle([claim], (replace(claim.entry, state=State.DONE), None), (report, draft))
            [other] = await spool.claim(Wanted(limit=5), 0)
            assert (other.entry, read(other)) == (report, b"report")

    run(story())


def test_without_a_follow_up_it_is_gone(case, run):
    async def story():
        async with case.open() as spool:
            await case.put(spool, "a")
            await spool.settle(await spool.claim(Wanted(), 0))
            assert await ids(spool, *State) == []

    run(story())


def test_a_lease_runs_out_and_fences_the_old_worker(case, run):
    async def story():
        async with case.open() as spool:
            await case.put(spool, "a")
            [old] = await spool.claim(Wanted(), 0)
            case.clock.now += case.lease - 1
            assert await spool.claim(Wanted(), 0) == []
            case.clock.now += 2
            [new] = await spool.claim(Wanted(), 0)
            assert new.entry.id == "a"
            with pytest.raises(LeaseLost):
                await spool.settle([old], (replace(old.entry, state=State.DONE), None))
            with pytest.raises(LeaseLost):
                await spool.extend(old)
            assert await ids(spool, State.DONE) == []
            await spool.settle([new], (replace(new.entry, state=State.DONE), None))
            assert await ids(spool, State.DONE) == ["a"]

    run(story())


def test_one_lost_lease_spoils_the_whole_settlement(case, run):
    async def story():
        async with case.open() as spool:
            await case.put(spool, "a")
            await case.put(spool, "b")
            claims = await spool.claim(Wanted(limit=2), 0)
            await spool.settle([claims[0]], (claims[0].entry, None))
            with pytest.raises(LeaseLost):
                await spool.settle(claims, *((replace(c.entry, state=State.DONE), None) for c in claims))
            assert sorted(await ids(spool)) == ["a", "b"]

    run(story())


def test_extend_keeps_it_ours(case, run):
    async def story():
        async with case.open() as spool:
            await case.put(spool, "a")
            [claim] = await spool.claim(Wanted(), 0)
            for _ in range(3):
                case.clock.now += case.lease - 1
                await spool.extend(claim)
            assert await spool.claim(Wanted(), 0) == []
            await spool.settle([claim], (replace(claim.entry, state=State.DONE), None))

    run(story())


def test_held_mail_is_claimed_by_its_id_only(case, run):
    async def story():
        async with case.open() as spool:
            await case.put(spool, "a")
            [claim] = await spool.claim(Wanted(), 0)
            await spool.settle([claim], (replace(claim.entry, state=State.HELD, reason="why"), None))
            assert await spool.claim(Wanted(limit=5), 0) == []
            [held] = await spool.claim(Wanted(id="a"), 0)
            assert held.entry.reason == "why"
            assert await spool.claim(Wanted(id="a"), 0) == []

    run(story())


def test_by_profile(case, run):
    async def story():
        async with case.open() as spool:
            await case.put(spool, "a", profile="one")
            await case.put(spool, "b", profile="two")
            assert [c.entry.id for c in await spool.claim(Wanted(limit=5, profile="two"), 0)] == ["b"]

    run(story())


def test_without_some_profiles(case, run):
    """The others come in the order of their due times, whatever stands before them in the queue."""

    async def story():
        async with case.open() as spool:
            for number in range(40):
                await case.put(spool, f"a{number:02}", profile="slow", due=case.clock() - 90 + number)
            for name, profile, due in (("x", "two", 5), ("y", "one", 4), ("z", "two", 3), ("later", "one", -60)):
                await case.put(spool, name, profile=profile, due=case.clock() - due)
            [first] = await spool.claim(Wanted(limit=1, without=("slow", "gone")), 0)
            assert first.entry.id == "x"
            rest = await spool.claim(Wanted(limit=9, without=("slow", "gone")), 0)
            assert [c.entry.id for c in rest] == ["y", "z"]
            assert await spool.claim(Wanted(limit=9, without=("slow",)), 0) == []
            assert await spool.claim(Wanted(limit=9, without=("slow", "one", "two")), 0) == []
            assert len(await spool.claim(Wanted(limit=99), 0)) == 40

    run(story())


def test_an_id_is_taken_once(case, run):
    async def story():
        async with case.open() as spool:
            await case.put(spool, "a", octets=b"first")
            with pytest.raises(SpoolError):
                await case.put(spool, "a", octets=BIG)
            [claim] = await spool.claim(Wanted(limit=9), 0)
            assert read(claim) == b"first"

    run(story())


def test_many_workers_never_get_one_entry_twice(case, run):
    async def story():
        async with case.open() as spool:
            await asyncio.gather(*(case.put(spool, f"m{n:04}") for n in range(1000)))
            seen = []

            async def worker():
                while claims := await spool.claim(Wanted(limit=7), 0):
                    seen.extend(c.entry.id for c in claims)
                    await spool.settle(claims, *((replace(c.entry, state=State.DONE), None) for c in claims))

            await asyncio.gather(*(worker() for _ in range(8)))
            assert sorted(seen) == [f"m{n:04}" for n in range(1000)]
            assert (await spool.counts())[State.DONE] == 1000

    run(story())


def test_a_cancelled_put_is_whole_or_nothing(case, run):
    async def story():
        async with case.open() as spool:
            for number in range(20):
                task = asyncio.create_task(case.put(spool, f"c{number}", octets=BIG if number % 2 else b"small"))
                await asyncio.sleep(0.001 * (number % 5))
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            await case.put(spool, "last")
            for claim in await spool.claim(Wanted(limit=99), 0):
                assert len(read(claim)) == claim.entry.size

    run(story())


def test_remembered_facts_run_out(case, run):
    async def story():
        async with case.open() as spool:
            assert await spool.recall("k") is None
            await spool.remember("k", "v", case.clock() + 10)
            assert await spool.recall("k") == "v"
            await spool.remember("k", "w", case.clock() + 20)
            case.clock.now += 15
            assert await spool.recall("k") == "w"
            case.clock.now += 5
            assert await spool.recall("k") is None

    run(story())


def test_of_two_notes_the_first_stays_until_it_runs_out(case, run):
    async def story():
        async with case.open() as spool:
            until = case.clock() + 10
            noted = [spool.note("k", value, until) for value in ("v", "w", "x")]
            assert await asyncio.gather(*noted) == ["v", "v", "v"]
            assert await spool.recall("k") == "v"
            case.clock.now += 10
            assert await spool.note("k", "w", case.clock() + 10) == "w"
            assert await spool.note("k", "v", case.clock() + 20) == "w"
            assert await spool.note("other", "v", case.clock() + 20) == "v"

    run(story())


def test_browse_filters(case, run):
    async def story():
        async with case.open() as spool:
            await case.put(spool, "a", rcpt="luc@example.net", summary="Crane jams", message_id="<1@x>")
            case.clock.now += 1
            await case.put(spool, "b", rcpt="eve@example.org")

            async def found(text):
                return [e.id async for e in spool.browse(Wanted(limit=9, text=text))]

            assert await ids(spool) == ["b", "a"]
            assert await found("LUC@") == ["a"]
            assert await found("crane") == ["a"]
            assert await found("<1@x>") == ["a"]
            assert await found("nobody") == []
            assert [e.id async for e in spool.browse(Wanted(limit=1))] == ["b"]

    run(story())


def test_a_discarded_draft_leaves_nothing(case, run):
    async def story():
        async with case.open() as spool:
            draft = spool.draft()
            for _ in range(8):
                draft.write(BIG)
            draft.discard()
            assert await ids(spool, *State) == []

    run(story())
    assert not list(case.folder.rglob("*.eml")) if case.folder.exists() else True
