"""`upstream`: the next hops: how they stand, and pause, resume, probe."""

import argparse
import os
from collections.abc import Iterator
from typing import Any

from relay.commands import printing
from relay.commands.asking import Asking
from relay.commands.printing import when
from relay.journal import escaped

_VERBS = {
    "show": "how it stands, and its last failed session, line by line",
    "pause": "send nothing there until it is resumed; its mail waits",
    "resume": "end the pause; what waited for it is due now",
    "probe": "connect, secure, log in and hang up: what does it say?",
}


def declare(commands: Any) -> list[argparse.ArgumentParser]:
    """The subcommand `upstream`; its parsers."""
    verbs = commands.add_parser("upstream", help="the next hops").add_subparsers(
        metavar="VERB", required=True, dest="verb"
    )
    listing = verbs.add_parser("list", help="every next hop and how it stands")
    listing.set_defaults(function=_list)
    for verb, help_ in _VERBS.items():
        change = verbs.add_parser(verb, help=help_)
        change.add_argument("name", metavar="NAME", help="as [upstream:NAME]; notification is that of [notification]")
        if verb == "probe":
            whose = "for mx: the domain whose mail servers to try"
            change.add_argument("domain", metavar="DOMAIN", nargs="?", default="", help=whose)
        change.set_defaults(function=_change)
    parsers = list(verbs.choices.values())
    for parser in parsers:
        parser.add_argument("--json", action="store_true", help="for scripts: see docs/commands.md")
    return parsers


def _list(arguments: argparse.Namespace, ask: Asking) -> int:
    _print(arguments, ask({"do": "upstreams"}))
    return os.EX_OK


def _change(arguments: argparse.Namespace, ask: Asking) -> int:
    """0 when it was done, 69 when a probed next hop does not work."""
    domain = getattr(arguments, "domain", "")
    verb = "session" if arguments.verb == "show" else arguments.verb
    [row] = ask({"do": verb, "name": arguments.name} | ({"domain": domain} if domain else {}))
    _print(arguments, iter([row]))
    return os.EX_OK if row.get("ok", True) else os.EX_UNAVAILABLE


def _print(arguments: argparse.Namespace, rows: Iterator[dict[str, Any]]) -> None:
    if arguments.json:
        printing.as_json(rows)
        return
    for row in rows:
        print("\n".join(lines_of(row)))
        if "session" in row:
            print("\n".join(session_lines(row["session"])))


def session_lines(session: dict[str, Any] | None) -> list[str]:
    """A failed session in lines."""
    if session is None:
        return ["  no session has failed of late"]
    lines = [f"  last failed session, {when(session['at'])}, with {escaped(session['host'])}:"]
    return lines + [f"    {escaped(line)}" for line in session["lines"]]


def lines_of(row: dict[str, Any]) -> list[str]:
    """A next hop in lines: where it is, then how it stands."""
    where = f"outbox {row['outbox']}" if row["outbox"] else f"{row['place']} ({row['tls']})"
    if row["server"].startswith("unix:"):
        where = row["server"]
    lines = [f"{row['name']}: {where}"]
    if row["paused"]:
        lines.append(f"  {escaped(row['paused'])}: its mail waits")
    lines += [f"  {escaped(hold)}" for hold in row["holds"]]
    if "due" in row:
        lines.append(f"  resumed: {row['due']} mails are due now")
    if row.get("ok"):
        lines.append(f"  it works: {row['host']}, {row['tls_now'] or 'no TLS'}" if row["host"] else "  it works")
        lines += [f"    {escaped(feature)}" for feature in row["features"]]
    elif "ok" in row:
        lines.append(f"  it does not work: {escaped(row['reply'])} ({row['cause']})")
    elif row["trouble"]:
        lines.append(f"  trouble since {when(row['trouble_at'])}: {escaped(row['trouble'])} ({row['cause']})")
    elif row["used_at"]:
        lines.append(f"  last used {when(row['used_at'])}, {row['connections']} connections open")
    return lines
