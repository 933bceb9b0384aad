"""Promise 2 over random lives: every recipient ends exactly one way and is not tried again after that.

A life is the engine's road without I/O: prepare (a configuration that changes at random), the
recipients still unanswered, an attempt that ends at random, decide, and the clock that moves on.
"""

from collections import Counter
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from relay import retry
from relay.address import parse
from relay.entry import Attempt, Cause, Disposition, Entry, Outcome, State, decode, encode
from relay.mail import Envelope, Mail, Recipient
from relay.message import parse_bytes
from relay.reply import Reply
from relay.retry import RetryOptions, decide, unanswered

BORN = 1_700_000_000.0
ACCEPTED = tuple(Recipient.accepted(parse(f"r{n}@example.org")) for n in range(3))
ADDED = tuple(Recipient(parse(a), f"smtp_always_cc:{a}") for a in ("list@example.org", "r1@EXAMPLE.org"))
EVERYBODY = (*ACCEPTED, *ADDED)
MESSAGE = parse_bytes(b"Subject: x\r\n\r\n")

causes = st.sampled_from(Cause)
ends = st.one_of(
    st.just((Disposition.RELAYED, Cause.PEER, False)),
    st.just((Disposition.REFUSED, Cause.PEER, False)),
    st.tuples(st.just(Disposition.DEFERRED), causes, st.booleans()),
)
turns = st.fixed_dictionaries(
    {
        "named": st.sets(st.sampled_from(EVERYBODY), max_size=5),
        "dropped": st.sets(st.sampled_from(EVERYBODY), max_size=1),
        "ends": st.lists(ends, min_size=5, max_size=5),
        "late": st.floats(0, 3 * 86400),
        "jitter": st.floats(0, 1),
        "released": st.booleans(),
    }
)
schedules = st.builds(
    RetryOptions,
    first=st.floats(1, 7200),
    longest=st.floats(1, 7200),
    lifetime=st.floats(0, 10 * 86400),
    warn_after=st.none() | st.floats(0, 10 * 86400),
)


def an_outcome(recipient, end):
    disposition, cause, ambiguous = end
    reply = {
        Disposition.RELAYED: Reply(250, "2.0.0", "ok"),
        Disposition.REFUSED: Reply(550, "5.1.1", "no"),
        Disposition.DEFERRED: Reply(451, "4.0.0", "later"),
        Disposition.DROPPED: Reply(250, "2.0.0", "dropped"),
    }[disposition]
    return Outcome(
        recipient.origin,
        str(recipient.address),
        disposition,
        reply,
        cause=cause,
        ambiguous=ambiguous and disposition is Disposition.DEFERRED,
    )


@settings(max_examples=300, deadline=None)
@given(st.lists(turns, max_size=12), schedules, st.booleans())
def test_promise_2_every_recipient_ends_exactly_one_way(life, schedule, report):
    entry = Entry("1", BORN, Envelope(None, ACCEPTED), due=BORN, report=report, refused_paths=("x y",))
    now, reported, relayed = BORN, Counter(), Counter()
    for turn in life:
        if entry.state is State.HELD and turn["released"]:
            entry = replace(entry, state=State.QUEUED, due=now).with_event(now, "released", "")
        if entry.state is not State.QUEUED:
            break
        now = max(now, entry.due) + turn["late"]
        named = list({r.address.key: r for r in EVERYBODY if r in turn["named"]}.values())
        dropped = [r for r in EVERYBODY if r in turn["dropped"] and r not in named]
        mail = unanswered(entry, Mail(Envelope(None, tuple(named)), MESSAGE))
        tried = mail.envelope.recipients
        assert not {r.origin for r in tried} & {o.origin for o in entry.answered}
        outcomes = tuple(map(an_outcome, tried, turn["ends"]))
        relayed.update(parse(o.address).key for o in outcomes if o.disposition is Disposition.RELAYED)
        settled = [an_outcome(r, (Disposition.DROPPED, Cause.RULE, False)) for r in dropped]
        attempts = [Attempt(now, "up", outcomes)] if outcomes else []

        before = entry
        decision = decide(entry, attempts, settled, schedule, now=now, jitter=turn["jitter"])
        entry = decision.entry
        reported.update(o.origin for o in decision.failures)

        assert entry.answered[: len(before.answered)] == before.answered
        answered = Counter(o.origin for o in entry.answered)
        assert set(answered.values()) <= {1}
        assert all(o.disposition.final for o in entry.answered)
        open_ = {r.origin for r in (*tried, *dropped)} - answered.keys()
        assert (entry.state is State.DONE) == (not open_)
        new_events = {event.kind for event in entry.events[len(before.events) :]}
        assert (entry.state is State.HELD) == ("held" in new_events)
        if entry.state is State.QUEUED:
            assert now < entry.due <= now + schedule.longest
        if entry.state is State.HELD:
            assert entry.reason
        if report:
            assert not decision.failures
            assert not decision.delays
        assert decode(encode(entry)) == entry

    # Rules name a mailbox once per attempt; it gets the mail once, whatever its origin is called next time.
    assert all(count == 1 for count in relayed.values())
    assert all(count == 1 for count in reported.values())
    refused = {o.origin for o in entry.answered if o.disposition is Disposition.REFUSED}
    assert set(reported) == (set() if report else refused)
    assert sum(event.kind == "delayed" for event in entry.events) <= 1


@settings(max_examples=200, deadline=None)
@given(st.floats(1, 1e6), st.floats(1, 1e6), st.integers(1, 10_000), st.floats(0, 1))
def test_pauses_never_pass_longest_and_grow(first, longest, tries, jitter):
    schedule = RetryOptions(first=first, longest=longest)
    pause = retry.delay(tries, schedule, jitter)
    assert min(first, longest) <= pause <= longest
    assert retry.delay(tries + 1, schedule, jitter) >= pause


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1500), st.booleans()), max_size=120))
def test_what_an_entry_keeps_of_its_attempts_is_bounded(shapes):
    outcome = an_outcome(ACCEPTED[0], (Disposition.DEFERRED, Cause.PEER, False))
    attempts = tuple(
        Attempt(float(n), "up", (outcome,) * size + ((replace(outcome, ambiguous=True),) if ambiguous else ()))
        for n, (size, ambiguous) in enumerate(shapes)
    )
    kept = retry.trimmed(attempts)
    assert kept[:1] == attempts[:1]
    assert kept[-1:] == attempts[-1:]
    assert [a.at for a in kept] == sorted({a.at for a in kept})
    ambiguous = [a for a in attempts if any(o.ambiguous for o in a.outcomes)]
    assert all(a in kept for a in ambiguous)
    plain = [a for a in kept[1:] if a not in ambiguous]
    assert len(plain) <= retry.ATTEMPTS_KEPT
    assert sum(len(a.outcomes) for a in plain) <= retry.OUTCOMES_KEPT + 1501
