"""Export and import: a mail moves with all that is known of it, neither lost nor doubled."""

import json
from dataclasses import replace

import pytest

from relay.entry import Disposition, Outcome, State, encode
from relay.errors import DamagedMail
from relay.reply import Reply
from relay.spool import Wanted
from tests.queue.conftest import MAIL, Stage, tried

BIG = MAIL + (b"x" * 76 + b"\r\n") * 10_000
RELAYED = Outcome("rcpt:eve@example.org", "eve@example.org", Disposition.RELAYED, Reply(250, "2.0.0", "ok"))


async def take_in(stage, form, octets, *, split=65536, **more):
    stored = form if isinstance(form, bytes) else json.dumps(form).encode()
    whole = stored + octets
    pieces = [whole[at : at + split] for at in range(0, len(whole), split)]
    [line] = await stage.ask("take-in", pieces, **{"form": len(stored), **more})
    return line["result"]


async def exported(stage, name):
    [[row]] = [line["changed"] for line in await stage.ask("set-aside", ids=[name], to="q.tar")]
    assert row["result"] == "done"
    return row["entry"], await stage.octets(name)


@pytest.mark.parametrize("octets", [MAIL, BIG], ids=["small", "big"])
@pytest.mark.parametrize("split", [1000, 65536])
def test_a_mail_moves_with_its_whole_life(stage, run, tmp_path, octets, split):
    async def story():
        async with stage.open():
            answered, attempts = (RELAYED,), (tried(stage.now, address="luc@example.net"),)
            entry = await stage.put("a", octets, rcpt=("eve@example.org", "luc@example.net"), answered=answered, attempts=attempts, due=stage.now + 500)  # fmt: skip
            form, body = await exported(stage, "a")
            assert await stage.spool.claim(Wanted(limit=9), 0) == [], "it is not sent from here any more"
            assert (await stage.life("a"))["reason"] == "exported to q.tar"
        other = Stage(stage.engine, tmp_path / "other")
        other.now = stage.now + 100
        async with other.open():
            assert await take_in(other, form, body, split=split) == "done"
            [claim] = await other.spool.claim(Wanted(limit=9), 0)
            assert claim.body.read(0, 1 << 30) == octets
            came = claim.entry
            assert came.events[-1].kind == "imported"
            assert replace(came, events=came.events[:-1], due=entry.due) == entry
            assert came.due == other.now
            await other.spool.settle([claim], (replace(came, state=State.DONE, done_at=other.now), None))
            assert await take_in(other, form, body) == "already", "known though it is done"
            assert await other.found() == []

    run(story)


def test_the_same_file_twice_brings_each_mail_once(stage, run, tmp_path):
    async def story():
        async with stage.open():
            await stage.put("a")
            form, body = await exported(stage, "a")
            assert await take_in(stage, form, body) == "already", "it still waits here"
        other = Stage(stage.engine, tmp_path / "other")
        async with other.open():
            assert await take_in(other, form, body) == "done"
            assert await take_in(other, form, body) == "already"
            assert await other.found() == ["a"]

    run(story)


def test_remove_ends_only_what_was_set_aside(stage, run):
    async def story():
        async with stage.open():
            await stage.put("a")
            await stage.put("b", state=State.HELD, reason="disk")
            await exported(stage, "a")
            assert await stage.change("remove", "a", "b") == {"a": "done", "b": "already"}
            row = await stage.life("a")
            assert [o["disposition"] for o in row["answered"]] == ["dropped"]
            assert row["answered"][0]["reply"] == "250 2.0.0 exported to q.tar"
            assert await stage.found() == ["b"]

    run(story)


def test_what_was_removed_may_come_back(stage, run):
    async def story():
        async with stage.open():
            await stage.put("a")
            form, body = await exported(stage, "a")
            await stage.change("remove", "a")
            assert await take_in(stage, form, body) == "done"
            assert await take_in(stage, form, body) == "already"
            await stage.change("drop", "a")
            assert await take_in(stage, form, body) == "already"

    run(story)


@pytest.mark.parametrize("state", [State.QUEUED, State.HELD])
def test_an_export_that_fails_leaves_the_mail_as_it_was(stage, run, state):
    async def story():
        async with stage.open():
            entry = await stage.put("a", state=state, reason="disk" if state is State.HELD else "", due=stage.now + 77)
            form, _ = await exported(stage, "a")
            before = {"a": {name: form.get(name) for name in ("state", "reason", "due")}}
            assert await stage.change("restore", "a", before=before) == {"a": "done"}
            now = (await stage.spool.peek("a"))[0]
            assert replace(now, events=entry.events) == entry
            assert await stage.change("restore", "a", before=before) == {"a": "already"}

    run(story)


def test_what_a_person_held_stays_held_and_a_second_export_does_not_free_it(stage, run, tmp_path):
    async def story():
        async with stage.open():
            await stage.put("a", state=State.HELD, reason="disk")
            await stage.put("b")
            first, body = await exported(stage, "a")
            await exported(stage, "b")
            again, _ = await exported(stage, "b")
        other = Stage(stage.engine, tmp_path / "other")
        async with other.open():
            await take_in(other, first, body)
            await take_in(other, again, body)
            assert await other.spool.claim(Wanted(limit=9), 0) == []
            assert (await other.life("a"))["reason"] == "disk"
            assert "it was exported to q.tar" in (await other.life("b"))["reason"]

    run(story)


def test_hold_on_arrival(stage, run, tmp_path):
    async def story():
        async with stage.open():
            await stage.put("a")
            form, body = await exported(stage, "a")
        other = Stage(stage.engine, tmp_path / "other")
        async with other.open():
            assert await take_in(other, form, body, hold=True) == "done"
            assert await other.found(states=["held"]) == ["a"]

    run(story)


DAMAGES = {
    "cut short": lambda form, body: (form, body[:-1]),
    "longer": lambda form, body: (form, body + b"x\r\n"),
    "a bare LF": lambda form, body: (form, body[:-2] + b"\n\n"),
    "a bare CR": lambda form, body: (form, body[:-1] + b"\r"),
    "a bare CR inside": lambda form, body: (form, body[:-4] + b"\r" + body[-3:]),
    "a NUL": lambda form, body: (form, body[:-3] + b"\0\r\n"),
    "another id": lambda form, body: ({**form, "id": "../../etc/passwd"}, body),
    "a later format": lambda form, body: ({**form, "v": 99}, body),
    "an unknown field": lambda form, body: ({**form, "nose": 1}, body),
    "a time in words": lambda form, body: ({**form, "due": "now"}, body),
    "a size in words": lambda form, body: ({**form, "size": "big"}, body),
    "no address": lambda form, body: ({**form, "envelope": {**form["envelope"], "to": [["a b", "x", False]]}}, body),
    "already done": lambda form, body: ({**form, "state": "done"}, body),
    "no JSON": lambda form, body: (b"{nonsense", body),
    "no object": lambda form, body: (b"[1, 2]", body),
    "deep": lambda form, body: (b"[" * 100_000, body),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_mail_is_refused_whole(stage, run, tmp_path, damage):
    async def story():
        async with stage.open():
            await stage.put("a")
            form, body = DAMAGES[damage](*await exported(stage, "a"))
        other = Stage(stage.engine, tmp_path / "other")
        async with other.open():
            with pytest.raises(DamagedMail):
                await take_in(other, form, body, split=7)
            assert await other.found(states=[*State]) == []
            assert not list((tmp_path / "other").rglob("*.eml"))

    run(story)


@pytest.mark.parametrize("form", [0, -1, "x", None, 1 << 40, 1 << 20])
def test_a_form_of_no_length_is_refused(stage, run, form):
    async def story():
        async with stage.open():
            with pytest.raises(DamagedMail):
                await stage.ask("take-in", [b"{}"], form=form)

    run(story)


def test_the_form_is_what_the_spool_keeps(stage, run):
    async def story():
        async with stage.open():
            entry = await stage.put("a", refused_paths=("\udcff",), summary="ä\u2028")
            form, _ = await exported(stage, "a")
            assert json.loads(encode(entry).decode("utf-8", "surrogatepass")) == form

    run(story)


def test_an_imported_mail_begins_its_lines_in_the_log(stage, run, tmp_path, caplog):
    async def story():
        async with stage.open():
            await stage.put("a")
            form, body = await exported(stage, "a")
        other = Stage(stage.engine, tmp_path / "other")
        async with other.open():
            await take_in(other, form, body, to="q.tar")

    with caplog.at_level("INFO", logger="tracker-relay"):
        run(story)
    told = [record.getMessage() for record in caplog.records]
    assert "a: imported: from q.tar by an administrator (root)" in told
