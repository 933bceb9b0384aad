"""Secret files: read a secret, and refuse a file that others could have read."""

import os
import stat
from pathlib import Path

LONGEST = 65536
_IRREGULAR = "no regular file: name the file that holds the secret"


def exposed(path: Path) -> str:
    """Why this file is not fit for a secret, with the command that mends it; "" when it is fit."""
    try:
        status = os.stat(path)
    except OSError as fault:
        return f"{path}: {os.strerror(fault.errno or 0)}: create it, with mode 600"
    if not stat.S_ISREG(status.st_mode):
        return f"{path}: {_IRREGULAR}"
    if stat.S_IMODE(status.st_mode) & 0o007:
        return f"others may read {path}, which holds a secret: chmod o-rwx {path}"
    if stat.S_IMODE(status.st_mode) & 0o070 and status.st_gid != os.getegid():
        return f"a foreign group may read {path}, which holds a secret: chmod g-rwx {path}"
    return ""


def credential(folder: str, name: str) -> Path | None:
    """Where the service's credential of that name is; None when it has none, or "" for a folder.

    One that we may not see is there all the same, and its reader says why: systemd names the folder to the
    command of a reload, too, and lets nobody but the daemon enter.
    """
    path = Path(folder, name)
    try:
        found = folder and name and "/" not in name and stat.S_ISREG(os.stat(path).st_mode)
    except PermissionError:
        return path
    except OSError:
        return None
    return path if found else None


def read(path: Path) -> str:
    """The secret in a file, one final line end dropped. Raises ValueError with a sentence.

    No more than LONGEST octets and one are read, and nothing is waited for: a device or a pipe is refused.
    """
    try:
        data = _begin(path)
    except OSError as fault:
        raise ValueError(f"{path}: {os.strerror(fault.errno or 0)}: create it, with mode 600") from fault
    if len(data) > LONGEST:
        raise ValueError(f"{path}: larger than {LONGEST} octets: is it the right file?")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as fault:
        raise ValueError(f"{path}: not UTF-8: save it as UTF-8") from fault
    return text.removesuffix("\n").removesuffix("\r")


def _begin(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError(f"{path}: {_IRREGULAR}")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(LONGEST + 1)
    finally:
        os.close(descriptor)
