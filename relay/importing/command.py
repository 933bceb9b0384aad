"""`tracker-relay import TRAC_INI`: the configuration on standard output, a password in a file of its own.

The output may go anywhere: into a file that everybody may read, a pipe, a terminal with a log. So a
password is never in it. It goes into a new file with mode 600, which the output names: beside the
file that standard output is redirected to, else in the current folder, or where --password-file says.
"""

import argparse
import os
import stat
import sys
from pathlib import Path

from relay import secretfile
from relay.commands import printing
from relay.errors import RelayError
from relay.importing import converted, tracini

EX_OK, EX_DATAERR, EX_NOINPUT, EX_CANTCREAT = 0, 65, 66, 73
PASSWORD_FILE = "smtp.password"  # noqa: S105 - a file's name


def declare(parser: argparse.ArgumentParser) -> None:
    """What `import` is told."""
    parser.add_argument("trac_ini", metavar="TRAC_INI", type=Path, help="or the folder of a Trac environment")
    parser.add_argument(
        "--password-file", metavar="FILE", type=Path, help=f"where a password goes; default: {PASSWORD_FILE}"
    )
    parser.set_defaults(function=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command; its exit status."""
    place, written = _place(arguments.password_file)
    try:
        made = converted.convert(tracini.read(arguments.trac_ini), written)
        if made.password:
            _keep(made.password, place)
    except OSError as fault:
        return _failed(EX_NOINPUT, f"{fault.filename or arguments.trac_ini}: {fault.strerror}")
    except tracini.Unreadable as fault:
        return _failed(EX_DATAERR, str(fault))
    except RelayError as fault:
        return _failed(EX_CANTCREAT, str(fault))
    sys.stdout.buffer.write(made.text.encode("utf-8", "replace"))
    sys.stdout.buffer.flush()
    if made.password:
        _tell(f"the password stands in {place}, which only you may read: give it to the relay's user (chown)")
    _tell("the last lines of the output are for trac.ini")
    return EX_OK


def _place(given: Path | None) -> tuple[Path, str]:
    """Where the password goes, and how a config.ini that standard output is redirected to names that place."""
    output = _redirected()
    if given is None and output is not None:
        return output / PASSWORD_FILE, PASSWORD_FILE
    place = (given or Path(PASSWORD_FILE)).absolute()
    return place, str(place)


def _redirected() -> Path | None:
    """The folder of the file that standard output is redirected to."""
    try:
        output = os.fstat(1)
        path = Path(os.readlink("/proc/self/fd/1"))
        same = stat.S_ISREG(output.st_mode) and os.path.samestat(output, os.stat(path))
    except OSError:
        return None
    return path.parent if same else None


def _keep(password: str, place: Path) -> None:
    """Write it where nobody else may read it. Raises RelayError; a file that is there already is left alone."""
    try:
        descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError as fault:
        if _is_kept(password, place):
            return
        text = (
            f"{place} is there already, with something else in it: remove it, or name another one with --password-file"
        )
        raise RelayError(text) from fault
    except OSError as fault:
        text = f"{place}: {os.strerror(fault.errno or 0)}: say with --password-file where the password may be kept"
        raise RelayError(text) from fault
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(f"{password}\n")


def _is_kept(password: str, place: Path) -> bool:
    try:
        return not secretfile.exposed(place) and secretfile.read(place) == password
    except ValueError:
        return False


def _failed(status: int, text: str) -> int:
    _tell(text)
    return status


def _tell(text: str) -> None:
    printing.complain(text)
