"""The rules about recipients: who gets the mail, and whom the header may name.

Every address is completed before it is compared. A recipient that leaves is recorded as dropped by
the rule that took it out (promise 2); none is ever changed to a part of what was written.
"""

from dataclasses import replace

from relay import mailboxes
from relay.address import Address
from relay.mail import Mail, Recipient
from relay.mailboxes import Mailbox
from relay.message import Message
from relay.notify import address_of, is_muted, is_somebody, people
from relay.policy import Context, Policy

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
"""Fields besides To and Cc that name recipients (promise 4)."""

UNDISCLOSED = b"To: undisclosed-recipients: ;\r\n"


def filter_domains(mail: Mail, context: Context) -> Mail:
    """Take out the relay's own catch_all addresses and names at ignore_domains, which are no addresses."""
    own = {context.policy.full(address).key for address in context.catch_all}
    caught = [r for r in mail.envelope.recipients if context.policy.full(r.address).key in own]
    mail = mail.drop("catch_all", "the relay's own address", *caught)
    ignored = [r for r in mail.envelope.recipients if _ignored(r.address, context.policy)]
    texts = (f"{recipient.address} is a name, no address (ignore_domains)" for recipient in ignored)
    mail = mail.notes_of("filter_domains", *texts)
    return mail.drop("filter_domains", "its domain is in ignore_domains", *ignored)


def complete_addresses(mail: Mail, context: Context) -> Mail:
    """Give bare names the default domain; with neither a domain nor use_short_addr they are dropped.

    Also learns which recipients the tracker's own To and Cc show, for `visible_recipients`.
    """
    policy = context.policy
    shown = _shown_by_tracker(mail.message, context)
    kept: dict[tuple[str, str], Recipient] = {}
    twins: list[Recipient] = []
    nowhere: list[Recipient] = []
    for recipient in mail.envelope.recipients:
        address = _completed(recipient.address, context)
        if address.short and not policy.use_short_addr:
            nowhere.append(recipient)
        elif address.key in kept:
            twins.append(recipient)
        else:
            visible = recipient.shown or policy.public_envelope or address.key in shown
            kept[address.key] = replace(recipient, address=address, shown=visible)
    texts = (f"{r.address} has no domain: set smtp_default_domain, or use_short_addr" for r in nowhere)
    mail = mail.notes_of("complete_addresses", *texts, warning=True)
    mail = mail.drop("complete_addresses", "bare name without smtp_default_domain or use_short_addr", *nowhere)
    mail = mail.drop("complete_addresses", "the same mailbox as another recipient", *twins)
    return mail.to(*kept.values())


def complete_untouched(mail: Mail, context: Context) -> Mail:
    """As `complete_addresses`, and the sender, whom no other rule touches: a bare one gets a domain, or this host's."""
    mail = complete_addresses(mail, context)
    reverse = mail.envelope.reverse_path
    if reverse is None or not reverse.short or context.policy.use_short_addr:
        return mail
    whole = context.policy.full(reverse).complete(context.stamp.host)
    mail = mail.note("complete_addresses", f"the sender {reverse} is {whole}")
    return replace(mail, envelope=replace(mail.envelope, reverse_path=whole))


def _completed(address: Address, context: Context) -> Address:
    """A bare name is the user of that login, if there is one with an address; else it gets the default domain."""
    by_user = address_of(str(address), context) if address.short else None
    return context.policy.full(by_user or address)


def always_cc(mail: Mail, context: Context) -> Mail:
    """Add smtp_always_cc, visible in Cc."""
    return _add(mail, context, "smtp_always_cc", context.policy.smtp_always_cc, shown=True)


def always_bcc(mail: Mail, context: Context) -> Mail:
    """Add smtp_always_bcc, visible nowhere."""
    return _add(mail, context, "smtp_always_bcc", context.policy.smtp_always_bcc, shown=False)


def visible_recipients(mail: Mail, context: Context) -> Mail:
    """Write To and Cc so that they name whom the policy shows, and remove every field that names others."""
    message = mail.message.remove(*HIDING_FIELDS)
    policy = context.policy
    if policy.use_public_cc:
        to, cc = _public(mail, context)
    else:
        to, cc = [], _always_shown(context)
    if not to and not cc:
        return mail.with_message(_write(_write(message, "To", [], {}), "Cc", [], {}))
    names = {
        _completed(m.address, context).key: m.display
        for field in ("to", "cc")
        for m in _written(mail.message, field)
        if m.address
    }
    message = _write(message, "To", to, names)
    return mail.with_message(_write(message, "Cc", cc, names))


def remove_hidden(mail: Mail, _context: Context) -> Mail:
    """Remove Bcc and the like: all that `rewrite = off` does about visibility."""
    return mail.with_message(mail.message.remove(*HIDING_FIELDS))


def _ignored(address: Address, policy: Policy) -> bool:
    return bool(address.domain) and address.key[1] in policy.ignore_domains


def _add(mail: Mail, context: Context, option: str, addresses: tuple[Address, ...], *, shown: bool) -> Mail:
    policy = context.policy
    if not addresses:
        return mail
    recipients = {r.address.key: r for r in mail.envelope.recipients}
    for given in addresses:
        address = _completed(given, context)
        if _ignored(address, policy):
            mail = mail.note(option, f"{given} is a name, no address (ignore_domains)", warning=True)
        elif address.short and not policy.use_short_addr:
            mail = mail.note(option, f"{given} has no domain and is left out", warning=True)
        elif known := recipients.get(address.key):
            recipients[address.key] = replace(known, shown=known.shown or shown)
        elif context.first_of_event:
            recipients[address.key] = Recipient(address, f"{option}:{given}", shown)
            mail = mail.note(option, f"added {address}")
    return mail.to(*recipients.values())


def _always_shown(context: Context) -> list[Address]:
    """The addresses of smtp_always_cc that can be mailed, each mailbox once."""
    policy = context.policy
    addresses = [_completed(given, context) for given in reversed(policy.smtp_always_cc)]
    full = {address.key: address for address in addresses}
    kept = [a for a in full.values() if not _ignored(a, policy) and (not a.short or policy.use_short_addr)]
    return [address for address in kept[::-1] if not is_muted(address, context)]


def _public(mail: Mail, context: Context) -> tuple[list[Address], list[Address]]:
    """Whom use_public_cc shows: recognised people in To, others in Cc; smtp_always_bcc stays a secret."""
    policy = context.policy
    listed = {_completed(a, context).key for a in policy.smtp_always_cc}
    secret = {_completed(a, context).key for a in policy.smtp_always_bcc} - listed
    to, cc = [], []
    known = people(mail, context)
    for recipient in mail.envelope.recipients:
        key = recipient.address.key
        if not recipient.shown:
            continue
        if any(is_somebody(recipient, who, context) for who in known):
            to.append(recipient.address)
        elif key not in secret:
            cc.append(recipient.address)
    return to, cc


def _written(message: Message, name: str) -> list[Mailbox]:
    return [mailbox for field in message.get_all(name) for mailbox in mailboxes.read(field.text)]


def _shown_by_tracker(message: Message, context: Context) -> set[tuple[str, str]]:
    written = _written(message, "to") + _written(message, "cc")
    return {_completed(mailbox.address, context).key for mailbox in written if mailbox.address}


def _write(message: Message, name: str, wanted: list[Address], names: dict[tuple[str, str], str]) -> Message:
    """`wanted` as the field `name`; a field that says just that already stays byte for byte."""
    fields = message.get_all(name)
    current = [mailbox.address for mailbox in _written(message, name)]
    if wanted:
        same = len(fields) == 1 and None not in current and set(current) == set(wanted)
        shown = [Mailbox(names.get(address.key, ""), address) for address in wanted]
        raw = f"{name}: {mailboxes.write(shown, len(name) + 2)}\r\n".encode()
        return message if same else message.put(name, raw)
    if name == "Cc":
        return message.remove("cc")
    if len(fields) == 1 and not current and fields[0].text.replace(" ", "").endswith(":;"):
        return message
    return message.put("To", UNDISCLOSED)
