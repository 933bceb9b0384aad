"""`trace` and `queue show`: the whole life of a mail."""

import argparse
import os
from collections.abc import Iterator
from typing import Any

from relay.commands import printing
from relay.commands.asking import Asking
from relay.commands.printing import when
from relay.errors import NoSuchMail, RelayError
from relay.journal import escaped


def trace(arguments: argparse.Namespace, ask: Asking) -> int:
    """Every mail that the word names, history included."""
    rows = (row for line in ask({"do": "trace", "what": arguments.what}) for row in line["entries"])
    try:
        _print(arguments, _with_sessions(rows, ask))
    except NoSuchMail:
        if arguments.json:
            printing.as_json(())
        raise
    return os.EX_OK


def show(arguments: argparse.Namespace, ask: Asking) -> int:
    """The mails of these ids; one that is not known is named, and the rest are shown."""
    missing: list[str] = []

    def rows() -> Iterator[dict[str, Any]]:
        for line in ask({"do": "show", "ids": arguments.ids}):
            missing.extend([] if line["entries"] else [line["id"]])
            yield from line["entries"]

    _print(arguments, rows())
    for name in missing:
        printing.complain(f"nothing is known of {name}")
    return os.EX_NOINPUT if missing else os.EX_OK


def _print(arguments: argparse.Namespace, rows: Iterator[dict[str, Any]]) -> None:
    first = next(rows, None)  # an error comes before any output
    found = rows if first is None else _with(first, rows)
    if arguments.json:
        printing.as_json(found)
        return
    between = ""
    for row in found:
        print(between + "\n".join(life(row)))
        between = "\n"


def _with_sessions(rows: Iterator[dict[str, Any]], ask: Asking) -> Iterator[dict[str, Any]]:
    """Each life with the last failed session of every next hop at which its mail failed, where that was about it."""
    known: dict[str, dict[str, Any] | None] = {}
    for row in list(rows):
        names = {a["upstream"] for a in row["attempts"] if any(o["disposition"] != "relayed" for o in a["outcomes"])}
        found = []
        for name in sorted(names):
            if name not in known:
                known[name] = _session(name, ask)
            session = known[name]
            if session and session["at"] >= row["received_at"] and session["message_id"] in ("", row["message_id"]):
                found.append({"upstream": name, **session})
        yield row | {"sessions": found}


def _session(name: str, ask: Asking) -> dict[str, Any] | None:
    try:
        [row] = ask({"do": "session", "name": name})
    except RelayError:  # a next hop that is configured no more
        return None
    return row["session"]  # type: ignore[no-any-return]


def _with(first: dict[str, Any], rows: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    yield first
    yield from rows


def life(row: dict[str, Any]) -> list[str]:
    """A mail's life in lines: who and what, then everything that happened, by time."""
    lines = [f"{row['id']}: {row['state']}" + (f", {escaped(row['reason'])}" if row["reason"] else "")]
    lines += [f"  from <{escaped(row['from'])}> to {', '.join(map(escaped, row['to'])) or 'nobody'}"]
    about = [f"{name} {escaped(row[name])}" for name in ("project", "ticket") if row[name]]
    lines += [f"  {', '.join(about)}"] if about else []
    lines += [f"  subject: {escaped(row['summary'])}", f"  message-id: {escaped(row['message_id'])}"]
    lines += [f"  refused at RCPT: {escaped(path)}" for path in row["refused_paths"]]
    told = [(e["at"], f"{e['kind']}: {escaped(e['text'])}") for e in row["events"]]
    for attempt in row["attempts"]:
        over = f" over {attempt['tls']}" if attempt["tls"] else ""
        over += f" (tls={attempt['tls_level']})" if attempt["tls_level"] else ""
        told += [(attempt["at"], _outcome(o, over)) for o in attempt["outcomes"]]
    told += [(_decided(row, o["rule"]), _outcome(o, "")) for o in row["answered"] if o["rule"]]
    lines += [f"  {when(at)}  {text}" for at, text in sorted(told, key=lambda pair: pair[0])]
    if row["state"] == "queued":
        lines.append(f"  {when(row['due'])}  next try")
    for session in row.get("sessions", ()):
        lines.append(f"  last failed session with {session['upstream']}, {when(session['at'])}:")
        lines += [f"    {escaped(line)}" for line in session["lines"]]
    return lines


def _decided(row: dict[str, Any], rule: str) -> float:
    """When a rule answered: with its note, else with the first attempt; an administrator, the lifetime: at the end."""
    noted = [e["at"] for e in row["events"] if e["kind"] == "rule" and e["text"].startswith(f"{rule}: ")]
    tried = [a["at"] for a in row["attempts"]]
    end = row["done_at"] or max([row["received_at"], *tried, *(e["at"] for e in row["events"])])
    return float(end if rule in ("administrator", "lifetime") else [*noted, *tried, end][0])


def _outcome(outcome: dict[str, Any], over: str) -> str:
    end = "ambiguous" if outcome["ambiguous"] else outcome["disposition"]
    who = f"{end} {escaped(outcome['address'])}"
    if outcome["rule"]:
        return f"{who} by {escaped(outcome['rule'])}: {escaped(outcome['reply'])}"
    unclear = ", and it may have arrived all the same" if outcome["ambiguous"] else ""
    return f"{who} by {escaped(outcome['host']) or 'nobody'}{over}: {escaped(outcome['reply'])}{unclear}"
