"""The relay's pure road for tests: a configured relay without I/O, and the mail of the acceptance examples."""

import dataclasses
from dataclasses import dataclass

from relay import (
    address,
    dialects,
    encoded_word,
    mailboxes,
    message,
    people,
    policy,
    prepare,
    profiles,
    rewrite,
    routing,
)
from relay.entry import Client, Entry
from relay.mail import Envelope, Mail, Recipient


def policy_of(**texts: str) -> policy.Policy:
    """A Policy from the texts that a config.ini would hold; `from_` is the option `from`."""
    declared = {(field.metadata["name"] or field.name): field for field in dataclasses.fields(policy.Policy)}
    values = {}
    for name, text in texts.items():
        field = declared["from" if name == "from_" else name]
        values[field.name] = field.metadata["parse"](text)
    return policy.Policy(**values)


@dataclass
class Left:
    """One mail as it left, easy to ask."""

    mail: object
    prepared: prepare.Prepared

    @property
    def rcpt(self):
        return [str(r.address) for r in self.mail.envelope.recipients]

    @property
    def mail_from(self):
        path = self.mail.envelope.reverse_path
        return "" if path is None else str(path)

    @property
    def raw(self):
        return bytes(self.mail.message)

    def fields(self, name):
        return self.mail.message.get_all(name)

    def header(self, name):
        fields = self.fields(name)
        assert len(fields) <= 1, fields
        return encoded_word.decode(fields[0].text) if fields else None

    def addresses(self, name):
        return [str(m.address) for f in self.fields(name) for m in mailboxes.read(f.text)]

    @property
    def named(self):
        """Every octet of the fields of promise 4."""
        names = [
            "to",
            "cc",
            "bcc",
            "resent-to",
            "resent-cc",
            "resent-bcc",
            "apparently-to",
            "delivered-to",
            "x-original-to",
            "x-envelope-to",
            "received",
            "x-tracker-relay",
            "from",
            "sender",
            "reply-to",
            "subject",
            "date",
            "message-id",
            "precedence",
            "auto-submitted",
        ]
        return b"".join(f.raw for f in self.mail.message.fields if f.name in names)


class Gateway:
    def __init__(self, gateway_id="gw.example.com", users=None, **options):
        options = {"smtp_from": "bot@example.com", "smtp_enabled": "true", **options}
        self.policy = policy_of(**{name: text for name, text in options.items() if text is not None})
        self.setting = prepare.Setting(
            (profiles.Profile("notification", self.policy, routing.Upstream("notification", "mail.example.net")),),
            gateway_id,
            gateway_id,
            (address.parse("in@gw.example.com"),),
            people.Users(people.user(login, line) for login, line in (users or {}).items()),
        )

    def prepare(self, raw, rcpt=("in@gw.example.com",), mail_from="h@t.example.com", id="1hf7yat00000005", **more):
        reverse = address.parse(mail_from) if mail_from else None
        envelope = Envelope(reverse, tuple(Recipient.accepted(address.parse(r)) for r in rcpt))
        client = Client("127.0.0.1", "tracker.example.com")
        entry = Entry(id, 1_700_000_000.0, envelope, client=client)
        return prepare.prepare(entry, message.BytesBody(raw), self.setting, **more)

    def rewritten(self, message, rcpt=("eve@example.org",)):
        """The rules alone, for a message whose body is nowhere kept."""
        stamp = policy.Stamp("1hf7yat00000005", 1_700_000_000.0, self.setting.hostname, self.setting.gateway_id)
        context = policy.Context(self.policy, dialects.facts_of(message, lambda: ""), stamp)
        envelope = Envelope(address.parse("h@t.example.com"), tuple(Recipient.accepted(address.parse(r)) for r in rcpt))
        return rewrite.rewrite(Mail(envelope, message), context)

    def __call__(self, raw, rcpt=("in@gw.example.com",), **more):
        prepared = self.prepare(raw, rcpt, **more)
        assert len(prepared.routed) == 1, prepared
        return Left(prepared.routed[0][1], prepared)


def harbour(subject="[Harbour] #12: Crane jams", body="The crane jams.\r\n", drop=(), **fields):
    """The mail of the examples: project Harbour, ticket 12."""
    header = {
        "From": "Harbour <h@t.example.com>",
        "To": "undisclosed-recipients: ;",
        "Subject": subject,
        "Date": "Sun, 22 Nov 2026 10:53:28 -0000",
        "Message-ID": "<043.560a23c50b9fdee5eaf6188f43b4643e@t.example.com>",
        "Precedence": "bulk",
        "Auto-Submitted": "auto-generated",
        "X-Mailer": "Trac 1.6, by Edgewall Software",
        "X-Trac-Version": "1.6",
        "X-Trac-Project": "Harbour",
        "X-URL": "http://t.example.com/harbour",
        "X-Trac-Ticket-ID": "12",
        "X-Trac-Ticket-URL": "http://t.example.com/harbour/ticket/12",
        "MIME-Version": "1.0",
        "Content-Type": 'text/plain; charset="utf-8"',
        "Content-Transfer-Encoding": "7bit",
    }
    header |= {name.replace("_", "-"): value for name, value in fields.items()}
    lines = [f"{name}: {value}\r\n" for name, value in header.items() if name not in drop]
    return "".join([*lines, "\r\n", body]).encode()
