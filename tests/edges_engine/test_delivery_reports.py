"""The engine's reports: to whom, on what, and how often."""

import email
import email.policy
import email.utils
import logging
from dataclasses import replace

from relay.address import parse
from relay.entry import Cause, Disposition, Outcome, State
from relay.prepare import Prepared
from relay.reply import Reply
from relay.retry import RetryOptions
from tests.edges_engine.said import failed, reports

DAY = 86400


def test_the_report_is_in_the_same_settle_as_the_answer(house, say):
    h = house(answers={"a@example.org": [say.never]}, schedule=RetryOptions(report_to=parse("admin@example.com")))
    h.mail("m1", "a@example.org")

    h.run(h.quiet)

    assert [e.id for e in h.spool.settled[0]] == ["m1", "report1"]
    assert h.tried[1][1] == ["admin@example.com"]


def test_a_delay_report_on_a_released_mail_names_the_end_of_its_new_life(house, say):
    schedule = RetryOptions(warn_after=1.0, report_to=parse("admin@example.com"))
    h = house(answers={"a@example.org": [say.later]}, schedule=schedule)
    h.mail("m1", "a@example.org", received_at=say.born - 7 * DAY)
    entry = h.spool.entry("m1").with_event(say.born - 60, "released", "by admin")
    h.spool.add(entry)
    h.run(h.quiet)
    [(_, parsed)] = reports(h)
    [until] = [group["Will-Retry-Until"] for group in parsed.get_payload(1).get_payload()[1:]]
    assert email.utils.parsedate_to_datetime(until).timestamp() == say.born - 60 + 5 * DAY


def test_promise_5_a_report_is_never_reported_on(house, say):
    h = house(answers={"a@example.org": [say.never], "bot@example.com": [say.later, say.never]})
    h.schedule = RetryOptions(warn_after=1.0)
    h.mail("m1", "a@example.org")

    h.run(lambda: h.pass_time(6 * DAY))

    assert [e.id for e in h.spool.entries()] == ["m1", "report1"]
    assert h.spool.entry("report1").state is State.DONE
    assert h.spool.entry("report1").answered[0].disposition is Disposition.REFUSED


def test_a_null_reverse_path_gets_no_report_but_report_to_does(house, say):
    h = house(answers={"a@example.org": [say.never]})
    h.mail("m1", "a@example.org")
    h.spool.add(replace(h.spool.entry("m1"), envelope=replace(h.spool.entry("m1").envelope, reverse_path=None)))
    h.run(h.quiet)
    assert reports(h) == []
    assert "to nobody" in h.spool.entry("m1").events[-1].text


def test_one_report_per_recipient_cause_and_day(house, say):
    full = replace(say.never, reply=Reply(552, "5.2.2", "full"))
    h = house(answers={"a@example.org": [say.never, say.never, say.never, full, say.never]})
    h.mail("m1", "a@example.org")
    h.mail("m2", "a@example.org")

    async def story():
        await h.quiet()
        assert len(reports(h)) == 1
        for name in ("m3", "m4"):
            h.mail(name, "a@example.org")
            await h.quiet()
        assert len(reports(h)) == 2
        h.clock.now += DAY + 1
        h.mail("m5", "a@example.org")
        await h.quiet()
        assert len(reports(h)) == 3

    h.run(story)
    assert h.spool.entry("m3").events[-1].text == "failed, not again to bot@example.com: told within a day"
    told = [e.id for e in h.spool.entries() if e.events and "as report1" in e.events[-1].text]
    assert told in (["m1"], ["m2"])


def test_refused_paths_alone_make_a_report(house):
    h = house()
    h.mail("m1", "a@example.org", refused_paths=("<x y@@z>",))
    h.run(h.quiet)
    ((_, parsed),) = reports(h)
    assert failed(parsed) == ["rfc822; x y@@z"]
    assert "Original-Recipient" not in parsed.as_string()
    assert h.spool.entry("m1").state is State.DONE


def test_a_reader_beyond_ascii_needs_smtputf8(house, say):
    h = house(answers={"a@example.org": [say.never]}, schedule=RetryOptions(report_to=parse("équipe@exämple.org")))
    h.mail("m1", "a@example.org")
    h.run(h.quiet)
    ((report, _),) = reports(h)
    assert (report.envelope.smtputf8, report.envelope.body) == (True, "8BITMIME")
    assert str(report.envelope.recipients[0].address) == "équipe@xn--exmple-cua.org"


def test_a_report_that_can_not_be_composed_does_not_forget_the_answer(house, say, monkeypatch):
    def broken(*_):
        raise ValueError("no report today")

    monkeypatch.setattr("relay.dsn.compose", broken)
    h = house(answers={"a@example.org": [say.never]})
    h.mail("m1", "a@example.org")
    h.run(h.quiet)
    entry = h.spool.entry("m1")
    assert entry.state is State.DONE
    assert "no report today" in entry.events[-1].text
    assert h.engine.reports._under_way == set()


def test_faults_of_the_cap_cost_a_second_report_at_most(house, say):
    h = house(answers={"a@example.org": [say.never]})
    h.spool.faults["recall"] = [say.spool_error()]
    h.spool.faults["remember"] = [say.spool_error()]
    h.mail("m1", "a@example.org")
    h.run(h.quiet)
    assert len(reports(h)) == 1
    assert h.spool.entry("m1").state is State.DONE


def test_a_mail_that_is_due_again_while_its_report_is_still_being_remembered_is_tried_then(house, say):
    """A slow disk, a report on many recipients: the claim belongs to nobody else, and its lease is 15 minutes."""
    h = house(answers={"a@example.org": [say.never], "b@example.org": [say.later, say.ok]})
    remember = h.spool.remember

    async def slowly(*what):
        h.clock.now = h.spool.entry("m1").due
        h.engine.wake()
        await h.until(lambda: h.spool.leased("m1"))
        await remember(*what)

    h.spool.remember = slowly
    h.mail("m1", "a@example.org", "b@example.org")
    h.run(h.quiet)
    assert h.spool.entry("m1").state is State.DONE
    assert [names for _, names in h.tried if "bot@example.com" not in names] == [
        ["a@example.org", "b@example.org"],
        ["b@example.org"],
    ]


def test_a_peer_that_never_takes_it_is_reported_at_lifetimes_end(house, say, caplog):
    caplog.set_level(logging.INFO, "tracker-relay")
    h = house(answers={"a@example.org": [say.later]})
    h.mail("m1", "a@example.org")
    h.run(lambda: h.pass_time(6 * DAY))
    assert h.spool.entry("m1").state is State.DONE
    ((_, parsed),) = reports(h)
    recipient = parsed.get_payload(1).get_payload()[1]
    assert recipient["Status"] == "5.4.7"
    assert "451 4.7.1 greylisted" in recipient["Diagnostic-Code"]
    assert any("status=bounced (lifetime: 550 5.4.7" in m for m in caplog.messages)


def refused_by_rule(name):
    reply = Reply(554, "5.6.1", "text beyond ASCII")
    return Outcome(f"rcpt:{name}", name, Disposition.REFUSED, reply, cause=Cause.RULE, rule="encoding")


def test_a_mail_refused_whole_by_a_rule_is_reported_to_the_sender_the_rules_decided_on(house):
    h = house()

    def prepared(entry, body):
        if entry.report:
            return h.plain(entry, body)
        return Prepared((), (refused_by_rule("a@example.org"),), reverse_path=parse("real@example.com"))

    h.prepared = prepared
    h.mail("m1", "a@example.org")
    h.spool.bodies["m1"] = b"To: hidden@example.org\r\nCc: hidden@example.org\r\nSubject: x\r\n\r\n"
    h.run(h.quiet)
    ((report, parsed),) = reports(h)
    assert str(report.envelope.recipients[0].address) == "real@example.com"
    assert parsed.get_payload(1).get_payload()[1]["Status"] == "5.6.1"
    assert parsed.get_payload(2).get_content().strip() == "Subject: x"
    assert "hidden@" not in parsed.as_string()
