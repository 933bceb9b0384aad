"""Second try: a mail that was refused for how it looks is tried once more in the other transfer encoding. Pure.

Trac's guide advises it: filters take a text that is base64 throughout for something to hide, and some take
quoted-printable for it. `retry_encoding` allows it; without, the history says what may help.
"""

from collections.abc import Sequence
from dataclasses import replace

from relay import mime
from relay.entry import Attempt, Cause, Disposition, Entry, Outcome
from relay.message import Message
from relay.policy import Policy
from relay.profiles import Chosen
from relay.refusals import About, about

RULE = "retry_encoding"
EVENT = "encoding"
"""The kind of the event that says so; its last word is the encoding."""
ADVICE = "the next hop suspects spam: another mime_encoding may help, or retry_encoding = true, which tries it once"


def suspected(outcome: Outcome) -> bool:
    """True for a recipient refused since the mail looks like spam."""
    refused = outcome.disposition is Disposition.REFUSED and outcome.cause is Cause.PEER
    return refused and about(outcome.reply) is About.SPAM


def asked_for(entry: Entry) -> str:
    """The encoding that this mail is to be tried in, "" for that of its profile."""
    return next((e.text.rpartition(" ")[2] for e in entry.events if e.kind == EVENT), "")


def spared(entry: Entry, policy: Policy | None, attempts: Sequence[Attempt]) -> list[Attempt]:
    """The attempts, with whom a first suspicion has refused deferred: once more, where the profile allows it."""
    if not policy or not policy.retry_encoding or entry.report or asked_for(entry):
        return list(attempts)
    return [replace(attempt, outcomes=tuple(map(_spared, attempt.outcomes))) for attempt in attempts]


def _spared(outcome: Outcome) -> Outcome:
    return replace(outcome, disposition=Disposition.DEFERRED, rule=RULE) if suspected(outcome) else outcome


def marked(entry: Entry, left: Message | None, attempts: Sequence[Attempt], now: float) -> Entry:
    """The entry, saying in which encoding it is tried once more, or what may help; `left` is the mail that left."""
    if entry.report or left is None:
        return entry
    outcomes = [outcome for attempt in attempts for outcome in attempt.outcomes]
    again = next((outcome for outcome in outcomes if outcome.rule == RULE), None)
    if again:
        other = "qp" if mime.encoding_of(left) == "base64" else "base64"
        return entry.with_event(now, EVENT, f"suspected of spam ({again.reply}): once more in {other}")
    if any(map(suspected, outcomes)) and not asked_for(entry):
        return entry.with_event(now, "advice", ADVICE)
    return entry


def chosen_for(chosen: Chosen, entry: Entry) -> Chosen:
    """The profile of a mail, with the encoding of its second try."""
    policy = chosen.profile.policy
    if not policy.retry_encoding or not (other := asked_for(entry)):
        return chosen
    return replace(chosen, profile=replace(chosen.profile, policy=replace(policy, mime_encoding=other)))
