"""Journal: one function per event in a mail's life. Each gives one log line and counts (`COUNTERS`).

One event is one line: control characters of peers and mails are escaped, long values cut, so nothing
that a client, a mail or an upstream sends can forge or flood a line. One mail's lines join by its id.
"""

import hashlib
import json
import logging
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

from relay.entry import Attempt, Client, Entry, Outcome
from relay.loglines import Lines
from relay.options import choice, option, path
from relay.reply import Reply

log = logging.getLogger("tracker-relay")
COUNTERS: Counter[str] = Counter()
LONGEST = 400
"""Characters of any one foreign value in a line."""
TRACE = 4000
"""The last characters of a traceback that a line shows."""


@dataclass(frozen=True, slots=True)
class LogOptions:
    """[log]: where the lines go, in which form, and how much they tell of people."""

    format: str = option(
        "text",
        "text: lines with a time; json: one object per line; journal: lines for systemd, with its priorities.",
        choice("text", "json", "journal"),
    )
    level: str = option("info", "The least that is logged.", choice("debug", "info", "warning", "error"))
    file: str = option("", "The file to append to; it may be rotated at any time. Empty: standard error.", path)
    addresses: str = option(
        "on",
        "on: mail addresses as they are; hash: a short hash, the same for the same address; off: none.",
        choice("on", "hash", "off"),
    )


def setup(options: LogOptions) -> None:
    """Log as `options` say, from now on; may be called again. Raises OSError when the file can not be opened.

    Libraries' warnings go the same way. Their debug lines never do: they contain mail and passwords.
    """
    handler = _handler(options.file)
    handler.setFormatter(_FORMATTERS[options.format]())
    root = logging.getLogger()
    for old in [known for known in root.handlers if getattr(known, "of_relay", False)]:
        root.removeHandler(old)
        old.close()
    handler.of_relay = True  # type: ignore[attr-defined]
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    log.setLevel(options.level.upper())
    _Privacy.hide = _PRIVACY[options.addresses]


def _handler(file: str) -> logging.Handler:
    if file:
        return Lines(_line_lost, path=file)
    try:
        return Lines(_line_lost, descriptor=sys.stderr.fileno())
    except (AttributeError, OSError, ValueError):  # none, or none of the system's
        return logging.StreamHandler(sys.stderr) if sys.stderr else logging.NullHandler()


def _line_lost() -> None:
    COUNTERS["lines_lost"] += 1


def clean(text: str) -> str:
    """`text` fit for one log line: unprintable characters escaped, cut at LONGEST, addresses as `[log]` allows."""
    if _Privacy.hide is not None:
        # Cut first: the search is quadratic in a long run without an @. Twice the length, so that no address is halved.
        text = _ADDRESS.sub(lambda found: _person(found[0]), text[: 2 * LONGEST])
    return escaped(text)


def accepted(entry: Entry) -> None:
    """The listener has answered 250: the mail is ours."""
    COUNTERS["accepted"] += 1
    sender = entry.envelope.reverse_path
    _tell(
        logging.INFO,
        "accepted",
        entry.id,
        "from=<%(from)s>, size=%(size)d, nrcpt=%(nrcpt)d, client=%(client)s, helo=<%(helo)s>,"
        " message-id=%(message_id)s",
        {
            "from": "" if sender is None else escaped(_person(str(sender))),
            "size": entry.size,
            "nrcpt": len(entry.envelope.recipients),
            "client": clean(entry.client.shown),
            "helo": clean(entry.client.helo),
            "message_id": escaped(entry.message_id),
        },
    )


def duplicate(entry: Entry, kept: str) -> None:
    """A mail came again, and is kept once: as `kept`."""
    COUNTERS["duplicates"] += 1
    fields = {"client": clean(entry.client.shown), "message_id": escaped(entry.message_id)}
    _tell(
        logging.INFO,
        "duplicate",
        kept,
        "sent again by client=%(client)s, message-id=%(message_id)s: kept once",
        fields,
    )


def rejected(client: Client, reply: Reply, what: str) -> None:
    """The listener refused a command, a mail or a connection; `what` is the command or stage."""
    COUNTERS[f"rejected_{reply.code // 100}xx"] += 1
    fields = {"client": clean(client.shown), "what": clean(what), "reply": clean(str(reply))}
    _tell(logging.WARNING, "rejected", "NOQUEUE", "client=%(client)s, %(what)s: %(reply)s", fields)


def attempted(entry: Entry, attempt: Attempt) -> None:
    """One try is over: a Postfix-shaped line per recipient."""
    for outcome in attempt.outcomes:
        delivery(entry, outcome, attempt)


def delivery(entry: Entry, outcome: Outcome, attempt: Attempt) -> None:
    """What became of one recipient in one attempt; a rule that decided it is named before its reply."""
    status = {"relayed": "sent", "refused": "bounced"}.get(outcome.disposition, str(outcome.disposition))
    COUNTERS[status] += 1
    _tell(
        logging.INFO,
        "delivery",
        entry.id,
        "to=<%(to)s>, relay=%(relay)s, delay=%(delay)s, delays=%(delays)s, dsn=%(dsn)s, status=%(status)s (%(reply)s),"
        " tls=%(tls)s",
        {
            "to": escaped(_person(outcome.address)),
            "relay": clean(relay(outcome.host)),
            "delay": _Seconds(sum(attempt.delays)),
            "delays": "/".join(str(_Seconds(delay)) for delay in attempt.delays),
            "dsn": outcome.reply.status_or_default,
            "status": status,
            "reply": (f"{clean(outcome.rule)}: " if outcome.rule else "") + clean(str(outcome.reply)),
            "tls": attempt.tls_level or "none",
        },
    )


_REACHED = re.compile(r"[^\[\]]+\[[^\[\]]+\]:\d+")


def relay(host: str) -> str:
    """The next hop as Postfix names it: host[address]:port, `none` where nobody was reached, unix[path], outbox."""
    if host.startswith("unix:"):
        return f"unix[{host[5:]}]"
    return host if _REACHED.fullmatch(host) or host.isalpha() else "none"


class _Seconds(float):
    """A delay as Postfix prints it: two significant digits, whole seconds from 10 on, never an exponent."""

    def __str__(self) -> str:
        if not self:
            return "0"
        if self >= 1:
            return f"{self:.0f}" if self >= 9.95 else f"{self:.1f}".removesuffix(".0")
        return f"{float(f'{self:.2g}'):.4f}".rstrip("0").removesuffix(".")


def reported(entry: Entry, report: Entry) -> None:
    """A report of ours on `entry` was put into the spool."""
    COUNTERS["reports"] += 1
    to = ", ".join(escaped(_person(str(recipient.address))) for recipient in report.envelope.recipients)
    _tell(
        logging.INFO, "reported", entry.id, "sender notified: %(report)s to=<%(to)s>", {"report": report.id, "to": to}
    )


def warning(entry_id: str, text: str) -> None:
    """Something a person should see about one mail: a dropped name, a broken rule."""
    COUNTERS["warnings"] += 1
    _tell(logging.WARNING, "warning", entry_id or "-", "%(text)s", {"text": clean(text)})


def held(entry: Entry, reason: str) -> None:
    """A mail waits for a person from now on: nothing but his word moves it."""
    COUNTERS["alarms"] += 1
    COUNTERS["held"] += 1
    _tell(logging.ERROR, "held", entry.id, "ALARM: held: %(text)s", {"text": clean(reason)})


def alarm(text: str) -> None:
    """Something about the relay itself that a person must look at now; said once, not for every mail."""
    COUNTERS["alarms"] += 1
    _tell(logging.ERROR, "alarm", "-", "ALARM: %(text)s", {"text": clean(text)})


def info(entry_id: str, text: str) -> None:
    """Something about one mail (or "" for the relay itself) that needs nobody."""
    _tell(logging.INFO, "info", entry_id or "-", "%(text)s", {"text": clean(text)})


def fault(where: str, error: BaseException) -> None:
    """A fault of ours: one line for the reader, the traceback only at level debug."""
    COUNTERS["faults"] += 1
    log.error("fault in %s: %s: %s", where, type(error).__name__, clean(str(error)))
    log.debug("fault in %s", where, exc_info=error)


# --- how a line is made ----------------------------------------------------------------------------


class _Record(logging.LogRecord):
    """One line of ours. Made by hand: `log.log` walks the stack for a caller, and the base asks the system for
    thread and process, that no line shows. Formatters of others read its `__dict__`: all stands there.
    """

    told: Mapping[str, object]

    def __init__(self, level: int, text: str) -> None:
        self.__dict__.update(_ALIKE)
        self.levelno, self.levelname, self.msg = level, logging.getLevelName(level), text
        self.created = time.time()
        self.msecs = self.created * 1000 % 1000


_NOTHING = ("exc_info", "exc_text", "stack_info", "thread", "threadName", "process", "processName", "taskName")
_PLACE = {"pathname": __file__, "filename": "journal.py", "module": "journal", "funcName": "", "lineno": 0}
_ALIKE = {**dict.fromkeys(_NOTHING), **_PLACE, "name": log.name, "args": (), "relativeCreated": 0.0}


def _tell(level: int, event: str, entry_id: str, form: str, fields: Mapping[str, object]) -> None:
    """One line; `json` shows the fields themselves."""
    if log.isEnabledFor(level):
        record = _Record(level, f"{entry_id}: {form % fields}")
        record.told = {"event": event, "id": entry_id, **fields}
        log.handle(record)


def escaped(text: str) -> str:
    """`text` fit for one line: unprintable characters escaped, cut at LONGEST."""
    if len(text) <= LONGEST and text.isprintable():
        return text
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text[:LONGEST])
    return shown if len(text) <= LONGEST else shown + "..."


_ADDRESS = re.compile(r"[^\s<>\"'(),:;@\[\]=]+@[^\s<>\"'(),:;@\[\]=]+")


class _Privacy:
    """What `[log] addresses` asks for: how an address is shown, None as it is."""

    hide: Callable[[str], str] | None = None


def _hashed(address: str) -> str:
    return "#" + hashlib.blake2s(address.lower().encode("utf-8", "replace"), digest_size=5).hexdigest()


_PRIVACY: dict[str, Callable[[str], str] | None] = {"on": None, "hash": _hashed, "off": lambda _: "-"}


def _person(address: str) -> str:
    return address if _Privacy.hide is None or not address else _Privacy.hide(address)


class _Line(logging.Formatter):
    """A record as one line; a library's text and a traceback are escaped like everything foreign."""

    def format(self, record: logging.LogRecord) -> str:
        told = record.getMessage()
        if record.name != log.name:
            told = f"{record.name}: {clean(told)}"
        if record.exc_info:
            trace = self.formatException(record.exc_info)
            told += " | " + "".join(c if c.isprintable() else " " for c in trace[-TRACE:])
        return self.line(record, told)

    def line(self, record: logging.LogRecord, told: str) -> str:
        return f"{_time(record)} {record.levelname.lower()} {told}"


class _Json(_Line):
    """A record as one JSON object: time, level, message, and the event's own fields."""

    def line(self, record: logging.LogRecord, told: str) -> str:
        form = {"time": _time(record), "level": record.levelname.lower(), "message": told}
        return json.dumps({**form, **getattr(record, "told", {})}, ensure_ascii=False)


class _Journal(_Line):
    """A line for systemd: its priority in front (sd-daemon(3)); the journal knows the time itself."""

    def line(self, record: logging.LogRecord, told: str) -> str:
        priority = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3}.get(record.levelno, 2)
        return f"<{priority}>{told}"


_FORMATTERS: dict[str, type[_Line]] = {"text": _Line, "json": _Json, "journal": _Journal}


def _time(record: logging.LogRecord) -> str:
    second = int(record.created)
    return f"{_second(second)}.{int((record.created - second) * 1000):03}+00:00"


@lru_cache(1)
def _second(at: int) -> str:
    """A second in UTC, which many lines share."""
    return datetime.fromtimestamp(at, UTC).isoformat()[:19]
