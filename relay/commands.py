"""The commands that speak of mail in the spool: to a running daemon, or to the spool itself when none runs."""

import argparse
import asyncio
import base64
import concurrent.futures.thread  # noqa: F401 - before we become a user who may not read Python's folder
import json
import os
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from relay import control, spool
from relay.control import NoDaemon
from relay.errors import RelayError
from relay.journal import escaped
from relay.loaded import Configuration
from relay.queue import CHANGES, Queue

EX_OK, EX_FAILED, EX_UNAVAILABLE = 0, 1, 69


def ask(configuration: Configuration, request: dict[str, Any]) -> dict[str, Any]:
    """The daemon's answer, or the spool's own when no daemon runs. Raises RelayError."""
    try:
        return control.ask(control.socket_path(configuration), request)
    except NoDaemon:
        return asyncio.run(_offline(configuration, request))


async def _offline(configuration: Configuration, request: dict[str, Any]) -> dict[str, Any]:
    _become_owner(configuration.spool.path)
    store = spool.create(configuration.spool, time.time)
    await store.open()
    try:
        return await Queue(store, time.time, lambda: None).answer(request)
    finally:
        await store.close()


def _become_owner(path: str) -> None:
    """Root works on a spool as the user whom it belongs to, so that no file of root's is left in it."""
    try:
        status = os.stat(path)
    except OSError as fault:
        raise RelayError(
            f"no daemon is running, and there is no spool {path}: {os.strerror(fault.errno or 0)}"
        ) from fault
    if os.geteuid() == 0 and status.st_uid != 0:
        os.setgroups([])
        os.setegid(status.st_gid)
        os.seteuid(status.st_uid)


def declare(commands: Any) -> None:
    """The subcommands `queue`, `trace` and `reload`."""
    queue = commands.add_parser("queue", help="the mail in the spool")
    verbs = queue.add_subparsers(metavar="VERB", required=True, dest="verb")
    listing = verbs.add_parser("list", help="queued and held mail, newest first")
    listing.add_argument("--state", choices=("queued", "held", "done"), action="append", help="may be repeated")
    listing.add_argument("--text", default="", help="part of an id, address, Message-ID or subject")
    listing.add_argument("--limit", type=int, default=1000)
    listing.add_argument("--json", action="store_true")
    listing.set_defaults(function=_list, in_spool=True)
    show = verbs.add_parser("show", help="the whole life of one mail")
    show.add_argument("what", metavar="ID")
    show.add_argument("--json", action="store_true")
    show.set_defaults(function=_trace, in_spool=True)
    cat = verbs.add_parser("cat", help="the mail as it was accepted")
    cat.add_argument("id", metavar="ID")
    cat.set_defaults(function=_cat, in_spool=True)
    for verb, told in zip(CHANGES, ("keep it back", "queue held mail again", "try it now", "give it up"), strict=True):
        change = verbs.add_parser(verb, help=told)
        change.add_argument("ids", metavar="ID", nargs="+")
        change.add_argument("--json", action="store_true")
        change.set_defaults(function=_change, in_spool=True)
    trace = commands.add_parser("trace", help="the whole life of a mail")
    trace.add_argument("what", metavar="ID|MESSAGE-ID|ADDRESS|#TICKET")
    trace.add_argument("--json", action="store_true")
    trace.set_defaults(function=_trace, in_spool=True)
    reload = commands.add_parser("reload", help="the running daemon takes the configuration as it stands now")
    reload.set_defaults(function=_reload, in_spool=True)


def _list(arguments: argparse.Namespace, configuration: Configuration) -> int:
    request = {"do": "list", "states": arguments.state, "text": arguments.text, "limit": arguments.limit}
    entries = ask(configuration, request)["entries"]
    if arguments.json:
        print(json.dumps(entries, indent=1, ensure_ascii=False))
        return EX_OK
    for row in entries:
        to = escaped(row["to"][0]) + (f" +{len(row['to']) - 1}" if len(row["to"]) > 1 else "") if row["to"] else "-"
        told = f"{row['id']}  {row['state']:<6}  {_age(row['received_at'])}  {row['size']:>9}  {to}"
        print(told + (f"  ({escaped(row['reason'])})" if row["reason"] else ""))
    print(f"{len(entries)} in all" if entries else "the queue is empty")
    return EX_OK


def _trace(arguments: argparse.Namespace, configuration: Configuration) -> int:
    entries = ask(configuration, {"do": "trace", "what": arguments.what})["entries"]
    if arguments.json:
        print(json.dumps(entries, indent=1, ensure_ascii=False))
    else:
        print("\n\n".join("\n".join(_life(row)) for row in entries))
    return EX_OK


def _life(row: dict[str, Any]) -> Sequence[str]:
    lines = [f"{row['id']}: {row['state']}" + (f", {escaped(row['reason'])}" if row["reason"] else "")]
    lines += [f"  from <{escaped(row['from'])}> to {', '.join(map(escaped, row['to'])) or 'nobody'}"]
    lines += [f"  subject: {escaped(row['summary'])}", f"  message-id: {escaped(row['message_id'])}"]
    told = [(e["at"], f"{e['kind']}: {escaped(e['text'])}") for e in row["events"]]
    for attempt in row["attempts"]:
        over = f" over {attempt['tls']}" if attempt["tls"] else ""
        for outcome in attempt["outcomes"]:
            by = escaped(outcome["host"]) or "nobody"
            text = f"{outcome['disposition']} {escaped(outcome['address'])} by {by}{over}"
            told.append((attempt["at"], f"{text}: {escaped(outcome['reply'])}"))
    told += [
        (row["received_at"], f"{o['disposition']} {escaped(o['address'])}: {escaped(o['reply'])}")
        for o in row["answered"]
        if o["rule"]
    ]
    lines += [f"  {_when(at)}  {text}" for at, text in sorted(told, key=lambda pair: pair[0])]
    if row["state"] == "queued":
        lines.append(f"  {_when(row['due'])}  next try")
    return lines


def _cat(arguments: argparse.Namespace, configuration: Configuration) -> int:
    answer = ask(configuration, {"do": "cat", "id": arguments.id})
    sys.stdout.buffer.write(base64.b64decode(answer["octets"]))
    return EX_OK


def _change(arguments: argparse.Namespace, configuration: Configuration) -> int:
    changed = ask(configuration, {"do": arguments.verb, "ids": arguments.ids})["changed"]
    if arguments.json:
        print(json.dumps(changed, indent=1))
    else:
        for row in changed:
            print(f"{row['id']}: {row['result']}")
    done = ("held", "released", "due now", "dropped")
    return EX_OK if all(row["result"] in done for row in changed) else EX_FAILED


def _reload(_arguments: argparse.Namespace, configuration: Configuration) -> int:
    try:
        faults = control.ask(control.socket_path(configuration), {"do": "reload"})["faults"]
    except NoDaemon:
        print("tracker-relay: no daemon is running with this configuration", file=sys.stderr)
        return EX_UNAVAILABLE
    for line in faults:
        print(line, file=sys.stderr)
    print("the old configuration stays" if faults else "reloaded")
    return 78 if faults else EX_OK


def run(arguments: argparse.Namespace, configuration: Configuration) -> int:
    """Run one of these commands; a RelayError is one line and 69."""
    try:
        return int(arguments.function(arguments, configuration))
    except RelayError as fault:
        print(f"tracker-relay: {fault}", file=sys.stderr)
        return EX_UNAVAILABLE


def _when(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _age(at: float) -> str:
    seconds = max(time.time() - at, 0)
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds / length:4.0f}{unit}"
    return f"{seconds:4.0f}s"
