"""A pause that the next hop asks for, and a mail whose turn has not come."""

from relay.address import parse
from relay.entry import Attempt, Cause, Disposition, Entry, Outcome, State
from relay.mail import Envelope, Recipient
from relay.reply import Reply
from relay.retry import RetryOptions, decide

BORN = 1_700_000_000.0
ENTRY = Entry("1", BORN, Envelope(None, (Recipient.accepted(parse("eve@example.org")),)), due=BORN)


def next_form(entry, text, cause=Cause.PEER, schedule=None, now=BORN):
    outcome = Outcome("rcpt:eve@example.org", "eve@example.org", Disposition.DEFERRED, Reply(451, "4.7.1", text), cause=cause)  # fmt: skip
    return decide(entry, [Attempt(now, "up", (outcome,))], (), schedule or RetryOptions(), now=now, jitter=0.0).entry


def test_a_pause_that_is_asked_for_is_the_shortest_one():
    assert next_form(ENTRY, "greylisted, try again in 300 seconds").due == BORN + 300
    assert next_form(ENTRY, "try again in 5 seconds").due == BORN + 60, "our own pause holds as well"
    assert next_form(ENTRY, "try again in 9 hours").due == BORN + 3600, "and the longest one"


def test_pauses_still_grow_at_a_next_hop_that_always_asks_for_a_minute():
    entry, now, waits = ENTRY, BORN, []
    for _ in range(5):
        entry = next_form(entry, "try again in 60 seconds", now=now)
        waits.append(entry.due - now)
        now = entry.due
    assert waits == [60, 120, 240, 480, 960]


def test_who_waits_for_his_turn_leaves_no_trace_and_comes_back_just_then():
    entry = next_form(ENTRY, "this account takes 30 mails a minute: try again in 137 seconds", Cause.TURN)
    assert (entry.state, entry.due, entry.attempts, entry.events) == (State.QUEUED, BORN + 137, (), ())
    assert "137 seconds" in entry.reason
    assert next_form(ENTRY, "", Cause.TURN).due == BORN + 1


def test_a_mail_that_waits_for_its_turn_all_its_life_is_held_not_bounced():
    late = BORN + 432000
    assert next_form(ENTRY, "try again in 5 seconds", Cause.TURN, now=late).state is State.HELD
