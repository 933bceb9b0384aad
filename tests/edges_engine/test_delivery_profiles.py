"""The engine and profiles: a slow one stops no other, mail stands in the line of its own, next hops stand in for others."""

import asyncio
import logging
from dataclasses import replace

from relay.entry import Cause, Disposition, State
from relay.mail import Mail
from relay.message import parse_bytes
from relay.policy import Policy
from relay.prepare import Prepared
from relay.profiles import Chosen, Profile
from relay.routing import Route, Upstream

TWO = {"workers": 3, "profiles": lambda: ("notification", "slow")}


def chosen_by(house, name_of):
    """Prepares every mail for the profile that `name_of` says, with one route."""

    def prepared(entry, body):
        name = name_of(entry)
        profile = Profile(name, Policy(), Upstream(name))
        mail = Mail(entry.envelope, parse_bytes(body.read(0, body.size)))
        return Prepared(((Route(profile.upstream), mail),), chosen=Chosen(profile, "because"))

    house.prepared = prepared


def test_promise_7_a_profile_that_hangs_stops_no_other(house):
    h = house(options=TWO)
    stuck, most = asyncio.Event(), 0

    async def hangs(route, mail):
        nonlocal most
        most = max(most, sum(work.profile == "slow" for work in h.engine._working.values()))
        await stuck.wait()
        return h.relayed(mail)

    h.answers["slow@example.org"] = [hangs]
    for n in range(10):
        h.mail(f"s{n}", "slow@example.org", profile="slow", due=h.clock() - 100)
    for n in range(10):
        h.mail(f"m{n}", "a@example.org")

    async def story():
        await h.until(lambda: len(h.spool.entries(State.DONE)) == 10)
        assert most == 3
        stuck.set()
        await h.quiet()

    h.run(story)
    assert len(h.spool.entries(State.DONE)) == 20
    assert most == 3


def test_promise_7_mail_that_a_reload_moved_to_a_profile_that_hangs_lines_up_there(house):
    """It waits as mail of its new profile; what it was claimed as goes on."""
    h = house(options=TWO)
    stuck, tried = asyncio.Event(), []

    async def hangs(route, mail):
        tried.append(route.upstream.name)
        await stuck.wait()
        return h.relayed(mail)

    h.answers["slow@example.org"] = [hangs]
    chosen_by(h, lambda e: "slow" if e.id.startswith("s") else "notification")
    for n in range(12):
        h.mail(f"s{n}", "slow@example.org", due=h.clock() - 100)
    for n in range(12):
        h.mail(f"m{n}", "a@example.org")

    async def story():
        await h.until(lambda: len(h.spool.entries(State.DONE)) == 12)
        assert tried == ["slow"] * 2  # one hop leaves one of three workers free
        moved = [e for e in h.spool.entries(State.QUEUED) if e.profile == "slow"]
        assert moved
        assert all(e.attempts == () and e.due == h.clock() - 100 for e in moved)
        stuck.set()
        await h.quiet()

    h.run(story)
    assert len(h.spool.entries(State.DONE)) == 24
    assert sorted({e.profile for e in h.spool.entries()}) == ["notification", "slow"]


def test_an_entry_s_life_says_whose_mail_it_was_found_to_be_and_why(house, say, caplog):
    caplog.set_level(logging.INFO, "tracker-relay")
    h = house()
    names = iter(["harbour", "harbour", "crew", "crew"])
    chosen_by(h, lambda e: next(names))
    h.answers["a@example.org"] = [say.later, say.later, say.later, say.ok]
    h.mail("m1", "a@example.org")
    h.run(lambda: h.pass_time(3600))
    entry = h.spool.entry("m1")
    assert entry.profile == "crew"
    assert [e.text for e in entry.events if e.kind == "profile"] == ["harbour (because)", "crew (because)"]
    assert "m1: profile: harbour (because)" in caplog.messages


def test_a_report_goes_the_way_of_the_profile_of_its_mail(house, say):
    h = house()
    chosen_by(h, lambda e: e.profile if e.report else "harbour")
    h.answers["a@example.org"] = [say.never]
    h.mail("m1", "a@example.org")
    h.run(h.quiet)
    [report] = [e for e in h.spool.entries() if e.report]
    assert report.profile == "harbour"
    assert report.attempts[0].upstream == "harbour"


def three_hops(h):
    hops = Upstream("one"), Upstream("two"), Upstream("three")

    def prepared(entry, body):
        return Prepared(((Route(hops[0], hops[1:]), Mail(entry.envelope, parse_bytes(body.read(0, body.size)))),))

    h.prepared = prepared


def scripted(h, script):
    """Attempts by the next hop's name: {address: outcome} each."""

    async def attempt(route, mail):
        h.tried.append((route.upstream.name, [str(r.address) for r in mail.envelope.recipients]))
        made = h.relayed(mail)
        answers = script[route.upstream.name]
        outcomes = tuple(
            replace(answers[o.address], origin=o.origin, address=o.address) if o.address in answers else o
            for o in made.outcomes
        )
        return replace(made, upstream=route.upstream.name, outcomes=outcomes)

    h.engine.attempt = attempt


def test_what_can_not_be_reached_is_stood_in_for_within_the_same_try(house, say):
    h = house()
    three_hops(h)
    down = replace(say.later, cause=Cause.CONNECT)
    scripted(
        h,
        {
            "one": {"a@x.org": down, "b@x.org": say.never, "c@x.org": say.later},
            "two": {"a@x.org": say.no_login},
            "three": {},
        },
    )
    h.mail("m1", "a@x.org", "b@x.org", "c@x.org", "d@x.org")

    async def story():
        await h.quiet()
        assert h.tried[:3] == [
            ("one", ["a@x.org", "b@x.org", "c@x.org", "d@x.org"]),
            ("two", ["a@x.org"]),
            ("three", ["a@x.org"]),
        ]
        entry = h.spool.entry("m1")
        assert [(o.address, o.disposition) for o in entry.answered] == [
            ("b@x.org", Disposition.REFUSED),
            ("d@x.org", Disposition.RELAYED),
            ("a@x.org", Disposition.RELAYED),
        ]
        assert [a.upstream for a in entry.attempts] == ["one", "two", "three"]
        assert (entry.state, entry.due - h.clock()) == (State.QUEUED, 60.0)

    h.run(story)


def test_all_down_waits_as_after_one_try(house, say):
    h = house()
    three_hops(h)
    down = replace(say.later, cause=Cause.CONNECT)
    scripted(h, {name: {"a@x.org": down} for name in ("one", "two", "three")})
    h.mail("m1", "a@x.org")

    async def story():
        for pause in (60.0, 120.0):
            await h.quiet()
            entry = h.spool.entry("m1")
            assert entry.due - h.clock() == pause
            h.clock.now = entry.due
        assert len(entry.attempts) == 6

    h.run(story)


def test_promise_3_what_may_have_arrived_is_not_sent_to_another(house, say):
    h = house()
    three_hops(h)
    scripted(h, {"one": {"a@x.org": say.maybe}})
    h.mail("m1", "a@x.org")
    h.run(h.quiet)
    assert [name for name, _ in h.tried] == ["one"]


def test_an_attempt_cut_off_by_a_drain_goes_nowhere_else(house, say):
    h = house()
    three_hops(h)
    begun = asyncio.Event()

    async def attempt(route, mail):
        h.tried.append(route.upstream.name)
        begun.set()
        await asyncio.sleep(60)

    h.engine.attempt = attempt
    h.mail("m1", "a@x.org")

    async def story():
        async with asyncio.timeout(5):
            await begun.wait()

    h.run(story)
    assert h.tried == ["one"]
    assert h.spool.entry("m1").due == h.clock()
