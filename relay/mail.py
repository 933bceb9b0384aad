"""Envelope, Recipient and Mail: the "mail object" of RFC 5321 2.3.1, with notes of what was done to it."""

from dataclasses import dataclass, replace

from relay.address import Address
from relay.immutable import immutable
from relay.message import Message

HIDING_FIELDS = (
    "bcc",
    "resent-to",
    "resent-cc",
    "resent-bcc",
    "apparently-to",
    "delivered-to",
    "x-original-to",
    "x-envelope-to",
)
"""Fields besides To and Cc that name recipients, hidden ones too (promise 4)."""


@immutable
class Recipient:
    """One forward-path.

    `origin` is who asked for it, and never changes while rules complete or map the address: the
    path as accepted ("rcpt:bob") or rule and configured address ("smtp_always_cc:list@example.org").
    Outcomes are keyed by it. `shown` says that To or Cc may name this recipient.
    """

    address: Address
    origin: str
    shown: bool = False

    @classmethod
    def accepted(cls, address: Address) -> "Recipient":
        """A recipient that the tracker gave in its envelope."""
        return cls(address, f"rcpt:{address}")


@immutable
class Envelope:
    """Reverse-path (None is the null path `<>`) and forward-paths (RFC 5321 2.3.1).

    `body` is the BODY= parameter ("", "7BIT" or "8BITMIME"), `smtputf8` whether it was asked for.
    """

    reverse_path: Address | None
    recipients: tuple[Recipient, ...]
    body: str = ""
    smtputf8: bool = False


@immutable
class Note:
    """One thing a rule did, in words for `explain`, `trace` and the log; `warning` asks to be seen."""

    rule: str
    text: str
    warning: bool = False


@dataclass(frozen=True, slots=True)
class Dropped:
    """A recipient that a named rule took out; `address` as it stood then."""

    recipient: Recipient
    rule: str
    reason: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """The whole mail is refused by a rule: `status` is the enhanced status code for the report."""

    rule: str
    status: str
    text: str


@immutable
class Mail:
    """Envelope and Message with what was done to them so far. Immutable: a rule returns another one."""

    envelope: Envelope
    message: Message
    notes: tuple[Note, ...] = ()
    dropped: tuple[Dropped, ...] = ()
    refusal: Refusal | None = None
    keep_body: bool = False
    """True when the body must leave as it is: it is bounced, never converted, by a hop without 8BITMIME."""

    def note(self, rule: str, text: str, *, warning: bool = False) -> "Mail":
        """With one more note."""
        return self._but(notes=(*self.notes, Note(rule, text, warning)))

    def notes_of(self, rule: str, *texts: str, warning: bool = False) -> "Mail":
        """With a note for each of these texts."""
        new = tuple(Note(rule, text, warning) for text in texts)
        return self._but(notes=self.notes + new) if new else self

    def to(self, *recipients: Recipient) -> "Mail":
        """With these recipients instead."""
        old = self.envelope
        return self._but(envelope=Envelope(old.reverse_path, recipients, old.body, old.smtputf8))

    def sent_by(self, reverse_path: Address | None) -> "Mail":
        """With this reverse-path instead."""
        old = self.envelope
        return self._but(envelope=Envelope(reverse_path, old.recipients, old.body, old.smtputf8))

    def with_message(self, message: Message) -> "Mail":
        """With this message; self when it is the same one."""
        return self if message is self.message else self._but(message=message)

    def _but(
        self,
        envelope: Envelope | None = None,
        message: Message | None = None,
        notes: tuple[Note, ...] | None = None,
    ) -> "Mail":
        """As `dataclasses.replace`, in a third of its time: rules do this a dozen times a mail."""
        return Mail(
            self.envelope if envelope is None else envelope,
            self.message if message is None else message,
            self.notes if notes is None else notes,
            self.dropped,
            self.refusal,
            self.keep_body,
        )

    def drop(self, rule: str, reason: str, *gone: Recipient) -> "Mail":
        """Without these recipients, each recorded as dropped by `rule`."""
        if not gone:
            return self
        dropped = tuple(Dropped(recipient, rule, reason) for recipient in gone)
        origins = {recipient.origin for recipient in gone}
        kept = (r for r in self.envelope.recipients if r.origin not in origins)
        return replace(self.to(*kept), dropped=self.dropped + dropped)
