"""Delivery status notifications: compose our reports of failure and delay (RFC 3461 6, 3462, 3464, 6533).

A report is three parts: words for a person, the same for a program, and the header of the mail it
is about, without the fields that could name a hidden recipient (promise 4). It is 7-bit, its lines
are short, and what a peer or a mail said stands in it without control characters.
"""

import binascii
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from enum import StrEnum
from functools import lru_cache

from relay import encoded_word
from relay.address import Address, AddressError, ascii_domain, parse, without_brackets
from relay.entry import Cause, Entry, Outcome
from relay.mail import HIDING_FIELDS
from relay.message import Message

HEADER_KEPT = 16384
"""Octets of the original header that a report carries at most."""
TEXT_KEPT = 500
"""Characters of a peer's reply that a report repeats."""
TEXT_KEPT_OF_MANY = 100
"""The same when there are more than NAMED of them: a report stays within 500 octets for each."""
NAMED = 50
"""Recipients that the part for people names; the part for programs has them all."""

_LAST_SECOND = 253402300799
"""The end of the year 9999, beyond which no date can be written."""


class Action(StrEnum):
    """What a report says of its recipients (RFC 3464 2.3.3)."""

    FAILED = "failed"
    DELAYED = "delayed"


@dataclass(frozen=True, slots=True)
class Stamp:
    """What makes a report this one: its id, who sends it from where to whom, and when.

    `hostname` is the reporting MTA's name; `now` and `retry_until` are seconds since 1970.
    """

    id: str
    to: Address
    sender: Address
    hostname: str
    now: float
    retry_until: float = 0.0

    @property
    def message_id(self) -> str:
        """The report's own Message-ID."""
        return f"<{self.id}@{_host(self.hostname)}>"


def report_key(action: Action, to: Address, outcome: Outcome) -> str:
    """Under what a report is remembered, so that there is one per reader, recipient, cause and day."""
    cause = f"{outcome.cause}:{outcome.rule or outcome.reply.status_or_default}"
    return f"report:{action}:{'@'.join(to.key)}:{'@'.join(mailbox(outcome.address))}:{cause}"


def subject(action: Action, outcomes: Sequence[Outcome]) -> str:
    """The Subject of a report: ASCII, short, naming the recipient when there is just one."""
    verb = "Not delivered" if action is Action.FAILED else "Delayed"
    name = outcomes[0].address
    if len(outcomes) == 1 and re.fullmatch(r"[!-~]{1,60}", name):
        return f"{verb}: mail to {name}"
    return f"{verb}: mail to {len(outcomes)} recipient{'s' * (len(outcomes) > 1)}"


def compose(action: Action, entry: Entry, outcomes: Sequence[Outcome], original: Message, stamp: Stamp) -> bytes:
    """The whole report on these recipients of `entry`, CRLF at every line's end.

    `original` is the mail as it left, or as it came when it never got so far. The only octets above
    127 are those of a reader's own address that is not ASCII (then the report needs SMTPUTF8).
    """
    parts = (
        _text_part("text/plain", "Notification", _words(action, entry, outcomes, original, stamp)),
        _part("message/delivery-status", "Delivery report", "7bit", _status(action, entry, outcomes, stamp)),
        _text_part("text/rfc822-headers", "Header of the mail", _quoted_header(original)),
    )
    boundary = f"=_{stamp.id}"
    while any(boundary.encode() in part for part in parts):
        boundary += "_"
    mark = f"--{boundary}".encode()
    body = b"".join(mark + b"\r\n" + part + b"\r\n" for part in parts)
    return _header(action, outcomes, stamp, boundary) + b"\r\n" + body + mark + b"--\r\n"


def _header(action: Action, outcomes: Sequence[Outcome], stamp: Stamp, boundary: str) -> bytes:
    fields = (
        f"From: Mail Delivery System <{stamp.sender.wire_form}>",
        f"To: <{stamp.to.wire_form}>",
        f"Subject: {subject(action, outcomes)}",
        f"Date: {_date(stamp.now)}",
        f"Message-ID: {stamp.message_id}",
        "Auto-Submitted: auto-replied",
        "MIME-Version: 1.0",
        f'Content-Type: multipart/report; report-type=delivery-status;\r\n boundary="{boundary}"',
    )
    return "".join(field + "\r\n" for field in fields).encode("utf-8")


# --- the part for people ---------------------------------------------------------------------------


def _words(action: Action, entry: Entry, outcomes: Sequence[Outcome], original: Message, stamp: Stamp) -> bytes:
    """What happened, to whom, why, and what to do about it."""
    title = printable(encoded_word.decode(original.text("subject")), 200)
    about = f'"{title}"' if title else "A mail without a subject"
    lines = [f"This is the mail relay tracker-relay at {_host(stamp.hostname)}.", ""]
    if action is Action.FAILED:
        lines += textwrap.wrap(f"{about} could not be delivered to:", 76)
    else:
        lines += textwrap.wrap(f"{about} could not be delivered yet to:", 76)
    for outcome in outcomes[:NAMED]:
        lines += ["", f"  {printable(outcome.address, 320)}", *_reasons(action, outcome)]
    if len(outcomes) > NAMED:
        lines += ["", f"  and {len(outcomes) - NAMED} more; the delivery report below names them all."]
    lines += ["", *textwrap.wrap(_prospect(action, stamp), 76), ""]
    lines += [f"Accepted: {_date(entry.received_at)}", f"Relay id: {entry.id} (tracker-relay trace {entry.id})"]
    return "\r\n".join(lines).encode("utf-8") + b"\r\n"


def _reasons(action: Action, outcome: Outcome) -> Iterator[str]:
    said = printable(str(outcome.reply), TEXT_KEPT)
    if outcome.rule:
        why = f"By rule {outcome.rule}: {said}"
    elif outcome.cause is Cause.PEER and outcome.host:
        why = f"{printable(outcome.host, 200)} said: {said}"
    else:
        why = said
    yield from textwrap.wrap(why, 76, initial_indent="    ", subsequent_indent="    ")
    if action is Action.FAILED:
        yield from textwrap.wrap(advice(outcome), 76, initial_indent="    ", subsequent_indent="    ")


def _prospect(action: Action, stamp: Stamp) -> str:
    if action is Action.FAILED:
        return "It will not be tried again for them. Recipients that are not named here are not affected."
    until = f" until {_date(stamp.retry_until)}" if stamp.retry_until else ""
    return f"Nothing needs to be done: it is tried again{until}."


_ADVICE = (
    ("5.1.3", "This is no mail address: correct it where the tracker keeps it."),
    ("5.1.8", "The next hop does not accept our sender address: check smtp_from."),
    ("5.1.7", "The next hop does not accept our sender address: check smtp_from."),
    ("5.1.", "The address seems to be wrong or gone: correct it where the tracker keeps it (user, ticket, always_cc)."),
    ("5.2.2", "The mailbox is full: its owner has to make room."),
    ("5.2.3", "The mail is too large for this mailbox: send a link instead of the attachment."),
    ("5.2.", "The mailbox does not take mail now: ask its owner or its provider."),
    ("5.3.4", "The mail is too large for the next hop: send a link instead of the attachment."),
    ("5.4.7", "No try succeeded in the whole time allowed: look at the last answer above, then send it again."),
    ("5.6.", "The form of the mail is not accepted there: see mime_encoding, or ask the postmaster of that host."),
    ("5.7.", "The next hop forbids it (policy or suspected spam): show its postmaster the answer above."),
)


def advice(outcome: Outcome) -> str:
    """What a person can do about this failure, in one sentence."""
    status = _status_code(Action.FAILED, outcome)
    if outcome.rule == "path" and status.startswith("5.7."):
        return "The relay itself forbids it: see `recipients` of the tracker's [client:NAME] there."
    known = next((text for prefix, text in _ADVICE if status.startswith(prefix)), "")
    return known or "Show the postmaster of that host the answer above."


# --- the part for programs -------------------------------------------------------------------------


def _status(action: Action, entry: Entry, outcomes: Sequence[Outcome], stamp: Stamp) -> bytes:
    """The machine-readable groups of RFC 3464 2.1: one for the mail, one for each recipient."""
    kept = TEXT_KEPT if len(outcomes) <= NAMED else TEXT_KEPT_OF_MANY
    groups = [
        [
            ("Reporting-MTA", f"dns; {_host(stamp.hostname)}"),
            ("X-Tracker-Relay-Id", entry.id),
            ("Arrival-Date", _date(entry.received_at)),
        ],
        *(list(_recipient_fields(action, outcome, stamp, kept)) for outcome in outcomes),
    ]
    return b"\r\n".join(b"".join(_folded(name, value) for name, value in group) for group in groups)


def _recipient_fields(action: Action, outcome: Outcome, stamp: Stamp, kept: int) -> Iterator[tuple[str, str]]:
    """One recipient (RFC 3464 2.3)."""
    asked = without_brackets(outcome.origin.partition(":")[2])  # a refused path has them
    if asked and asked != outcome.address:
        yield "Original-Recipient", _typed(asked)
    yield "Final-Recipient", _typed(outcome.address)
    yield "Action", str(action)
    yield "Status", _status_code(action, outcome)
    by_peer = outcome.cause is Cause.PEER and not outcome.rule
    host = outcome.host.partition("[")[0]
    if by_peer and re.fullmatch(r"[A-Za-z0-9_.-]{1,253}", host):
        yield "Remote-MTA", f"dns; {host}"
    said = _ascii(printable(str(outcome.reply), kept))
    yield "Diagnostic-Code", f"{'smtp' if by_peer else 'x-tracker-relay'}; {said}"
    yield "Last-Attempt-Date", _date(stamp.now)
    if action is Action.DELAYED and stamp.retry_until:
        yield "Will-Retry-Until", _date(stamp.retry_until)


def _status_code(action: Action, outcome: Outcome) -> str:
    """The enhanced status code, its class made to agree with the action (RFC 3464 2.3.4)."""
    code = outcome.reply.status_or_default
    if not outcome.reply.status and outcome.reply.code == 553:
        code = "5.1.3"
    return ("5" if action is Action.FAILED else "4") + code[1:]


def _typed(address: str) -> str:
    """An address with its type; one beyond ASCII in the 7-bit form of RFC 6533 3."""
    if address.isascii():
        return f"rfc822; {printable(address, 320)}"
    encoded = (c if "!" <= c <= "~" and c not in "+=\\" else f"\\x{{{ord(c):02X}}}" for c in printable(address, 320))
    return "utf-8; " + "".join(encoded)[:900]


def _folded(name: str, value: str) -> bytes:
    """A field in lines of at most 78 columns where its words allow, CRLF at the end."""
    if len(name) + len(value) <= 75:
        return f"{name}: {value}\r\n".encode("ascii")
    lines = textwrap.wrap(f"{name}: {value}", 77, break_long_words=False, break_on_hyphens=False)
    return "\r\n ".join(lines).encode("ascii") + b"\r\n"


# --- the part that shows the mail, and MIME --------------------------------------------------------


def _quoted_header(original: Message) -> bytes:
    """The original's fields, as many as fit, but none that could name a hidden recipient."""
    kept: list[bytes] = []
    room = HEADER_KEPT
    for field in original.fields:
        if not field.name or field.name in HIDING_FIELDS:
            continue
        room -= len(field.raw)
        if room < 0:
            break
        kept.append(b"\r\n".join(field.raw.splitlines()) + b"\r\n")
    return b"".join(kept)


def _text_part(kind: str, description: str, text: bytes) -> bytes:
    """A text part: as it stands when it is plain 7-bit text (RFC 5322 2.1.1), else quoted-printable."""
    plain = re.fullmatch(rb"(?:[\t -~]{0,998}\r\n)*", text)
    if plain:
        return _part(f"{kind}; charset=us-ascii", description, "7bit", text)
    encoded = binascii.b2a_qp(text, istext=True).replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    return _part(f"{kind}; charset=utf-8", description, "quoted-printable", encoded)


def _part(kind: str, description: str, encoding: str, content: bytes) -> bytes:
    fields = (
        f"Content-Description: {description}",
        f"Content-Type: {kind}",
        f"Content-Transfer-Encoding: {encoding}",
    )
    return "".join(field + "\r\n" for field in fields).encode("ascii") + b"\r\n" + content


def printable(text: str, limit: int) -> str:
    """Foreign text for a reader: blanks collapsed, unprintable characters gone, cut at `limit`."""
    shown = " ".join("".join(c if c.isprintable() else " " for c in text[: limit + 1]).split())
    return shown if len(shown) <= limit else shown[:limit] + "..."


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode("ascii")


def mailbox(address: str) -> tuple[str, str]:
    """What to compare two written addresses by; one that does not parse is only itself."""
    try:
        return parse(address).key
    except AddressError:
        return address, ""


def _host(name: str) -> str:
    """A host name that can stand in a field."""
    return ascii_domain(name) if name.isprintable() and name else "localhost"


@lru_cache(16)
def _date(seconds: float) -> str:
    """RFC 5322 3.3, in UTC."""
    return format_datetime(datetime.fromtimestamp(min(int(seconds), _LAST_SECOND), UTC))


def addressee(report_to: Address | None, reverse_paths: Iterable[Address | None]) -> Address | None:
    """Who gets a report: `report_to`, else the first full reverse-path; None: nobody, it stays in the history."""
    if report_to is not None:
        return report_to
    return next((path for path in reverse_paths if path is not None and not path.short), None)
