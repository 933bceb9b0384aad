"""One long step in each round of the event loop (relay/turns.py)."""

import asyncio
from itertools import pairwise

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


def test_each_has_a_round_of_its_own_in_the_order_of_the_asking():
    turnstile = Turns()

    async def step(done):
        await turnstile.take()
        done()

    seen = asyncio.run(counted(*[step] * 10))
    assert [number for _, number in seen] == list(range(10))
    rounds = [round for round, _ in seen]
    assert len(set(rounds)) == 10


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
