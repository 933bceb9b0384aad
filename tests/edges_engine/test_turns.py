"""One long step in each round of the event loop (relay/turns.py)."""

import asyncio
from collections import Counter
from itertools import pairwise

import pytest

from relay import turns
from relay.turns import Turns


async def counted(*steps):
    """In which round of the loop each step came to its turn."""
    loop, rounds, seen = asyncio.get_running_loop(), 0, []

    def count():
        nonlocal rounds
        rounds += 1
        loop.call_soon(count)

    loop.call_soon(count)
    tasks = [
        asyncio.create_task(step(lambda number=number: seen.append((rounds, number))))
        for number, step in enumerate(steps)
    ]
    await asyncio.wait(tasks, timeout=5)
    return seen


@pytest.mark.parametrize(("talking", "most"), [(True, 1), (False, turns.AT_ONCE)])
def test_a_round_has_few_turns_and_one_while_clients_talk_in_the_order_of_the_asking(monkeypatch, talking, most):
    monkeypatch.setattr(turns, "PATIENCE", 0.0)

    async def story():
        turnstile = Turns(asyncio.get_running_loop().time if talking else lambda: 0.0)

        async def step(done):
            await turnstile.take()
            done()

        return await counted(*[step] * 40)

    seen = asyncio.run(story())
    assert [number for _, number in seen] == list(range(40))
    assert max(Counter(round for round, _ in seen).values()) == most


def test_who_gives_up_keeps_nobody_waiting_and_the_next_one_waits_for_nobody():
    async def story():
        turnstile = Turns()
        await turnstile.take()
        given_up = asyncio.create_task(turnstile.take())
        waits = asyncio.create_task(turnstile.take())
        await asyncio.sleep(0)
        given_up.cancel()
        async with asyncio.timeout(1):
            await waits
            await asyncio.gather(given_up, return_exceptions=True)
        for _ in range(3):
            await asyncio.sleep(0)
        alone = asyncio.create_task(turnstile.take())
        await asyncio.sleep(0)
        assert alone.done(), "free: nobody asks for a turn"

    asyncio.run(story())


def test_while_clients_talk_they_go_first_but_not_for_ever(monkeypatch):
    monkeypatch.setattr(turns, "PATIENCE", 0.05)
    monkeypatch.setattr(turns, "BURST", 0.4)

    async def story():
        loop = asyncio.get_running_loop()
        turnstile, began, given = Turns(loop.time), loop.time(), []

        async def step():
            await turnstile.take()
            given.append(loop.time() - began)

        async with asyncio.timeout(5):
            await asyncio.gather(*(step() for _ in range(100)))
        return given

    given = asyncio.run(story())
    early = [at for at in given if at < 0.39]
    assert 1 <= len(early) <= 8, "one in PATIENCE seconds"
    assert all(later - at >= 0.049 for at, later in pairwise(early))
    assert len(given) == 100, "a load that lasts longer is no burst"


def test_behind_the_last_word_of_a_client_mail_goes_on():
    async def story():
        loop = asyncio.get_running_loop()
        heard = loop.time()
        turnstile = Turns(lambda: heard)
        await turnstile.take()
        async with asyncio.timeout(turns.PATIENCE):
            await turnstile.take()
            return loop.time() - heard

    assert asyncio.run(story()) >= turns.QUIET
