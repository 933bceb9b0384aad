"""Filters: which mail a command means, and a mass change that shows its count before it happens."""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from relay.commands.asking import Asking
from relay.entry import State
from relay.options import duration

CHUNK = 1000
"""Ids in one request at most."""


class Usage(Exception):
    """The command line asks for nothing that can be done; its text says why."""


class Declined(Exception):
    """The person at the terminal said no."""


def declare(parser: argparse.ArgumentParser, *, changing: bool = False) -> None:
    """IDs and filters; all that is given must hold."""
    parser.add_argument("ids", metavar="ID", nargs="*", help="- reads them from standard input" if changing else None)
    parser.add_argument("--ticket", metavar="NUMBER", help="12, #12, KEY-12")
    parser.add_argument("--project", metavar="NAME")
    parser.add_argument("--profile", metavar="NAME", help="of [notification:NAME]")
    parser.add_argument("--to", metavar="WHO", help="an address, @domain, a bare name, or a pattern with * and ?")
    parser.add_argument("--from", dest="sender", metavar="WHO", help="the same, of the reverse-path; <> is none")
    parser.add_argument("--state", action="append", type=_states, metavar="STATE", help="queued, held or done")
    parser.add_argument("--older", type=_duration, metavar="DURATION", help="accepted longer ago than 90s, 10m, 2h, 3d")
    parser.add_argument("--reason", metavar="TEXT", help="part of why it waits, or a cause: auth, tls, connect, dns")
    if changing:
        parser.add_argument("--all", action="store_true", help="whatever is in the queue")
        parser.add_argument("--yes", action="store_true", help="do not ask whether so many are meant")
        parser.add_argument("--dry-run", action="store_true", help="show what is meant, change nothing")


def number(value: str) -> int:
    """A count; 0 is no limit."""
    if not value.isascii() or not value.isdigit():
        raise argparse.ArgumentTypeError(f"{value!r} is no count")
    return int(value)


def _states(value: str) -> list[str]:
    words = [word.strip().lower() for word in value.split(",")]
    if any(word not in list(State) for word in words):
        raise argparse.ArgumentTypeError(f"{value!r} is none of {', '.join(State)}")
    return words


def _duration(value: str) -> float:
    try:
        return duration(value)
    except ValueError as fault:
        raise argparse.ArgumentTypeError(str(fault)) from fault


def search(arguments: argparse.Namespace) -> dict[str, Any]:
    """The filters as a request names them."""
    given = {
        "ticket": arguments.ticket,
        "project": arguments.project,
        "profile": arguments.profile,
        "to": arguments.to,
        "from": "<>" if arguments.sender == "" else arguments.sender,
        "reason": arguments.reason,
        "older": arguments.older,
    }
    return {name: value for name, value in given.items() if value is not None}


def states(arguments: argparse.Namespace) -> list[str]:
    """The states asked for, in any spelling of several."""
    return [state for words in arguments.state or () for state in words]


def ids_of(arguments: argparse.Namespace) -> list[str]:
    """The ids named; `-` stands for those on standard input."""
    named: list[str] = []
    for word in arguments.ids:
        named += sys.stdin.read().split() if word == "-" else [word]
    return named


def chosen(arguments: argparse.Namespace, ask: Asking, verb: str) -> list[str]:
    """The ids that a change is for: those named, or those that the filters find once somebody has said yes.

    Raises Usage when nothing at all is asked for, or nobody can say yes; Declined when he says no.
    """
    ids, filtered, wanted_states = ids_of(arguments), search(arguments), states(arguments)
    if State.DONE in wanted_states:
        raise Usage("what is done can not be changed: --state queued or held")
    if ids and not filtered and not wanted_states and not arguments.dry_run:
        return ids
    if not (ids or filtered or wanted_states or arguments.all):
        raise Usage("name ids, filters or --all")
    found = find(ask, verb, filtered | ({"ids": ids} if ids else {}), wanted_states)
    counts = ", ".join(f"{sum(s == state for _, s in found)} {state}" for state in State if state is not State.DONE)
    print(f"{len(found)} {'mail matches' if len(found) == 1 else 'mails match'}: {counts}", file=sys.stderr)
    if found and not (ids or arguments.yes or arguments.dry_run):
        _confirm(f"{verb} {len(found)}?")
    return [name for name, _ in found]


def find(ask: Asking, verb: str, filtered: dict[str, Any], wanted: Sequence[str]) -> list[tuple[str, str]]:
    """Ids and states of what the filters mean."""
    spare = verb in ("release", "retry") and "reason" not in filtered and "ids" not in filtered
    found: list[tuple[str, str]] = []
    named = filtered.get("ids", [])
    for at in range(0, max(len(named), 1), CHUNK):
        some = {**filtered, "ids": named[at : at + CHUNK]} if named else filtered
        request = {"do": "find", "for": verb, "search": some, "states": list(wanted), "spare_exported": spare}
        found += [(row["id"], row["state"]) for line in ask(request) for row in line["entries"]]
    return found


def _confirm(question: str) -> None:
    if not sys.stdin.isatty():
        raise Usage("nobody is there to confirm it: add --yes")
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Declined


def in_chunks(ids: list[str], chunk: int = CHUNK) -> list[list[str]]:
    """The ids of one request after the other."""
    return [ids[at : at + chunk] for at in range(0, len(ids), chunk)]
