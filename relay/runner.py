"""Runner: what the daemon runs on: uvloop where that is installed, a collector that leaves mail alone, one heap."""

import asyncio
import contextlib
import ctypes
import gc
import resource
import sys
from collections.abc import Callable


def runner() -> Callable[..., int]:
    """asyncio.run, on uvloop where that is installed."""
    try:
        import uvloop  # noqa: PLC0415 - an extra
    except ImportError:
        return asyncio.run
    return uvloop.run


def no_memory_image() -> None:
    """A crash leaves no core file: passwords, tokens and mail would lie in it. LimitCORE=0 of the unit says so too.

    SELinux lets the confined relay change no hard limit, in no direction; then the soft one, which counts, is 0.
    """
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (OSError, ValueError):
        _, hard = resource.getrlimit(resource.RLIMIT_CORE)
        resource.setrlimit(resource.RLIMIT_CORE, (0, hard))


def tune_collector() -> None:
    """What is loaded by now stays: never look at it again. Mail makes no cycles, so look at the rest more rarely.

    The objects of 1,000 mails that wait are no reason to look: that took 5 to 8 ms, and every client waited. If they
    were cycles one and all, 100,000 would take 8 ms.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)


_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8
"""mallopt(3), malloc.h of glibc."""
_LARGE = 131072


def one_heap() -> None:
    """All threads share one heap, where the C library is glibc, which gives each its own and keeps what was used of it.

    What is _LARGE lies outside of it and goes back to the system at once, as glibc has it until the first such piece is
    free: from then on it would leave holes. After some mails of 25 MB the relay kept 64 MB, so it is 44. To be called
    before there is a thread.
    """
    with contextlib.suppress(AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(_M_ARENA_MAX, 1)
        library.mallopt(_M_MMAP_THRESHOLD, _LARGE)


def share_the_interpreter() -> None:
    """A thread at work on a large mail lets go of the interpreter for the event loop after 0.2 ms, not 5.

    The loop waits for it anew behind each call to the system: with 5 ms each, a mail of 25 MB kept it for over 0.1 s.
    """
    sys.setswitchinterval(0.0002)
