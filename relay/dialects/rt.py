"""RT: `RT-Ticket` or, in older ones, `X-RT-*` fields; it reads the answers to its mail.

Mail for those who work on tickets begins with a block of RT's own: what happened, then a line for the queue,
subject, owner, requestors and status, and the ticket's address. Mail for requestors is a user's words alone, so
only a whole block, in front of all else and about this very ticket, counts.
"""

import re

from relay.dialects.facts import Facts, Text, decoded, display_name, person
from relay.message import Message

_HEAD = re.compile(r"\w{3} \w{3} [ \d]\d [\d:]{8} \d{4}: Request (\d+) was acted upon\.?")
_ROW = re.compile(r" *(Transaction|Queue|Subject|Owner|Requestors|Status): *(.*)")
_CLOSE = re.compile(r" *Ticket <URL: .+ ?>")
_LABELS = {"Transaction", "Queue", "Subject", "Owner", "Requestors", "Status"}
_CREATED = re.compile(r"Ticket created by (.+)")
_ADDED = re.compile(r"(?:Correspondence|Comments?) added by (.+)")
_BY = re.compile(r".+ by (\S.*)")
_VIA = re.compile(r"(.+) via .+")
_QUEUE = re.compile(r"(?m)^ *+Queue: *+(\S.*)$")


def recognises(message: Message) -> bool:
    """The ticket field stands in every mail about a ticket."""
    return message.has("rt-ticket", "x-rt-ticket")


def facts(message: Message, text: Text) -> Facts:
    """`rtname #12` in the ticket field; the queue is the project, where the body names it."""
    ticket = decoded(message, "rt-ticket") or decoded(message, "x-rt-ticket")
    name, _, number = ticket.rpartition("#")
    number = number.strip()
    body = text()
    rows = _block(body, number)
    queue = _QUEUE.search(body[:4000].lstrip("\n").partition("\n\n")[0])
    project = rows.get("Queue") or (queue[1].rstrip(" ") if queue else name.strip())
    requestors = [part for part in re.split(r"[,\s]+", rows.get("Requestors", "")) if part]
    said = rows.get("Transaction", "")
    event = "new" if _CREATED.fullmatch(said) else "comment" if _ADDED.fullmatch(said) else "change" if said else ""
    return Facts(
        "rt",
        project,
        number,
        reporter=person(requestors[0]) if len(requestors) == 1 else None,
        owner=person(rows.get("Owner", ""), "Nobody"),
        updater=person(_updater(message, said), "RT_System", "The RT System itself"),
        event=event,
        takes_replies=True,
    )


def _block(body: str, number: str) -> dict[str, str]:
    """The rows of the block in front; nothing unless it is whole and of this ticket."""
    lines = body.lstrip("\n").split("\n", 40)[:40]
    head = _HEAD.fullmatch(lines[0].strip()) if lines else None
    if head is None or head[1] != number:
        return {}
    rows: dict[str, str] = {}
    for line in lines[1:]:
        if _CLOSE.fullmatch(line.rstrip()):
            return rows if rows.keys() >= _LABELS else {}
        found = _ROW.fullmatch(line.rstrip())
        if found is None:
            return {}
        rows.setdefault(found[1], found[2])
    return {}


def _updater(message: Message, said: str) -> str:
    """Who caused it: the originator's address, else From's `N via RT`, else the transaction's own words."""
    originator = decoded(message, "rt-originator") or decoded(message, "x-rt-originator")
    if originator:
        return originator
    if via := _VIA.fullmatch(display_name(message)):
        return via[1]
    by = _BY.fullmatch(said)
    return by[1] if by else ""
