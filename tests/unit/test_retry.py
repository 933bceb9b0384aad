"""Retry: what becomes of an entry after an attempt, decided without clock and network."""

from dataclasses import replace

import pytest

from relay import retry
from relay.address import parse
from relay.entry import Attempt, Cause, Client, Disposition, Entry, Event, Outcome, State
from relay.mail import Envelope, Mail, Recipient
from relay.message import parse_bytes
from relay.reply import Reply
from relay.retry import RetryOptions, decide

BORN = 1_000_000.0
DAY = 86400.0


def an_entry(**changes):
    recipients = (Recipient.accepted(parse("a@example.org")), Recipient.accepted(parse("b@example.org")))
    entry = Entry("id1", BORN, Envelope(parse("bot@example.com"), recipients), due=BORN, client=Client("127.0.0.1"))
    return replace(entry, **changes)


def relayed(name):
    return Outcome(f"rcpt:{name}", name, Disposition.RELAYED, Reply(250, "2.0.0", "ok"), "mx")


def deferred(name, cause=Cause.PEER, **more):
    return Outcome(f"rcpt:{name}", name, Disposition.DEFERRED, Reply(451, "4.7.1", "later"), "mx", cause, **more)


def refused(name):
    return Outcome(f"rcpt:{name}", name, Disposition.REFUSED, Reply(550, "5.1.1", "unknown"), "mx")


def an_attempt(*outcomes, at=BORN):
    return Attempt(at, "up", outcomes)


def next_form(entry, *outcomes, now=BORN, settled=(), schedule=None, jitter=0.0):
    attempts = [an_attempt(*outcomes, at=now)] if outcomes else []
    return decide(entry, attempts, settled, schedule or RetryOptions(), now=now, jitter=jitter)


def test_all_relayed_is_done_and_history():
    decision = next_form(an_entry(), relayed("a@example.org"), relayed("b@example.org"), now=BORN + 3)
    assert decision.entry.state is State.DONE
    assert decision.entry.done_at == BORN + 3
    assert [o.origin for o in decision.entry.answered] == ["rcpt:a@example.org", "rcpt:b@example.org"]
    assert len(decision.entry.attempts) == 1
    assert decision.failures == decision.ruled == decision.delays == ()


def test_one_refused_one_relayed_is_done_with_that_failure():
    decision = next_form(an_entry(), relayed("a@example.org"), refused("b@example.org"))
    assert decision.entry.state is State.DONE
    assert decision.failures == (refused("b@example.org"),)
    assert decision.ruled == ()


def test_a_deferred_recipient_waits_and_the_others_stay_answered():
    decision = next_form(an_entry(), refused("a@example.org"), deferred("b@example.org"), now=BORN + 2)
    assert decision.entry.state is State.QUEUED
    assert decision.entry.due == BORN + 62
    assert decision.entry.reason == "b@example.org: 451 4.7.1 later"
    assert decision.failures == (refused("a@example.org"),)
    again = next_form(decision.entry, refused("a@example.org"), relayed("b@example.org"), now=BORN + 62)
    assert (again.entry.state, again.entry.reason) == (State.DONE, "")
    assert again.failures == ()
    assert [o.disposition for o in again.entry.answered] == [Disposition.REFUSED, Disposition.RELAYED]


def test_the_first_answer_of_a_recipient_counts():
    decision = next_form(an_entry(), relayed("a@example.org"), refused("a@example.org"), deferred("a@example.org"))
    assert decision.entry.answered == (relayed("a@example.org"),)
    assert decision.entry.state is State.DONE
    assert decision.failures == ()


def test_recipients_dropped_by_a_rule_are_answered_and_named_for_the_log():
    gone = Outcome("rcpt:bob", "bob", Disposition.DROPPED, Reply(250, "2.0.0", "no domain"), rule="complete_addresses")
    decision = next_form(an_entry(), relayed("a@example.org"), settled=[gone])
    assert decision.entry.state is State.DONE
    assert decision.ruled == (gone,)
    assert decision.failures == ()
    assert all(event.kind != "done" for event in decision.entry.events)


@pytest.mark.parametrize(
    "settled",
    [
        [],
        [Outcome("rcpt:bob", "bob", Disposition.DROPPED, Reply(250, "2.0.0", "x"), rule="complete_addresses")],
    ],
)
def test_13_nobody_to_send_to_is_done_and_says_no_recipient(settled):
    decision = next_form(an_entry(), settled=settled)
    assert decision.entry.state is State.DONE
    assert decision.entry.events[-1] == Event(BORN, "done", "no recipient")


def test_a_mail_refused_by_a_rule_is_a_failure_to_report():
    gone = Outcome(
        "rcpt:a@example.org",
        "a@example.org",
        Disposition.REFUSED,
        Reply(554, "5.6.1", "8bit"),
        cause=Cause.RULE,
        rule="encoding",
    )
    decision = next_form(an_entry(), settled=[gone])
    assert decision.failures == decision.ruled == (gone,)
    assert decision.entry.events == ()


def test_an_origin_that_the_configuration_no_longer_names_is_not_waited_for():
    waiting = next_form(an_entry(), relayed("a@example.org"), deferred("b@example.org")).entry
    assert next_form(waiting, now=BORN + 60).entry.state is State.DONE


def test_refused_paths_are_reported_once_and_stand_in_the_history():
    entry = an_entry(refused_paths=("<x y@@z>",))
    first = next_form(entry, deferred("a@example.org"))
    assert [(o.address, o.reply.status, o.disposition) for o in first.failures] == [
        ("x y@@z", "5.1.3", Disposition.REFUSED)
    ]
    assert first.ruled == first.failures
    assert first.entry.outcome("refused:<x y@@z>") is not None
    second = next_form(first.entry, relayed("a@example.org"), now=BORN + 60)
    assert second.failures == second.ruled == ()
    assert second.entry.state is State.DONE


def test_nothing_is_ever_reported_on_a_report():
    schedule = RetryOptions(warn_after=60.0)
    entry = an_entry(report=True, refused_paths=("x y",))
    refusal = next_form(entry, refused("a@example.org"), schedule=schedule)
    assert refusal.entry.state is State.DONE
    assert refusal.failures == refusal.delays == ()
    waiting = next_form(entry, deferred("a@example.org"), now=BORN + DAY, schedule=schedule)
    assert waiting.entry.state is State.QUEUED
    assert waiting.delays == ()
    over = next_form(entry, deferred("a@example.org"), now=BORN + 5 * DAY)
    assert over.entry.state is State.DONE
    assert over.failures == ()


def test_pauses_grow_from_first_to_longest():
    schedule = RetryOptions()
    pauses = [retry.delay(n, schedule, 0.0) for n in range(1, 9)]
    assert pauses == [60, 120, 240, 480, 960, 1920, 3000, 3000]
    assert [retry.delay(n, schedule, 1.0) for n in (1, 7, 5000)] == [72, 3600, 3600]


@pytest.mark.parametrize("first", [1.0, 60.0, 3599.0, 3600.0, 7200.0])
@pytest.mark.parametrize("jitter", [0.0, 0.5, 1.0])
def test_no_pause_is_shorter_than_first_or_longer_than_longest(first, jitter):
    schedule = RetryOptions(first=first)
    for tries in range(1, 70):
        assert min(first, 3600) <= retry.delay(tries, schedule, jitter) <= 3600


def test_each_vain_attempt_doubles_the_pause():
    entry, now, pauses = an_entry(), BORN, []
    for _ in range(5):
        entry = next_form(entry, deferred("a@example.org"), now=now).entry
        pauses.append(entry.due - now)
        now = entry.due
    assert pauses == [60, 120, 240, 480, 960]


def test_routes_tried_side_by_side_count_as_one_try():
    entry = an_entry()
    attempts = [an_attempt(deferred("a@example.org")), an_attempt(deferred("b@example.org"))]
    decision = decide(entry, attempts, [], RetryOptions(), now=BORN, jitter=0.0)
    assert decision.entry.due == BORN + 60


def test_next_hops_tried_in_turn_count_as_one_try_and_what_can_be_mended_is_never_bounced():
    """The first refuses our password, the one that stands in for it can not be reached."""
    entry = an_entry()
    for number in (1, 2, 3):
        two = [
            replace(an_attempt(deferred("a", cause)), upstream=hop)
            for hop, cause in (("x", Cause.AUTH), ("y", Cause.CONNECT))
        ]
        decision = decide(entry, two, (), RetryOptions(), now=BORN, jitter=0.0)
        entry = decision.entry
        assert entry.due - BORN == 60.0 * 2 ** (number - 1)
    decision = decide(entry, two, (), RetryOptions(), now=BORN + 5 * DAY, jitter=0.0)
    assert decision.entry.state is State.HELD
    assert decision.failures == ()


def test_a_clock_set_back_neither_ends_a_life_nor_sets_a_far_date():
    entry = next_form(an_entry(), deferred("a@example.org"), now=BORN - 400 * DAY).entry
    assert entry.state is State.QUEUED
    assert entry.due == BORN - 400 * DAY + 60
    entry = next_form(released(7 * DAY), deferred("a@example.org"), now=BORN + 6 * DAY).entry
    assert entry.due == BORN + 6 * DAY + 60, "as before the first try of its new life"


def test_the_last_try_is_at_lifetimes_end():
    entry = an_entry()
    entry = next_form(entry, deferred("a@example.org"), now=BORN + 5 * DAY - 10).entry
    assert entry.due == BORN + 5 * DAY
    short = next_form(an_entry(), deferred("a@example.org"), schedule=RetryOptions(lifetime=30.0))
    assert short.entry.due == BORN + 30, "also where it is over before the first retry"


def test_lifetime_over_refuses_what_the_peer_kept_deferring():
    entry = an_entry()
    decision = next_form(entry, relayed("a@example.org"), deferred("b@example.org"), now=BORN + 5 * DAY)
    assert decision.entry.state is State.DONE
    (failure,) = decision.failures
    assert (failure.origin, failure.disposition, failure.rule) == (
        "rcpt:b@example.org",
        Disposition.REFUSED,
        "lifetime",
    )
    assert failure.reply == Reply(550, "5.4.7", "not delivered within 5d; at last: 451 4.7.1 later")
    assert decision.ruled == (failure,)
    assert decision.entry.answered[-1] == failure


@pytest.mark.parametrize("cause", [Cause.AUTH, Cause.TOKEN, Cause.TLS, Cause.DNS, Cause.LOCAL])
def test_lifetime_over_holds_what_is_ours_to_mend(cause):
    decision = next_form(an_entry(), deferred("a@example.org", cause), now=BORN + 6 * DAY)
    assert decision.entry.state is State.HELD
    assert decision.failures == ()
    assert str(cause) in decision.entry.reason
    assert "a@example.org" in decision.entry.reason
    assert "correct it" in decision.entry.reason
    assert decision.entry.events[-1].kind == "held"


def test_lifetime_over_with_both_kinds_of_cause_refuses_one_and_holds_the_other():
    decision = next_form(
        an_entry(), deferred("a@example.org"), deferred("b@example.org", Cause.AUTH), now=BORN + 6 * DAY
    )
    assert decision.entry.state is State.HELD
    assert [o.origin for o in decision.failures] == ["rcpt:a@example.org"]
    assert decision.entry.outcome("rcpt:b@example.org") is None


def test_a_released_mail_has_a_new_life():
    entry = next_form(an_entry(), deferred("a@example.org", Cause.AUTH), now=BORN + 6 * DAY).entry
    entry = replace(entry, state=State.QUEUED).with_event(BORN + 7 * DAY, "released", "by admin")
    again = next_form(entry, deferred("a@example.org"), now=BORN + 7 * DAY + 1)
    assert again.entry.state is State.QUEUED
    assert again.entry.due == BORN + 7 * DAY + 61
    over = next_form(entry, deferred("a@example.org"), now=BORN + 12 * DAY)
    assert over.entry.state is State.DONE
    at_once = next_form(released(7 * DAY), deferred("a@example.org"), now=BORN + 7 * DAY)
    assert next_form(at_once.entry, deferred("a@example.org"), now=BORN + 7 * DAY).entry.due == BORN + 7 * DAY + 120


def released(after, **changes):
    return an_entry(**changes).with_event(BORN + after, "released", "by admin")


def test_a_released_mail_outlives_a_spool_that_can_not_be_read():
    schedule = RetryOptions()
    entry = released(7 * DAY)
    assert retry.life_ends(entry, schedule) == BORN + 12 * DAY
    waits = retry.postponed(entry, "disk", schedule, BORN + 8 * DAY)
    assert (waits.state, waits.due) == (State.QUEUED, BORN + 8 * DAY + 60)
    assert waits.events[-1] == Event(BORN + 8 * DAY, "deferred", "disk")
    assert retry.postponed(entry, "disk", schedule, BORN + 12 * DAY).state is State.HELD


def test_the_delay_is_told_once_in_each_life():
    schedule = RetryOptions(warn_after=3600.0)
    entry = an_entry()
    told = []
    for at in (1.5 * 3600, 2 * 3600, 7 * DAY, 7 * DAY + 1.5 * 3600, 7 * DAY + 2 * 3600):
        if at == 7 * DAY:
            entry = entry.with_event(BORN + at, "released", "by admin")
        decision = next_form(entry, deferred("a@example.org"), now=BORN + at, schedule=schedule)
        entry = decision.entry
        told.append(bool(decision.delays))
    assert told == [True, False, False, True, False]


def test_one_ambiguous_end_waits_and_the_second_is_held():
    first = next_form(an_entry(), deferred("a@example.org", ambiguous=True))
    assert first.entry.state is State.QUEUED
    plain = next_form(first.entry, deferred("a@example.org"), now=BORN + 60)
    assert plain.entry.state is State.QUEUED
    other = next_form(plain.entry, deferred("b@example.org", ambiguous=True), now=BORN + 120)
    assert other.entry.state is State.QUEUED
    second = next_form(other.entry, deferred("a@example.org", ambiguous=True), now=BORN + 6 * DAY)
    assert second.entry.state is State.HELD
    assert "twice" in second.entry.reason
    assert second.failures == ()


def test_refused_at_lifetimes_end_it_is_no_longer_ambiguous():
    """`trace` names an ambiguous end before any other, and this one has a final answer."""
    decision = next_form(an_entry(), deferred("a@example.org", ambiguous=True), now=BORN + 6 * DAY)
    assert [o.ambiguous for o in decision.entry.attempts[-1].outcomes] == [True]
    assert [(o.disposition, o.ambiguous) for o in decision.entry.answered] == [(Disposition.REFUSED, False)]


def test_one_warning_of_a_delay():
    schedule = RetryOptions(warn_after=3600.0)
    early = next_form(an_entry(), deferred("a@example.org"), schedule=schedule, now=BORN + 3599)
    assert early.delays == ()
    late = next_form(early.entry, deferred("a@example.org"), schedule=schedule, now=BORN + 3600)
    assert late.delays == (deferred("a@example.org"),)
    assert late.entry.events[-1] == Event(BORN + 3600, "delayed", "not delivered for 1h: a@example.org")
    later = next_form(late.entry, deferred("a@example.org"), schedule=schedule, now=BORN + 9000)
    assert later.delays == ()


def test_an_entry_keeps_the_first_the_ambiguous_and_the_last_attempts():
    attempts = tuple(an_attempt(deferred("a@example.org", ambiguous=n in (1, 7)), at=float(n)) for n in range(100))
    kept = retry.trimmed(attempts)
    assert [a.at for a in kept] == [0, 1, 7, *range(50, 100)]
    assert retry.trimmed(attempts[:51]) == attempts[:51]
    assert retry.trimmed(()) == ()


def test_attempts_for_many_recipients_are_kept_by_their_outcomes():
    many = [deferred(f"n{i}@example.org") for i in range(1000)]
    attempts = tuple(an_attempt(*many, at=float(n)) for n in range(10))
    assert [a.at for a in retry.trimmed(attempts)] == [0, 8, 9]
    assert [a.at for a in retry.trimmed((*attempts, an_attempt(*many, *many[:1], at=10.0)))] == [0, 10]
    huge = tuple(an_attempt(*many, *many, *many, at=float(n)) for n in range(3))
    assert [a.at for a in retry.trimmed(huge)] == [0, 2]


def a_mail(*recipients):
    return Mail(Envelope(None, recipients), parse_bytes(b"Subject: x\r\n\r\n"))


def test_unanswered_leaves_out_answered_origins_and_mailboxes_that_have_the_mail():
    mail = a_mail(
        Recipient.accepted(parse("a@example.org")),
        Recipient.accepted(parse("c@example.org")),
        Recipient(parse("b@EXAMPLE.org"), "smtp_always_cc:b@EXAMPLE.org"),
        Recipient(parse("d@example.org"), "smtp_always_cc:d@example.org"),
    )
    assert retry.unanswered(an_entry(), mail) is mail
    entry = an_entry(answered=(refused("a@example.org"), relayed("b@example.org"), refused("d@example.org")))
    assert [r.origin for r in retry.unanswered(entry, mail).envelope.recipients] == [
        "rcpt:c@example.org",
        "smtp_always_cc:d@example.org",
    ]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(432000, "5d"), (5400, "90m"), (3600, "1h"), (60, "1m"), (61, "61s"), (0.5, "0.5s"), (0, "0s")],
)
def test_durations_in_words(seconds, words):
    assert retry.in_words(seconds) == words


def test_a_pause_is_at_least_a_second():
    pause = RetryOptions.__dataclass_fields__["first"].metadata["parse"]
    assert pause("1s") == 1
    with pytest.raises(ValueError, match=r"\A'0\.2s' is shorter than 1s\Z"):
        pause("0.2s")
