"""The fuzzer: inputs made out of kept ones, and those that reach something new kept beside them.

A harness is a module whose first line states what must hold. It has NAME, TOKENS (words worth inserting),
SHARE (its part of the time), CASES (inputs in the short form), and `check(data)`, which raises when it does
not hold and returns how many sessions, mails or the like it has tried. Everything that a case depends on comes
out of its octets (`dice`), so a file is enough to see a case again.
"""

import copy
import hashlib
import importlib
import json
import random
import sys
import time
import traceback
import zlib
from pathlib import Path

RELAY = str(Path(__file__).resolve().parents[2] / "relay")
CORPUS = Path(__file__).with_name("corpus")
FOUND = Path(__file__).resolve().parents[2] / "var" / "fuzz"
LONGEST = 20_000
"""Octets of an input."""
SLOW = 3.0
"""Seconds of processor time that no input may take: all of them are small."""
TRACED = 12
"""One input in so many is watched, which makes it ten times as slow."""
BAIT = (
    b"\r\n", b"\n", b"\r", b"\0", b"\r\n.\r\n", b".", b"..", b"\t", b" ", b"\xff", b"\xc3\xa9", b"\xe2\x80\xa8", b"\x1b[2J", b"\x7f", b"\xed\xa0\x80",
    b"<", b">", b'"', b"\\", b"@", b",", b";", b":", b"=", b"(", b")", b"[", b"]", b"-", b"--", b"%", b"0", b"9" * 25, b"x" * 1100, b"{", b"}", b"null",
)  # fmt: skip


def dice(data):
    """All that is left to chance in a case, decided by its octets."""
    return random.Random(zlib.crc32(data))


def kept(name):
    """The corpus of a harness: kept files in the order of their names."""
    return [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]


class Watch:
    """Which steps from line to line the relay's code has ever taken."""

    def __init__(self):
        self.seen = set()
        self.fresh = False

    def run(self, check, data):
        """`check(data)`; `fresh` tells whether it went where nothing went before."""
        self.fresh = False
        before = sys.gettrace()
        sys.settrace(self._enter)
        try:
            return check(data)
        finally:
            sys.settrace(before)

    def _enter(self, frame, event, argument):
        code = frame.f_code
        if not code.co_filename.startswith(RELAY):
            return None
        last, seen = code.co_firstlineno, self.seen

        def step(frame, event, argument):
            nonlocal last
            at = frame.f_lineno
            if (code, last, at) not in seen:
                seen.add((code, last, at))
                self.fresh = True
            last = at
            return step

        return step


class Fuzzer:
    """A run over one harness."""

    def __init__(self, harness, seed, traced=TRACED, most=1):
        self.harness, self.traced, self.most = harness, traced, most
        self.found = []
        self.longest = getattr(harness, "LONGEST", LONGEST)
        self.random = random.Random(seed)
        self.pool = [*kept(harness.NAME), *getattr(harness, "seeds", list)()]
        self.watch = Watch()
        self.changes = (*_CHANGES, *getattr(harness, "CHANGES", ()))
        self.given = len(self.pool)
        self.cases = self.tried = 0

    def run(self, seconds, cases=None):
        """The corpus, then made-up inputs, until `seconds` are over or `cases` done."""
        for data in list(self.pool):
            self._one(data, watched=True)
        end = time.monotonic() + seconds
        while time.monotonic() < end and (cases is None or self.cases < cases) and len(self.found) < self.most:
            self._one(self._made_up(), watched=self.random.randrange(self.traced) == 0)
        assert not self.found, "\n".join(self.found)

    def _one(self, data, *, watched):
        self.cases += 1
        began = time.process_time()
        try:
            self.tried += self.watch.run(self.harness.check, data) if watched else self.harness.check(data)
            assert watched or time.process_time() - began < SLOW, (
                f"{time.process_time() - began:.1f} s of processor time"
            )
        except Exception as fault:
            path = FOUND / self.harness.NAME / hashlib.sha256(data).hexdigest()[:16]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            told = "".join(traceback.format_exception(fault)[-2:])
            self.found.append(f"{self.harness.NAME}: {told}; the input is kept as {path}: {data[:300]!r}")
            return
        if watched and self.watch.fresh and self.cases > self.given:
            self.pool.append(data)

    @property
    def fresh(self):
        """The inputs that went where none of the given ones did."""
        return self.pool[self.given :]

    def keep(self, longest=1500):
        """Put the small ones among them into the corpus."""
        for data in self.fresh:
            if len(data) <= longest:
                (CORPUS / self.harness.NAME / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)

    def _made_up(self):
        """One kept input, changed in a few places."""
        chance = self.random
        data = chance.choice(self.pool)
        for _ in range(chance.choice((1, 1, 2, 3, 5, 8))):
            data = chance.choice(self.changes)(chance, data, self)
        return data[: self.longest]

    def word(self):
        """Something worth inserting: a word of the harness, bait, or a line of another input."""
        chance = self.random
        match chance.randrange(4):
            case 0:
                return chance.choice(BAIT)
            case 1:
                return chance.choice(chance.choice(self.pool).splitlines(keepends=True) or [b""])
            case _:
                return chance.choice(self.harness.TOKENS)


def _insert(chance, data, fuzzer):
    at = chance.randint(0, len(data))
    return data[:at] + fuzzer.word() + data[at:]


def _overwrite(chance, data, fuzzer):
    at, word = chance.randint(0, len(data)), fuzzer.word()
    return data[:at] + word + data[at + len(word) :]


def _cut(chance, data, fuzzer):
    at = chance.randint(0, len(data))
    return data[:at] + data[at + chance.choice((1, 1, 2, 5, 20, 200)) :]


def _flip(chance, data, fuzzer):
    if not data:
        return data
    at = chance.randrange(len(data))
    return data[:at] + bytes((data[at] ^ 1 << chance.randrange(8),)) + data[at + 1 :]


def _repeat(chance, data, fuzzer):
    at = chance.randint(0, len(data))
    piece = data[at : at + chance.choice((1, 3, 10, 60))]
    return data[:at] + piece * chance.choice((2, 3, 30)) + data[at + len(piece) :]


def _splice(chance, data, fuzzer):
    other = chance.choice(fuzzer.pool)
    return data[: chance.randint(0, len(data))] + other[chance.randint(0, len(other)) :]


def _lines(chance, data, fuzzer):
    """A line doubled, left out, moved, put in, or its letters exchanged."""
    lines = data.splitlines(keepends=True)
    if not lines:
        return data
    at, to = chance.randrange(len(lines)), chance.randrange(len(lines))
    match chance.randrange(5):
        case 0:
            lines.insert(to, lines[at])
        case 1:
            del lines[at]
        case 2:
            lines.insert(to, lines.pop(at))
        case 3:
            lines.insert(at, fuzzer.word())
        case _:
            lines[at] = lines[at].swapcase()
    return b"".join(lines)


_VALUES = (
    None,
    True,
    0,
    -1,
    7,
    1e300,
    float("inf"),
    float("nan"),
    "",
    "x",
    "soon",
    "2.0.0",
    "\ud800",
    [],
    [7],
    ["a1"],
    {},
    {"a1": 1},
)


def json_value(chance, data, fuzzer):
    """JSON with one of its values exchanged, left out or added; what is no JSON stays."""
    try:
        form = json.loads(data)
    except (ValueError, RecursionError):
        return data
    places = []
    waiting = [form]
    while waiting:
        one = waiting.pop()
        inside = one if isinstance(one, dict) else dict(enumerate(one)) if isinstance(one, list) else {}
        places += [(one, key) for key in inside]
        waiting += inside.values()
    if not places:
        return data
    (holder, key), (other, there) = chance.choice(places), chance.choice(places)
    match chance.randrange(4):
        case 0:
            del holder[key]
        case 1:
            holder[key] = copy.deepcopy(other[there])
        case _:
            holder[key] = chance.choice(_VALUES)
    return json.dumps(form, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"


_CHANGES = (_insert, _insert, _overwrite, _cut, _flip, _repeat, _splice, _lines, _lines)


if __name__ == "__main__":
    importlib.import_module(f"tests.fuzz.{sys.argv[1]}").check(Path(sys.argv[2]).read_bytes())
