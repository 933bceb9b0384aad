"""`queue list`, `cat`, and the changes: hold, release, retry, drop, bounce."""

import argparse
import base64
import itertools
import os
import sys
from collections.abc import Iterator
from typing import Any

from relay.commands import filters, printing
from relay.commands.asking import Asking
from relay.journal import escaped

_NO_MAIL = ("unknown", "gone")
_SHOWN = 1000
"""Mails that a listing for people shows at most, unless more are asked for."""


def show_list(arguments: argparse.Namespace, ask: Asking) -> int:
    """`queue list`: one line or one object a mail."""
    limit = arguments.limit if arguments.limit is not None else (0 if arguments.json else _SHOWN)
    request = {
        "do": "list",
        "states": filters.states(arguments),
        "text": arguments.text,
        "limit": limit + 1 if limit else 0,
        "search": filters.search(arguments) | ({"ids": arguments.ids} if arguments.ids else {}),
    }
    rows = (row for line in ask(request) for row in line["entries"])
    shown = itertools.islice(rows, limit) if limit else rows
    if arguments.json:
        printing.as_json(shown)
        return os.EX_OK
    number = 0
    for row in shown:
        print(_line(row))
        number += 1
    if next(rows, None):
        print(f"{number} shown, and there are more: --limit 0 shows all")
    else:
        print(f"{number} in all" if number else _nothing(arguments))
    return os.EX_OK


def _nothing(arguments: argparse.Namespace) -> str:
    asked = filters.search(arguments) or arguments.state or arguments.ids or arguments.text
    return "no mail matches" if asked else "the queue is empty"


def _line(row: dict[str, Any]) -> str:
    to = escaped(row["to"][0]) + (f" +{len(row['to']) - 1}" if len(row["to"]) > 1 else "") if row["to"] else "-"
    told = f"{row['id']}  {row['state']:<6}  {printing.age(row['received_at'])}  {row['size']:>9}  {to}"
    return told + (f"  ({escaped(row['reason'])})" if row["reason"] else "")


def cat(arguments: argparse.Namespace, ask: Asking) -> int:
    """`queue cat`: the octets, and nothing else."""
    for line in ask({"do": "cat", "id": arguments.id}):
        sys.stdout.buffer.write(base64.b64decode(line["octets"]))
    sys.stdout.buffer.flush()
    return os.EX_OK


def change(arguments: argparse.Namespace, ask: Asking) -> int:
    """hold, release, retry, drop, bounce: by id, or whatever the filters mean."""
    try:
        ids = filters.chosen(arguments, ask, arguments.verb)
    except (filters.Usage, filters.Declined) as fault:
        return refused(fault)
    if arguments.dry_run:
        return _dry(arguments, ids)
    results: list[str] = []
    rows = noted(changed(ask, arguments.verb, ids, still(arguments)), results)
    if arguments.json:
        printing.as_json(rows)
    else:
        for row in rows:
            say(row)
    return status(results)


def _dry(arguments: argparse.Namespace, ids: list[str]) -> int:
    if arguments.json:
        printing.as_json({"id": name} for name in ids)
    else:
        print("\n".join(ids), end="\n" if ids else "")
    return os.EX_OK


def still(arguments: argparse.Namespace) -> dict[str, Any]:
    """What must still hold of a mail when it is changed: the filters that found it."""
    return {"search": filters.search(arguments), "states": filters.states(arguments)}


def changed(
    ask: Asking, verb: str, ids: list[str], more: dict[str, Any] | None = None, **also: Any
) -> Iterator[dict[str, Any]]:
    """Ask for the change, many ids to a request; what became of each."""
    for some in filters.in_chunks(ids):
        for line in ask({"do": verb, "ids": some, **(more or {}), **also}):
            yield from line["changed"]


def noted(rows: Iterator[dict[str, Any]], results: list[str]) -> Iterator[dict[str, Any]]:
    """The rows, as they pass; what became of each is added to `results`."""
    for row in rows:
        results.append(row["result"])
        yield row


def say(row: dict[str, Any], *, piped: bool = False) -> None:
    """What became of one mail: on standard error where that is an error, or standard output holds something else."""
    wrong = row["result"] in (*_NO_MAIL, "busy")
    print(escaped(f"{row['id']}: {row['text']}"), file=sys.stderr if wrong or piped else sys.stdout)


def status(results: list[str]) -> int:
    """The exit status of a change: what was `already` so is as good as done."""
    if "busy" in results:
        return os.EX_TEMPFAIL
    return os.EX_NOINPUT if set(_NO_MAIL) & set(results) else os.EX_OK


def refused(fault: Exception) -> int:
    """The exit status for a command line that asks for nothing, or a no."""
    if isinstance(fault, filters.Declined):
        print("nothing was changed", file=sys.stderr)
        return 1
    printing.complain(str(fault))
    return os.EX_USAGE
