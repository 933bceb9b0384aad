#!/usr/bin/python3
"""Prove what the SELinux module of tracker-relay allows and never allows, on a whole linked policy.

    prove.py [--json] POLICY [EXCEPTIONS.json]

POLICY is a policy as the kernel loads it: /etc/selinux/TYPE/policy/policy.NN, or /sys/fs/selinux/policy.
No SELinux kernel is needed, only setools (python3-setools). One line for each property, with what breaks it;
exit status 0 when all hold, 1 when one does not, 2 when POLICY can not be read or lacks the module.
EXCEPTIONS.json says what a distribution grants to every service besides: {property's name: [what breaks it, ...]}.
"""

import json
import sys
from pathlib import Path

try:
    from policy import Policy
except ModuleNotFoundError as fault:
    sys.exit(f"prove.py: {fault.name} is missing: install python3-setools and use the system's own python3")
from properties import PROPERTIES
from terms import DAEMON


def prove(policy: Policy, exceptions: dict[str, list[str]]) -> dict[str, tuple[list[str], list[str]]]:
    """Each property's name, with what breaks it, and what would but for the exceptions."""
    found: dict[str, tuple[list[str], list[str]]] = {}
    for check in PROPERTIES:
        texts, excepted = list(check(policy)), exceptions.get(check.__name__, [])
        found[check.__name__] = [t for t in texts if t not in excepted], [t for t in texts if t in excepted]
    return found


def read(path: str, exceptions: str) -> tuple[Policy, dict[str, list[str]]]:
    """Policy and exceptions. Raises OSError or ValueError with what is wrong."""
    policy = Policy(path)
    if DAEMON not in policy.types:
        raise ValueError(f"{path}: the module tracker_relay is not in this policy")
    excepted = json.loads(Path(exceptions).read_text()) if exceptions else {}
    if unknown := set(excepted) - {check.__name__ for check in PROPERTIES}:
        raise ValueError(f"{exceptions}: no such property: {', '.join(sorted(unknown))}")
    return policy, excepted


def main() -> int:
    """Prove, and print."""
    arguments = [word for word in sys.argv[1:] if word != "--json"]
    if len(arguments) not in (1, 2) or arguments[0].startswith("-"):
        print(__doc__, file=sys.stderr)
        return 2
    try:
        policy, exceptions = read(arguments[0], "".join(arguments[1:]))
    except (OSError, ValueError) as fault:
        print(f"prove.py: {fault}", file=sys.stderr)
        return 2
    found = prove(policy, exceptions)
    failed = sum(bool(broken) for broken, _ in found.values())
    if "--json" in sys.argv[1:]:
        states = {check.__name__: check.__doc__ for check in PROPERTIES}
        form = {n: {"states": states[n], "broken": broken, "excepted": e} for n, (broken, e) in found.items()}
        print(json.dumps(form, indent=1))
    else:
        for check in PROPERTIES:
            broken, excepted = found[check.__name__]
            print("BROKEN" if broken else "proved", f" {check.__doc__}")
            print(*(f"        {text}\n" for text in broken), sep="", end="")
            print(*(f"        excepted: {text}\n" for text in excepted), sep="", end="")
        print(f"{len(found) - failed} proved, {failed} broken")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
