"""The last rule, `wire`: what the standards demand of every mail that leaves (RFC 5321 4.5.3.1.6, RFC 5322 2.1.1).

A field or part that needs nothing stays byte for byte.
"""

import re
from dataclasses import replace

from relay import downgrade, fields
from relay.fields import Unfit
from relay.mail import Mail, Refusal
from relay.message import Field, Message
from relay.patch import has_long_line
from relay.policy import Context
from relay.transfer import LONGEST_LINE

_BEFORE_COLON = re.compile(rb"\A([!-9;-~]++)[ \t]++:")
_LINE_OF_BLANKS = re.compile(rb"\r\n[ \t]++(?=\r\n)")
_SIGNS_OF_OBSOLETE = (b" :", b"\t:", b" \r\n", b"\t\r\n")


def wire(mail: Mail, _context: Context) -> Mail:
    """Fold and encode what needs it, in header and body; refuse the mail when that can not be done."""
    message = _separated(mail.message)
    if any(sign in message.header_bytes for sign in _SIGNS_OF_OBSOLETE):
        renewed = message.map_fields(_without_obsolete)
        mail = mail if renewed is message else mail.note("wire", "fields in an obsolete form are in today's")
        message = renewed
    if message.header_bytes.isascii() and max(map(len, message.raws), default=0) <= LONGEST_LINE:
        return _with_short_lines(mail.with_message(message))
    changed: list[str] = []

    def fit(field: Field) -> Field:
        fitted = fields.fit(field)
        if fitted is not field:
            changed.append(field.name)
        return fitted

    try:
        message = message.map_fields(fit)
    except Unfit as fault:
        return replace(mail, refusal=Refusal("wire", "5.6.0", str(fault)))
    if changed:
        mail = mail.note("wire", f"folded or encoded: {', '.join(changed)}")
    return _with_short_lines(mail.with_message(message))


def _without_obsolete(field: Field) -> Field:
    """Without a blank before the colon and lines of blanks: they are to be read, but never sent (RFC 5322 4.5, 4.2).

    Some readers take either for the end of the header, and what follows for the body.
    """
    raw = _LINE_OF_BLANKS.sub(b"", _BEFORE_COLON.sub(rb"\1:", field.raw))
    return field if raw == field.raw else Field(raw)


def _separated(message: Message) -> Message:
    """Without an mbox's `From ` line, and with an empty line before the body where it was missing."""
    if message.has(""):
        message = replace(message, fields=tuple(field for field in message.fields if field.name))
    if not message.separator and message.body.size:
        message = replace(message, separator=b"\r\n")
    return message


def _with_short_lines(mail: Mail) -> Mail:
    """With no line of the body over LONGEST_LINE, or refused where such a line must not be changed."""
    if not has_long_line(mail.message.body):
        return mail
    message = None if mail.keep_body else downgrade.short_lines(mail.message)
    if message is None:
        text = f"the body has a line of over {LONGEST_LINE} octets where nothing may be changed"
        return replace(mail, refusal=Refusal("wire", "5.6.0", text))
    return mail.with_message(message).note("wire", f"encoded: lines of over {LONGEST_LINE} octets")
