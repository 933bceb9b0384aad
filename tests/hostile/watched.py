"""The relay with a watch on its event loop: `python -m tests.hostile.watched FILE --config ... run`.

A task that wants to run every BEAT looks how late it comes. Late by the clock says little on a machine that does
other work as well. So of the lateness counts only what this process has itself used of processors meanwhile, in
whatever thread (who holds the interpreter's lock keeps the loop waiting, too), and not what the loop's own thread
was ready to run, but the kernel had no processor for it. What is over NOTED is written to FILE, a line each.
"""

import asyncio
import sys
import threading
import time
from pathlib import Path

from relay import app, cli

BEAT = 0.002
NOTED = 0.02


def _unscheduled():
    """Seconds that this thread was ready to run, and did not (Documentation/scheduler/sched-stats.rst)."""
    text = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat").read_text()
    return int(text.split()[1]) / 1e9


def _now():
    return time.process_time(), time.monotonic(), _unscheduled()


async def _watch(found):
    began = _now()
    while True:
        await asyncio.sleep(BEAT)
        ended = _now()
        used, passed, waited = (after - before for after, before in zip(ended, began, strict=True))
        if (late := min(used, passed - BEAT - waited)) > NOTED:
            found.write(f"{late:.4f}\n")
            ended = _now()
        began = ended


def main(name, *arguments):
    serve = app._serve

    async def watched(*about):
        with Path(name).open("a", buffering=1) as found:
            task = asyncio.create_task(_watch(found))
            try:
                return await serve(*about)
            finally:
                task.cancel()

    app._serve = watched
    return cli.main(list(arguments))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
