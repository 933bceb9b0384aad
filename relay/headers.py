"""The rules about header fields: whom the mail is from, the subject prefix, the trace of its passage.

A field that already says what a rule wants stays byte for byte, so a second passage changes nothing.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache, partial

from relay import encoded_word, fields, mailboxes
from relay.address import Address, ascii_domain
from relay.mail import Mail
from relay.mailboxes import Mailbox
from relay.message import Field, Message
from relay.policy import DEFAULT_PREFIX, Context, Stamp

TRACE_FIELD = "X-Tracker-Relay"
_REPLY_MARK = re.compile(r"\s*re:\s*", re.IGNORECASE)
_QUOTED = re.compile(rb'"[^"]*+"')
_CLOSES = re.compile(r"[^\[\]]*+\]")
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
    kept = _authors(message) if policy.from_ == "keep" else []
    if not kept:
        display = _shown(policy.smtp_from_name) or _shown(context.project)
        forced = _put_mailbox(message, "From", Mailbox(display, sender))
        if forced is not message:
            message = forced.remove("sender")
            mail = mail.note("originator", f"From is {display} <{sender}>" if display else f"From is {sender}")
    message = _reply_to(message, context, _answered(mail, context, written, sender))
    mail = mail.with_message(message)
    return _reverse_path(mail, context, sender, kept)


def _shown(name: str) -> str:
    """A display name on one line; "" where nothing of it can be seen."""
    return encoded_word.clean(name).strip()


def _authors(message: Message) -> list[Address]:
    """The addresses of a valid From: one field, every mailbox with a full address."""
    written = message.get_all("from")
    found = [box.address for box in _boxes(written[0])] if len(written) == 1 else []
    full = [address for address in found if address and not address.short]
    return full if len(full) == len(found) else []


def _single(message: Message, name: str) -> Mailbox | None:
    """The one mailbox of the one field of that name, when it is just that."""
    written = message.get_all(name)
    found = _boxes(written[0]) if len(written) == 1 else []
    return found[0] if len(found) == 1 and found[0].address else None


def _boxes(field: Field) -> Sequence[Mailbox]:
    """Its mailboxes. A local part in another charset than UTF-8 is no address: what `fit` leaves of it is another."""
    boxes = mailboxes.read(field.text)
    if field.raw.isascii() or fields.is_utf8(field.raw):
        return boxes
    return [box if box.address is None or box.address.local.isascii() else Mailbox(box.display, None) for box in boxes]


def _put_mailbox(message: Message, name: str, wanted: Mailbox) -> Message:
    field = message.get(name)
    raw = (_remembered if len(wanted.display) < _SHORT else _mailbox_field)(name, wanted)
    if field is not None and field.raw == raw and len(message.get_all(name)) == 1:
        return message
    if field is not None and _single(message, name) == wanted:
        quoted_word = any(b"=?" in text for text in _QUOTED.findall(field.value))
        return message.put(name, raw) if quoted_word else message
    return message.put(name, raw)


def _mailbox_field(name: str, box: Mailbox) -> bytes:
    return f"{name}: {mailboxes.write([box], len(name) + 2)}\r\n".encode()


_SHORT = 200
_remembered = lru_cache(256)(_mailbox_field)
"""A field that names one mailbox: the same few for all of a tracker's mail, if the name is no longer than _SHORT."""


def _answered(mail: Mail, context: Context, written: Mailbox | None, sender: Address) -> Mailbox | None:
    """The From of a tracker that takes replies, if it was replaced; never a recipient who is to stay hidden."""
    if context.policy.from_ != "force" or not context.facts.takes_replies or written is None or written.address is None:
        return None
    key = written.address.key
    hidden = any(r.address.key == key and not r.shown for r in mail.envelope.recipients)
    return None if hidden or key == sender.key else written


def _reply_to(message: Message, context: Context, answered: Mailbox | None) -> Message:
    """smtp_replyto; else the tracker's own where it holds an address; else the From that it reads answers at."""
    policy = context.policy
    if policy.smtp_replyto is not None:
        return _put_mailbox(message, "Reply-To", Mailbox("", policy.full(policy.smtp_replyto)))
    empty = [field for field in message.get_all("reply-to") if not _has_address(field)]
    if empty:
        message = message.with_fields(tuple(field for field in message.fields if field not in empty))
    if answered and not message.get("reply-to"):
        return _put_mailbox(message, "Reply-To", answered)
    return message


def _has_address(field: Field) -> bool:
    return any(box.address and not box.address.short for box in _boxes(field))


def _reverse_path(mail: Mail, context: Context, sender: Address, kept: list[Address]) -> Mail:
    """The address of From, which is smtp_from's unless it was `kept`.

    A null reverse-path is repaired only in recognised tracker mail that is no report.
    """
    reverse = mail.envelope.reverse_path
    if reverse is None:
        automatic = mail.message.text("auto-submitted").lower().startswith("auto-replied")
        report = mail.message.text("content-type").lower().startswith("multipart/report")
        if automatic or report or not context.facts.recognised:
            return mail
    elif len(kept) == 1 and reverse != sender:  # a null one that was repaired stays repaired (promise 8)
        sender = kept[0]
    elif kept and not reverse.short:
        return mail
    if reverse is not None and reverse.key == sender.key:
        return mail
    return mail.sent_by(sender)


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
    prefix = _collapse(prefix)
    subject = _collapse(encoded_word.decode(field.text))
    if _has_prefix(unicodedata.normalize("NFC", subject), unicodedata.normalize("NFC", prefix)):
        return mail
    if encoded_word.decodes(field.text):
        theirs = f"[{_collapse(context.facts.project)}]" if context.facts.project else ""
        text = _with_prefix(subject, prefix, theirs if prefix != theirs else "")
        value = encoded_word.encode(text, len("Subject: "))
    else:  # words in a charset that only the reader may know: they stay as they are
        words = encoded_word.encode(prefix, len("Subject: "))
        if words != prefix:
            words += " =?utf-8?q?_?="  # a blank between two encoded words is none (RFC 2047 6.2)
        text = _with_prefix(_collapse(field.text), words, "")
        value = encoded_word.fold(text.replace("\r\n", ""), len("Subject: "))
    raw = f"Subject: {value}\r\n".encode()
    return mail.with_message(mail.message.put("Subject", raw)).note("subject_prefix", f"put {prefix} in front")


def as_looked_for(prefixes: Iterable[str]) -> tuple[str, ...]:
    """These prefixes as `without_prefix` takes them: as they stand in a Subject, the longest first."""
    return tuple(sorted(filter(None, map(_collapse, prefixes)), key=len, reverse=True))


def without_prefix(message: Message, prefixes: Sequence[str]) -> Message:
    """The message as it reads without one of these prefixes (`as_looked_for`) behind the reply marks of its Subject."""
    field = message.get("subject")
    subject = _collapse(encoded_word.decode(field.text)) if field else ""
    for prefix in prefixes:
        if prefix not in subject:
            continue
        at = next((at for at in _places(subject) if _stands_alone(subject, prefix, at)), -1)
        if at >= 0:
            rest = f"{subject[:at]}{subject[at + len(prefix) :].lstrip()}"
            unmarked = message.remove(TRACE_FIELD)  # where one of these stands, no `[Project]` of ours does
            return unmarked.put("Subject", f"Subject: {encoded_word.encode(rest, len('Subject: '))}\r\n".encode())
    return message


def _collapse(text: str) -> str:
    """On one line, with single blanks: what subjects and prefixes are compared as."""
    text = encoded_word.clean(text)
    return re.sub(" +", " ", text).strip(" ") if "  " in text else text.strip(" ")


def _with_prefix(subject: str, prefix: str, theirs: str) -> str:
    """The prefix behind the reply marks, in place of the tracker's own one where it has `theirs`."""
    at = _places(subject)[-1]
    rest = subject[at:]
    if theirs and _stands(rest, theirs, 0):
        rest = rest[len(theirs) :].lstrip()
    return " ".join(part for part in (subject[:at].strip(), prefix, rest) if part)


def _has_prefix(subject: str, prefix: str) -> bool:
    """True when the prefix stands behind the reply marks; one that looks like a mark itself, among them."""
    return any(_stands(subject, prefix, at) for at in _places(subject))


def _places(subject: str) -> list[int]:
    """Where the subject proper could begin: at its start and behind each reply mark."""
    places = [0]
    while found := _REPLY_MARK.match(subject, places[-1]):
        places.append(found.end())
    return places


def _stands(text: str, prefix: str, at: int) -> bool:
    """True when `prefix` stands at that place as a word of its own."""
    end = at + len(prefix)
    return text.startswith(prefix, at) and not (prefix[-1:].isalnum() and text[end : end + 1].isalnum())


def _stands_alone(text: str, prefix: str, at: int) -> bool:
    """True when it stands there as we put it: a blank behind, and no part of the tracker's `[Harbour 0000012]`."""
    rest = text[at + len(prefix) :]
    is_part = prefix.rfind("[") > prefix.rfind("]") and _CLOSES.match(rest)
    return text.startswith(prefix, at) and rest[:1] in ("", " ") and not is_part


def trace_fields(mail: Mail, context: Context) -> Mail:
    """Add Received and our own trace field, and what every mail must have: Date, Message-ID.

    Under `rewrite = full` also Precedence and Auto-Submitted, so that nothing answers a notification, and
    a Message-ID without a host (`<x@>`) gets the sender's domain, in every field that threads by it.
    """
    message, stamp = mail.message, context.stamp
    sender = context.policy.sender
    domain = (ascii_domain(sender.domain) if sender else "") or stamp.host
    repair = rb"<\1@" + domain.encode("ascii") + rb">"

    full = context.policy.rewrite == "full"
    for name in ("message-id", "in-reply-to", "references") if full else ():
        if any(b"@>" in field.raw for field in message.get_all(name)):
            message = message.map_fields(partial(_with_host, name, repair))
            mail = mail.note("trace_fields", f"{name} had no host: {domain} put in")
    wanted = {"Date": stamp.date, "Message-ID": f"<{stamp.id}@{domain}>"}
    if full:
        wanted |= {"Precedence": "bulk", "Auto-Submitted": "auto-generated"}
    for name, value in wanted.items():
        if not message.text(name):
            message = message.put(name, f"{name}: {value}\r\n".encode("ascii"))
            mail = mail.note("trace_fields", f"{name} was missing")
    return mail.with_message(_prepend_trace(message, stamp))


def _with_host(name: str, repair: bytes, field: Field) -> Field:
    return Field(_EMPTY_HOST.sub(repair, field.raw)) if field.name == name else field


def mark(message: Message, gateway_id: str, entry_id: str) -> Message:
    """Our trace field alone: what we wrote ourselves was received from nobody, and must not come back either."""
    ours = f"{TRACE_FIELD}: {gateway_id} id={entry_id}\r\n"
    return message.prepend(ours.encode("ascii"))


def _prepend_trace(message: Message, stamp: Stamp) -> Message:
    ours = f"{stamp.gateway_id} id={stamp.id}"
    if any(field.text == ours for field in message.get_all(TRACE_FIELD)):
        return message
    whom = _from_whom(stamp.uid, stamp.helo, stamp.client, stamp.host)
    received = f"Received: {whom} with {stamp.protocol} id {stamp.id};\r\n {stamp.date}\r\n"
    return message.prepend(received.encode("ascii"), f"{TRACE_FIELD}: {ours}\r\n".encode("ascii"))


@lru_cache(256)
def _from_whom(uid: int | None, helo: str, client: str, host: str) -> str:
    """Received's `from` and `by`; what came over a unix socket comes from a user, not from a host."""
    if uid is not None:
        return f"by {host} (tracker-relay, from userid {uid})\r\n"
    helo = re.sub(r"[^A-Za-z0-9.\-_:\[\]]", "?", helo)[:255] or "unknown"
    client = re.sub(r"[^A-Za-z0-9.:]", "?", client) or "unknown"
    literal = f"IPv6:{client}" if ":" in client else client
    return f"from {helo} ([{literal}])\r\n by {host} (tracker-relay)"
