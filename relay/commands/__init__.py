"""The commands that speak of mail in the spool: to a running daemon, or to the spool itself when none runs."""

import argparse
import os
import sys
from typing import Any

from relay import control
from relay.commands import archive, filters, printing, queue, suppress, trace, upstream
from relay.commands.asking import Asking
from relay.control import NoDaemon
from relay.errors import NoSuchMail, RelayError
from relay.loaded import Configuration
from relay.queue import CHANGES

_CHANGES = {
    "hold": "keep it back until it is released",
    "release": "queue held mail again, with a new lifetime",
    "retry": "try it now",
    "drop": "give it up, and tell nobody",
    "bounce": "give it up, and send the report of failure",
}


def declare(commands: Any) -> None:
    """The subcommands `queue`, `trace`, `upstream`, `suppress`, `reload` and `drain`."""
    verbs = commands.add_parser("queue", help="the mail in the spool").add_subparsers(
        metavar="VERB", required=True, dest="verb"
    )
    listing = verbs.add_parser("list", help="queued and held mail, newest first")
    filters.declare(listing)
    listing.add_argument("--text", default="", help="part of an id, address, Message-ID or subject")
    listing.add_argument("--limit", type=filters.number, help="mails at most; 0: all (default: 1000, with --json all)")
    listing.set_defaults(function=queue.show_list)
    show = verbs.add_parser("show", help="the whole life of a mail")
    show.add_argument("ids", metavar="ID", nargs="+")
    show.set_defaults(function=trace.show)
    cat = verbs.add_parser("cat", help="the mail as it was accepted")
    cat.add_argument("id", metavar="ID")
    cat.set_defaults(function=queue.cat)
    for verb in CHANGES:
        change = verbs.add_parser(verb, help=_CHANGES[verb])
        filters.declare(change, changing=True)
        change.set_defaults(function=queue.change)
    export = verbs.add_parser("export", help="into a file, for another relay; here it is held")
    filters.declare(export, changing=True)
    archive.declare_export(export)
    bring = verbs.add_parser("import", help="from a file that export has written; what is here already stays")
    archive.declare_import(bring)
    follow = commands.add_parser("trace", help="the whole life of a mail")
    follow.add_argument("what", metavar="ID|MESSAGE-ID|ADDRESS|#TICKET")
    follow.set_defaults(function=trace.trace)
    for parser in (listing, show, follow, bring, *(verbs.choices[verb] for verb in (*CHANGES, "export"))):
        parser.add_argument("--json", action="store_true", help="for scripts: see docs/commands.md")
    reload = commands.add_parser("reload", help="the running daemon takes the configuration as it stands now")
    reload.set_defaults(function=_reload)
    drain = commands.add_parser("drain", help="the running daemon takes no more work, finishes what is under way, ends")
    drain.set_defaults(function=_drain)
    others = (*upstream.declare(commands), *suppress.declare(commands))
    for parser in (*verbs.choices.values(), *others, follow, reload, drain):
        parser.set_defaults(in_spool=True)


_NO_DAEMON = "tracker-relay: no daemon is running with this configuration"


def _drain(_arguments: argparse.Namespace, ask: Asking) -> int:
    """Returns when the daemon has ended its work; what it had not begun stays queued."""
    socket = control.socket_path(ask.configuration)
    try:
        for line in control.ask(socket, {"do": "drain"}):
            print(f"{line['under_way']} under way", flush=True)
    except NoDaemon:
        print(_NO_DAEMON, file=sys.stderr)
        return os.EX_UNAVAILABLE
    except RelayError:
        if control.answers(socket) is not False:
            raise
    print("drained")
    return os.EX_OK


def _reload(_arguments: argparse.Namespace, ask: Asking) -> int:
    try:
        [answer] = control.ask(control.socket_path(ask.configuration), {"do": "reload"})
    except NoDaemon:
        print(_NO_DAEMON, file=sys.stderr)
        return os.EX_UNAVAILABLE
    for line in answer["faults"]:
        print(line, file=sys.stderr)
    for line in answer["warnings"]:
        print(f"warning: {line}", file=sys.stderr)
    print("the old configuration stays" if answer["faults"] else "reloaded")
    return os.EX_CONFIG if answer["faults"] else os.EX_OK


def run(arguments: argparse.Namespace, configuration: Configuration) -> int:
    """Run one of these commands; a RelayError is one line and 69, or 66 for a mail that nobody knows."""
    try:
        with Asking(configuration) as ask:
            return int(arguments.function(arguments, ask))
    except NoSuchMail as fault:
        printing.complain(str(fault))
        return os.EX_NOINPUT
    except RelayError as fault:
        printing.complain(str(fault))
        return os.EX_UNAVAILABLE
