"""The next envelope right behind a final dot: for whom it is too much, and how that is found out."""

import asyncio

import pytest

from relay.entry import Disposition
from relay.routing import Route

RELAYED, DEFERRED = Disposition.RELAYED, Disposition.DEFERRED


class Choker:
    """Offers PIPELINING, and dies of whatever comes before it has answered a mail (Dovecot 2.3 does so)."""

    def __init__(self, greeting):
        self.greeting = greeting
        self.mails, self.choked, self.port = 0, 0, 0

    async def start(self):
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]

    async def _serve(self, reader, writer):
        writer.write(f"220 {self.greeting}\r\n".encode())
        while line := await reader.readline():
            if line.startswith(b"DATA"):
                writer.write(b"354 go\r\n")
                while await reader.readline() not in (b".\r\n", b""):
                    pass
                self.mails += 1
                try:
                    async with asyncio.timeout(0.02):
                        await reader.readexactly(1)
                    self.choked += 1
                    break
                except TimeoutError:
                    writer.write(b"250 2.0.0 kept\r\n")
                except asyncio.IncompleteReadError:
                    break
            else:
                writer.write(b"250-peer\r\n250 PIPELINING\r\n" if line.startswith(b"EHLO") else b"250 ok\r\n")
        writer.close()


@pytest.mark.parametrize(("greeting", "lost"), [("mx.example.net Dovecot ready.", False), ("mx.example.net", True)])
def test_a_server_that_dies_of_it_is_sent_one_mail_after_the_other(stage, run, greeting, lost):
    """Known by its greeting, or once it has died of it: then nothing is lost, and nothing in doubt, any more."""

    async def story():
        peer = Choker(greeting)
        await peer.start()
        async with stage.upstreams() as upstreams:
            route = Route(stage.hop(peer))

            async def many():
                done = await asyncio.gather(*(upstreams.attempt(route, stage.mail()) for _ in range(60)))
                return [outcome for attempt in done for outcome in attempt.outcomes]

            first = await many()
            assert any(outcome.ambiguous for outcome in first) == bool(peer.choked) == lost
            died, second = peer.choked, await many()
            assert {outcome.disposition for outcome in second} == {RELAYED}
            assert peer.choked == died
        peer.server.close()

    run(story)


def test_others_get_it(stage, run):
    async def story():
        async with stage.peer(script={}) as peer, stage.upstreams() as upstreams:
            route = Route(stage.hop(peer))
            done = await asyncio.gather(*(upstreams.attempt(route, stage.mail()) for _ in range(60)))
            assert {outcome.disposition for attempt in done for outcome in attempt.outcomes} == {RELAYED}
            assert len(peer.mails) == 60

    run(story)


def test_a_server_that_hangs_up_within_the_log_in_does_not_refuse_the_password(stage, run, tls):
    """Dovecot, Exchange: 421 to one connection too many. No password is wrong, so nothing waits a minute for that."""

    async def story():
        script = {"AUTH": "421 4.7.0 too many connections"}
        async with stage.peer(certificate=tls(), script=script) as peer, stage.upstreams() as upstreams:
            [outcome] = (await upstreams.attempt(Route(stage.secured(peer)), stage.mail())).outcomes
            assert (outcome.disposition, str(outcome.cause)) == (DEFERRED, "connect")
            assert str(outcome.reply) == "421 4.7.0 too many connections (within the log-in)"

    run(story)
