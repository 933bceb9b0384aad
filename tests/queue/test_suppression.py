"""Dead addresses: what is answered about them, and what stays over a restart, with each engine."""

import asyncio

import pytest

from relay import suppression
from relay.address import parse
from relay.errors import RelayError
from relay.suppression import Suppression


class Listing:
    """A Suppression over the stage's spool, and the keys that it has told last."""

    def __init__(self, stage):
        self.keys = None
        self.it = Suppression(stage.spool, lambda: stage.now, self._told)

    def _told(self, keys):
        self.keys = keys

    async def ask(self, do, **more):
        return [line async for line in self.it.answer({"do": do, "by": "root", **more})]


def test_added_listed_and_cleared(stage, run):
    async def story():
        async with stage.open():
            one = Listing(stage)
            await one.it.open()
            assert (one.keys, await one.ask("suppressed")) == (frozenset(), [])
            lines = await one.ask("suppress", addresses=["kim@Example.org", "bob", "kim@example.ORG"], reason="left")
            assert [(line["address"], line["result"]) for line in lines] == [
                ("kim@Example.org", "done"),
                ("bob", "done"),
                ("kim@example.ORG", "already"),
            ]
            assert one.keys == {parse("kim@example.org").key, parse("bob").key}
            row = {"address": "kim@Example.org", "at": stage.now, "by": "root", "reason": "left"}
            assert (await one.ask("suppressed"))[0] == row
            lines = await one.ask("unsuppress", addresses=["bob", "eve@example.org"])
            assert [line["result"] for line in lines] == ["done", "unknown"]
            assert one.keys == {parse("kim@example.org").key}
            lines = await one.ask("unsuppress", all=True)
            assert ([line["address"] for line in lines], one.keys) == (["kim@Example.org"], frozenset())

    run(story)


def test_changes_at_the_same_time_are_all_kept(stage, run, monkeypatch):
    async def story():
        async with stage.open():
            one = Listing(stage)
            await one.it.open()
            await one.ask("suppress", addresses=["kim@example.org"])
            remember = one.it.spool.remember

            async def slowly(*arguments):
                await asyncio.sleep(0.01)
                await remember(*arguments)

            monkeypatch.setattr(one.it.spool, "remember", slowly, raising=False)
            added = [one.ask("suppress", addresses=[f"{name}@example.org"]) for name in ("a", "b", "c")]
            await asyncio.gather(*added, one.ask("unsuppress", addresses=["kim@example.org"]))
            after = Listing(stage)
            await after.it.open()
            assert after.keys == one.keys == {parse(f"{name}@example.org").key for name in ("a", "b", "c")}

    run(story)


def test_a_restart_changes_nothing(stage, run):
    async def story():
        async with stage.open():
            before = Listing(stage)
            await before.it.open()
            await before.ask("suppress", addresses=["kim@example.org", "grün@bücher.example"], reason="Größe")
            rows = await before.ask("suppressed")
            stage.now += 10 * 365 * 86400
            after = Listing(stage)
            await after.it.open()
            assert await after.ask("suppressed") == rows
            assert after.keys == before.keys
            await after.ask("unsuppress", all=True)
            last = Listing(stage)
            await last.it.open()
            assert await last.ask("suppressed") == []

    run(story)


def test_what_is_no_address_or_too_much_changes_nothing(stage, run, monkeypatch):
    monkeypatch.setattr(suppression, "MOST", 2)

    async def story():
        async with stage.open():
            one = Listing(stage)
            await one.it.open()
            await one.ask("suppress", addresses=["a@example.org"])
            for wrong, text in (
                (["b@example.org", "a b"], "'a b' is not an address"),
                (["b@example.org", "c@example.org"], "3 suppressed addresses, 2 may be"),
                ("b@example.org", "no list of addresses"),
                ([5], "no list of addresses"),
                (None, "no list of addresses"),
            ):
                with pytest.raises(RelayError, match=text):
                    await one.ask("suppress", addresses=wrong)
            assert len(await one.ask("suppressed")) == 1
            assert one.keys == {parse("a@example.org").key}

    run(story)


def test_a_spool_that_fails_keeps_the_old_list(stage, run, monkeypatch):
    async def story():
        async with stage.open():
            one = Listing(stage)
            await one.it.open()

            async def fail(*_):
                raise RelayError("the disk fails")

            monkeypatch.setattr(one.it.spool, "remember", fail, raising=False)
            with pytest.raises(RelayError, match="the disk fails"):
                await one.ask("suppress", addresses=["a@example.org"])
            assert (one.keys, await one.ask("suppressed")) == (frozenset(), [])

    run(story)
