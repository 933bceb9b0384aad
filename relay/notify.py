"""The rule `notify`: always_notify_reporter, _owner and _updater, as far as the mail shows who they are."""

from relay.address import Address
from relay.mail import Mail, Recipient
from relay.people import Who, resolve, resolve_reporter
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
    wanted = policy.always_notify_updater
    if wanted or (wanted is None and not facts.decides_updater and updater.address):
        return _add(mail, context, "always_notify_updater", updater)
    if wanted is False:
        return _remove(mail, context, updater, reporter, owner)
    return mail


def _updater(context: Context, reporter: Who) -> Who:
    """Who caused the event; of a new ticket of older Trac the reporter, by all that is known of him."""
    facts = context.facts
    return reporter if facts.updater and facts.updater == facts.reporter else resolve(facts.updater, context.users)


def _add(mail: Mail, context: Context, option: str, who: Who) -> Mail:
    if who.address is None:
        return mail.note(option, f"nobody added: {who.why}", warning="may be" in who.why)
    address = context.policy.full(who.address)
    if address.short and not context.policy.use_short_addr:
        return mail.note(option, f"nobody added: {address} has no domain", warning=True)
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


def people(mail: Mail, context: Context) -> list[Who]:
    """Reporter, owner and updater, as far as they are known."""
    facts = context.facts
    if not facts.recognised:
        return []
    reporter = resolve_reporter(mail.message, facts, context.users)
    return [reporter, resolve(facts.owner, context.users), _updater(context, reporter)]


def address_of(login: str, context: Context) -> Address | None:
    """The address of a user by login: what comes before the default domain."""
    return next((user.address for user in context.users if user.login == login and user.address), None)
