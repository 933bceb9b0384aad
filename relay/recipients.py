"""The rules about recipients: who gets the mail, and whom the header may name.

Every address is completed before it is compared. A recipient that leaves is recorded as dropped by
the rule that took it out (promise 2); none is ever changed to a part of what was written.
"""

import re
from collections.abc import Sequence

from relay import encoded_word, mailboxes
from relay.address import Address
from relay.addressing import completed, is_ignored, is_own, why_not
from relay.mail import HIDING_FIELDS, Mail, Recipient
from relay.mailboxes import Mailbox
from relay.message import Field, Message
from relay.notify import is_muted, is_somebody, people
from relay.policy import Context

UNDISCLOSED = b"To: undisclosed-recipients: ;\r\n"
_UNDISCLOSED = re.compile(r'"?(?:undisclosed|unlisted)[- ]recipients"?\s*:\s*;', re.IGNORECASE)


def filter_domains(mail: Mail, context: Context) -> Mail:
    """Take out the relay's own catch_all addresses and names at ignore_domains, which are no addresses.

    A name at such a domain that is the login of a known user stays: he has a stored address.
    """
    full = context.policy.full
    caught = [r for r in mail.envelope.recipients if is_own(full(r.address), context)]
    mail = mail.drop("catch_all", "the relay's own address", *caught)
    ignored = [r for r in mail.envelope.recipients if is_ignored(completed(r.address, context), context.policy)]
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
        address = completed(recipient.address, context)
        if address.short and not policy.use_short_addr:
            nowhere.append(recipient)
        elif address.key in kept:
            twins.append(recipient)
        else:
            visible = recipient.shown or policy.public_envelope or address.key in shown
            kept[address.key] = Recipient(address, recipient.origin, visible)
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
    return mail.sent_by(whole)


def always_cc(mail: Mail, context: Context) -> Mail:
    """Add smtp_always_cc, visible in Cc."""
    return _add(mail, context, "smtp_always_cc", context.policy.smtp_always_cc, shown=True)


def always_bcc(mail: Mail, context: Context) -> Mail:
    """Add smtp_always_bcc, visible nowhere."""
    return _add(mail, context, "smtp_always_bcc", context.policy.smtp_always_bcc, shown=False)


def suppress(mail: Mail, context: Context) -> Mail:
    """Take out dead addresses, however they came in; a bare name on the list is also one that was given as such."""
    if not context.suppressed:
        return mail
    gone = [r for r in mail.envelope.recipients if _is_suppressed(r, context)]
    return mail.drop("suppress", "a dead address: see tracker-relay suppress list", *gone)


def _is_suppressed(recipient: Recipient, context: Context) -> bool:
    path = recipient.origin.removeprefix("rcpt:")
    named = path != recipient.origin and (path, "") in context.suppressed
    return named or recipient.address.key in context.suppressed


def staging(mail: Mail, context: Context) -> Mail:
    """Send the mail to the addresses of `staging` alone; To and Cc show neither them nor whom it does not go to.

    A mail that nobody would have got stays one; where none of the addresses can be mailed, nobody gets it.
    """
    if not context.policy.staging or not mail.envelope.recipients:
        return mail
    instead: dict[tuple[str, str], Recipient] = {}
    for given in context.policy.staging:
        address = completed(given, context)
        silent = is_muted(address, context) or address.key in context.suppressed
        if why := why_not(address, context) or ("is muted, or a dead address" if silent else ""):
            mail = mail.note("staging", f"left out: {given} {why}", warning=True)
        else:
            instead.setdefault(address.key, Recipient(address, f"staging:{given}", False))
    for r in mail.envelope.recipients:
        if r.address.key in instead:
            instead[r.address.key] = Recipient(r.address, r.origin, False)
    spared = [r for r in mail.envelope.recipients if r.address.key not in instead]
    return mail.drop("staging", "a trial: it went to the addresses of staging instead", *spared).to(*instead.values())


def visible_recipients(mail: Mail, context: Context) -> Mail:
    """Write To and Cc so that they name whom the policy shows, and remove every field that names others."""
    to, cc = _public(mail, context) if context.policy.use_public_cc else ([], _always_shown(context))
    visible = {address.key for address in (*to, *cc)}
    if any(r.shown is not (r.address.key in visible) for r in mail.envelope.recipients):
        mail = mail.to(*(Recipient(r.address, r.origin, r.address.key in visible) for r in mail.envelope.recipients))
    message = _without_hiding_fields(mail)
    if not to and not cc:
        return mail.with_message(_write_to_nobody(message).remove("cc"))
    boxes = mailboxes.written(mail.message, "to", "cc")
    names = {completed(box.address, context).key: box.display for box in boxes if box.address}
    message = _write(message, "To", to, names) if to else _write_to_nobody(message)
    return mail.with_message(_write(message, "Cc", cc, names) if cc else message.remove("cc"))


def remove_hidden(mail: Mail, _context: Context) -> Mail:
    """Remove Bcc and the like: all that `rewrite = off` does about visibility."""
    return mail.with_message(_without_hiding_fields(mail))


def _without_hiding_fields(mail: Mail) -> Message:
    """Without the fields that list recipients, and without those of Resent-* that name a hidden one."""
    message = mail.message.remove(*HIDING_FIELDS)
    resent = {f: encoded_word.decode(f.text).lower() for f in message.beginning("resent-")}
    if not resent:
        return message
    everything = "\n".join(resent.values())
    hidden = [str(r.address).lower() for r in mail.envelope.recipients if not r.shown]
    named = [address for address in hidden if address in everything]
    return message.remove(*(f.name for f, text in resent.items() if any(address in text for address in named)))


def _add(mail: Mail, context: Context, option: str, addresses: tuple[Address, ...], *, shown: bool) -> Mail:
    if not addresses:
        return mail
    recipients = {r.address.key: r for r in mail.envelope.recipients}
    for given in addresses:
        address = completed(given, context)
        if why := why_not(address, context):
            mail = mail.note(option, f"left out: {given} {why}", warning=True)
        elif known := recipients.get(address.key):
            recipients[address.key] = Recipient(known.address, known.origin, known.shown or shown)
        elif context.first_of_event:
            recipients[address.key] = Recipient(address, f"{option}:{given}", shown)
            mail = mail.note(option, f"added {address}")
    return mail.to(*recipients.values())


def _always_shown(context: Context) -> list[Address]:
    """The addresses of smtp_always_cc that can be mailed, each mailbox once."""
    full = {
        address.key: address
        for given in context.policy.smtp_always_cc[::-1]
        for address in (completed(given, context),)
    }
    kept = [address for address in full.values() if not why_not(address, context)]
    heard = [address for address in kept[::-1] if address.key not in context.suppressed]
    return [address for address in heard if not is_muted(address, context)]


def _public(mail: Mail, context: Context) -> tuple[list[Address], list[Address]]:
    """Whom use_public_cc shows: reporter, owner and updater in To; in Cc smtp_always_cc and whom the tracker shows.

    Who else the tracker gave only in the envelope stays hidden, and so does everybody of smtp_always_bcc.
    Where a gateway before this one has done that, To stays as it is: what told who is who may be gone (example 45).
    """
    always = _always_shown(context)
    listed = {address.key for address in always}
    secret = {completed(a, context).key for a in context.policy.smtp_always_bcc} - listed
    known = people(mail, context)
    passed = mail.message.has("x-tracker-relay") and bool(_shown_by_tracker(mail.message, context))
    before = mailboxes.written(mail.message, "to")
    placed = {completed(box.address, context).key for box in before if box.address}
    to: list[Address] = []
    cc = {address.key: address for address in always}
    for recipient in mail.envelope.recipients:
        key = recipient.address.key
        if key in secret:
            continue
        if key in placed if passed else any(is_somebody(recipient, who, context) for who in known):
            to.append(recipient.address)
            cc.pop(key, None)
        elif recipient.shown:
            cc.setdefault(key, recipient.address)
    return to, list(cc.values())


def _shown_by_tracker(message: Message, context: Context) -> set[tuple[str, str]]:
    written = mailboxes.written(message, "to", "cc")
    return {completed(mailbox.address, context).key for mailbox in written if mailbox.address}


def _write(message: Message, name: str, wanted: list[Address], names: dict[tuple[str, str], str]) -> Message:
    """`wanted` as the field `name`; a field that says just that, and nothing of others, stays byte for byte."""
    fields = message.get_all(name)
    current = [box.address.key if box.address else None for box in mailboxes.written(message, name)]
    if len(fields) == 1 and set(current) == {address.key for address in wanted} and _says_no_more(fields[0], current):
        return message
    shown = [Mailbox(_safe_display(names.get(address.key, ""), address), address) for address in wanted]
    return message.put(name, f"{name}: {mailboxes.write(shown, len(name) + 2)}\r\n".encode())


def _says_no_more(field: Field, boxes: Sequence[tuple[str, str] | None]) -> bool:
    """True when no comment, name or group in the field could hold the address of somebody else."""
    text = encoded_word.decode(field.text)
    return "(" not in text and ":" not in text and text.count("@") == sum(1 for box in boxes if box and box[1])


def _safe_display(display: str, address: Address) -> str:
    """The tracker's name for a recipient, unless it holds an address that is not his."""
    return "" if "@" in display and display.lower() != str(address).lower() else display


def _write_to_nobody(message: Message) -> Message:
    fields = message.get_all("to")
    if len(fields) == 1 and _UNDISCLOSED.fullmatch(fields[0].text):
        return message
    return message.put("To", UNDISCLOSED)
