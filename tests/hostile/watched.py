"""The relay with a watch on its event loop: `python -m tests.hostile.watched FILE --config ... run`.

A task that wants to run every BEAT looks how late it comes. Late by the clock says little on a machine that does
other work as well. So of the lateness counts only what this process has itself used of processors meanwhile, in
whatever thread (who holds the interpreter's lock keeps the loop waiting, too), and not what the loop's own thread
was ready to run, but the kernel had no processor for it. What is over NOTED is written to FILE, a line each.
"""

import asyncio
import os
import sys
import threading
import time
from pathlib import Path

from relay import app, cli

BEAT = 0.002
NOTED = 0.02


def _now(schedstat):
    """Processor time, clock, and for how long this thread was ready to run and did not (sched-stats.rst), in seconds.

    One call that lets go of the interpreter's lock: each of them waits for it anew, and is itself what is measured.
    """
    return time.process_time(), time.monotonic(), int(os.pread(schedstat, 100, 0).split()[1]) / 1e9


async def _watch(found):
    schedstat = os.open(f"/proc/self/task/{threading.get_native_id()}/schedstat", os.O_RDONLY)
    began = _now(schedstat)
    while True:
        await asyncio.sleep(BEAT)
        ended = _now(schedstat)
        used, passed, waited = (after - before for after, before in zip(ended, began, strict=True))
        if (late := min(used, passed - BEAT - waited)) > NOTED:
            found.write(f"{late:.4f}\n")
            ended = _now(schedstat)
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
