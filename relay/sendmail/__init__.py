"""The sendmail(1) drop-in: what programs call that know no other way to send mail.

It is started for every mail, by users who may not read config.ini, so it imports little and asks
nobody but the relay itself, over the submission socket:

1. the command line says what is wanted (`arguments`), standard input is read to its end (`intake`);
2. recipients come from the command line and, with -t, from the header; a missing From is written (`letter`);
3. the relay takes the mail (`submission`): then it is safe, the exit status is 0 and nothing was said.

Else there is one line on standard error and a status of sysexits.h: 64 a wrong command line or no
recipient, 65 a mail that can not be sent, 66 no input, 67 no recipient was taken, 69 refused,
70 a fault of the program, 75 try again later (the relay does not run), 77 this user may not.
"""

import contextlib
import itertools
import os
import pwd
import sys
from collections.abc import Mapping, Sequence

from relay import __version__, namedfile, places
from relay.address import Address, AddressError, parse
from relay.message import MAX_FIELDS, BytesBody
from relay.message import parse as parse_message
from relay.sendmail import arguments, intake, letter, submission
from relay.sendmail.arguments import Mode, Request, UsageError
from relay.sendmail.intake import Intake, NoRoom, TooLarge
from relay.sendmail.letter import LetterError
from relay.sendmail.submission import EX_DATAERR, EX_NOPERM, EX_TEMPFAIL, EX_UNAVAILABLE, Failed, Relay

EX_OK, EX_USAGE, EX_NOINPUT, EX_SOFTWARE = 0, 64, 66, 70
SOCKET = "TRACKER_RELAY_SOCKET"
_HELP = """\
usage: sendmail [-i] [-t] [-f SENDER] [-F NAME] [-B 8BITMIME] [-v] [--] [RECIPIENT ...]
Hands a mail from standard input to tracker-relay. -t: To, Cc and Bcc name (further) recipients;
-i: a line with a single dot does not end the mail; -bs: SMTP; -bp: the queue; other options have no effect.\
"""


PROGRAMS = ("sendmail", "mailq", "newaliases", "runq")
"""Names of links to the command under which it is the drop-in."""


def command() -> int:
    """The script `tracker-relay-sendmail`, whatever the link is called by which it was found."""
    program = os.path.basename(sys.argv[0])
    return main(sys.argv[1:], program=program if program in PROGRAMS else "sendmail")


def main(words: Sequence[str], config: str | None = None, program: str = "sendmail") -> int:
    """Run it; the exit status. `words` are those behind the program's name, `config` the --config of before."""
    _hold_descriptors()
    try:
        return _run(arguments.parse(program, words), config_path(config, os.environ))
    except UsageError as fault:
        return _fail(program, EX_USAGE, str(fault))
    except LetterError as fault:
        return _fail(program, EX_DATAERR, str(fault))
    except Failed as fault:
        return _fail(program, fault.status, str(fault))
    except KeyboardInterrupt:
        return 130
    except Exception as fault:
        return _fail(program, EX_SOFTWARE, f"a fault of the program: {type(fault).__name__}: {fault}")


def _hold_descriptors() -> None:
    """Daemons start us with standard streams closed: no other file may come to stand in their place."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_WRONLY)  # the lowest free number: this one


def _fail(program: str, status: int, text: str) -> int:
    line = "".join(c if c.isprintable() else "?" for c in text)
    _say(2, f"{program}: {line}")
    return status


def _say(descriptor: int, text: str) -> None:
    """A line for whoever listens; that nobody does changes nothing about the mail."""
    with contextlib.suppress(OSError):
        os.write(descriptor, f"{text}\n".encode("utf-8", "replace"))


def _run(request: Request, config: str) -> int:
    match request.mode:
        case Mode.SUBMIT:
            return _submit(request, config)
        case Mode.SESSION:
            return _session(config)
        case Mode.QUEUE:
            return _queue(config)
        case Mode.HELP:
            _say(1, _HELP)
        case Mode.VERSION:
            _say(1, f"tracker-relay {__version__}")
        case Mode.NOTHING:
            pass
    return EX_OK


def _submit(request: Request, config: str) -> int:
    if not request.recipients and not request.from_header:
        raise UsageError("no recipient: name one, or take those of the header with -t")
    caller, name = _caller()
    reverse = caller if request.sender is None else letter.sender(request.sender)
    paths = letter.from_arguments(request.recipients)
    taken = _taken(request)
    message = parse_message(BytesBody(taken.head), limit=intake.HEAD)
    if taken.rest is not None and not message.body.size:
        raise LetterError(f"the header is longer than {intake.HEAD} octets")
    if len(message.fields) > MAX_FIELDS:  # what stands behind them was not read: a Bcc would stay, and be shown
        raise LetterError(f"the header has more than {MAX_FIELDS} fields")
    if request.from_header:
        paths += letter.from_header(message)
    if not paths:
        raise UsageError("no recipient stands in To, Cc or Bcc")
    with submission.connect(socket_path(config, os.environ)) as connection:
        relay = Relay(connection)
        reverse = reverse and reverse.complete(relay.host)
        who = reverse or caller.complete(relay.host)
        full_name = name if request.full_name is None else request.full_name
        header = letter.header(message, who, full_name, hide=request.from_header)
        start = len(taken.head) - message.body.size
        size = len(header) + taken.size(start)
        content = itertools.chain((header,), taken.pieces(start))
        said = relay.submit(str(reverse or ""), letter.unique(paths), request.body, size, content)
    if request.verbose:
        _say(1, said)
    return EX_OK


def _taken(request: Request) -> Intake:
    try:
        taken = intake.read(0, dot_ends=request.dot_ends)
    except OSError as fault:
        raise Failed(EX_NOINPUT, f"the mail can not be read: {fault.strerror}") from fault
    except NoRoom as fault:
        raise Failed(EX_TEMPFAIL, str(fault)) from fault
    except TooLarge as fault:
        raise LetterError(str(fault)) from fault
    taken.head = letter.without_mbox_line(taken.head)
    return taken


def _caller() -> tuple[Address, str]:
    """The user who calls: his login as an address without a domain, and his full name."""
    uid = os.getuid()
    try:
        entry = pwd.getpwuid(uid)
        return parse(entry.pw_name), letter.full_name(entry.pw_gecos, entry.pw_name)
    except (KeyError, AddressError):
        return Address(f"uid{uid}"), ""


def _session(config: str) -> int:
    try:
        with submission.connect(socket_path(config, os.environ)) as connection:
            submission.session(connection)
    except Failed as fault:
        _say(1, "421 4.3.2 the relay is not running, try again later\r")
        raise fault
    except OSError as fault:
        raise Failed(EX_TEMPFAIL, f"the session broke off: {fault.strerror}") from fault
    return EX_OK


def _queue(config: str) -> int:
    if os.path.exists(config) and not os.access(config, os.R_OK):
        raise Failed(EX_NOPERM, "only root and the relay's own user may see the queue")
    from relay import cli  # noqa: PLC0415 - a mail needs none of it

    return cli.main(["--config", config, "queue", "list"])


def config_path(given: str | None, environ: Mapping[str, str]) -> str:
    """The configuration that is meant: as for every command, but a checkout's own drop-in knows its relay."""
    named = given or environ.get("TRACKER_RELAY_CONFIG")
    if named:
        return os.path.abspath(named)
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    installed = os.path.exists(places.CONFIG) or os.path.exists(places.submission_socket(places.CONFIG))
    checkout = os.path.exists(f"{root}/pyproject.toml") and os.path.exists(f"{root}/config.ini")
    return f"{root}/config.ini" if checkout and not installed else places.CONFIG


def socket_path(config: str, environ: Mapping[str, str]) -> str:
    """The socket to submit to: $TRACKER_RELAY_SOCKET, else what the configuration says, if this user may read it.

    Raises Failed where the configuration has none.
    """
    if named := environ.get(SOCKET):
        return named.removeprefix("unix:")
    try:
        octets = namedfile.read(config)
    except OSError:
        return places.submission_socket(config)
    from relay import inifile  # noqa: PLC0415 - most callers may not read the file

    given = inifile.read(octets).sections.get("listener", {}).get("submission")
    if given is None:
        return places.submission_socket(config)
    if not given.text:
        raise Failed(EX_UNAVAILABLE, f"{config} gives the drop-in no socket: [listener] submission is empty")
    return os.path.join(os.path.dirname(config), given.text)
