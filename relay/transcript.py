"""Transcript: a session with a next hop that failed, line by line, for people. Pure.

It is put together from what was said and heard only once the session has failed, so a mail that leaves
costs nothing for it. `C:` is what we say, `S:` what the server says, a line in brackets is ours. Of AUTH
nothing but the mechanism is shown, of a mail nothing but its header; all of it is bounded.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from relay.message import Message
from relay.reply import Reply
from relay.transaction import Transaction

MOST_LINES, LONGEST_LINE = 200, 500
HEADER_LINES = 60
KEPT = 14 * 86400.0
"""Seconds for which the last failed session is kept across restarts."""


@dataclass(frozen=True, slots=True)
class Session:
    """`at` in wall-clock seconds since 1970; `message_id` of the mail that it was about, "" when it came to none."""

    at: float
    host: str
    lines: tuple[str, ...]
    message_id: str = ""

    def stored(self) -> str:
        """As text for the spool."""
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, text: str) -> "Session | None":
        """What `stored` wrote; None for anything else."""
        try:
            form = json.loads(text)
            return cls(float(form["at"]), str(form["host"]), tuple(map(str, form["lines"])), str(form["message_id"]))
        except (ValueError, TypeError, KeyError):
            return None


def opening(hostname: str, greeting: str, keywords: Mapping[str, str], security: str, mechanism: str) -> list[str]:
    """The beginning of a session, as far as it came."""
    lines = [*_heard(greeting)] if greeting else ["[no greeting came]"]
    if keywords:
        lines.append(f"C: EHLO {hostname}")
        lines += [f"S: 250 {' '.join(filter(None, pair))}" for pair in keywords.items()]
    if security:
        lines.append(f"[secured: {security}]")
    if mechanism:
        lines.append(f"C: AUTH {mechanism} [the rest is left out]")
    return lines


def transaction(said: Transaction, message: Message) -> list[str]:
    """One mail's part of a session: its commands, each with its reply, and how it ended."""
    lines: list[str] = []
    replies = list(said.replies)
    for command in said.plan.commands():
        if not replies:
            break
        lines.append(f"C: {command.decode('utf-8', 'replace').rstrip()}")
        lines += _heard(str_of(replies.pop(0)))
    if said.dot_sent:
        lines += _header(message)
        lines += [f"[the body of {message.body.size} octets is left out]", "C: ."]
        lines += _heard(str_of(said.final)) if said.final else []
    if said.broken is not None and said.broken is not said.final and said.broken not in said.replies:
        lines.append(f"[{said.broken}]")
    return lines


def _header(message: Message) -> list[str]:
    lines = message.header_bytes.decode("utf-8", "replace").replace("\r\n", "\n").rstrip("\n").split("\n")
    left = [f"[{len(lines) - HEADER_LINES} more lines of the header]"] if len(lines) > HEADER_LINES else []
    return [f"C: {line}" for line in lines[:HEADER_LINES]] + left


def str_of(reply: Reply) -> str:
    """The reply as it was said, its lines kept."""
    status = f"{reply.status} " if reply.status else ""
    return "\n".join(f"{reply.code} {status}{line}" for line in reply.text.split("\n"))


def _heard(text: str) -> list[str]:
    return [f"S: {line}" for line in text.split("\n")]


def bounded(lines: Sequence[str], secrets: Iterable[str] = ()) -> tuple[str, ...]:
    """No more than MOST_LINES, the middle left out; no longer than LONGEST_LINE, printable, and without `secrets`."""
    known = [secret for secret in secrets if secret]
    shown = [_clean(line, known) for line in lines]
    if len(shown) > MOST_LINES:
        half = MOST_LINES // 2
        shown = [*shown[:half], f"[{len(shown) - 2 * half} lines are left out]", *shown[-half:]]
    return tuple(shown)


def _clean(line: str, secrets: Sequence[str]) -> str:
    for secret in secrets:
        line = line.replace(secret, "***")
    line = "".join(c if c.isprintable() else " " for c in line)
    return line if len(line) <= LONGEST_LINE else line[:LONGEST_LINE] + "..."
