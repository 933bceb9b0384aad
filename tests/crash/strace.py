"""strace(1) beside a running relay: it kills it at the N-th call of a name, or lets that call fail."""

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

from tests.e2e.tools import missing, until

CALLS = ("pwrite64", "write", "fdatasync", "fsync", "openat", "ftruncate", "unlinkat")
"""The calls of the accept and settle paths that change something on the disk, or make what does."""


@contextlib.contextmanager
def injected(pid, call, what, when):
    """While this lasts, the `when`-th `call` of each thread meets `what` (signal=KILL, error=EIO, ...)."""
    if not shutil.which("strace"):
        missing("strace")
    if Path("/proc/self/status").read_text().split("TracerPid:\t")[1][0] != "0":
        missing("a process that is not traced already")
    command = ["strace", "-f", "-qq", "-o", "/dev/null", "-p", str(pid), "-e", f"trace={call}"]
    tracer = subprocess.Popen([*command, "-e", f"inject={call}:{what}:when={when}"], stderr=subprocess.PIPE, text=True)
    try:
        until(lambda: _attached(pid) or tracer.poll() is not None, "strace is attached", 10)
        if tracer.poll() not in (None, 0):
            missing(f"leave to trace ({tracer.stderr.read().strip()})")
        yield
    finally:
        tracer.terminate()
        tracer.wait(10)
        tracer.stderr.close()


def _attached(pid):
    """True when every thread is traced, or the process is gone."""
    try:
        tasks = os.listdir(f"/proc/{pid}/task")
        return all("TracerPid:\t0\n" not in Path(f"/proc/{pid}/task/{task}/status").read_text() for task in tasks)
    except OSError:
        return True
