"""`explain`: the mail as it would leave, rule by rule, and for each recipient why he gets it or not. Sends nothing."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from relay import mailboxes, namedfile, prepare, rewrite
from relay.address import Address, AddressError, parse_path
from relay.changelines import changed_fields
from relay.entry import Client, Entry
from relay.errors import RelayError
from relay.journal import escaped
from relay.mail import Envelope, Mail, Recipient
from relay.message import Body, BytesBody, Message, parse
from relay.prepare import Setting
from relay.profiles import Chosen, Profile
from relay.recipients import suppress
from relay.routing import Route, Upstream

CLIENT = Client("127.0.0.1", "explain")
"""Who sends a mail that nobody sends."""
_ID = "0" * 15
"""The id of a mail that is in no spool."""


@dataclass(frozen=True, slots=True)
class Explained:
    """One mail's way through the rules: the profile, the mail after each rule, what rules refused."""

    entry: Entry
    chosen: Chosen
    context: rewrite.Context
    before: Mail
    steps: list[tuple[str, Mail]]
    refused_paths: tuple[str, ...] = ()
    routed: tuple[tuple[Route, Mail], ...] = ()
    """Where it goes, and to whom there."""

    @property
    def profile(self) -> Profile:
        """Whose mail it is."""
        return self.chosen.profile

    @property
    def after(self) -> Mail:
        """The mail as it leaves."""
        return self.steps[-1][1] if self.steps else self.before


def explain(
    octets: bytes,
    sender: str | None,
    recipients: Sequence[str],
    setting: Setting,
    now: float,
    *,
    client: Client = CLIENT,
) -> Explained:
    """Take a mail through the rules as the daemon would. Paths that do not parse stand in `refused_paths`.

    `client` is who would have sent it: a profile may be chosen by its listener or user. Without
    recipients those that To, Cc and Bcc name are taken, without a sender the one of From.
    """
    body = BytesBody(_canonical(octets))
    message = parse(body)
    good: list[Address] = []
    bad: list[str] = []
    for path in recipients or _named(message, "to", "cc", "bcc"):
        try:
            address, _ = parse_path(b"<" + path.encode("utf-8", "surrogateescape") + b">")
            (good.append(address) if address else bad.append(path))
        except AddressError:
            bad.append(path)
    reverse = _sender(message, sender)
    unique = {address.key: Recipient.accepted(address) for address in good}
    entry = Entry(_ID, now, Envelope(reverse, tuple(unique.values())), client=client)
    return replace(explain_entry(entry, body, setting), refused_paths=tuple(bad))


def explain_entry(entry: Entry, body: Body, setting: Setting, *, first_of_event: bool = True) -> Explained:
    """An entry's way through the rules, as its next attempt takes it. Raises RuleError when a rule fails on it."""
    reading = prepare.read(entry, body, setting)
    context = prepare.context_of(reading, setting, first_of_event=first_of_event)
    before = Mail(entry.envelope, reading.message)
    ruled = reading.chosen.profile.policy.smtp_enabled and not entry.report
    steps = rewrite.steps(before, context) if ruled else []
    if entry.report and context.suppressed:
        steps = [("suppress", suppress(before, context))]
    explained = Explained(entry, reading.chosen, context, before, steps)
    leaves = (ruled or entry.report) and not explained.after.refusal
    return replace(explained, routed=prepare.routes_of(explained.after, reading, setting) if leaves else ())


def _canonical(octets: bytes) -> bytes:
    """Line ends as the listener would have made them."""
    return octets.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def _named(message: Message, *names: str) -> list[str]:
    return [str(box.address) for box in mailboxes.written(message, *names) if box.address]


def _sender(message: Message, sender: str | None) -> Address | None:
    if sender is None:
        sender = next(iter(_named(message, "from")), "")
    try:
        return parse_path(b"<" + sender.encode() + b">")[0]
    except AddressError as fault:
        raise RelayError(f"{sender!r} is no sender address: {fault}") from fault


def recipients_of(explained: Explained) -> list[dict[str, str]]:
    """Each recipient, what becomes of him, and why."""
    rows: list[dict[str, str]] = []
    if not explained.profile.policy.smtp_enabled:
        return [_row(r, "dropped", "smtp_enabled is false") for r in explained.before.envelope.recipients]
    refusal = explained.after.refusal
    for recipient in explained.after.envelope.recipients:
        if refusal:
            rows.append(_row(recipient, "refused", f"rule {refusal.rule}: {refusal.status} {refusal.text}"))
        else:
            rows.append(_row(recipient, "gets it", _why(recipient.origin)))
    rows += [_row(d.recipient, "dropped", f"rule {d.rule}: {d.reason}") for d in explained.after.dropped]
    rows += [
        {"address": path, "outcome": "refused", "why": "not an address (553 5.1.3 at RCPT)"}
        for path in explained.refused_paths
    ]
    return rows


def _row(recipient: Recipient, outcome: str, why: str) -> dict[str, str]:
    return {"address": str(recipient.address), "outcome": outcome, "why": why}


def _why(origin: str) -> str:
    kind, _, given = origin.partition(":")
    return f"the tracker asked for {given}" if kind == "rcpt" else f"{kind} = {given}"


def changes_of(explained: Explained) -> list[dict[str, Any]]:
    """Rule by rule: the header lines that went and came, envelope changes, notes."""
    rows: list[dict[str, Any]] = []
    mail = explained.before
    for name, after in explained.steps:
        gone, come = changed_fields(mail.message.fields, after.message.fields)
        row = {
            "rule": name,
            "removed": [_line(field.raw) for field in gone],
            "added": [_line(field.raw) for field in come],
            "envelope": _envelope_change(mail, after),
            "body": "changed" if after.message.body is not mail.message.body else "",
            "notes": [escaped(note.text) for note in after.notes[len(mail.notes) :]],
        }
        rows.append(row)
        mail = after
    return rows


def _line(raw: bytes) -> str:
    return escaped(" ".join(raw.decode("utf-8", "replace").split()))


def _envelope_change(old: Mail, new: Mail) -> list[str]:
    found: list[str] = []
    before, after = ([str(r.address) for r in m.envelope.recipients] for m in (old, new))
    if (a := old.envelope.reverse_path) != (b := new.envelope.reverse_path):
        found.append(f"from <{a or ''}> to <{b or ''}>")
    found += [f"without {address}" for address in before if address not in after]
    found += [f"with {address}" for address in after if address not in before]
    return found


def as_text(explained: Explained) -> str:
    """For a person."""
    facts = explained.context.facts
    lines = [f"profile: {explained.chosen}", *_ways(explained)]
    lines += [f"tracker: {facts.tracker or 'none that is known'}"]
    lines += [f"project: {explained.context.project or '(none)'}", f"ticket: {facts.ticket or '(none)'}"]
    people = {"reporter": facts.reporter, "owner": facts.owner, "updater": facts.updater}
    unproven = " (a user may have written that)"
    lines += [f"{n}: {escaped(p.shown)}{unproven if p.imitable else ''}" for n, p in people.items() if p]
    lines += ["", "recipients:"]
    rows = recipients_of(explained)
    lines += [f"  {escaped(row['address'])}: {row['outcome']}, {escaped(row['why'])}" for row in rows]
    lines += [] if rows else ["  nobody"]
    lines += ["", "rules:"]
    for row in changes_of(explained):
        told = [f"    - {text}" for text in row["removed"]] + [f"    + {text}" for text in row["added"]]
        told += [f"    envelope {text}" for text in row["envelope"]] + [f"    note: {text}" for text in row["notes"]]
        told += ["    body re-encoded"] if row["body"] else []
        lines += [f"  {row['rule']}{'' if told else ': nothing to do'}", *told]
    return "\n".join(lines)


def _ways(explained: Explained) -> list[str]:
    """Where it goes; recipient by recipient where a [route:NAME] or direct delivery parts them."""
    if not any(route.name or route.domain for route, _ in explained.routed):
        return [f"goes to: {_places(explained.profile.upstreams)}"]
    lines: list[str] = ["goes to:"]
    for route, part in explained.routed:
        who = ", ".join(escaped(str(r.address)) for r in part.envelope.recipients)
        by = f"by [route:{route.name}] " if route.name else ""
        lines.append(f"  {who}: {by}to {_places(route.candidates)}")
    return lines


def _places(upstreams: Sequence[Upstream]) -> str:
    return ", else to ".join(f"{up}, weight {up.weight}" if up.weight else str(up) for up in upstreams)


def as_json(explained: Explained) -> str:
    """For a program: profile and why it is that one, its next hops by name, each recipient's, facts, rules, mail.

    The mail is in Latin-1, one character an octet.
    """
    facts = explained.context.facts
    reverse = explained.after.envelope.reverse_path
    form = {
        "profile": explained.profile.name,
        "why": explained.chosen.why,
        "upstreams": [upstream.name for upstream in explained.profile.upstreams],
        "routes": [
            {
                "route": route.name,
                "upstreams": [upstream.name for upstream in route.candidates],
                "domain": route.domain,
                "recipients": [str(r.address) for r in part.envelope.recipients],
            }
            for route, part in explained.routed
        ],
        "tracker": facts.tracker,
        "project": explained.context.project,
        "ticket": facts.ticket,
        "people": {
            name: person.shown
            for name, person in (("reporter", facts.reporter), ("owner", facts.owner), ("updater", facts.updater))
            if person
        },
        "from": None if reverse is None else str(reverse),
        "recipients": recipients_of(explained),
        "rules": changes_of(explained),
        "mail": bytes(explained.after.message).decode("latin-1"),
    }
    return json.dumps(form, indent=1, ensure_ascii=False)


def envelope_file(path: Path) -> tuple[str | None, list[str]]:
    """Sender and recipients out of `{"mail_from": ..., "rcpt_tos": [...]}`, alone or under "envelope".

    A sender that is null is the null reverse-path, one that is not there None.
    Raises RelayError for what is no envelope; OSError.
    """
    try:
        form = json.loads(namedfile.read(path, pipes=True))
        form = form.get("envelope", form)
        named = next((name for name in ("mail_from", "from") if name in form), "")
        sender = ("" if form[named] is None else form[named]) if named else None
        recipients = form.get("rcpt_tos", form.get("to", []))
        if sender is not None and not isinstance(sender, str):
            raise TypeError("mail_from is a string or null")
        if not isinstance(recipients, list) or not all(isinstance(r, str) for r in recipients):
            raise TypeError("recipients are a list of strings")
    except (ValueError, TypeError, AttributeError, RecursionError) as fault:
        raise RelayError(f"{path}: no envelope: {fault}") from fault
    return sender, list(recipients)
