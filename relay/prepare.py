"""Prepare: an entry becomes its routed, rewritten mails. Pure: every attempt repeats it.

So a corrected rule or password applies to what is queued already, and a crash between two attempts
loses nothing.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from relay import mime
from relay.address import Address
from relay.changelines import change_lines
from relay.dialects import Facts, Text, facts_of
from relay.entry import Cause, Disposition, Entry, Outcome
from relay.headers import as_looked_for, mark, without_prefix
from relay.immutable import immutable
from relay.mail import Dropped, Mail, Note, Recipient, Refusal
from relay.message import Body, Message, parse
from relay.people import Users
from relay.policy import DEFAULT_PREFIX, Context, Stamp
from relay.profiles import Chosen, Profile, choose
from relay.recipients import suppress
from relay.reply import Reply
from relay.rewrite import steps
from relay.routes import Rule, routed
from relay.routing import Route
from relay.secondtry import chosen_for


@dataclass(frozen=True, slots=True)
class Setting:
    """The part of the configuration that decides about mail. `hostname` stands in trace fields."""

    profiles: tuple[Profile, ...]
    hostname: str
    gateway_id: str
    catch_all: tuple[Address, ...] = ()
    users: Users = Users()
    routes: tuple[Rule, ...] = ()
    suppressed: frozenset[tuple[str, str]] = frozenset()
    """Keys of dead addresses: an administrator's list, not the configuration's."""
    prefixes: tuple[str, ...] = field(init=False)
    """What we may have put in front of a Subject, as it is looked for."""

    def __post_init__(self) -> None:
        configured = {profile.policy.smtp_subject_prefix for profile in self.profiles} - {DEFAULT_PREFIX}
        object.__setattr__(self, "prefixes", as_looked_for(configured))


@immutable
class Prepared:
    """What is to be tried, and what rules have already decided.

    `settled` are final outcomes that need no attempt: recipients dropped or refused by a named rule.
    """

    routed: tuple[tuple[Route, Mail], ...]
    settled: tuple[Outcome, ...] = ()
    notes: tuple[Note, ...] = ()
    reverse_path: Address | None = None
    """The sender that the rules decided on: who hears of a mail that never reached a route."""
    project: str = ""
    ticket: str = ""
    chosen: Chosen | None = None
    """Whose mail it turned out to be."""
    changes: tuple[str, ...] = ()
    """What each rule did to the header, a line each."""


@immutable
class Reading:
    """What an entry's octets say, read once for all that is decided about it."""

    entry: Entry
    message: Message
    chosen: Chosen
    facts: Facts

    @property
    def profile(self) -> Profile:
        """Whose mail it is."""
        return self.chosen.profile


def read(entry: Entry, body: Body, setting: Setting) -> Reading:
    """Read an entry: its message, its profile, and what the tracker's dialect tells."""
    message = parse(body)
    facts = Facts() if entry.report else _facts(message, setting, lambda: mime.text_of(message))
    chosen = chosen_for(choose(setting.profiles, entry, message, facts), entry)
    return Reading(entry, message, chosen, facts)


def prepare(entry: Entry, body: Body, setting: Setting, *, first_of_event: bool = True) -> Prepared:
    """Rewrite and route one entry. Raises RuleError when a rule fails on it."""
    return prepare_read(read(entry, body, setting), setting, first_of_event=first_of_event)


def prepare_read(reading: Reading, setting: Setting, *, first_of_event: bool) -> Prepared:
    """`prepare` of an entry that was read before."""
    entry, profile = reading.entry, reading.profile
    mail = Mail(entry.envelope, reading.message)
    if entry.report:
        marked = mail.with_message(mark(mail.message, setting.gateway_id, entry.id))
        mail = suppress(marked, context_of(reading, setting))
        return Prepared(routes_of(mail, reading, setting), _dropped(mail.dropped), chosen=reading.chosen)
    if not profile.policy.smtp_enabled:
        dropped = (Dropped(r, "smtp_enabled", "smtp_enabled is false") for r in entry.envelope.recipients)
        return Prepared((), _dropped(dropped), chosen=reading.chosen)
    context = context_of(reading, setting, first_of_event=first_of_event)
    passed = steps(mail, context)
    changed = change_lines(mail, passed)
    mail = passed[-1][1]
    settled = _dropped(mail.dropped)
    if mail.refusal:
        settled += _refused(mail.envelope.recipients, mail.refusal)
        mail = mail.to()
    return Prepared(
        routes_of(mail, reading, setting),
        settled,
        mail.notes,
        mail.envelope.reverse_path,
        context.project[:100],
        context.facts.ticket[:100],
        reading.chosen,
        changed,
    )


def routes_of(mail: Mail, reading: Reading, setting: Setting) -> tuple[tuple[Route, Mail], ...]:
    """Where a rewritten mail goes, and to whom there."""
    return tuple(routed(mail, setting.routes, reading.profile, reading.entry.id))


def event_key(reading: Reading) -> str:
    """What the mails of one event have in common, "" when it does not matter.

    Redmine, Bugzilla and GitLab send a mail per person, Trac one per format: what a policy adds goes
    out with the first of them only. It is profile, tracker, ticket and the number of the comment or
    journal entry, else the kind of event and the Date.
    """
    policy, facts = reading.profile.policy, reading.facts
    adds = (
        policy.smtp_always_cc or policy.smtp_always_bcc or policy.always_notify_reporter or policy.always_notify_owner
    )
    if not (adds or policy.always_notify_updater is not False) or policy.rewrite == "off":
        return ""
    if not facts.recognised or not facts.ticket:
        return ""
    what = facts.event_key or f"{facts.event}:{reading.message.text('date')}"
    return "\0".join((reading.profile.name, facts.tracker, facts.project, facts.ticket, what))


def context_of(reading: Reading, setting: Setting, *, first_of_event: bool = True) -> Context:
    """What the rules may look at for this entry; the same for each of its attempts."""
    entry = reading.entry
    stamp = Stamp(
        entry.id,
        entry.received_at,
        setting.hostname,
        setting.gateway_id,
        client=entry.client.address,
        helo=entry.client.helo,
        protocol=entry.client.protocol,
        uid=entry.client.uid,
    )
    return Context(
        reading.profile.policy,
        reading.facts,
        stamp,
        setting.catch_all,
        setting.users,
        first_of_event,
        setting.suppressed,
    )


def _dropped(dropped: Iterable[Dropped]) -> tuple[Outcome, ...]:
    return tuple(
        Outcome(
            d.recipient.origin,
            str(d.recipient.address),
            Disposition.DROPPED,
            Reply(250, "2.0.0", f"dropped by {d.rule}: {d.reason}"),
            cause=Cause.RULE,
            rule=d.rule,
        )
        for d in dropped
    )


def _refused(recipients: Iterable[Recipient], refusal: Refusal) -> tuple[Outcome, ...]:
    reply = Reply(554, refusal.status, f"refused by rule {refusal.rule}: {refusal.text}")
    return tuple(
        Outcome(r.origin, str(r.address), Disposition.REFUSED, reply, cause=Cause.RULE, rule=refusal.rule)
        for r in recipients
    )


def hint(entry: Entry, message: Message, setting: Setting) -> Chosen:
    """Whose mail this seems to be, by its header alone: where a new entry stands in line. `prepare` decides."""
    if len(setting.profiles) == 1:
        return Chosen(setting.profiles[0], "")
    return choose(setting.profiles, entry, message, _facts(message, setting, lambda: ""))


def _facts(message: Message, setting: Setting, text: Text) -> Facts:
    """What the mail says: what a configured prefix says in its Subject, `[Site-7]`, is no word of the tracker's."""
    return facts_of(without_prefix(message, setting.prefixes) if setting.prefixes else message, text)
