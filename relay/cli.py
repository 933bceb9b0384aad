"""The commands. Exit statuses are those of sysexits.h; an error is one line on stderr."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from relay import __version__, config

EX_OK, EX_USAGE, EX_SOFTWARE, EX_CONFIG = 0, 64, 70, 78
DEFAULT_PATH = "/etc/tracker-relay/config.ini"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]
        """A wrong command line: one line, and the way to help."""
        print(f"tracker-relay: {message} (see tracker-relay --help)", file=sys.stderr)
        raise SystemExit(EX_USAGE)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status."""
    try:
        arguments = _parser().parse_args(argv)
        command: Callable[[argparse.Namespace], int] = arguments.function
        return command(arguments)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # nobody reads our output any more
        return EX_OK
    except Exception as fault:
        print(f"tracker-relay: a fault of the program: {type(fault).__name__}: {fault}", file=sys.stderr)
        return EX_SOFTWARE


def _parser() -> argparse.ArgumentParser:
    parser = _Parser("tracker-relay", description="A local SMTP gateway for issue trackers.")
    parser.add_argument("--config", metavar="FILE", help=f"default: $TRACKER_RELAY_CONFIG, else {DEFAULT_PATH}")
    parser.add_argument("--version", action="version", version=f"tracker-relay {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)
    run = commands.add_parser("run", help="the daemon, in the foreground")
    run.set_defaults(function=_run)
    check = commands.add_parser("check", help="all faults of the configuration at once")
    check.add_argument("--json", action="store_true", help="faults and warnings as one JSON object")
    check.set_defaults(function=_check)
    reference = commands.add_parser("reference", help="every section and option with default and meaning")
    reference.set_defaults(function=_reference)
    return parser


def config_path(arguments: argparse.Namespace) -> Path:
    """--config, else $TRACKER_RELAY_CONFIG, else the installed place; never the current folder."""
    return Path(arguments.config or os.environ.get("TRACKER_RELAY_CONFIG") or DEFAULT_PATH)


def _run(arguments: argparse.Namespace) -> int:
    from relay import app  # noqa: PLC0415 - the other commands need none of it

    return app.run(config_path(arguments))


def _check(arguments: argparse.Namespace) -> int:
    loaded = config.read(config_path(arguments))
    if arguments.json:
        form = {"file": str(loaded.path)}
        for name, found in (("faults", loaded.faults), ("warnings", loaded.warnings)):
            rows = sorted(found, key=lambda fault: fault.line)
            form[name] = [  # type: ignore[assignment]
                {"line": f.line, "section": f.section, "option": f.option, "text": f.text} for f in rows
            ]
        print(json.dumps(form, indent=1, ensure_ascii=False))
    else:
        for line in loaded.fault_lines():
            print(line)
        for line in loaded.warning_lines():
            print(f"warning: {line}")
        if not loaded.faults:
            print(f"{loaded.path}: ok")
    return EX_CONFIG if loaded.faults else EX_OK


def _reference(_arguments: argparse.Namespace) -> int:
    print(config.reference(), end="")
    return EX_OK
