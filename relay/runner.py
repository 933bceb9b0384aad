"""Runner: what the daemon runs on: uvloop where that is installed, and a collector that leaves mail alone."""

import asyncio
import gc
import resource
from collections.abc import Callable


def runner() -> Callable[..., int]:
    """asyncio.run, on uvloop where that is installed."""
    try:
        import uvloop  # noqa: PLC0415 - an extra
    except ImportError:
        return asyncio.run
    return uvloop.run


def no_memory_image() -> None:
    """A crash leaves no core file: passwords, tokens and mail would lie in it. LimitCORE=0 of the unit says so too."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def tune_collector() -> None:
    """What is loaded by now stays: never look at it again. Mail makes no cycles, so look at the rest more rarely."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
