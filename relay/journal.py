"""Journal: one function per event in a mail's life. Each gives one log line and counts (`COUNTERS`).

One event is one line: control characters of peers and mails are escaped, long values cut, so nothing
that a client, a mail or an upstream sends can forge or flood a line. One mail's lines join by its id.
"""

import logging
from collections import Counter

from relay.entry import Attempt, Client, Entry, Outcome
from relay.reply import Reply

log = logging.getLogger("tracker-relay")
COUNTERS: Counter[str] = Counter()
LONGEST = 400
"""Characters of any one foreign value in a line."""


def clean(text: str) -> str:
    """`text` fit for one log line: unprintable characters escaped, cut at LONGEST."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text[:LONGEST])
    return shown if len(text) <= LONGEST else shown + "..."


def accepted(entry: Entry) -> None:
    """The listener has answered 250: the mail is ours."""
    COUNTERS["accepted"] += 1
    sender = entry.envelope.reverse_path
    log.info(
        "%s: from=<%s>, size=%d, nrcpt=%d, client=%s, helo=<%s>, message-id=%s",
        entry.id,
        "" if sender is None else clean(str(sender)),
        entry.size,
        len(entry.envelope.recipients),
        clean(entry.client.address),
        clean(entry.client.helo),
        clean(entry.message_id),
    )


def rejected(client: Client, reply: Reply, what: str) -> None:
    """The listener refused a command, a mail or a connection; `what` is the command or stage."""
    COUNTERS[f"rejected_{reply.code // 100}xx"] += 1
    log.warning("NOQUEUE: client=%s, %s: %s", clean(client.address), clean(what), clean(str(reply)))


def attempted(entry: Entry, attempt: Attempt) -> None:
    """One try is over: a Postfix-shaped line per recipient."""
    for outcome in attempt.outcomes:
        delivery(entry, outcome, attempt)


def delivery(entry: Entry, outcome: Outcome, attempt: Attempt) -> None:
    """What became of one recipient in one attempt."""
    status = {"relayed": "sent", "refused": "bounced"}.get(outcome.disposition, str(outcome.disposition))
    COUNTERS[status] += 1
    log.info(
        "%s: to=<%s>, relay=%s, delay=%.2f, delays=%s, dsn=%s, status=%s (%s)",
        entry.id,
        clean(outcome.address),
        clean(outcome.host) or "none",
        sum(attempt.delays),
        "/".join(f"{delay:.2g}" for delay in attempt.delays),
        outcome.reply.status_or_default,
        status,
        clean(str(outcome.reply)),
    )


def warning(entry_id: str, text: str) -> None:
    """Something a person should see about one mail: a dropped name, a broken rule."""
    COUNTERS["warnings"] += 1
    log.warning("%s: %s", entry_id or "-", clean(text))


def info(entry_id: str, text: str) -> None:
    """Something about one mail (or "" for the relay itself) that needs nobody."""
    log.info("%s: %s", entry_id or "-", clean(text))


def fault(where: str, error: BaseException) -> None:
    """A fault of ours: one line for the reader, the traceback only at level debug."""
    COUNTERS["faults"] += 1
    log.error("fault in %s: %s: %s", where, type(error).__name__, clean(str(error)))
    log.debug("fault in %s", where, exc_info=error)
