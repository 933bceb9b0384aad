"""A mail that is made fit in a thread, since it is not small: nobody takes its connection meanwhile."""

import asyncio

from relay.dialogue import Dialogue
from relay.entry import Disposition
from relay.fit import LIGHT
from relay.manners import Manners
from relay.routing import Route

RAW = b"Subject: hi\r\n\r\n" + b"a line of a mail that is not small\r\n" * (LIGHT // 30)


def ends(attempts):
    return {outcome.disposition for attempt in attempts for outcome in attempt.outcomes}


def test_a_connection_whose_mail_is_made_ready_is_no_idle_one(stage, run, monkeypatch):
    """All at once would take it, whatever has_room says: an envelope behind a final dot kills some servers."""
    before, carry = [], Dialogue.carry

    async def noted(self, *what):
        before.append(self.waiting)
        return await carry(self, *what)

    monkeypatch.setattr(Dialogue, "carry", noted)

    async def story():
        async with stage.peer(features=()) as peer, stage.upstreams() as upstreams:
            route = Route(stage.hop(peer, manners=Manners(connections=3)))
            await upstreams.attempt(route, stage.mail())
            attempts = await asyncio.gather(*(upstreams.attempt(route, stage.mail(raw=RAW)) for _ in range(12)))
            assert ends(attempts) == {Disposition.RELAYED}
            assert (set(before), len(peer.mails), peer.connections) == ({0}, 13, 3)

    run(story)


def test_nobody_waits_behind_a_mail_and_another_that_is_made_ready(stage, run):
    async def story():
        async with stage.peer(script={"dot": "STALL"}) as peer, stage.upstreams() as upstreams:
            hop = stage.hop(peer)
            trying = asyncio.create_task(upstreams.attempt(Route(hop), stage.mail()))
            known = None
            async with asyncio.timeout(5):
                while (
                    not (known := upstreams._hops.get(hop)) or not known.pool.links or not known.pool.links[0].waiting
                ):
                    await asyncio.sleep(0.001)
            [link] = known.pool.links
            assert (link.has_room, link.waiting) == (True, 1)
            with link.booked():
                assert (link.has_room, link.waiting) == (False, 2)
            assert (link.has_room, link.waiting) == (True, 1)
            trying.cancel()
            await asyncio.gather(trying, return_exceptions=True)

    run(story)
