"""Every harness for a moment, the same one on every run; `./test fuzz --minutes N` goes on for longer, from another beginning each time.

Whatever was found is kept in var/fuzz: `.venv-test/bin/python -m tests.fuzz.engine HARNESS FILE` tries it again.
"""

import logging
import random

import pytest

from tests.fuzz import configs, control, dialects, dialogue, engine, entries, mails, parts, paths, session

HARNESSES = (session, paths, mails, parts, dialects, configs, control, dialogue, entries)
BOUND = 30.0
"""Seconds for a harness in the short form at most: its number of cases ends it long before on a free machine."""


@pytest.fixture(autouse=True)
def quiet():
    log = logging.getLogger("tracker-relay")
    before = log.level
    log.setLevel(logging.CRITICAL)
    yield
    log.setLevel(before)


@pytest.mark.parametrize("harness", HARNESSES, ids=lambda harness: harness.NAME)
def test_its_invariant_holds(harness, request):
    minutes = request.config.getoption("--minutes")
    seed = random.randrange(1 << 32) if minutes else 1
    fuzzer = engine.Fuzzer(harness, seed, 100, most=20) if minutes else engine.Fuzzer(harness, seed)
    seconds, cases = BOUND, harness.CASES
    if minutes:
        seconds, cases = minutes * 60 * harness.SHARE / sum(one.SHARE for one in HARNESSES), None
    try:
        fuzzer.run(seconds, cases)
    finally:
        print(
            f"{harness.NAME}: seed {seed}, {fuzzer.cases} inputs, {fuzzer.tried} tried, {len(fuzzer.fresh)} went further"
        )
        if request.config.getoption("--keep-inputs"):
            fuzzer.keep()
    assert fuzzer.cases > len(fuzzer.pool) - len(fuzzer.fresh), "only what was given"


@pytest.mark.parametrize("harness", HARNESSES, ids=lambda harness: harness.NAME)
def test_it_begins_with_its_invariant_and_has_a_corpus(harness):
    assert harness.__doc__.splitlines()[0].endswith(".")
    assert engine.kept(harness.NAME)
