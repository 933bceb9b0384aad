"""Retry: what becomes of an entry once an attempt is over. `decide` in steps:

1. Keep every final answer; a recipient that has one is never asked about again (promise 2).
2. Nobody left without an answer: DONE.
3. A second ambiguous end for one recipient: HELD, a person must look whether the mail arrived (RFC 1047).
4. Lifetime over: HELD where the cause is ours to mend, else refused (RFC 5321 4.5.4.1).
5. Otherwise QUEUED for later, with one warning of the delay when it is asked for.

All times are wall-clock seconds since 1970, durations are seconds.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from relay.address import Address, AddressError, parse_path, without_brackets
from relay.dsn import mailbox
from relay.entry import Attempt, Cause, Disposition, Entry, Outcome, State
from relay.immutable import immutable
from relay.mail import Mail
from relay.options import address, at_least, duration, duration_or_off, option
from relay.refusals import asked_pause
from relay.reply import Reply

SPREAD = 0.2
"""How much longer than planned a pause may be, so that mail deferred together does not come back together."""
ATTEMPTS_KEPT = 50
"""The last attempts that an entry keeps besides its first and the ambiguous ones."""
OUTCOMES_KEPT = 2000
"""Outcomes within those last attempts: a mail to 1,000 recipients stays a row that a spool can bear."""
TEXT_KEPT = 1000
"""Characters of a peer's reply that an entry keeps."""


_PAUSE = at_least("1s")
"""A shorter one would be a busy loop."""


@dataclass(frozen=True, slots=True)
class RetryOptions:
    """[retry]: when mail that could not be relayed is tried again, and who hears when it never is."""

    first: float = option(
        60.0, "The pause before the first retry; it doubles with each further one.", _PAUSE, shown="1m"
    )
    longest: float = option(3600.0, "The longest pause between two attempts.", _PAUSE, shown="1h")
    lifetime: float = option(432000.0, "How long a mail is tried before it is refused or held.", duration, shown="5d")
    warn_after: float | None = option(
        None,
        "Report once that a mail is delayed, after this time; off sends no such report.",
        duration_or_off,
        shown="off",
    )
    report_to: Address | None = option(
        None, "Who gets the reports of failures; empty: the sender of the mail that left.", address, shown=""
    )


@immutable
class Decision:
    """What follows an attempt.

    `entry` is the entry's next form. `ruled` are the recipients that got their final answer from us,
    not from a peer (a rule, the lifetime), for the log. `failures` and `delays` are what a report
    must say; both are empty for a report of ours (promise 5).
    """

    entry: Entry
    ruled: tuple[Outcome, ...] = ()
    failures: tuple[Outcome, ...] = ()
    delays: tuple[Outcome, ...] = ()


def decide(
    entry: Entry,
    attempts: Sequence[Attempt],
    settled: Sequence[Outcome],
    schedule: RetryOptions,
    *,
    now: float,
    jitter: float,
) -> Decision:
    """The entry's next form after these attempts, made at about `now`; `jitter` is from 0 to 1.

    `settled` are the recipients that rules answered for. A recipient that neither attempts nor
    rules name any more (the configuration changed) is not waited for.
    """
    by_rule = [*settled, *refused_paths(entry)]
    answers = _answers(entry, [*by_rule, *(o for attempt in attempts for o in attempt.outcomes)])
    open_ = _unanswered(entry, attempts, answers)
    before = {o.origin for attempt in entry.attempts for o in attempt.outcomes if o.ambiguous}
    twice = [o for o in open_ if o.ambiguous and o.origin in before]
    expired = _expired(entry, open_, schedule, now) if not twice else []
    answers = [*answers, *expired]
    gone = {outcome.origin for outcome in expired}
    open_ = [outcome for outcome in open_ if outcome.origin not in gone]

    answered = (*entry.answered, *map(_shortened, answers))
    tried = trimmed((*entry.attempts, *(_short_attempt(a) for a in attempts if not lines_up(a))))
    ours = {*expired, *by_rule}
    ruled = tuple(o for o in answers if o in ours) if ours else ()
    failures = () if entry.report else tuple(o for o in answers if o.disposition is Disposition.REFUSED)
    if not open_:
        done = entry.but(answered=answered, attempts=tried, state=State.DONE, reason="", done_at=now)
        return Decision(_without_recipient(done, now), ruled, failures)
    following = entry.but(answered=answered, attempts=tried)
    decision = Decision(following, ruled, failures)
    if twice:
        return replace(decision, entry=held(following, _ambiguous_reason(twice), now))
    if now >= life_ends(entry, schedule):
        return replace(decision, entry=held(following, _mend_reason(open_, schedule), now))
    return _later(decision, open_, schedule, now, jitter)


def refused_paths(entry: Entry) -> list[Outcome]:
    """The RCPT arguments that the listener refused, as refused recipients of the mail they came with."""
    return [
        Outcome(
            f"refused:{path}",
            without_brackets(path),
            Disposition.REFUSED,
            _refusal_of(path),
            cause=Cause.RULE,
            rule="path",
        )
        for path in entry.refused_paths
    ]


def _refusal_of(path: str) -> Reply:
    try:
        parse_path(path.encode("utf-8", "surrogatepass"))
    except AddressError:
        return Reply(553, "5.1.3", "not an address")
    return Reply(550, "5.7.1", "the listener does not take it from this client, or not with these parameters")


def unanswered(entry: Entry, mail: Mail) -> Mail:
    """The mail for those of its recipients that have no answer yet.

    A mailbox that already has this mail under another origin (the configuration named it anew) does
    not get it again.
    """
    if not entry.answered:
        return mail
    known = {outcome.origin for outcome in entry.answered}
    reached = {mailbox(o.address) for o in entry.answered if o.disposition is Disposition.RELAYED}
    left = (r for r in mail.envelope.recipients if r.origin not in known and r.address.key not in reached)
    return mail.to(*left)


def delay(tries: int, schedule: RetryOptions, jitter: float) -> float:
    """The pause after that many failed tries, one or more: `first`, doubled each time, never above `longest`."""
    ceiling = max(schedule.first, schedule.longest / (1 + SPREAD))
    planned = min(schedule.first * 2.0 ** min(tries - 1, 64), ceiling)
    return min(planned * (1 + SPREAD * jitter), schedule.longest)


def trimmed(attempts: tuple[Attempt, ...]) -> tuple[Attempt, ...]:
    """The first, the ambiguous and the last attempts: what an entry keeps of five days of trying."""
    kept = outcomes = 0
    for attempt in reversed(attempts):
        outcomes += len(attempt.outcomes)
        if kept and (kept == ATTEMPTS_KEPT or outcomes > OUTCOMES_KEPT):
            break
        kept += 1
    older, last = attempts[: len(attempts) - kept], attempts[len(attempts) - kept :]
    return (*older[:1], *(a for a in older[1:] if any(o.ambiguous for o in a.outcomes)), *last)


def in_words(seconds: float) -> str:
    """A duration as config.ini writes it: 432000 is 5d."""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length and seconds % length == 0:
            return f"{seconds / length:.0f}{unit}"
    return f"{seconds:g}s"


def _answers(entry: Entry, outcomes: Iterable[Outcome]) -> list[Outcome]:
    """The final outcomes among these of recipients not answered for yet: the first answer of each counts."""
    known = {outcome.origin for outcome in entry.answered}
    new: list[Outcome] = []
    for outcome in outcomes:
        if outcome.disposition.final and outcome.origin not in known:
            known.add(outcome.origin)
            new.append(outcome)
    return new


def _unanswered(entry: Entry, attempts: Sequence[Attempt], answers: Sequence[Outcome]) -> list[Outcome]:
    """The deferred outcome of each recipient that has no answer.

    Where several next hops were tried, the last one's; but rather one that a person at our side can
    cure: as long as there is something to mend, nothing is bounced.
    """
    known = {outcome.origin for outcome in (*entry.answered, *answers)}
    last: dict[str, Outcome] = {}
    for outcome in (o for attempt in attempts for o in attempt.outcomes if o.origin not in known):
        before = last.get(outcome.origin, outcome)
        if outcome.cause.ours_to_mend or not before.cause.ours_to_mend:
            last[outcome.origin] = outcome
    return list(last.values())


def _since(entry: Entry) -> float:
    """When this mail's life began: as it was accepted, or anew when a person released it."""
    released = (event.at for event in entry.events if event.kind == "released")
    return max((entry.received_at, *released))


def life_ends(entry: Entry, schedule: RetryOptions) -> float:
    """Until when this mail is tried, seconds since 1970."""
    return _since(entry) + schedule.lifetime


def _expired(entry: Entry, open_: Sequence[Outcome], schedule: RetryOptions, now: float) -> list[Outcome]:
    """At lifetime's end: the recipients whose last cause nobody at our side can mend, as refused."""
    if now < life_ends(entry, schedule):
        return []
    return [
        replace(
            outcome,
            disposition=Disposition.REFUSED,
            reply=Reply(550, "5.4.7", f"not delivered within {in_words(schedule.lifetime)}; at last: {outcome.reply}"),
            rule="lifetime",
            ambiguous=False,
        )
        for outcome in open_
        if not outcome.cause.ours_to_mend
    ]


def _without_recipient(done: Entry, now: float) -> Entry:
    """Its history says so when no rule has left it anybody to go to."""
    if done.attempts or any(o.disposition is not Disposition.DROPPED for o in done.answered):
        return done
    return done.with_event(now, "done", "no recipient")


def held(entry: Entry, reason: str, now: float) -> Entry:
    """The entry as HELD: it waits for a person, who reads `reason`."""
    return replace(entry, state=State.HELD, reason=reason).with_event(now, "held", reason)


def postponed(entry: Entry, reason: str, schedule: RetryOptions, now: float) -> Entry:
    """The entry a first pause later, since the spool could not be read; HELD when its life is over."""
    if now >= life_ends(entry, schedule):
        return held(entry, reason, now)
    return replace(entry, due=now + schedule.first).with_event(now, "deferred", reason)


def _ambiguous_reason(twice: Sequence[Outcome]) -> str:
    return (
        f"twice the connection broke after the whole mail was sent, so {_names(twice)} may have it already;"
        " ask there, then release or drop it"
    )


def _mend_reason(open_: Sequence[Outcome], schedule: RetryOptions) -> str:
    last = open_[-1]
    return (
        f"not delivered to {_names(open_)} within {in_words(schedule.lifetime)}, and the cause is at our side"
        f" ({last.cause}): {last.reply}; correct it, then release the mail"
    )


def _names(outcomes: Sequence[Outcome]) -> str:
    more = f" and {len(outcomes) - 3} more" if len(outcomes) > 3 else ""
    return ", ".join(outcome.address for outcome in outcomes[:3]) + more


def _later(decision: Decision, open_: Sequence[Outcome], schedule: RetryOptions, now: float, jitter: float) -> Decision:
    """QUEUED again. The last try is at lifetime's end, not up to `longest` after it."""
    entry, since = decision.entry, _since(decision.entry)
    due = now + _pause_before(entry, open_, since, schedule, jitter)
    # A clock that was set back shows a life that has not begun: its end is no bound then.
    if since <= now:
        due = min(due, life_ends(entry, schedule))
    waiting = replace(decision, entry=replace(entry, state=State.QUEUED, reason=_reason(open_), due=due))
    if entry.report or schedule.warn_after is None or now - since < schedule.warn_after:
        return waiting
    if any(event.kind == "delayed" and _in_life(event.at, entry, since) for event in entry.events):
        return waiting
    text = f"not delivered for {in_words(schedule.warn_after)}: {_names(open_)}"
    return replace(waiting, entry=waiting.entry.with_event(now, "delayed", text), delays=tuple(open_))


def _in_life(at: float, entry: Entry, since: float) -> bool:
    """Whether that was in the life that began then. A clock set back puts things before the first one they are of."""
    return at >= since or since == entry.received_at


def _pause_before(entry: Entry, open_: Sequence[Outcome], since: float, schedule: RetryOptions, jitter: float) -> float:
    """The pause of the schedule; not shorter than any of these asks for; exactly that where they only line up."""
    asked = max(asked_pause(outcome.reply) or 1.0 for outcome in open_)
    if all(outcome.cause is Cause.TURN for outcome in open_):
        return min(asked, schedule.longest)
    return min(max(delay(_tries(entry, open_, since), schedule, jitter), asked), schedule.longest)


def lines_up(attempt: Attempt) -> bool:
    """True for an attempt that never was one: the next hop's limits let it wait for its turn."""
    return bool(attempt.outcomes) and all(outcome.cause is Cause.TURN for outcome in attempt.outcomes)


def _reason(open_: Sequence[Outcome]) -> str:
    """Why the mail still waits, for listings: the last deferral."""
    last = open_[-1]
    return f"{last.address}: {_shortened(last).reply}"


def _tries(entry: Entry, open_: Sequence[Outcome], since: float) -> int:
    """How often the recipient that waits longest was tried in vain; next hops tried in turn count once."""
    waiting = {outcome.origin for outcome in open_}
    counts: Counter[tuple[str, str]] = Counter()
    for attempt in entry.attempts:
        if _in_life(attempt.at, entry, since):
            origins = {outcome.origin for outcome in attempt.outcomes} & waiting
            counts.update((origin, attempt.upstream) for origin in origins)
    # None is counted where a clock set back shows the try of just now before the life that it is of.
    return max(counts.values(), default=1)


def _shortened(outcome: Outcome) -> Outcome:
    reply = outcome.reply
    if len(reply.text) <= TEXT_KEPT:
        return outcome
    return replace(outcome, reply=replace(reply, text=reply.text[:TEXT_KEPT] + "..."))


def _short_attempt(attempt: Attempt) -> Attempt:
    outcomes = tuple(map(_shortened, attempt.outcomes))
    return attempt if outcomes == attempt.outcomes else replace(attempt, outcomes=outcomes)
