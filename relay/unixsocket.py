"""Unix sockets: paths longer than a socket address holds, and who is at the other end."""

import contextlib
import errno
import os
import socket
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass

_LONGEST = 100
"""Octets of a path that surely fit into a socket address (107 on Linux)."""
_SO_PEERGROUPS = 59
"""Linux; Python has no name for it."""
_REMEDY = "move it away, or name another path"


@contextlib.contextmanager
def short(path: str) -> Iterator[str]:
    """`path` in a form that fits into a socket address, however deep its folder lies. Raises OSError."""
    if len(os.fsencode(path)) <= _LONGEST:
        yield path
        return
    folder, _, name = path.rpartition("/")
    descriptor = os.open(folder or "/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{name}"
    finally:
        os.close(descriptor)


def refuse_living(path: str) -> None:
    """Nothing, or a dead socket, lies there, which a new one may replace; what lives is refused. Raises OSError."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise FileExistsError(errno.EEXIST, f"what lies there is not a socket: {_REMEDY}", path)
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return
    raise OSError(errno.EADDRINUSE, "in use", path)


def give_mode(path: str, mode: int) -> None:
    """Give the socket just bound at `path` this mode, never what was put in its place since. Raises OSError."""
    descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISSOCK(status.st_mode) or status.st_uid != os.geteuid():
            raise FileExistsError(errno.EEXIST, f"somebody put something else in its place: {_REMEDY}", path)
        os.chmod(f"/proc/self/fd/{descriptor}", mode)  # what we looked at, whatever has the name by now
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class Peer:
    """The user at the other end, as the kernel knew him when he connected."""

    uid: int
    groups: frozenset[int]
    """His group and his further groups."""


def peer(connection: socket.socket) -> Peer:
    """Who is at the other end of a unix socket. Raises OSError."""
    form = "3i"
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize(form))
    _, uid, gid = struct.unpack(form, credentials)
    return Peer(uid, frozenset((gid, *_further_groups(connection))))


def _further_groups(connection: socket.socket) -> tuple[int, ...]:
    try:
        octets = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, 1024)
    except OSError:  # an old kernel, or a member of more than 256 groups: his first one still counts
        return ()
    return struct.unpack(f"{len(octets) // 4}I", octets)
