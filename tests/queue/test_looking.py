"""Listings, filters, lives and octets; and requests that are none."""

import base64

import pytest

from relay.entry import State
from relay.errors import NoSuchMail, RelayError
from relay.spool import Wanted
from tests.queue.conftest import MAIL, tried

FIELDS = {
    "id",
    "state",
    "received_at",
    "due",
    "done_at",
    "size",
    "profile",
    "project",
    "ticket",
    "from",
    "to",
    "attempts",
    "reason",
    "summary",
    "message_id",
    "report",
}
"""What docs/commands.md names; a field is never taken away."""


def test_the_documented_fields(stage, run):
    async def story():
        async with stage.open():
            await stage.put("a", project="Harbour", ticket="12", attempts=(tried(stage.now),), refused_paths=("<a b>",))
            [[row]] = [line["entries"] for line in await stage.ask("list")]
            assert row.keys() == FIELDS
            assert (row["from"], row["to"], row["attempts"]) == ("trac@example.com", ["eve@example.org"], 1)
            life = await stage.life("a")
            assert life.keys() == FIELDS | {"client", "refused_paths", "events", "answered"}
            [attempt] = life["attempts"]
            assert attempt["tls"] == "TLSv1.3 starttls verified"
            assert attempt["delays"] == [0.1, 0.2, 0.3, 0.4]
            [outcome] = attempt["outcomes"]
            assert outcome == {
                "address": "eve@example.org",
                "origin": "rcpt:eve@example.org",
                "disposition": "deferred",
                "reply": "450 4.2.1 mailbox busy",
                "code": 450,
                "status": "4.2.1",
                "text": "mailbox\nbusy",
                "host": "mx.example.net[192.0.2.1]:25",
                "cause": "peer",
                "rule": "",
                "ambiguous": False,
            }

    run(story)


def test_a_long_listing_comes_in_lines(stage, run):
    async def story():
        async with stage.open():
            for number in range(450):
                await stage.put(f"m{number:03}")
            lines = await stage.ask("list")
            assert [len(line["entries"]) for line in lines] == [200, 200, 50]
            assert [r["id"] for line in lines for r in line["entries"]] == [f"m{n:03}" for n in range(449, -1, -1)]
            assert [len(line["entries"]) for line in await stage.ask("list", limit=7)] == [7]

    run(story)


def test_filters_hold_together(stage, run):
    async def story():
        async with stage.open():
            await stage.put("a", ticket="12", project="Harbour", attempts=(tried(stage.now),))
            await stage.put("b", ticket="13", project="Harbour", rcpt=("luc@example.net",))
            await stage.put("c", ticket="12", project="Orchard", state=State.HELD, reason="disk full")
            stage.now += 3600
            await stage.put("d", summary="#12 not prepared yet", sender="gitlab@example.com")
            assert await stage.found() == ["d", "c", "b", "a"]
            assert await stage.found(ticket="12") == ["d", "c", "a"]
            assert await stage.found(ticket="#12", project="harbour") == ["a"]
            assert await stage.found(to="*@example.net") == ["b"]
            assert await stage.found(**{"from": "gitlab@example.com"}) == ["d"]
            assert await stage.found(older=1800) == ["c", "b", "a"]
            assert await stage.found(older=1800, states=["held"]) == ["c"]
            assert await stage.found(reason="DISK") == ["c"]
            assert await stage.found(ids=["a", "d"], ticket="12") == ["d", "a"]
            assert await stage.found(states=["done"]) == []

    run(story)


def test_whom_a_change_means_that_names_no_state(stage, run):
    async def story():
        async with stage.open():
            await stage.put("a")
            await stage.put("b", state=State.HELD, reason="disk")
            await stage.change("set-aside", "c", to="x")
            await stage.put("c")
            await stage.change("set-aside", "c", to="q.tar")

            async def meant(verb, **more):
                lines = await stage.ask("find", **{"for": verb}, **more)
                return [row["id"] for line in lines for row in line["entries"]]

            assert await meant("hold") == await meant("retry") == ["a"]
            assert await meant("release", spare_exported=True) == ["b"], "an exported mail must not be sent by accident"
            assert await meant("release", search={"reason": "exported"}) == ["c"]
            assert await meant("drop") == await meant("bounce") == await meant("export") == ["c", "b", "a"]

    run(story)


@pytest.mark.parametrize("what", ["#12", "12", "<1@x>", "1@x", "a", "eve@example.org", "EVE@example.org", "trac@example.com", "Crane"])  # fmt: skip
def test_trace_finds_queue_and_history(stage, run, what):
    async def story():
        async with stage.open():
            await stage.put("a")
            await stage.put("b", rcpt=("kim@example.org",), message_id="<2@x>", summary="#13: other", sender="luc@example.net")  # fmt: skip
            await stage.change("drop", "a")
            found = [row["id"] for line in await stage.ask("trace", what=what) for row in line["entries"]]
            assert found == ["a"]

    run(story)


def test_trace_of_a_person_finds_what_he_sent_and_got_once(stage, run):
    async def story():
        async with stage.open():
            await stage.put("a", sender="kim@example.org")
            await stage.put("b", rcpt=("kim@example.org",), sender="kim@example.org")
            await stage.put("c", rcpt=("kim@example.org",))
            await stage.put("d")
            found = [r["id"] for line in await stage.ask("trace", what="kim@example.org") for r in line["entries"]]
            assert sorted(found) == ["a", "b", "c"]

    run(story)


def test_cat_in_pieces(stage, run):
    octets = MAIL + b"x" * 76 + b"\r\n" * 300_000

    async def story():
        async with stage.open():
            await stage.put("a", octets)
            lines = await stage.ask("cat", id="a")
            assert len(lines) == 4
            assert b"".join(base64.b64decode(line["octets"]) for line in lines) == octets
            with pytest.raises(NoSuchMail, match="zz is not in the queue"):
                await stage.ask("cat", id="zz")

    run(story)


def test_forms_of_what_is_there(stage, run):
    async def story():
        async with stage.open():
            entry = await stage.put("a")
            found, missing = await stage.ask("form", ids=["a", "zz"])
            assert found["entry"]["id"] == entry.id
            assert missing == {"id": "zz", "entry": None}

    run(story)


@pytest.mark.parametrize(
    "request_",
    [
        {"do": "fly"},
        {"do": None},
        {"do": "drop"},
        {"do": "drop", "ids": []},
        {"do": "drop", "ids": "a"},
        {"do": {"drop": 1}, "ids": ["a"]},
        {"do": "drop", "ids": ["a"], "before": "list"},
        {"do": "restore", "ids": ["a"], "before": {"a": 1}},
        {"do": "restore", "ids": ["a"], "before": {"a": {"due": "soon"}}},
        {"do": "restore", "ids": ["a"], "before": {"a": {"due": float("inf")}}},
        {"do": "list", "limit": float("inf")},
        {"do": "list", "limit": "x"},
        {"do": "list", "states": ["nowhere"]},
        {"do": "list", "search": {"older": "x"}},
        {"do": "list", "search": [1]},
        {"do": "trace", "what": " "},
        {"do": "trace", "what": "zzz"},
        {"do": "trace", "what": "#99"},
    ],
)
def test_requests_that_are_none_are_answered_in_a_sentence(stage, run, request_):
    async def story():
        async with stage.open():
            await stage.put("a")
            with pytest.raises(RelayError) as fault:
                await stage.ask(**request_)
            assert str(fault.value)
            assert await stage.found() == ["a"]

    run(story)


def test_looking_claims_nothing(stage, run):
    async def story():
        async with stage.open():
            await stage.put("a")
            for request in ({"do": "list"}, {"do": "show", "ids": ["a"]}, {"do": "trace", "what": "a"}, {"do": "cat", "id": "a"}):  # fmt: skip
                await stage.ask(**request)
            [claim] = await stage.spool.claim(Wanted(), 0)
            assert claim.entry.id == "a"

    run(story)
