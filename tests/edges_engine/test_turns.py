"""One long step in each round of the event loop (relay/turns.py)."""

import asyncio

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
    turns = Turns()

    async def step(done):
        await turns.take()
        done()

    seen = asyncio.run(counted(*[step] * 10))
    assert [number for _, number in seen] == list(range(10))
    rounds = [round for round, _ in seen]
    assert len(set(rounds)) == 10


def test_who_gives_up_keeps_nobody_waiting_and_the_next_one_waits_for_nobody():
    async def story():
        turns = Turns()
        await turns.take()
        given_up = asyncio.create_task(turns.take())
        waits = asyncio.create_task(turns.take())
        await asyncio.sleep(0)
        given_up.cancel()
        async with asyncio.timeout(1):
            await waits
            await asyncio.gather(given_up, return_exceptions=True)
        for _ in range(3):
            await asyncio.sleep(0)
        alone = asyncio.create_task(turns.take())
        await asyncio.sleep(0)
        assert alone.done(), "free: nobody asks for a turn"

    asyncio.run(story())
