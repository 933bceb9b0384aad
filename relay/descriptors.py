"""Descriptors: as many as the system allows, how many clients that is room for, and what to do when there is none."""

import contextlib
import errno
import os
import resource
import socket

_OTHERS = 64
"""Descriptors for the spool, the next hops, the status page and the commands."""
_PER_CLIENT = 2
"""A client's socket, and the file that its large mail goes into."""
_FAREWELL = b"421 4.3.2 too many connections, try again later\r\n"
_AT_ONCE = 100
"""Clients sent away in one go."""
NONE_LEFT = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


def room(clients: int) -> int:
    """For how many clients there are descriptors, having raised our limit as far as `clients` need and it may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = clients * _PER_CLIENT + _OTHERS
    if soft < wanted and soft < hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max((soft - _OTHERS) // _PER_CLIENT, soft // 4, 1)


class Spare:
    """A descriptor in reserve. Without any, nobody could even be told that there is none: he would wait for ever."""

    def __init__(self) -> None:
        self._descriptor = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    def close(self) -> None:
        """Give it up."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def send_away(self, door: int) -> int:
        """Take whoever waits at this listening socket, tell him to come again, and hang up; how many they were."""
        listening = socket.socket(fileno=door)
        number = 0
        try:
            while number < _AT_ONCE and self._one(listening):
                number += 1
        finally:
            listening.detach()
        return number

    def _one(self, listening: socket.socket) -> bool:
        self.close()
        try:
            client, _ = listening.accept()
            with client, contextlib.suppress(OSError):
                client.setblocking(False)
                client.send(_FAREWELL)
        except OSError:  # nobody waits, or there is no descriptor all the same
            return False
        finally:
            self._take()
        return True

    def _take(self) -> None:
        with contextlib.suppress(OSError):
            self._descriptor = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
