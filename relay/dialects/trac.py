"""Trac, 0.10 to 1.6 (`X-Trac-*` fields), and the guide's sample of 2004."""

import hashlib
import re
from collections.abc import Iterable

from relay.dialects import trac_body
from relay.dialects.facts import Facts, Person, Text, decoded
from relay.message import Message

_VERSION = re.compile(r"(\d{1,4})\.(\d{1,4})")
_TICKET = re.compile(r"#(\d+)\b.*", re.DOTALL)
_NUMBER = re.compile(r"[0-9]{1,12}")
_ROOT = re.compile(r"<(\d{3})\.([0-9a-f]{32})@[^<>@\s]*>")


def recognises(message: Message) -> bool:
    """Every release writes X-Trac-Version and X-Trac-Project; a broken one at least its X-Mailer."""
    return message.has("x-trac-version", "x-trac-project", "x-trac-ticket-id")


def facts(message: Message, text: Text) -> Facts:
    """Project, ticket, people and event; batch mails have no ticket."""
    given = message.text("x-trac-ticket-id") or _announced(message)
    pattern = re.compile(rf"#{given}\b.*", re.DOTALL) if _NUMBER.fullmatch(given) else _TICKET
    found = pattern.search(decoded(message, "subject"))
    body = trac_body.read(text(), found[0] if found else "")
    ticket = given or body.cells.get("Id", "")
    reporter = person(body.cells.get("Reporter", ""))
    new = not message.get("in-reply-to") and not body.event
    event = "new" if new and body.cells else body.event
    old = _is_old(message)
    updater = person(body.updater)
    if event == "new" and (old or _version(message) < (1, 4)):
        updater = reporter  # later releases count the account that submitted it, which the mail does not show
    return Facts(
        "trac",
        decoded(message, "x-trac-project"),
        ticket,
        reporter,
        person(body.cells.get("Owner", "")),
        updater,
        previous_owner=person(body.previous_owner),
        event=event,
        event_key=message.text("x-trac-ticket-url").rpartition("#")[2]
        if "#" in message.text("x-trac-ticket-url")
        else "",
        decides_updater=not old,
    )


def _announced(message: Message) -> str:
    """The ticket of a mail of AnnouncerPlugin, which is sent in place of Trac's own and has fields of its own."""
    if message.text("x-trac-announcement-realm") not in ("", "ticket"):
        return ""
    return next(filter(_NUMBER.fullmatch, map(message.text, ("x-trac-announcement-id", "x-announcement-id"))), "")


def person(shown: str) -> Person | None:
    """Somebody as Trac shows him; nobody for an empty cell, `(none)` and `anonymous`."""
    return None if shown in ("", "(none)", "anonymous") else Person(shown)


def _version(message: Message) -> tuple[int, int]:
    found = _VERSION.match(message.text("x-trac-version"))
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _is_old(message: Message) -> bool:
    """0.10 to 1.0: recipients are reporter, owner, updater and cc. Later ones have subscriptions."""
    version = _version(message)
    return version < (1, 2) and not (version == (0, 0) and message.get("x-trac-realm"))


def proves_reporter(message: Message, ticket: str, logins: Iterable[str]) -> list[str]:
    """The logins whose hash is that of the ticket's first Message-ID: Trac makes it from the reporter's login.

    The root id is the Message-ID of a new ticket, else In-Reply-To. Letters outside ASCII are left
    out of the hash, so two logins may fit.
    """
    root = _ROOT.search(message.text("in-reply-to") or message.text("message-id"))
    if root is None or not _NUMBER.fullmatch(ticket):
        return []
    begin = f"{message.text('x-url')}.{int(ticket):08}.0."
    wanted = int(root[1]) - len(begin)
    fitting = []
    for login in logins:
        name = login.encode("ascii", "ignore")
        if len(name) == wanted and _hash(begin.encode("utf-8") + name) == root[2]:
            fitting.append(login)
    return fitting


def _hash(text: bytes) -> str:
    return hashlib.md5(text, usedforsecurity=False).hexdigest()
