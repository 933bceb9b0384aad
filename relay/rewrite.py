"""Rewrite: the rules in their order, applied to one mail. Pure: the same arguments, the same mail (promise 8)."""

from collections.abc import Callable
from dataclasses import replace

from relay import mime
from relay.errors import RuleError
from relay.headers import originator, subject_prefix, trace_fields
from relay.mail import Mail, Refusal
from relay.notify import mute, notify
from relay.policy import Context, Policy
from relay.recipients import (
    always_bcc,
    always_cc,
    complete_addresses,
    complete_untouched,
    filter_domains,
    remove_hidden,
    visible_recipients,
)
from relay.wire import wire

__all__ = ["OFF_RULES", "RULES", "Context", "Policy", "Rule", "rewrite", "steps"]

Rule = Callable[[Mail, Context], Mail]


def encoding(mail: Mail, context: Context) -> Mail:
    """Re-encode the text parts to mime_encoding."""
    wanted = context.policy.mime_encoding
    if wanted == "keep":
        return replace(mail, keep_body=True)
    if wanted == "none-strict":
        if mime.needs_encoding(mail.message):
            text = "the mail has letters outside ASCII, which mime_encoding = none-strict does not send"
            return replace(mail, refusal=Refusal("encoding", "5.6.1", text))
        wanted = "none"
    encoded = mime.reencode(mail.message, wanted)
    for note in encoded.notes:
        mail = mail.note("encoding", note)
    return mail.with_message(encoded.message)


RULES: tuple[tuple[str, Rule], ...] = (
    ("filter_domains", filter_domains),
    ("complete_addresses", complete_addresses),
    ("notify", notify),
    ("always_cc", always_cc),
    ("always_bcc", always_bcc),
    ("mute", mute),
    ("visible_recipients", visible_recipients),
    ("originator", originator),
    ("subject_prefix", subject_prefix),
    ("trace_fields", trace_fields),
    ("encoding", encoding),
    ("wire", wire),
)
"""Every rule of `rewrite = full`, in the order in which they apply."""

OFF_RULES: tuple[tuple[str, Rule], ...] = (
    ("filter_domains", filter_domains),
    ("complete_addresses", complete_untouched),
    ("mute", mute),
    ("visible_recipients", remove_hidden),
    ("trace_fields", trace_fields),
    ("wire", wire),
)
"""What `rewrite = off` leaves of them."""


def rules_of(policy: Policy) -> tuple[tuple[str, Rule], ...]:
    """The rules that a policy applies."""
    return RULES if policy.rewrite == "full" else OFF_RULES


def steps(mail: Mail, context: Context) -> list[tuple[str, Mail]]:
    """The mail after each rule, by the rule's name; ends early where a rule refuses it.

    Raises RuleError, naming the rule, when one fails: such mail is held, never half changed.
    """
    passed: list[tuple[str, Mail]] = []
    for name, rule in rules_of(context.policy):
        try:
            mail = rule(mail, context)
        except Exception as fault:
            raise RuleError(name, fault) from fault
        passed.append((name, mail))
        if mail.refusal:
            break
    return passed


def rewrite(mail: Mail, context: Context) -> Mail:
    """The mail as it leaves. Raises RuleError."""
    return steps(mail, context)[-1][1]
