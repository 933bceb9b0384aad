"""What the daemon runs on."""

import subprocess
import sys

import pytest

THREADS = """\
import threading
from relay import runner

{before}
stay, ready = threading.Event(), threading.Barrier(5)

def work():
    kept = [bytes(3000) for _ in range(500)]
    ready.wait()
    stay.wait()
    del kept

threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
ready.wait()
HEAP = 64 << 20  # what glibc reserves for a thread's, at a multiple of that
ranges = [line.split()[:2] for line in open("/proc/self/maps")]
ends = [[int(word, 16) for word in octets.split("-")] for octets, _ in ranges]
print(sum(
    begin % HEAP == 0 and following[1] == begin + HEAP and mode == "rw-p"
    for (begin, _), following, (_, mode) in zip(ends, ends[1:], ranges)
))
stay.set()
"""


LARGE = """\
from relay import runner

{before}
def heap():
    return [line.split()[0] for line in open("/proc/self/maps") if line.endswith("[heap]\\n")]

piece = bytes(8 << 20)
del piece
at_first = heap()
kept = [bytes(300_000) for _ in range(9)]
print(heap() == at_first)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(("before", "apart"), [("runner.one_heap()", True), ("", False)])
def test_large_pieces_leave_no_holes_in_the_heap(before, apart):
    """glibc takes them out of it once a larger one was free."""
    done = subprocess.run(
        [sys.executable, "-c", LARGE.format(before=before)], capture_output=True, text=True, timeout=30
    )
    assert (done.stderr, done.stdout.strip()) == ("", str(apart))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(("before", "heaps"), [("runner.one_heap()", 0), ("", 4)])
def test_threads_have_no_heaps_of_their_own(before, heaps):
    """glibc's: what a thread needed for a large mail would stay with it."""
    done = subprocess.run(
        [sys.executable, "-c", THREADS.format(before=before)], capture_output=True, text=True, timeout=30
    )
    assert (done.stderr, done.stdout.strip()) == ("", str(heaps))
