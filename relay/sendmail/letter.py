"""Letter: whom a local program's mail goes to and whom it is from. Pure.

Date and Message-ID are left to the relay, which gives every mail that has none the time at which it
was taken; only From is written here, since only here is it known who calls.
"""

import re
from collections.abc import Iterable, Sequence

from relay import encoded_word, mailboxes
from relay.address import Address, AddressError, parse
from relay.mailboxes import Mailbox
from relay.message import Message
from relay.sendmail.arguments import UsageError

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_MBOX = re.compile(rb"(?:>*+From [^\n]*+\n)*+")
_RESENT = ("resent-to", "resent-cc", "resent-bcc")


class LetterError(Exception):
    """the mail can not be sent as it is"""


def sender(text: str) -> Address | None:
    """The address of -f; None is the null sender. Raises UsageError."""
    text = text.strip()
    if text in ("", "<>"):
        return None
    found = mailboxes.read(text)
    if len(found) != 1 or found[0].address is None or _CONTROL.search(text):
        raise UsageError(f"-f {text!r} is no address")
    return found[0].address


def from_arguments(words: Iterable[str]) -> list[str]:
    """The paths that the command line names: each word may hold several, separated by commas or blanks."""
    paths: list[str] = []
    for word in words:
        parts = [part.strip(",") for part in word.split()]
        several = len(parts) > 1 and all(map(_whole, parts))
        paths += _paths(", ".join(parts) if several else word)
    return paths


def from_header(message: Message) -> list[str]:
    """The paths that To, Cc and Bcc name; where somebody resends a mail, the Resent- fields alone (RFC 5322 3.6.6)."""
    resent = any(field.name.startswith("resent-") for field in message.fields)
    names = _RESENT if resent else ("to", "cc", "bcc")
    return [path for name in names for field in message.get_all(name) for path in _paths(field.text)]


def _whole(text: str) -> bool:
    try:
        return not parse(text).short
    except AddressError:
        return False


def _paths(text: str) -> list[str]:
    """Every address of a list.

    What is none goes along, marked so that nobody can take it for one: the relay refuses it and says so
    in the mail's history and report, and the others get the mail.
    """
    if _CONTROL.search(text):
        raise LetterError(f"a control character stands in the recipient {text!r}")
    return [str(box.address) if box.address else _no_address(box.display or text) for box in mailboxes.read(text)]


def _no_address(text: str) -> str:
    return f"{' '.join(encoded_word.clean(text).split())[:200]} (no address)"


def without_mbox_line(head: bytes) -> bytes:
    """Without the `From ` lines in front that mailbox files have."""
    found = _MBOX.match(head)
    return head[found.end() :] if found else head


def header(message: Message, who: Address, full_name: str, *, hide: bool) -> bytes:
    """The header as it is submitted, its empty line included.

    A missing From becomes `full_name <who>`, one with a bare name gets `who`'s domain. `hide` removes
    Bcc, which -t has read.
    """
    if hide:
        message = message.remove("bcc", "resent-bcc")
    written = mailboxes.written(message, "from")
    if not message.get("from"):
        message = _put_from(message, [Mailbox(full_name, who)])
    elif len(written) == 1 and written[0].address and written[0].address.short:
        comment = re.search(r"\(([^()\\]*)\)", message.text("from"))
        display = written[0].display or (encoded_word.decode(comment[1]).strip() if comment else "")
        message = _put_from(message, [Mailbox(display, written[0].address.complete(who.domain))])
    return b"".join(field.raw for field in message.fields) + b"\r\n"


def _put_from(message: Message, boxes: list[Mailbox]) -> Message:
    return message.put("From", f"From: {mailboxes.write(boxes, len('From: '))}\r\n".encode())


def unique(paths: Sequence[str]) -> list[str]:
    """Each path once, in order."""
    return list(dict.fromkeys(paths))


def full_name(gecos: str, login: str) -> str:
    """A user's full name out of his line in passwd, where `&` stands for the login (finger(1))."""
    return gecos.partition(",")[0].replace("&", login.capitalize()).strip()
