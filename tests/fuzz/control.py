"""Whatever is said on the control socket, the answer is lines of JSON that end in one `end` or `error`; afterwards every mail can still be listed, shown and exported.

Requests to the queue and the next hops over a spool in memory; nothing is connected to.
"""

import asyncio
import json
import os
import re

from relay import control, journal, unixsocket
from relay.address import parse
from relay.app import VERBS
from relay.control import Control
from relay.entry import Attempt, Cause, Client, Disposition, Entry, Event, Outcome, State
from relay.hops import Hops
from relay.mail import Envelope, Recipient
from relay.prepare import Prepared
from relay.queue import Parts, Queue
from relay.reply import Reply
from relay.reports import Reports
from relay.retry import RetryOptions
from relay.routing import Upstream
from relay.spool import SpoolOptions
from relay.spool.memory import MemorySpool
from relay.transaction import Timeouts
from relay.upstream import Upstreams
from tests.fuzz.engine import json_value

NAME = "control"
SHARE = 2
CHANGES = (json_value,) * 8
CASES = 700
TOKENS = (
    b'{"do":"list"}\n', b'"do":"find"', b'"do":"show"', b'"do":"trace"', b'"do":"form"', b'"do":"cat"', b'"do":"take-in"', b'"do":"hold"', b'"do":"release"', b'"do":"drop"', b'"do":"bounce"', b'"do":"retry"',
    b'"do":"upstreams"', b'"do":"pause"', b'"do":"resume"', b'"name":"notification"', b'"ids":["a1"]', b'"ids":["a2",7,null]', b'"ids":{}', b'"search":{"ticket":"12"}', b'"search":{"to":"*"}', b'"search":[]', b'"search":{"to":7}',
    b'"states":["held"]', b'"states":["x"]', b'"states":7', b'"before":{"a1":1}', b'"before":[1]', b'"octets":10', b'"octets":-1', b'"octets":1e9', b'"octets":"x"', b'"form":20', b'"id":"a1"', b'"what":"#12"', b'"what":null', b'"limit":1', b'"after":"a1"', b'"hold":true', b'"older":-1',
    b'"state":"held"', b'"due":"soon"', b'"profile":null', b'"reason":7', b'"events":[[1,2,3]]', b'"size":7', b'"v":2', b"[" * 3000, b"\\ud800", b"1e999", b"NaN",
)  # fmt: skip
NOW = 1_700_000_000.0
MAIL = b"Subject: [Harbour] #12: Crane\r\n\r\nhello\r\n"
UPSTREAM = Upstream("notification", "mail.example.net")
_PEER = unixsocket.Peer(os.geteuid(), frozenset())


async def spool_with_mail():
    """One mail queued, one held."""
    spool = MemorySpool(SpoolOptions(), lambda: NOW)
    envelope = Envelope(parse("h@t.example.com"), (Recipient.accepted(parse("eve@example.org")),))
    outcome = Outcome(
        "rcpt:eve@example.org", "eve@example.org", Disposition.DEFERRED, Reply(450, "", "busy"), "mx", Cause.PEER
    )
    for name, state in (("a1", State.QUEUED), ("a2", State.HELD)):
        entry = Entry(
            name,
            NOW,
            envelope,
            len(MAIL),
            state,
            due=NOW,
            client=Client("127.0.0.1"),
            events=(Event(NOW, "accepted", "x"),),
        )
        draft = spool.draft()
        draft.write(MAIL)
        await spool.put(
            entry if name == "a1" else Entry(**{**_fields(entry), "attempts": (Attempt(NOW, "up", (outcome,)),)}), draft
        )
    return spool


def _fields(entry):
    return {name: getattr(entry, name) for name in entry.__slots__}


async def prepare(entry, body):
    return Prepared((), reverse_path=parse("bugs@example.com"))


async def _nowhere(hop, domain):
    return ()


class Daemon:
    """The part of a relay that answers."""

    def __init__(self, spool):
        reports = Reports(spool, lambda: "r1", "relay.example.com")
        self.queue = Queue(Parts(spool, lambda: NOW, lambda: None, prepare, reports, RetryOptions))
        upstreams = Upstreams(Timeouts(), "relay.example.com", lambda: NOW)
        self.hops = Hops(spool, upstreams, lambda: [UPSTREAM], lambda: NOW, self.queue.due_again, _nowhere)

    async def answer(self, request, octets):
        if request.get("do") == "probe":
            request["name"] = "nobody"
        lines = self.hops.answer(request) if request.get("do") in VERBS else self.queue.answer(request, octets)
        async for line in lines:
            yield line


async def said_to(daemon, data):
    """The lines of an answer, as they would go over the socket."""
    reader = asyncio.StreamReader(limit=control.LONGEST_REQUEST)
    reader.feed_data(data)
    reader.feed_eof()
    socket = Control(None, daemon.answer)
    try:
        return [json.loads(json.dumps(line)) async for line in socket._lines(reader, None)]
    except (OSError, TimeoutError, ValueError):
        return None  # hung up, as it is when the asking side leaves within its octets


async def _check(data):
    faults = journal.COUNTERS["faults"]
    spool = await spool_with_mail()
    daemon = Daemon(spool)
    lines = await said_to(daemon, data)
    assert journal.COUNTERS["faults"] == faults, "an exception that nobody expected"
    if lines is not None:
        *rest, last = lines
        assert last == {"end": True} or isinstance(last.get("error"), str), last
        assert not any(line.keys() & {"end", "error"} for line in rest)
    ids = ["a1", "a2", *spool._rows, *spool._history]
    for request in (
        {"do": "list"},
        {"do": "list", "states": ["queued", "held", "done"]},
        {"do": "find", "search": {"to": "eve@example.org"}},
        {"do": "show", "ids": ids},
        {"do": "trace", "what": "#12"},
        {"do": "form", "ids": ids},
    ):
        lines = await said_to(daemon, json.dumps(request).encode() + b"\n")
        assert lines and (lines[-1] == {"end": True} or "kind" in lines[-1]), (request, lines[-1:])
    assert journal.COUNTERS["faults"] == faults, "a mail that can not be shown"


def _brought(data):
    """Octets that are no request: as the stored form of a mail that somebody brings, with the lengths that it needs."""
    form = data.replace(b"\n", b"")
    size = re.search(rb'"size":(\d{1,4})(?!\d)', form)
    mail = (b"A: b\r\n\r\n" + b"x" * 9999)[: int(size[1]) if size else 9]
    return (
        json.dumps({"do": "take-in", "octets": len(form) + len(mail), "form": len(form)}).encode() + b"\n" + form + mail
    )


def check(data):
    """One conversation."""
    if b'"do"' not in data:
        data = _brought(data)
    before = unixsocket.peer, control.user_name
    unixsocket.peer, control.user_name = (lambda connection: _PEER), str
    try:
        LOOP.run_until_complete(_check(data))
    finally:
        unixsocket.peer, control.user_name = before
    return 1


LOOP = asyncio.new_event_loop()
