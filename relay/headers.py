"""The rules about header fields: whom the mail is from, the subject prefix, the trace of its passage.

A field that already says what a rule wants stays byte for byte, so a second passage changes nothing.
"""

import re
from dataclasses import replace

from relay import encoded_word, mailboxes
from relay.address import Address, ascii_domain
from relay.mail import Mail
from relay.mailboxes import Mailbox
from relay.message import Field, Message
from relay.policy import DEFAULT_PREFIX, Context, Stamp

TRACE_FIELD = "X-Tracker-Relay"
_REPLY_MARK = re.compile(r"\s*re:\s*", re.IGNORECASE)
_EMPTY_HOST = re.compile(rb"<([^<>@\s]+)@>")


def originator(mail: Mail, context: Context) -> Mail:
    """Make the mail come from smtp_from: reverse-path, From, Sender, Reply-To."""
    policy, message = context.policy, mail.message
    sender = policy.sender
    if sender is None:
        return mail
    written = _single(message, "from")
    if written and written.address and written.address.short:
        written = None  # `From: Harbour`: a tracker's name without an address
    keep = policy.from_ == "keep" and written is not None
    if not keep:
        display = policy.smtp_from_name or context.project
        forced = _put_mailbox(message, "From", Mailbox(display, sender))
        if forced is not message:
            message = forced.remove("sender")
            mail = mail.note("originator", f"From is {display} <{sender}>")
    message = _reply_to(message, context, written, sender)
    mail = mail.with_message(message)
    return _reverse_path(mail, context, sender, keep=keep)


def _single(message: Message, name: str) -> Mailbox | None:
    """The one mailbox of the one field of that name, when it is just that."""
    fields = message.get_all(name)
    found = mailboxes.read(fields[0].text) if len(fields) == 1 else []
    return found[0] if len(found) == 1 and found[0].address else None


def _put_mailbox(message: Message, name: str, wanted: Mailbox) -> Message:
    field = message.get(name)
    quoted_word = field is not None and re.search(rb'"[^"]*=\?[^"]*\?=[^"]*"', field.value)
    if _single(message, name) == wanted and not quoted_word:
        return message
    return message.put(name, f"{name}: {mailboxes.write([wanted], len(name) + 2)}\r\n".encode())


def _reply_to(message: Message, context: Context, written: Mailbox | None, sender: Address) -> Message:
    """smtp_replyto; else the tracker's own if it holds an address; else the From that a tracker reads."""
    policy = context.policy
    if policy.smtp_replyto is not None:
        return _put_mailbox(message, "Reply-To", Mailbox("", policy.full(policy.smtp_replyto)))
    fields = message.get_all("reply-to")
    if any(box.address and not box.address.short for field in fields for box in mailboxes.read(field.text)):
        return message
    message = message.remove("reply-to")
    replaced = written is not None and written.address is not None and written.address.key != sender.key
    if context.facts.takes_replies and replaced and policy.from_ == "force" and written:
        return _put_mailbox(message, "Reply-To", written)
    return message


def _reverse_path(mail: Mail, context: Context, sender: Address, *, keep: bool) -> Mail:
    """smtp_from's address; a null one is repaired only in recognised tracker mail that is no report."""
    reverse = mail.envelope.reverse_path
    if reverse is None:
        automatic = mail.message.text("auto-submitted").lower().startswith("auto-replied")
        report = mail.message.text("content-type").lower().startswith("multipart/report")
        if automatic or report or not context.facts.recognised:
            return mail
    elif keep and not reverse.short:
        return mail
    if reverse == sender:
        return mail
    return replace(mail, envelope=replace(mail.envelope, reverse_path=sender))


def subject_prefix(mail: Mail, context: Context) -> Mail:
    """Put the project's prefix before the Subject, once, behind the reply marks."""
    prefix = context.policy.smtp_subject_prefix
    if prefix == DEFAULT_PREFIX:
        if not context.project:
            return mail.note("subject_prefix", "no project is known, so no prefix", warning=True)
        prefix = f"[{_collapse(context.project)}]"
    field = mail.message.get("subject")
    if not prefix or field is None:
        return mail
    subject = _collapse(encoded_word.decode(field.text))
    marks, rest = _split_marks(subject)
    if any(_begins(subject[at:], prefix) for at in range(len(subject) - len(rest) + 1)):
        return mail
    theirs = f"[{_collapse(context.facts.project)}]"
    if context.facts.project and prefix != theirs and _begins(rest, theirs):
        rest = rest[len(theirs) :].lstrip()
    text = " ".join(part for part in (marks, prefix, rest) if part)
    raw = f"Subject: {encoded_word.encode(text, len('Subject: '))}\r\n".encode()
    return mail.with_message(mail.message.put("Subject", raw)).note("subject_prefix", f"put {prefix} in front")


def _collapse(text: str) -> str:
    return re.sub(r"[ \t\r\n]+", " ", text).strip(" ")


def _split_marks(subject: str) -> tuple[str, str]:
    end = 0
    while found := _REPLY_MARK.match(subject, end):
        end = found.end()
    return subject[:end].strip(), subject[end:]


def _begins(text: str, prefix: str) -> bool:
    """True when `text` begins with `prefix` as a word of its own."""
    prefix = _collapse(prefix)
    if not text.startswith(prefix):
        return False
    return not (prefix[-1:].isalnum() and text[len(prefix) : len(prefix) + 1].isalnum())


def trace_fields(mail: Mail, context: Context) -> Mail:
    """Add Received and our own trace field, and what every mail must have: Date, Message-ID.

    Under `rewrite = full` also Precedence and Auto-Submitted, so that nothing answers a notification.
    A Message-ID without a host (`<x@>`) gets the sender's domain, in every field that threads by it.
    """
    message, stamp = mail.message, context.stamp
    sender = context.policy.sender
    domain = (ascii_domain(sender.domain) if sender else "") or stamp.host
    repair = rb"<\1@" + domain.encode("ascii") + rb">"

    for name in ("message-id", "in-reply-to", "references"):
        for field in message.get_all(name):
            raw = _EMPTY_HOST.sub(repair, field.raw)
            if raw != field.raw:
                message = message.map_fields(lambda f, old=field, new=raw: Field(new) if f is old else f)  # type: ignore[misc]
                mail = mail.note("trace_fields", f"{name} had no host: {domain} put in")
    wanted = {"Date": stamp.date, "Message-ID": f"<{stamp.id}@{domain}>"}
    if context.policy.rewrite == "full":
        wanted |= {"Precedence": "bulk", "Auto-Submitted": "auto-generated"}
    for name, value in wanted.items():
        if not message.text(name):
            message = message.put(name, f"{name}: {value}\r\n".encode("ascii"))
            mail = mail.note("trace_fields", f"{name} was missing")
    return mail.with_message(_prepend_trace(message, stamp))


def _prepend_trace(message: Message, stamp: Stamp) -> Message:
    ours = f"{stamp.gateway_id} id={stamp.id}"
    if any(field.text == ours for field in message.get_all(TRACE_FIELD)):
        return message
    helo = re.sub(r"[^A-Za-z0-9.\-_:\[\]]", "?", stamp.helo)[:255] or "unknown"
    client = re.sub(r"[^A-Za-z0-9.:]", "?", stamp.client) or "unknown"
    literal = f"IPv6:{client}" if ":" in client else client
    received = (
        f"Received: from {helo} ([{literal}])\r\n by {stamp.host} (tracker-relay) with {stamp.protocol}"
        f" id {stamp.id};\r\n {stamp.date}\r\n"
    )
    return message.prepend(received.encode("ascii"), f"{TRACE_FIELD}: {ours}\r\n".encode("ascii"))
