"""The rules about people: `notify` (always_notify_reporter, _owner, _updater, own_changes) and `mute`."""

from collections.abc import Iterable
from contextlib import suppress

from relay.address import Address, AddressError, parse
from relay.addressing import why_not
from relay.mail import Mail, Recipient
from relay.people import User, Who, resolve, resolve_reporter
from relay.policy import Context


def notify(mail: Mail, context: Context) -> Mail:
    """Add reporter, owners and updater as configured; take the updater out when he shall not hear of himself."""
    policy, facts = context.policy, context.facts
    if not facts.recognised:
        return mail
    reporter = resolve_reporter(mail.message, facts, context.users)
    owner = resolve(facts.owner, context.users)
    if policy.always_notify_reporter:
        mail = _add(mail, context, "always_notify_reporter", reporter)
    if policy.always_notify_owner:
        mail = _add(mail, context, "always_notify_owner", owner)
        if facts.previous_owner:
            mail = _add(mail, context, "always_notify_owner", resolve(facts.previous_owner, context.users))
    updater = _updater(context, reporter)
    author = updater if facts.updater or facts.event != "new" else reporter
    wish = _own_changes(author, context)
    if wish is False:
        return _left_out(mail, context, author)
    wanted = policy.always_notify_updater
    if wanted or (wanted is None and not facts.decides_updater and updater.address):
        return _add(mail, context, "always_notify_updater", updater)
    if wanted is False and wish is None:
        return _remove(mail, context, updater, reporter, owner)
    return mail


def _updater(context: Context, reporter: Who) -> Who:
    """Who caused the event; of a new ticket of older Trac the reporter, by all that is known of him."""
    facts = context.facts
    return reporter if facts.updater and facts.updater == facts.reporter else resolve(facts.updater, context.users)


def _own_changes(author: Who, context: Context) -> bool | None:
    """Whether he wants to hear of what he did himself; None when neither he nor the profile says."""
    wishes = (user.own_changes for user in context.users.by_login.get(author.login, ()))
    wish = next(wishes, None)
    return context.policy.own_changes if wish is None else wish


def _left_out(mail: Mail, context: Context, author: Who) -> Mail:
    """His own change is no news to whoever said so, also where he is reporter or owner."""
    gone = [r for r in mail.envelope.recipients if is_somebody(r, author, context)]
    for recipient in gone:
        mail = mail.note("own_changes", f"left out {recipient.address}, whose change it is")
    return mail.drop("own_changes", "the change is his own (own_changes = no)", *gone)


def _add(mail: Mail, context: Context, option: str, who: Who) -> Mail:
    if who.address is None:
        return mail.note(option, f"nobody added: {who.why}", warning="may be" in who.why)
    address = context.policy.full(who.address)
    if why := why_not(address, context):
        return mail.note(option, f"nobody added: {address} {why}", warning=True)
    if any(r.address.key == address.key for r in mail.envelope.recipients):
        return mail
    if not context.first_of_event:
        return mail
    added = Recipient(address, f"{option}:{address}", context.policy.use_public_cc)
    return mail.to(*mail.envelope.recipients, added).note(option, f"added {address}")


def _remove(mail: Mail, context: Context, updater: Who, reporter: Who, owner: Who) -> Mail:
    """The updater's own change is no news to him, unless he is to hear of it as reporter or owner."""
    policy = context.policy
    spared = (policy.always_notify_reporter and _same(updater, reporter)) or (
        policy.always_notify_owner and _same(updater, owner)
    )
    gone = [r for r in mail.envelope.recipients if is_somebody(r, updater, context)]
    if spared or not gone:
        return mail
    mail = mail.note("always_notify_updater", f"left out {gone[0].address}, whose change it is")
    return mail.drop("always_notify_updater", "the change is his own (always_notify_updater = false)", *gone)


def _same(one: Who, other: Who) -> bool:
    return (one.address is not None and one.address == other.address) or bool(one.login and one.login == other.login)


def is_somebody(recipient: Recipient, who: Who, context: Context) -> bool:
    """True when this recipient is that person, by address or by the bare name it was given as."""
    if who.login and recipient.origin == f"rcpt:{who.login}":
        return True
    return who.address is not None and recipient.address.key == context.policy.full(who.address).key


def mute(mail: Mail, context: Context) -> Mail:
    """Take out whoever never gets mail, by whatever way he came in."""
    muted = context.users.muted
    if not muted:
        return mail
    origins = {f"rcpt:{user.login}" for user in muted}
    keys = _mailboxes_of(muted, context)
    gone = [r for r in mail.envelope.recipients if r.origin in origins or r.address.key in keys]
    return mail.drop("mute", "his [user:LOGIN] says mute", *gone)


def is_muted(address: Address, context: Context) -> bool:
    """True for the address of somebody who never gets mail."""
    return address.key in _mailboxes_of(context.users.muted, context)


def _mailboxes_of(users: Iterable[User], context: Context) -> set[tuple[str, str]]:
    """The mailboxes of these users: of who has no address, what his login comes to."""
    found = set()
    for user in users:
        with suppress(AddressError):
            found.add(context.policy.full(user.address or parse(user.login)).key)
    return found


def people(mail: Mail, context: Context) -> list[Who]:
    """Reporter, owner and updater, as far as they are known."""
    facts = context.facts
    if not facts.recognised:
        return []
    reporter = resolve_reporter(mail.message, facts, context.users)
    return [reporter, resolve(facts.owner, context.users), _updater(context, reporter)]
