"""`suppress`: dead addresses: list them, add some, clear some."""

import argparse
import os
import sys
from collections.abc import Iterator
from typing import Any

from relay.commands import printing
from relay.commands.asking import Asking
from relay.journal import escaped
from relay.options import address


def declare(commands: Any) -> list[argparse.ArgumentParser]:
    """The subcommand `suppress`; its parsers."""
    verbs = commands.add_parser("suppress", help="dead addresses: no mail goes there").add_subparsers(
        metavar="VERB", required=True, dest="verb"
    )
    listing = verbs.add_parser("list", help="every suppressed address, since when, by whom and why")
    listing.set_defaults(function=_list)
    add = verbs.add_parser("add", help="send these addresses nothing more, queued mail included")
    add.add_argument("addresses", metavar="ADDRESS", type=_address, nargs="+")
    add.add_argument("--reason", metavar="TEXT", default="", help="why, for whoever looks at the list")
    add.set_defaults(function=_add)
    clear = verbs.add_parser("clear", help="let these addresses have mail again")
    clear.add_argument("addresses", metavar="ADDRESS", type=_address, nargs="*")
    clear.add_argument("--all", action="store_true", help="every address on the list")
    clear.set_defaults(function=_clear)
    for parser in verbs.choices.values():
        parser.add_argument("--json", action="store_true", help="for scripts: see docs/commands.md")
    return list(verbs.choices.values())


def _address(text: str) -> str:
    try:
        found = address(text)
    except ValueError as fault:
        raise argparse.ArgumentTypeError(str(fault)) from fault
    if found is None:
        raise argparse.ArgumentTypeError("'' is not an address")
    return str(found)


def _list(arguments: argparse.Namespace, ask: Asking) -> int:
    rows = ask({"do": "suppressed"})
    if arguments.json:
        printing.as_json(rows)
        return os.EX_OK
    number = 0
    for row in rows:
        why = f": {escaped(row['reason'])}" if row["reason"] else ""
        print(f"{escaped(row['address'])}  {printing.when(row['at'])}  by {escaped(row['by'])}{why}")
        number += 1
    print(f"{number} in all" if number else "no address is suppressed")
    return os.EX_OK


def _add(arguments: argparse.Namespace, ask: Asking) -> int:
    return _told(arguments, ask({"do": "suppress", "addresses": arguments.addresses, "reason": arguments.reason}))


def _clear(arguments: argparse.Namespace, ask: Asking) -> int:
    if bool(arguments.addresses) == arguments.all:
        printing.complain("name addresses, or --all")
        return os.EX_USAGE
    return _told(arguments, ask({"do": "unsuppress", "addresses": arguments.addresses, "all": arguments.all}))


def _told(arguments: argparse.Namespace, lines: Iterator[dict[str, Any]]) -> int:
    rows = list(lines)
    unknown = any(row["result"] == "unknown" for row in rows)
    if arguments.json:
        printing.as_json(rows)
    else:
        for row in rows:
            wrong = row["result"] == "unknown"
            print(f"{escaped(row['address'])}: {row['text']}", file=sys.stderr if wrong else sys.stdout)
    return os.EX_NOINPUT if unknown else os.EX_OK
