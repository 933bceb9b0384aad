"""Runner: what the daemon runs on: uvloop where that is installed, and a collector that leaves mail alone."""

import asyncio
import gc
from collections.abc import Callable


def runner() -> Callable[..., int]:
    """asyncio.run, on uvloop where that is installed."""
    try:
        import uvloop  # noqa: PLC0415 - an extra
    except ImportError:
        return asyncio.run
    return uvloop.run


def tune_collector() -> None:
    """What is loaded by now stays: never look at it again. Mail makes no cycles, so look at the rest more rarely."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
