"""A day passes in a minute: an event loop whose clock jumps to the next timer, and next hops that are up or down by it."""

import asyncio
import heapq

from relay.entry import Cause
from relay.linkfault import LinkFault
from relay.reply import Reply
from relay.transaction import Features, Plan, Transaction


class JumpingLoop(asyncio.SelectorEventLoop):
    """Whenever nothing is ready, it is the next timer's time. Nothing real may be waited for in it."""

    def __init__(self):
        super().__init__()
        self._now = 0.0

    def time(self):
        return self._now

    def _run_once(self):
        while self._scheduled and self._scheduled[0]._cancelled:  # else the loop would wait for the one behind it
            self._timer_cancelled_count -= 1
            heapq.heappop(self._scheduled)._scheduled = False
        if not self._ready and self._scheduled:
            self._now = max(self._now, self._scheduled[0]._when)
        super()._run_once()


class Network:
    """Next hops by name: `down` ones refuse, the others take a mail in `pace` seconds. Notes everything by time."""

    def __init__(self, pace=0.2):
        self.pace, self.down = pace, set()
        self.knocks, self.taken, self.open = [], [], {}
        self.busy, self.loads = {}, []

    async def connect(self, upstream):
        now = asyncio.get_running_loop().time()
        self.knocks.append((now, upstream.name))
        await asyncio.sleep(0.05)
        if upstream.name in self.down:
            text = f"connect to {upstream.server}[192.0.2.1]:25: Connection refused"
            raise LinkFault(Reply(451, "4.4.1", text), Cause.CONNECT, upstream.server)
        return Wire(self, upstream)


class Wire:
    """One connection: what the pool and an attempt ask of a Dialogue."""

    has_room = False
    security = tls_level = ""
    last, opening, choked = None, (), False

    def __init__(self, network, upstream):
        self.network, self.name, self.host = network, upstream.name, upstream.server
        self.features, self.mails, self.pace, self.waiting, self.usable = Features(), 0, network.pace, 0, True
        network.open[self.name] = network.open.get(self.name, 0) + 1

    async def carry(self, plan: Plan, message, size):
        busy, self.waiting = self.network.busy, 1
        busy[self.name] = busy.get(self.name, 0) + 1
        self.network.loads.append((asyncio.get_running_loop().time(), self.name, busy[self.name]))
        try:
            await asyncio.sleep(self.network.pace)
        finally:
            self.waiting = 0
            busy[self.name] -= 1
            self.mails += 1
        transaction = Transaction(plan, self.host)
        for reply in (250, *(250 for _ in plan.recipients), 354):
            transaction.answer(Reply(reply, "", "ok"))
        transaction.dot_sent = True
        transaction.answer(Reply(250, "2.0.0", "taken"))
        self.network.taken.append((asyncio.get_running_loop().time(), self.name, message.text("message-id")))
        return transaction.outcomes()

    async def ask(self, command):
        return Reply(250, "", "ok")

    async def quit(self):
        if self.usable:
            self.usable = False
            self.network.open[self.name] -= 1
