"""The engine with fakes: what becomes of mail, of its recipients, and of faults on the way."""

import asyncio
import logging
from dataclasses import replace

import pytest

from relay import delivery, history
from relay.address import parse
from relay.entry import Attempt, Cause, Disposition, Event, Outcome, State
from relay.errors import RuleError
from relay.mail import Mail, Note, Recipient
from relay.message import parse_bytes
from relay.prepare import Prepared
from relay.reply import Reply
from relay.retry import RetryOptions
from relay.routing import Route
from tests.edges_engine.said import failed, reports

DAY = 86400


def test_a_mail_goes_its_road_and_becomes_history(house, caplog):
    caplog.set_level(logging.INFO, "tracker-relay")
    h = house()
    h.mail("m1", "a@example.org", "b@example.org", received_at=h.clock() - 2)

    h.run(h.quiet)

    entry = h.spool.entry("m1")
    assert entry.state is State.DONE
    assert entry.done_at == h.clock()
    assert [(o.origin, o.disposition) for o in entry.answered] == [
        ("rcpt:a@example.org", Disposition.RELAYED),
        ("rcpt:b@example.org", Disposition.RELAYED),
    ]
    assert entry.attempts[0].delays == (2.0, 0.0, 0.25, 0.5)
    assert h.tried == [(0, ["a@example.org", "b@example.org"])]
    assert (
        "m1: to=<a@example.org>, relay=mx.example.org[192.0.2.1]:25, delay=2.8, delays=2/0/0.25/0.5, dsn=2.0.0,"
        " status=sent (250 2.0.0 queued), tls=none"
    ) in caplog.messages
    assert reports(h) == []


def test_wake_makes_the_engine_look_at_once(house, monkeypatch):
    monkeypatch.setattr(delivery, "POLL", 60.0)
    h = house()

    async def story():
        await asyncio.sleep(0.02)
        h.mail("m1", "a@example.org")
        await h.until(lambda: h.spool.entry("m1").state is State.DONE)

    h.run(story)


def test_new_mail_waits_a_moment_so_that_who_waits_for_his_250_goes_first(house, monkeypatch):
    monkeypatch.setattr(delivery, "POLL", 60.0)
    h = house()

    async def story():
        await asyncio.sleep(0.02)
        with monkeypatch.context() as quiet:
            quiet.setattr(delivery.Delivery, "wake", lambda _: None)
            h.mail("m1", "a@example.org")
        h.engine.arrived()
        for _ in range(5):
            await asyncio.sleep(0)
            assert h.tried == []
        await h.until(lambda: h.spool.entry("m1").state is State.DONE)

    h.run(story)


def test_without_wake_the_engine_looks_by_itself(house):
    h = house()

    async def story():
        await asyncio.sleep(0.01)
        entry = replace(h.spool.entry("m1"), due=h.clock())
        h.spool.add(entry)
        await h.until(lambda: h.spool.entry("m1").state is State.DONE)

    h.mail("m1", "a@example.org", due=h.clock() + 30)
    h.run(story)


def test_one_recipient_refused_one_deferred_one_relayed(house, say):
    h = house(answers={"b@example.org": [say.never], "c@example.org": [say.later, say.ok]})
    h.mail("m1", "a@example.org", "b@example.org", "c@example.org")

    h.run(lambda: h.pass_time(600))

    entry = h.spool.entry("m1")
    assert entry.state is State.DONE
    assert [t for t in h.tried if "bot@example.com" not in t[1]] == [
        (0, ["a@example.org", "b@example.org", "c@example.org"]),
        (60, ["c@example.org"]),
    ]
    ((report, parsed),) = reports(h)
    assert failed(parsed) == ["rfc822; b@example.org"]
    assert report.envelope.reverse_path is None
    assert [str(r.address) for r in report.envelope.recipients] == ["bot@example.com"]
    assert report.state is State.DONE
    assert parsed["To"] == "bot@example.com"
    assert parsed["Auto-Submitted"] == "auto-replied"
    assert "550 5.1.1 unknown user" in parsed.get_payload(0).get_content()
    assert "spy@" not in parsed.as_string()
    assert [e.text for e in entry.events if e.kind == "reported"] == ["failed, to bot@example.com as report1"]


def test_a_wrong_password_waits_and_is_held_at_lifetimes_end(house, say, caplog):
    h = house(answers={"a@example.org": [say.no_login]})
    h.mail("m1", "a@example.org")
    h.mail("m2", "b@example.org")

    h.run(lambda: h.pass_time(6 * DAY))

    entry = h.spool.entry("m1")
    assert entry.state is State.HELD
    assert "auth" in entry.reason
    assert reports(h) == []
    assert h.spool.entry("m2").state is State.DONE
    assert len(entry.attempts) == 51
    assert 130 < len(h.tried) < 160
    gaps = [b[0] - a[0] for a, b in zip(h.tried[1:], h.tried[2:], strict=False)]
    assert max(gaps) <= 3600
    assert h.tried[-1][0] == 5 * DAY
    assert any(r.levelname == "ERROR" and "m1: ALARM: held:" in r.message for r in caplog.records)


def test_one_warning_of_a_delay(house, say):
    h = house(answers={"a@example.org": [say.later]}, schedule=RetryOptions(warn_after=4 * 3600.0))
    h.mail("m1", "a@example.org")
    h.run(lambda: h.pass_time(2 * DAY))
    ((_, parsed),) = reports(h)
    recipient = parsed.get_payload(1).get_payload()[1]
    assert recipient["Action"] == "delayed"
    assert h.spool.entry("m1").state is State.QUEUED
    assert recipient["Will-Retry-Until"] == "Sun, 19 Nov 2023 22:13:20 +0000"


def test_a_second_ambiguous_end_is_held_with_an_alarm(house, say, caplog):
    h = house(answers={"a@example.org": [say.maybe]})
    h.mail("m1", "a@example.org")
    h.run(lambda: h.pass_time(DAY))
    assert len(h.tried) == 2
    assert h.spool.entry("m1").state is State.HELD
    assert any(r.levelname == "ERROR" and "m1: ALARM: held: twice" in r.message for r in caplog.records)
    assert reports(h) == []


@pytest.mark.parametrize("fault", [RuleError("wire", ValueError("line too long")), KeyError("surprise")])
@pytest.mark.parametrize("size", [100, 100_000])
def test_a_fault_in_prepare_holds_that_mail_only(house, fault, size, caplog):
    h = house()

    def prepared(entry, body):
        if entry.id == "bad":
            raise fault
        return h.plain(entry, body)

    h.prepared = prepared
    h.mail("bad", "a@example.org", size=size)
    h.mail("good", "b@example.org", size=size)
    h.run(h.quiet)
    bad = h.spool.entry("bad")
    assert bad.state is State.HELD
    assert ("wire" if isinstance(fault, RuleError) else "surprise") in bad.reason
    assert h.spool.entry("good").state is State.DONE
    assert any(r.levelname == "ERROR" and "bad: ALARM: held:" in r.message for r in caplog.records)


@pytest.mark.parametrize(
    "fault", [MemoryError(), RuntimeError("can't start new thread"), OSError(24, "Too many open files")], ids=repr
)
def test_a_fault_of_the_system_in_prepare_defers_that_mail(house, fault):
    """Memory, threads and descriptors come back: nobody has to release what was under way meanwhile."""
    h = house()
    short = [fault]

    def prepared(entry, body):
        if short and entry.id == "one":
            raise short.pop()
        return h.plain(entry, body)

    h.prepared = prepared
    h.mail("one", "a@example.org")
    h.mail("two", "b@example.org")
    h.run(lambda: h.pass_time(60))
    assert h.spool.entry("two").state is h.spool.entry("one").state is State.DONE
    assert "deferred" in [event.kind for event in h.spool.entry("one").events]


def test_a_fault_within_an_attempt_defers_its_recipients(house, say, caplog):
    h = house(answers={"a@example.org": [ZeroDivisionError("oops"), say.ok]})
    h.mail("m1", "a@example.org")
    h.mail("m2", "b@example.org")
    h.run(lambda: h.pass_time(60))
    entry = h.spool.entry("m1")
    assert entry.state is State.DONE
    first = entry.attempts[0].outcomes[0]
    assert (first.disposition, first.cause, first.reply.code) == (Disposition.DEFERRED, Cause.LOCAL, 451)
    assert "ZeroDivisionError" in str(first.reply)
    assert h.spool.entry("m2").state is State.DONE
    assert any("oops" in r.message and r.levelname == "ERROR" for r in caplog.records)


def test_promise_2_a_recipient_that_an_attempt_forgets_is_deferred(house, say):
    async def forgetful(route, mail):
        first = mail.envelope.recipients[0]
        return Attempt(0.0, "up", (replace(say.ok, origin=first.origin, address=str(first.address)),))

    h = house(answers={"a@example.org": [forgetful], "b@example.org": [say.ok]})
    h.mail("m1", "a@example.org", "b@example.org")
    h.run(lambda: h.pass_time(60))
    assert [t[1] for t in h.tried] == [["a@example.org", "b@example.org"], ["b@example.org"]]
    assert h.spool.entry("m1").state is State.DONE
    assert "no outcome" in h.spool.entry("m1").attempts[0].outcomes[1].reply.text


def test_routes_of_one_mail_are_tried_side_by_side(house, say):
    h = house()
    both = asyncio.Event()

    async def meet(route, mail):
        if len(h.tried) == 2:
            both.set()
        await asyncio.wait_for(both.wait(), 3)
        return replace(h.relayed(mail), upstream=route.upstream.name)

    h.answers = {"a@example.org": [meet], "b@example.org": [meet]}
    h.prepared = h.split
    h.mail("m1", "a@example.org", "b@example.org")
    h.run(h.quiet)
    entry = h.spool.entry("m1")
    assert entry.state is State.DONE
    assert [a.upstream for a in entry.attempts] == ["one", "two"]


def dropped(name, rule):
    return Outcome(
        f"rcpt:{name}", name, Disposition.DROPPED, Reply(250, "2.0.0", "dropped"), cause=Cause.RULE, rule=rule
    )


def test_dropped_recipients_are_logged_with_their_rule_once(house, say, caplog):
    caplog.set_level(logging.INFO, "tracker-relay")
    h = house(answers={"a@example.org": [say.later, say.ok]})
    note = Note("complete_addresses", "bob has no domain", warning=True)

    def prepared(entry, body):
        mail = Mail(entry.envelope, parse_bytes(say.mail)).to(Recipient.accepted(parse("a@example.org")))
        return Prepared(
            ((Route(say.upstream), mail),),
            (dropped("bob", "complete_addresses"),),
            (note, Note("encoding", "as it came")),
        )

    h.prepared = prepared
    h.mail("m1", "a@example.org", "bob")
    h.run(lambda: h.pass_time(60))
    entry = h.spool.entry("m1")
    assert entry.state is State.DONE
    assert entry.outcome("rcpt:bob").disposition is Disposition.DROPPED
    lines = [m for m in caplog.messages if "status=dropped" in m]
    assert len(lines) == 1
    assert "to=<bob>" in lines[0]
    assert "(complete_addresses: 250 2.0.0 dropped)" in lines[0]
    assert [e for e in entry.events if e.kind == "rule"] == [
        Event(say.born, "rule", "complete_addresses: bob has no domain"),
        Event(say.born, "rule", "encoding: as it came"),
    ]
    assert caplog.messages.count("m1: complete_addresses: bob has no domain") == 1
    assert "m1: encoding: as it came" not in caplog.messages


def test_13_nobody_left_is_done_and_logged(house, caplog):
    caplog.set_level(logging.INFO, "tracker-relay")
    h = house()
    h.prepared = lambda entry, body: Prepared((), (dropped("bob", "complete_addresses"),))
    h.mail("m1", "bob")
    h.run(h.quiet)
    assert h.spool.entry("m1").state is State.DONE
    assert h.tried == []
    assert "m1: done: no recipient" in caplog.messages


def test_notes_that_change_with_every_attempt_are_kept_up_to_a_limit(house, say):
    h = house(answers={"a@example.org": [say.no_login]})
    count = 0

    def prepared(entry, body):
        nonlocal count
        count += 1
        return Prepared(
            ((Route(say.upstream), Mail(entry.envelope, parse_bytes(say.mail))),), (), (Note("r", str(count)),)
        )

    h.prepared = prepared
    h.mail("m1", "a@example.org")
    h.run(lambda: h.pass_time(6 * DAY))
    assert count > history.NOTES_KEPT
    assert sum(e.kind == "rule" for e in h.spool.entry("m1").events) == history.NOTES_KEPT


def test_a_changed_configuration_is_used_at_the_next_attempt(house, say):
    h = house(answers={"list@example.org": [say.later]})
    cc = [Recipient(parse("list@example.org"), "smtp_always_cc:list@example.org", True)]

    def prepared(entry, body):
        mail = Mail(entry.envelope, parse_bytes(say.mail))
        return Prepared(((Route(say.upstream), mail.to(*entry.envelope.recipients, *cc)),))

    h.prepared = prepared
    h.mail("m1", "a@example.org")

    async def story():
        await h.quiet()
        assert h.spool.entry("m1").state is State.QUEUED
        cc[:] = [Recipient(parse("a@EXAMPLE.org"), "smtp_always_cc:a@EXAMPLE.org", True)]
        await h.pass_time(60)

    h.run(story)
    assert h.spool.entry("m1").state is State.DONE
    assert [t[1] for t in h.tried] == [["a@example.org", "list@example.org"]]


def test_a_fault_in_decide_holds_the_mail_instead_of_sending_it_again_and_again(house, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("undecided")

    monkeypatch.setattr("relay.retry.decide", broken)
    h = house()
    h.mail("m1", "a@example.org")
    h.run(h.quiet)
    assert len(h.tried) == 1
    assert h.spool.entry("m1").state is State.HELD
    assert "undecided" in h.spool.entry("m1").reason
