"""The commands. Exit statuses are those of sysexits.h; an error is one line on stderr."""

import argparse
import errno
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from relay import __version__, commands, config, control, namedfile, places, reference
from relay.commands import printing
from relay.errors import RelayError
from relay.loaded import Configuration

_LATER = {
    "import": ("relay.importing", "a trac.ini's configuration, and the lines to put back into it"),
    "auth": ("relay.authorize", "OAuth2 tokens of an upstream"),
    "doctor": ("relay.doctor", "what is wrong on the road of a mail, and what to do"),
    "passwd": ("relay.commands.passwd", "who may log in at the listener"),
}
"""The commands that are loaded only when they are called: together they take as long as all the rest."""

EX_OK, EX_USAGE, EX_DATAERR, EX_NOINPUT, EX_SOFTWARE, EX_IOERR, EX_CONFIG = 0, 64, 65, 66, 70, 74, 78


class _Parser(argparse.ArgumentParser):
    """A parser, of the whole line or of one command: each of them takes --config, the last one counts."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        if "-" in self.prefix_chars:  # sendmail's own options are not ours
            text = f"default: $TRACKER_RELAY_CONFIG, else {places.CONFIG}"
            self.add_argument("--config", metavar="FILE", default=argparse.SUPPRESS, help=text)

    def error(self, message: str) -> None:  # type: ignore[override]
        """A wrong command line: one line, and the way to help."""
        printing.complain(f"{message} (see tracker-relay --help)")
        raise SystemExit(EX_USAGE)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status."""
    try:
        words = sys.argv[1:] if argv is None else argv
        arguments = _parser(words).parse_args(words)
        command: Callable[[argparse.Namespace], int] = arguments.function
        if getattr(arguments, "in_spool", False):
            command = _in_spool
        elif hasattr(arguments, "auth"):
            command = _authorize
        status = command(arguments)
        if sys.stdout:
            sys.stdout.flush()  # while there is somebody to say what is wrong with it
        return status
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        _no_output()  # nobody reads it any more
        return EX_OK
    except Exception as fault:
        if isinstance(fault, OSError) and fault.errno in _UNWRITABLE and not fault.filename:
            _no_output()
            printing.complain(f"standard output: {fault.strerror}")
            return EX_IOERR
        printing.complain(f"a fault of the program: {type(fault).__name__}: {fault}")
        return EX_SOFTWARE


_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""Faults of a file that output is redirected to."""


def _no_output() -> None:
    """What Python has still kept of it goes nowhere, instead of failing once more at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    """The parser of a command line in which these words stand."""
    parser = _Parser("tracker-relay", description="A local SMTP gateway for issue trackers.")
    parser.set_defaults(config=None)
    parser.add_argument("--version", action="version", version=f"tracker-relay {__version__}")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)
    run = subparsers.add_parser("run", help="the daemon, in the foreground")
    run.set_defaults(function=_run)
    check = subparsers.add_parser("check", help="all faults of the configuration at once")
    check.add_argument("--json", action="store_true", help="faults and warnings as one JSON object")
    check.set_defaults(function=_check)
    explain = subparsers.add_parser("explain", help="the mail as it would leave, rule by rule; sends nothing")
    explain.add_argument("file", metavar="FILE.eml", type=Path, help="- is standard input")
    explain.add_argument("--envelope", metavar="FILE.json", type=Path, help="mail_from and rcpt_tos")
    explain.add_argument("--from", dest="sender", metavar="ADDRESS", help="reverse-path; default: From's address")
    explain.add_argument("--to", nargs="+", default=[], metavar="ADDRESS", help="default: whom To, Cc and Bcc name")
    explain.add_argument("--listener", metavar="ADDRESS", help="by which listener it came; default: the first")
    explain.add_argument("--user", metavar="LOGIN", default="", help="who sent it")
    explain.add_argument("--json", action="store_true", help="one JSON object")
    explain.set_defaults(function=_explain)
    commands.declare(subparsers)
    functions = {"doctor": _doctor, "passwd": _passwd}
    for name, (module, meaning) in _LATER.items():
        parser_of_it = subparsers.add_parser(name, help=meaning)
        if name in words:
            import_module(module).declare(parser_of_it)
        if name in functions:
            parser_of_it.set_defaults(function=functions[name])
    drop_in = subparsers.add_parser("sendmail", help="drop-in for sendmail(1)", prefix_chars="+", add_help=False)
    drop_in.add_argument("words", nargs="*")
    drop_in.set_defaults(function=_sendmail)
    reference = subparsers.add_parser("reference", help="every section and option with default and meaning")
    reference.add_argument("--json", action="store_true", help="for scripts: see docs/commands.md")
    reference.set_defaults(function=_reference)
    return parser


def config_path(arguments: argparse.Namespace) -> Path:
    """--config, else $TRACKER_RELAY_CONFIG, else the installed place; never the current folder."""
    return Path(arguments.config or os.environ.get("TRACKER_RELAY_CONFIG") or places.CONFIG)


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


def _configured(arguments: argparse.Namespace, but: str = "") -> Configuration | None:
    """The configuration; None, with its faults on stderr, when it is not usable, those of the option `but` apart."""
    loaded = config.read(config_path(arguments))
    loaded.faults = [fault for fault in loaded.faults if fault.option != but or not but]
    for line in loaded.fault_lines():
        print(line, file=sys.stderr)
    return None if loaded.faults else loaded.configuration


def _in_spool(arguments: argparse.Namespace) -> int:
    """The commands about mail in the spool. A running daemon answers them whatever has become of the file since.

    It may also have secrets from systemd, which nobody else can read.
    """
    loaded = config.read(config_path(arguments))
    if loaded.faults and not control.answers(control.socket_path(loaded.configuration)):
        for line in loaded.fault_lines():
            print(line, file=sys.stderr)
        return EX_CONFIG
    return commands.run(arguments, loaded.configuration)


def _authorize(arguments: argparse.Namespace) -> int:
    """The commands about OAuth2 tokens."""
    from relay import authorize  # noqa: PLC0415 - as in _LATER

    configuration = _configured(arguments)
    return EX_CONFIG if configuration is None else authorize.run(arguments, configuration)


def _doctor(arguments: argparse.Namespace) -> int:
    """A configuration with faults is what this command is for."""
    from relay import doctor  # noqa: PLC0415 - as in _LATER

    return doctor.run(arguments, config.read(config_path(arguments)))


def _explain(arguments: argparse.Namespace) -> int:
    from relay import app, explain  # noqa: PLC0415 - the other commands need none of it

    if arguments.envelope and (arguments.sender is not None or arguments.to):
        text = "--envelope has its own sender and recipients: leave --from and --to out"
        printing.complain(text)
        return EX_USAGE
    configuration = _configured(arguments)
    if configuration is None:
        return EX_CONFIG
    reading = arguments.file
    try:
        octets = _mail(reading, configuration.listener.max_size)
        sender, recipients = arguments.sender, arguments.to
        if arguments.envelope:
            reading = arguments.envelope
            sender, recipients = explain.envelope_file(reading)
        listener = arguments.listener or str(configuration.listener.listen[0])
        client = replace(explain.CLIENT, listener=listener, user=arguments.user)
        explained = explain.explain(
            octets, sender, recipients, app.setting_of(configuration), time.time(), client=client
        )
    except OSError as fault:
        printing.complain(f"{reading}: {fault.strerror}")
        return EX_NOINPUT
    except RelayError as fault:
        printing.complain(str(fault))
        return EX_DATAERR
    if arguments.json:
        print(explain.as_json(explained))
    else:
        print(explain.as_text(explained), end="\n\n", flush=True)
        sys.stdout.buffer.write(bytes(explained.after.message))
    return EX_OK


def _mail(path: Path, longest: int) -> bytes:
    """A mail's octets, no more than the listener takes. Raises OSError."""
    if path != Path("-"):
        return namedfile.read(path, longest, pipes=True)
    octets = sys.stdin.buffer.read(longest + 1)
    if len(octets) > longest:
        raise OSError(errno.EFBIG, f"larger than {longest} octets ([listener] max_size)")
    return octets


def _sendmail(arguments: argparse.Namespace) -> int:
    from relay import sendmail  # noqa: PLC0415 - `__main__` calls it without all the rest

    return sendmail.main(arguments.words, arguments.config)


def _passwd(arguments: argparse.Namespace) -> int:
    from relay.commands import passwd  # noqa: PLC0415 - as in _LATER

    configuration = _configured(arguments, but="passwd_file")
    if configuration is None:
        return EX_CONFIG
    try:
        return passwd.run(arguments, configuration)
    except RelayError as fault:
        printing.complain(str(fault))
        return EX_DATAERR


def _reference(arguments: argparse.Namespace) -> int:
    if arguments.json:
        printing.as_json(reference.rows())
    else:
        print(reference.reference(), end="")
    return EX_OK
