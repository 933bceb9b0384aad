"""./test mutation: every mutant of the modules below has to make a test fail.

The tests of a module are collected once; each mutant is a fork of that process whose functions have its
code, and runs those tests that came to the changed function when nothing was changed. One that changes
what a module does when it is loaded gets a process of its own, and all tests. Those in `equivalent.txt`
change nothing that anybody could see, with the reason; they do not count.
"""

import argparse
import importlib
import importlib.abc
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.mutation.mutants import mutants

ROOT = Path(__file__).resolve().parents[2]
WANTED = 85.0
"""Per cent of the mutants that have to die."""
LIMIT = 150.0
"""Seconds for the tests of one mutant: one that never ends is noticed."""
TESTS = {
    "address": ("tests/unit/test_address.py", "tests/edges/test_paths.py"),
    "rewrite": ("tests/unit/test_rewrite.py", "tests/unit/test_changelines.py", "tests/acceptance"),
    "transaction": ("tests/unit/test_transaction.py", "tests/unit/test_reply_reader.py"),
    "retry": ("tests/unit/test_retry.py", "tests/unit/test_retry_asked.py", "tests/unit/test_retry_words.py", "tests/unit/test_config.py", "tests/edges_engine/test_delivery_reports.py"),
    "dataphase": ("tests/unit/test_dataphase.py", "tests/edges/test_data.py"),
    "server": ("tests/edges/test_transcript.py", "tests/edges/test_server.py", "tests/edges/test_data.py", "tests/edges/test_paths.py", "tests/edges/test_errors_counted.py", "tests/edges/test_limits.py", "tests/edges/test_chunks.py", "tests/edges/test_duplicates.py", "tests/edges/test_gate.py", "tests/edges/test_submission.py", "tests/edges/test_on_its_way_in.py", "tests/edges/test_connections.py"),
    "connection": ("tests/edges/test_transcript.py", "tests/edges/test_documented_bounds.py", "tests/edges/test_endings.py", "tests/edges/test_on_its_way_in.py", "tests/edges/test_mapped.py", "tests/edges/test_submission.py", "tests/edges/test_errors_counted.py", "tests/edges/test_server.py", "tests/edges/test_chunks.py", "tests/edges/test_handed_over.py", "tests/edges/test_handshakes.py", "tests/edges/test_gate.py", "tests/edges/test_unread.py", "tests/edges/test_connections.py"),
}  # fmt: skip
"""Which tests prove which module: the quick ones first. With one event loop, since they run so often."""
ARGUMENTS = ("-x", "-q", "--no-header", "-p", "no:cacheprovider", "-p", "no:randomly", "--timeout", "60", "-k", "not uvloop")  # fmt: skip


def source_of(module):
    return (ROOT / "relay" / f"{module}.py").read_text()


def equivalent(module):
    """The names of the mutants that are none, from lines `module | name | why`."""
    rows = (line.split(" | ") for line in Path(__file__).with_name("equivalent.txt").read_text().splitlines())
    return {row[1] for row in rows if row[0] == module}


# --- a mutant in a fork ------------------------------------------------------------------------------------


def functions(module):
    """The functions of a loaded module by qualified name, whatever they are wrapped in."""
    waiting = list(vars(module).values())
    found = {}
    while waiting:
        one = waiting.pop()
        one = getattr(one, "fget", None) or getattr(one, "__func__", None) or getattr(one, "__wrapped__", None) or one
        if isinstance(one, type) and one.__module__ == module.__name__:
            waiting += vars(one).values()
        elif getattr(one, "__code__", None) and one.__module__ == module.__name__:
            found.setdefault(one.__qualname__, []).append(one)
    return found


def codes(code):
    """Every code object within one, by qualified name."""
    for constant in code.co_consts:
        if hasattr(constant, "co_code"):
            yield constant.co_qualname, constant
            yield from codes(constant)


def put_on(module, mutant):
    """Give the loaded module's function the mutant's code; False where that can not be done."""
    code = dict(codes(compile(mutant.source, module.__file__, "exec"))).get(mutant.where)
    known = functions(module).get(mutant.where)
    if code is None or not known:
        return False
    try:
        for function in known:
            function.__code__ = code
    except ValueError:
        return False
    forget(module)
    return True


class InForks:
    """A plugin: instead of running the collected tests once, run them in a fork for each mutant."""

    def __init__(self, name, wanted):
        self.name, self.wanted = name, wanted
        self.survived, self.left = [], []

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session):
        module = importlib.import_module(f"relay.{self.name}")
        assert not self._fork(session, lambda: True), "the tests fail without any mutant"
        self.reached = self._recorded(session, module)
        for mutant in self.wanted:
            if not mutant.where:
                self.left.append(mutant)
                continue
            outcome = self._fork(session, lambda mutant=mutant: put_on(module, mutant), mutant.where)
            if outcome == NOT_HERE:
                self.left.append(mutant)
            elif outcome == 0:
                self.survived.append(mutant)
            assert outcome != BROKEN, mutant.name
            tell(self.name, mutant, outcome)
        return True

    def _recorded(self, session, module):
        """The functions of the module that each test comes to, in the order of the tests."""
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.setsid()
            os.close(reading)
            silent()
            try:
                found = [sorted(came_to(module, lambda item=item: self._run(item, None))) for item in session.items]
                with os.fdopen(writing, "w") as out:
                    json.dump(found, out)
            finally:
                os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as answer:
            found = json.load(answer)
        ended(pid)
        return list(map(set, found))

    def _fork(self, session, prepare, where=""):
        pid = os.fork()
        if pid == 0:
            os.setsid()
            silent()
            status = BROKEN
            try:
                status = NOT_HERE if not prepare() else self._tested(session, where)
            finally:
                os._exit(status)
        return ended(pid)

    def _tested(self, session, where):
        items = session.items
        if where:
            items = [item for item, reached in zip(items, self.reached, strict=True) if where in reached]
        for item, following in zip(items, [*items[1:], None], strict=False):
            self._run(item, following)
            if session.testsfailed:
                return 1
        return 0

    def _run(self, item, following):
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)


def silent():
    """Nothing of what this process says is heard."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)


def came_to(module, work):
    """The qualified names of the module's functions that run while `work` does; what stands within one is a part of it."""
    found = set()

    def note(frame, event, _argument):
        if event == "call" and frame.f_code.co_filename == module.__file__:
            found.add(frame.f_code.co_qualname.partition(".<locals>")[0])

    forget(module)
    threading.setprofile(note)
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return found


def forget(module):
    """Empty what its functions remember."""
    for one in vars(module).values():
        if hasattr(one, "cache_clear"):
            one.cache_clear()


NOT_HERE, BROKEN = 77, 78


def ended(pid):
    """The exit status of that process, which is killed with all its own after LIMIT."""
    until = time.monotonic() + LIMIT
    while time.monotonic() < until:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return -signal.SIGKILL


# --- a mutant in a process of its own ----------------------------------------------------------------------


class Mutated(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Loads one module from other source."""

    def __init__(self, name, source):
        self.name, self.source = name, source

    def find_spec(self, name, path, target=None):
        if name == self.name:
            return importlib.util.spec_from_file_location(name, ROOT / f"{name.replace('.', '/')}.py", loader=self)
        return None

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        exec(compile(self.source, module.__file__, "exec"), vars(module))


def alone(name, number):
    """The exit status of the tests of that mutant."""
    command = [sys.executable, "-m", "tests.mutation.run", name, "--alone", str(number)]
    process = subprocess.Popen(
        command, cwd=ROOT, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        return process.wait(LIMIT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return -signal.SIGKILL


def tell(name, mutant, outcome):
    if outcome in (0, -signal.SIGKILL):
        print(
            f"{'SURVIVED' if outcome == 0 else 'ENDLESS'} {name}:{mutant.line} {mutant.name}",
            file=sys.stderr,
            flush=True,
        )


def examined(name, only=""):
    """How many mutants died and how many lived."""
    every = mutants(source_of(name))
    known = equivalent(name)
    wanted = [m for m in every if m.name not in known and re.search(only, m.name)]
    unknown = known - {m.name for m in every}
    assert not unknown, f"equivalent.txt names what is no mutant of {name}: {unknown}"
    plugin = InForks(name, wanted)
    tests = [test for test in TESTS[name] if (ROOT / test).exists()]
    status = pytest.main([*ARGUMENTS, "-s", *tests], plugins=[plugin])
    assert status == 0, status
    for mutant in plugin.left:
        outcome = alone(name, every.index(mutant))
        tell(name, mutant, outcome)
        if outcome == 0:
            plugin.survived.append(mutant)
    return len(wanted), len(plugin.survived), len(every) - len(wanted)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("modules", nargs="*", default=list(TESTS))
    parser.add_argument("--alone", type=int)
    parser.add_argument("--only", default="", help="only mutants whose name this pattern finds")
    arguments = parser.parse_args()
    if arguments.alone is not None:
        [name] = arguments.modules
        sys.meta_path.insert(0, Mutated(f"relay.{name}", mutants(source_of(name))[arguments.alone].source))
        return pytest.main([*ARGUMENTS, *(test for test in TESTS[name] if (ROOT / test).exists())])
    bad = 0
    for name in arguments.modules:
        began = time.monotonic()
        number, survived, equal = examined(name, arguments.only)
        share = 100.0 * (number - survived) / max(number, 1)
        bad += share < WANTED
        print(
            f"{name}: {number} mutants, {number - survived} killed ({share:.1f} %), {survived} survived, {equal} equivalent, {time.monotonic() - began:.0f} s"
        )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
