"""`passwd`: who may log in at the listener. The file is replaced whole, closed to others, its owner kept."""

import argparse
import getpass
import os
import secrets
import sys
from pathlib import Path

from relay import namedfile, passwords
from relay.errors import RelayError
from relay.loaded import Configuration


def declare(parser: argparse.ArgumentParser) -> None:
    """What `passwd` is told."""
    parser.add_argument("login", metavar="LOGIN")
    parser.add_argument("--delete", action="store_true", help="take the login out")


def run(arguments: argparse.Namespace, configuration: Configuration) -> int:
    """Ask for a password, or read it from standard input, and keep its hash. Raises RelayError."""
    named = configuration.listener.passwd_file
    if not named:
        raise RelayError("[listener] passwd_file is not set: name the file that shall hold the passwords")
    login = arguments.login
    if not passwords.LOGIN.fullmatch(login):
        raise RelayError(f"{login!r} is no login: no blanks, no colons, 128 characters at most")
    path = Path(named)
    lines = _lines(path)
    kept = [line for line in lines if line.partition(":")[0].strip() != login]
    if arguments.delete:
        if len(kept) == len(lines):
            raise RelayError(f"{path} has no {login}")
    else:
        kept.append(f"{login}:{passwords.hashed(_password(login), secrets.token_bytes(16))}")
    _replace(path, "".join(f"{line}\n" for line in kept))
    said = "is taken out of" if arguments.delete else "may log in, by"
    print(f"{login} {said} {path}; `tracker-relay reload` tells the relay")
    return os.EX_OK


def _lines(path: Path) -> list[str]:
    """What stands in it; nothing while there is no such file. Raises RelayError."""
    try:
        return namedfile.read(path).decode("utf-8").splitlines()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeError) as fault:
        why = fault.strerror if isinstance(fault, OSError) else "not UTF-8: is it the right file?"
        raise RelayError(f"{path}: {why}") from fault


def _password(login: str) -> str:
    if sys.stdin.isatty():
        first = getpass.getpass(f"Password of {login}: ")
        if first != getpass.getpass("Once more: "):
            raise RelayError("the two differ: nothing is changed")
    else:
        first = sys.stdin.readline().removesuffix("\n").removesuffix("\r")
    if not first:
        raise RelayError("an empty password is none: nothing is changed")
    return first


def _replace(path: Path, text: str) -> None:
    """Whole or not at all; a new file is its owner's alone. Raises RelayError."""
    new = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        status = path.stat() if path.exists() else None
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            if status is not None:
                os.fchown(file.fileno(), status.st_uid, status.st_gid)
                os.fchmod(file.fileno(), status.st_mode & 0o640)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.rename(path)
    except OSError as fault:
        new.unlink(missing_ok=True)
        raise RelayError(f"{path}: {os.strerror(fault.errno or 0)}") from fault
