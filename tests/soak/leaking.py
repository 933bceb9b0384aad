"""`python -m tests.soak.leaking N ...`: the daemon, with N octets that stay of every mail. The long run has to see it."""

import runpy
import sys

from relay import journal


def main():
    octets = int(sys.argv.pop(1))
    kept, accepted = bytearray(), journal.accepted

    def leaking(entry):
        kept.extend(b"x" * octets)
        accepted(entry)

    journal.accepted = leaking
    sys.argv[0] = "tracker-relay"
    runpy.run_module("relay", run_name="__main__", alter_sys=True)


main()
