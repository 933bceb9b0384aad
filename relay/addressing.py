"""Addressing: which mailbox a written address stands for under a policy, and why one is not mailed at all."""

from relay.address import Address
from relay.policy import Context, Policy


def completed(address: Address, context: Context) -> Address:
    """The stored address of the user whose login this is, else with the default domain where it has none.

    A login may have a domain of its own when that is in ignore_domains: then it is a name, no address.
    """
    name = address.short or is_ignored(address, context.policy)
    return context.policy.full((address_of(address, context) if name else None) or address)


def is_ignored(address: Address, policy: Policy) -> bool:
    """True for a name at one of ignore_domains."""
    return bool(policy.ignore_domains) and bool(address.domain) and address.key[1] in policy.ignore_domains


def why_not(address: Address, context: Context) -> str:
    """Why mail never goes to this completed address; "" when it may."""
    if is_ignored(address, context.policy):
        return "is a name, no address (ignore_domains)"
    if address.short and not context.policy.use_short_addr:
        return "has no domain: set smtp_default_domain, or use_short_addr"
    return "is the relay's own (catch_all)" if is_own(address, context) else ""


def is_own(address: Address, context: Context) -> bool:
    """True for one of the relay's own catch_all addresses."""
    return any(context.policy.full(own).key == address.key for own in context.catch_all)


def address_of(login: Address, context: Context) -> Address | None:
    """The stored address of the user with this login; domains of logins are compared case-blind."""
    exact = context.users.stored.get(str(login))
    return exact or (None if login.short else context.users.stored_by_mailbox.get(login.key))
