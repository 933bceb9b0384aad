"""Rewrite: the rules in their order, applied to one mail. Pure: the same arguments, the same mail (promise 8)."""

import re
from collections.abc import Callable
from dataclasses import replace

from relay import mime
from relay.errors import RuleError, SpoolError, may_pass
from relay.headers import originator, subject_prefix, trace_fields
from relay.mail import Mail, Refusal
from relay.message import Field
from relay.notify import mute, notify
from relay.policy import Context, Policy
from relay.recipients import (
    always_bcc,
    always_cc,
    complete_addresses,
    complete_untouched,
    filter_domains,
    remove_hidden,
    staging,
    suppress,
    visible_recipients,
)
from relay.wire import wire

_ONE_FIELD = re.compile(rb"[!-9;-~]+[ \t]*:(?:[^\0\r\n]++|\r\n[ \t])*+\r\n")

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
    ("suppress", suppress),
    ("staging", staging),
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
    ("suppress", suppress),
    ("staging", staging),
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

    Raises RuleError, naming the rule, when one fails: such mail is held, never half changed; SpoolError where the
    body can not be read, and as it came a fault that may pass (`errors.may_pass`).
    """
    passed: list[tuple[str, Mail]] = []
    mail = came = _ended(mail)
    for name, rule in rules_of(context.policy):
        try:
            mail = rule(mail, context)
        except Exception as fault:
            if isinstance(fault, SpoolError) or may_pass(fault):  # no rule's fault
                raise
            raise RuleError(name, fault) from fault
        passed.append((name, mail))
        if mail.refusal:
            break
    _check(mail, came)
    return passed


def _ended(mail: Mail) -> Mail:
    """With a line end behind the last field, where the mail ends within it: another field may follow."""
    fields = mail.message.fields
    if not fields or fields[-1].raw.endswith(b"\n"):
        return mail
    last = Field(fields[-1].raw + b"\r\n")
    return mail.with_message(mail.message.with_fields((*fields[:-1], last)))


def _check(mail: Mail, came: Mail) -> None:
    """Every field that a rule wrote is one field on lines of its own, whatever it was made of. Raises RuleError.

    `came` is the mail before any rule; as long as it is alive, no other field has the identity of one of its own.
    """
    known = set(map(id, came.message.fields))
    for field in mail.message.fields:
        if id(field) not in known and not _ONE_FIELD.fullmatch(field.raw):
            fault = ValueError(f"{field.raw[:80]!r} would not leave as one header field")
            raise RuleError("wire", fault)


def rewrite(mail: Mail, context: Context) -> Mail:
    """The mail as it leaves. Raises RuleError."""
    return steps(mail, context)[-1][1]
