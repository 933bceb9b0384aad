"""Whatever a next hop answers, each recipient gets one outcome, no mail gets another one's, and only a mail whose last octet was taken with 2xx is relayed.

The dialogue with a next hop in memory (`relay/dialogue.py`, `relay/transaction.py`). The peer takes its replies from
the input, line by line, and keeps a book of its own: what it was sent for which mail, and what it said. A peer
that keeps to the order of SMTP decides each outcome; from one that does not nothing is believed that it did not say.
"""

import asyncio
import re

from relay.address import parse
from relay.dialogue import Dialogue, Stale
from relay.entry import Disposition
from relay.mail import Recipient
from relay.message import parse_bytes
from relay.transaction import Features, Plan, Timeouts
from tests.fuzz.engine import dice

NAME = "dialogue"
SHARE = 4
CASES = 1200
TOKENS = (
    b"250 ok\n", b"250 2.1.0 ok\n", b"250 2.0.0 ok\n", b"354 go\n", b"550 5.1.1 no\n", b"450 4.2.1 later\n", b"421 4.3.2 bye\n", b"451 x\n", b"552 full\n", b"452 4.5.3 many\n", b"250-a\n250 b\n", b"251 ok\n", b"299 ok\n",
    b"250\n", b"2500\n", b"250x\n", b"150 x\n", b"650 x\n", b"-1 x\n", b"250-a\n550 b\n", b"250-" + b"x\n250-" * 120, b"x" * 5000, b"CLOSE\n", b"RESET\n", b"RAW 250 ok\n", b"RAW 250 ", b"SPLIT\n", b"\xff\xfe\n", b"250 \0\n", b"250 \x1b[31m\n",
)  # fmt: skip
MESSAGE = b"Subject: {n}\r\n\r\nmail {n}\r\n.leading dot\r\n..two\r\n.\r\nend\r\n"


class Peer:
    """The next hop at the other end of a transport in memory."""

    def __init__(self, data, chance):
        self.script = [line for line in data.replace(b"\r", b"").split(b"\n") if line]
        self.chance = chance
        self.at = 0
        self.honest = True
        self.heard = b""
        self.in_data = self.closed = False
        self.open = False
        """A transaction has begun, and neither its mail's end nor RSET has come."""
        self.book = []
        """Of each transaction: MAIL's reply, [recipient, reply]s, DATA's reply, content, the dot's reply."""

    # -- as a transport ------------------------------------------------------------------------------

    def is_closing(self):
        return self.closed

    def abort(self):
        self.closed = True

    close = abort

    def write(self, data):
        if not self.closed:
            self.heard += data

    # -- as a server ---------------------------------------------------------------------------------

    def turn(self, dialogue):
        """Answer one thing that was heard; False when there is nothing to answer."""
        if self.closed:
            return False
        if self.in_data:
            octets, end, rest = (b"\r\n" + self.heard).partition(b"\r\n.\r\n")
            if not end:
                return False
            self.heard, self.in_data = rest, False
            self.book[-1][3] = octets[2:] + b"\r\n" if octets else b""
            self.open = False
            self._reply(dialogue, 4)
            return True
        line, end, rest = self.heard.partition(b"\r\n")
        if not end:
            return False
        self.heard = rest
        verb = line[:4].upper()
        known = verb in (b"MAIL", b"RCPT", b"DATA", b"RSET", b"QUIT")
        assert known or not self.honest, f"no command: {line[:80]!r}"
        if verb == b"MAIL":
            assert not (self.open and self.honest), "MAIL within a transaction"
            self.book.append([None, [], None, None, None, line])
            self._reply(dialogue, 0)
        elif verb == b"RCPT" and self.book:
            self.book[-1][1].append([line, None])
            self._reply(dialogue, 1)
        elif verb == b"DATA" and self.book:
            self._reply(dialogue, 2)
        else:
            self.open = False
            self._reply(dialogue, None)
        return True

    def _reply(self, dialogue, place):
        line = self.script[self.at] if self.at < len(self.script) else (b"354 go" if place == 2 else b"250 ok")
        self.at += 1
        if line in (b"CLOSE", b"RESET"):
            self.closed = True
            dialogue.connection_lost(ConnectionResetError(104, "reset") if line == b"RESET" else None)
            return
        if line.startswith(b"RAW "):
            self.honest = False
            self._send(dialogue, line[4:] + (b"\r\n" if self.chance.random() < 0.8 else b""))
            return
        code = int(line[:3]) if re.fullmatch(rb"[2-5]\d\d( [^\n]*)?", line) else None
        if code is None or len(line) > 4000 or b"\r" in line:
            self.honest = False
        elif place == 1:
            self.book[-1][1][-1][1] = code
        elif place is not None:
            self.book[-1][place] = code
            self.open = self.open or (place == 0 and code // 100 == 2)
        if place == 2 and code == 354:
            self.in_data = True
        elif place is not None and code == 354:
            self.honest = False  # 354 where it has no place
        elif place is None and not line.startswith(b"2"):
            self.honest = False
        self._send(dialogue, line + b"\r\n")

    def _send(self, dialogue, octets):
        for piece in (octets[:3], octets[3:]) if self.chance.random() < 0.3 else (octets,):
            if piece and not self.closed:
                dialogue.data_received(piece)


async def _check(data):
    chance = dice(data)
    peer = Peer(data, chance)
    pipelining = chance.random() < 0.6
    features = Features({"PIPELINING": ""} if pipelining else {})
    dialogue = Dialogue("mx.example.net[192.0.2.1]:25", features, "", Timeouts())
    dialogue.connection_made(peer)
    number = chance.choice((1, 2, 2, 4))
    attempts = []
    for n in range(number):
        if not dialogue.usable:
            break
        recipients = tuple(
            Recipient.accepted(parse(f"r{k}.m{n}@example.org")) for k in range(chance.choice((1, 1, 2, 4)))
        )
        plan = Plan(f"s{n}@example.com", "", tuple((r, str(r.address)) for r in recipients), pipelining)
        octets = MESSAGE.replace(b"{n}", b"%d" % n)
        size = 1 << 20 if chance.random() < 0.1 else len(octets)
        task = asyncio.get_running_loop().create_task(dialogue.carry(plan, parse_bytes(octets), size))
        attempts.append((n, recipients, octets, task))
        if not (chance.random() < 0.5 and dialogue.has_room):
            await _until(dialogue, peer, task)
        await asyncio.sleep(0)
    for *_, task in attempts:
        await _until(dialogue, peer, task)
    if dialogue.usable:
        leaving = asyncio.get_running_loop().create_task(dialogue.quit())
        await _until(dialogue, peer, leaving)
    dialogue.abort()
    if dialogue._timer:
        dialogue._timer.cancel()
    for attempt in attempts:
        _judge(*attempt, peer)
    return len(attempts)


async def _until(dialogue, peer, task):
    """Let the peer answer until that is over. A peer that has nothing to say has hung up."""
    for _ in range(2000):
        if task.done():
            return
        await asyncio.sleep(0)
        if not peer.turn(dialogue) and not task.done():
            streaming = any(turn.streaming for turn in dialogue._turns)
            await asyncio.sleep(0.001 if streaming else 0)
            if not streaming and not peer.turn(dialogue) and not task.done():
                await asyncio.sleep(0)
                if not peer.turn(dialogue):
                    dialogue.connection_lost(None)
    raise AssertionError("it waits for ever")


def _judge(n, recipients, octets, task, peer):
    mine = [entry for entry in peer.book if entry[5].startswith(b"MAIL FROM:<s%d@" % n)]
    assert len(mine) <= 1, "one mail, said twice over one connection"
    fault = task.exception()
    if fault is not None:
        assert isinstance(fault, Stale), repr(fault)
        assert not (peer.honest and mine and mine[0][4] and 200 <= mine[0][4] < 300), "relayed, and tried again"
        return
    outcomes = task.result()
    assert [o.origin for o in outcomes] == [r.origin for r in recipients], "one outcome each, in order"
    if not mine:
        assert all(o.disposition is Disposition.DEFERRED for o in outcomes) or not peer.honest
        return
    [(mail, rcpts, go, content, dot, _)] = mine
    if content is not None:
        accepted = mail is not None and 200 <= mail < 300 and any(code and 200 <= code < 300 for _, code in rcpts)
        whole = octets.replace(b"\r\n.", b"\r\n..")
        assert content == (whole if accepted else b"") or not peer.honest, content
    for outcome, (line, code) in zip(outcomes, [*rcpts, *[[None, None]] * len(outcomes)], strict=False):
        assert line is None or outcome.address.encode() in line
        taken = content is not None and dot is not None and 200 <= dot < 300 and code is not None and 200 <= code < 300
        taken = taken and mail is not None and 200 <= mail < 300
        if peer.honest:
            assert (outcome.disposition is Disposition.RELAYED) == bool(taken), (outcome, mine)
            said = any(one and 500 <= one < 600 for one in (mail, code, go, dot))
            assert outcome.disposition is not Disposition.REFUSED or said, (outcome, mine)
        assert outcome.reply.text.count("\n") < 100 and str(outcome.reply).isprintable()
        if outcome.ambiguous:
            assert outcome.disposition is Disposition.DEFERRED


def check(data):
    """One connection; how many mails it had."""
    return LOOP.run_until_complete(asyncio.wait_for(_check(data), 20))


LOOP = asyncio.new_event_loop()
