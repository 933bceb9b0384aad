"""Fit: a mail made fit for what a next hop offers: SIZE, 8BITMIME, SMTPUTF8; then signed. Pure."""

from relay import downgrade, fields, mime
from relay.dkim import Signer, sign
from relay.entry import Cause, Outcome
from relay.immutable import immutable
from relay.mail import Mail, Recipient
from relay.message import Message, at_hand
from relay.patch import apart
from relay.reply import Reply
from relay.transaction import Features, Plan, all_alike

LIGHT = 16384
"""Octets of a mail up to which it is made fit on the event loop: none of that size takes 50 ms of it."""


@immutable
class Fitted:
    """A mail as this hop can take it, and the recipients to whom it can not go this way."""

    plan: Plan
    message: Message
    size: int
    refused: tuple[Outcome, ...] = ()


def is_light(message: Message) -> bool:
    """True for a mail small enough to be made fit on the event loop."""
    return at_hand(message.body) and len(message.header_bytes) + message.body.size <= LIGHT


def fit(mail: Mail, features: Features, host: str, signer: Signer | None = None) -> Fitted:
    """Make a mail fit what a hop offers, then sign it; nothing is sent that the hop did not offer to take."""
    recipients = mail.envelope.recipients
    message = apart(mail.message)  # the other recipients' next hops read it at the same time
    parameters: list[str] = []
    nobody = Plan("", "", (), False)

    if "SMTPUTF8" not in features and not message.header_bytes.isascii():
        message = message.map_fields(fields.without_utf8)
    if mime.needs_8bit(message):
        if "8BITMIME" in features:
            parameters.append("BODY=8BITMIME")
        else:
            converted = None if mail.keep_body else downgrade.seven_bit(message)
            if converted is None:
                text = "the hop takes no 8-bit mail, and this body must not be converted"
                return Fitted(nobody, message, 0, _rule(recipients, Reply(554, "5.6.3", text), host))
            message = converted
    if signer:
        message = sign(signer, message)
    size = len(message.header_bytes) + message.body.size
    if "SIZE" in features:
        if 0 < features.max_size < size:
            text = f"the mail has {size} octets, the hop takes {features.max_size}"
            return Fitted(nobody, message, 0, _rule(recipients, Reply(552, "5.3.4", text), host))
        parameters.append(f"SIZE={size}")
    plan, refused = _international(mail, message, parameters, features)
    reply = Reply(553, "5.6.7", "the hop takes no address or header outside ASCII (SMTPUTF8)")
    return Fitted(plan, message, size, _rule(refused, reply, host) if refused else ())


def _international(
    mail: Mail, message: Message, parameters: list[str], features: Features
) -> tuple[Plan, tuple[Recipient, ...]]:
    """SMTPUTF8 only when needed (RFC 6531): domains go as A-labels, local parts and header fields can not."""
    reverse = mail.envelope.reverse_path
    paths = [(r, r.address.wire_form) for r in mail.envelope.recipients]
    sender = "" if reverse is None else reverse.wire_form
    whole = not message.header_bytes.isascii() or not sender.isascii()
    offered = "SMTPUTF8" in features
    if offered and (whole or any(not path.isascii() for _, path in paths)):
        parameters.append("SMTPUTF8")
    kept = tuple((r, path) for r, path in paths if offered or (path.isascii() and not whole))
    refused = tuple(r for r, path in paths if not offered and (whole or not path.isascii()))
    words = "".join(f" {parameter}" for parameter in parameters)
    return Plan(sender, words, kept, "PIPELINING" in features), refused


def _rule(recipients: tuple[Recipient, ...], reply: Reply, host: str) -> tuple[Outcome, ...]:
    return all_alike(recipients, reply, Cause.RULE, host, "wire")
