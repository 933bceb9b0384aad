"""Arguments: the command line of sendmail(1), as Postfix, Exim and sendmail itself understand it. Pure.

Programs have called these commands for decades with whatever options their authors' system took. What
changes who gets a mail, or what is in it, is done; what speaks of queues, aliases and delivery modes has
no meaning here and is taken without a word; a letter that none of the three knows is refused.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

_VALUED = frozenset("ABCDFLNOQRTVXbefhopr")
"""Options with a value: the rest of the word, or the next word."""
_ATTACHED = frozenset("dq")
"""Options whose value, if any, is the rest of the word."""
_FLAGS = frozenset("EGIUcimnstvx")
_NEXT_WORD = frozenset(("Ma", "Maa", "Mai", "Mas", "Mi", "Mm", "Mr", "Ms", "Mt", "P", "X"))
"""Exim's `-oMr PROTOCOL` and the like: the value is the word behind."""
_IGNORE_DOTS = re.compile(r"ignoredots(?:=(?:t|y|1).*)?", re.IGNORECASE)


class UsageError(Exception):
    """the command line can not be understood"""


class Mode(StrEnum):
    """What the drop-in is asked to do."""

    SUBMIT = "submit"
    """Take a mail from standard input (-bm, and what is meant when nothing is said)."""
    SESSION = "session"
    """Speak SMTP on standard input and output (-bs)."""
    QUEUE = "queue"
    """List the queue (mailq, -bp)."""
    NOTHING = "nothing"
    """What a relay has no use for: aliases (newaliases, -bi), host status (-bh, -bH), a queue run (-q)."""
    HELP = "help"
    VERSION = "version"


_PROGRAMS = {"mailq": Mode.QUEUE, "newaliases": Mode.NOTHING, "runq": Mode.NOTHING}
"""Names under which the command means something else."""
_MODES = {
    "m": Mode.SUBMIT,
    "s": Mode.SESSION,
    "p": Mode.QUEUE,
    "i": Mode.NOTHING,
    "h": Mode.NOTHING,
    "H": Mode.NOTHING,
}


@dataclass(slots=True)
class Request:
    """What a command line asks for."""

    mode: Mode
    recipients: list[str] = field(default_factory=list)
    """As written; each may hold several addresses."""
    from_header: bool = False
    """-t: To, Cc and Bcc name further recipients (as with Postfix and sendmail, those of the command line stay)."""
    dot_ends: bool = True
    """A line with a single dot ends the mail; not with -i or -oi."""
    sender: str | None = None
    """-f or -r; "" and "<>" are the null sender; None is the user who calls."""
    full_name: str | None = None
    """-F, for a From field that is missing."""
    body: str = ""
    """-B: "7BIT" or "8BITMIME"."""
    verbose: bool = False


def parse(program: str, words: Sequence[str]) -> Request:
    """Read the words behind the program's name. Raises UsageError with one line.

    Options may stand behind recipients, as they may with Postfix; `--` ends them.
    """
    request = Request(_PROGRAMS.get(program, Mode.SUBMIT))
    left = list(words)
    while left:
        word = left.pop(0)
        if word == "--":
            request.recipients += left
            break
        if word in ("--help", "--version"):
            request.mode = Mode(word[2:])
            break
        if len(word) > 1 and word.startswith("-"):
            _options(request, word[1:], left)
        else:
            request.recipients.append(word)
    return request


def _options(request: Request, letters: str, left: list[str]) -> None:
    """One word of options: letters without a value may stand together, one with a value ends it."""
    while letters:
        letter, letters = letters[0], letters[1:]
        if letter in _FLAGS:
            _flag(request, letter)
        elif letter in _ATTACHED:
            if letter == "q":
                request.mode = Mode.NOTHING
            return
        elif letter in _VALUED:
            if not letters and not left:
                raise UsageError(f"-{letter} needs a value")
            _valued(request, letter, letters or left.pop(0), left)
            return
        else:
            raise UsageError(f"no such option: -{letter}")


def _flag(request: Request, letter: str) -> None:
    match letter:
        case "i":
            request.dot_ends = False
        case "t":
            request.from_header = True
        case "v":
            request.verbose = True
        case "I":
            request.mode = Mode.NOTHING


def _valued(request: Request, letter: str, value: str, left: list[str]) -> None:
    match letter:
        case "f" | "r":
            request.sender = value
        case "F":
            request.full_name = value
        case "B":
            request.body = _body(value)
        case "b":
            request.mode = _mode(value)
        case "o":
            if value.startswith("i"):
                request.dot_ends = False
            elif value in _NEXT_WORD and left:
                left.pop(0)
        case "O" if _IGNORE_DOTS.fullmatch(value):
            request.dot_ends = False


def _body(value: str) -> str:
    word = value.upper()
    if word not in ("7BIT", "8BITMIME"):
        raise UsageError(f"-B is 7BIT or 8BITMIME, not {value!r}")
    return word


def _mode(value: str) -> Mode:
    if value[:1] in ("d", "D", "l"):
        raise UsageError("the daemon is started by `tracker-relay run`")
    mode = _MODES.get(value[:1])
    if mode is None:
        raise UsageError(f"-b{value} is not supported; `tracker-relay explain` shows what becomes of a mail")
    return mode
