"""While a larger mail is made fit for a next hop, in a thread, its connection may go another way: the mail does not wait for it."""

import asyncio
import threading

import pytest

from relay import upstream
from relay.entry import Disposition
from relay.routing import Route

LARGE = b"Subject: hi\r\n\r\n" + b"x" * 70 + b"\r\n" * 10_000


async def closed_by_the_peer(peer, link):
    for task in peer.tasks:
        task.cancel()
    while link.usable:
        await asyncio.sleep(0.001)


async def told_to_go(_peer, link):
    link._hear(upstream.Reply(421, "4.3.2", "closing"))


async def closed_by_us(_peer, link):
    await link.quit()


async def saying_goodbye(peer, link):
    peer.script["QUIT"] = "STALL"
    saying = asyncio.create_task(link.quit())
    await asyncio.sleep(0.01)
    assert not saying.done()


async def with_others(_peer, link):
    return None


@pytest.mark.parametrize("goes", [closed_by_the_peer, told_to_go, closed_by_us, saying_goodbye, with_others])
def test_a_connection_that_is_gone_when_the_mail_is_ready_is_replaced(stage, run, monkeypatch, goes):
    """It waited for an answer on a connection that was gone, for ever, and kept a worker."""
    began, go_on, fit = threading.Event(), threading.Event(), upstream.fit

    def slow(mail, *more):
        if len(mail.message.body.read(0, 1000)) == 1000:
            began.set()
            assert go_on.wait(10)
        return fit(mail, *more)

    monkeypatch.setattr(upstream, "fit", slow)

    async def story():
        async with stage.peer(script={}) as peer, stage.upstreams() as upstreams:
            route = Route(stage.hop(peer))
            await upstreams.attempt(route, stage.mail())
            [link] = upstreams._hops[route.upstream].pool.links
            attempt = asyncio.create_task(upstreams.attempt(route, stage.mail(raw=LARGE)))
            await asyncio.to_thread(began.wait, 10)
            await goes(peer, link)
            beside = await upstreams.attempt(route, stage.mail())
            go_on.set()
            async with asyncio.timeout(5):
                made = await attempt
            outcomes = [*beside.outcomes, *made.outcomes]
            assert {outcome.disposition for outcome in outcomes} == {Disposition.RELAYED}
            assert len(peer.mails) == 3
            assert peer.connections == 2  # also with others: one whose mail is made ready is no idle one

    run(story)
