"""Ask whether a version that a lock file pins is known to be vulnerable: `./test audit`. It needs the network.

1. Every lock file of requirements/ is asked about as it stands, hashes and all; nothing of it is installed.
2. Exit status 1: a vulnerability is known, each in a line of its own. 75: nobody could be asked about something (no
   service, or one that does not know the package, which is no clean bill: pip-audit itself says 0 then).
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SERVICES = ("osv", "pypi")
"""As pip-audit names them: the first that knows all of a file is believed."""
PATIENCE = 600
"""Seconds for one lock file."""
EX_FOUND, EX_TEMPFAIL = 1, 75


def locks(folder: Path = ROOT / "requirements") -> list[Path]:
    """Every lock file."""
    return sorted(folder.glob("*.txt"))


def command(program: str, lock: Path, service: str) -> list[str]:
    """How pip-audit is asked about one file."""
    told = ["--require-hashes", "--disable-pip", "--progress-spinner", "off", "--format", "json", "--timeout", "15"]
    return [program, "--requirement", str(lock), "--vulnerability-service", service, *told]


def found_in(report: str) -> Iterator[str]:
    """A line for each known vulnerability. Raises ValueError where it is no report, or leaves something out."""
    form = json.loads(report)
    if not form["dependencies"]:
        raise ValueError("it read no dependency")
    for one in form["dependencies"]:
        if "skip_reason" in one:
            raise ValueError(one["skip_reason"])
    for one in form["dependencies"]:
        for flaw in one["vulns"]:
            names = ", ".join([flaw["id"], *flaw.get("aliases", ())])
            fixed = " or ".join(flaw["fix_versions"]) or "no version yet"
            yield f"{one['name']} {one['version']}: {names}; mended in {fixed}"


def ask(program: str, lock: Path) -> list[str]:
    """The vulnerabilities of one file. Raises ValueError with what kept every service from answering."""
    reasons = []
    for service in SERVICES:
        try:
            done = subprocess.run(  # noqa: S603 - ours
                command(program, lock, service), capture_output=True, text=True, timeout=PATIENCE, check=False
            )
            return list(found_in(done.stdout))
        except subprocess.TimeoutExpired:
            reasons.append(f"{service}: no answer within {PATIENCE} s")
        except (ValueError, KeyError, TypeError) as fault:
            last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1][:200]
            reasons.append(f"{service}: {last if isinstance(fault, json.JSONDecodeError) else fault}")
    raise ValueError("; ".join(reasons))


def main(arguments: Sequence[str]) -> int:
    """Ask about every lock file; the exit status."""
    program = arguments[0] if arguments else str(Path(sys.executable).with_name("pip-audit"))
    found = unasked = 0
    for lock in locks():
        name = lock.relative_to(ROOT)
        try:
            lines = ask(program, lock)
        except ValueError as fault:
            unasked += 1
            print(f"tracker-relay: {name}: the advisory service could not be asked: {fault}", file=sys.stderr)
            continue
        found += len(lines)
        for line in lines:
            print(f"{name}: {line}")
        if not lines:
            print(f"{name}: nothing is known against what it pins")
    if found:
        return EX_FOUND
    return EX_TEMPFAIL if unasked else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
