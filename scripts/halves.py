"""All tests in two runs of pytest at once: most of their time is spent waiting for processes, disks and pauses.

What the second says follows when the first is through. Whatever folder is not in SECOND belongs to the first.
"""

import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

SECOND = ("crash", "doctor", "oauth", "selinux", "sendmail", "upstream", "web")
"""About half of the time."""
APART = ("soak", "vm")
"""Parts of their own: hours and minutes."""
NO_TESTS = 5
"""pytest's exit status when nothing was chosen."""


def commands(arguments: Sequence[str]) -> list[list[str]]:
    """The two command lines. Neither keeps what failed: they would overwrite each other's."""
    base = [sys.executable, "-m", "pytest", "--timeout=300", "-p", "no:cacheprovider"]
    first = [*(f"--ignore=tests/{folder}" for folder in (*APART, *SECOND)), "tests"]
    second = [f"tests/{folder}" for folder in SECOND]
    return [[*base, *chosen, *arguments] for chosen in (first, second)]


def together(statuses: Sequence[int]) -> int:
    """One exit status for both: nothing chosen in one half is no failure of the whole."""
    chosen = [status for status in statuses if status != NO_TESTS]
    return next((status for status in chosen if status), 0 if chosen else NO_TESTS)


def main(arguments: Sequence[str]) -> int:
    """Run both; the exit status."""
    first, second = commands(arguments)
    # From a background job, SIGINT comes ignored, and tests that interrupt a command would wait for ever.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryFile() as said:
        running = [subprocess.Popen(first), subprocess.Popen(second, stdout=said, stderr=subprocess.STDOUT)]  # noqa: S603 - ours
        try:
            running[0].wait()
            at = 0
            ended = False
            while not ended:
                ended = running[1].poll() is not None
                said.seek(at)
                new = said.read()
                at += len(new)
                sys.stdout.buffer.write(new)
                sys.stdout.flush()
                if not ended:
                    time.sleep(0.5)
        finally:
            for process in running:
                if process.poll() is None:
                    process.terminate()
                    process.wait()
    return together([process.returncode for process in running])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
