"""The mutants themselves: each is another program, none of them only another text."""

import ast
from pathlib import Path

import pytest

from tests.mutation.mutants import mutants
from tests.mutation.run import TESTS, equivalent, source_of

SOURCE = '''
"""A module."""
LIMIT = 3

def f(a, b=2):
    """A function."""
    while a < LIMIT and not b:
        a += 1
        if a in (1, 2):
            continue
    return "x" if a is None else g(a + b)
'''


def test_what_is_changed():
    found = {(m.where, m.was, m.now) for m in mutants(SOURCE)}
    assert {
        ("", "3", "4"),
        ("", "2", "3"),
        ("f", "a < LIMIT", "a <= LIMIT"),
        ("f", "a < LIMIT and (not b)", "a < LIMIT or not b"),
        ("f", "not b", "b"),
        ("f", "a += 1", "a -= 1"),
        ("f", "a in (1, 2)", "a not in (1, 2)"),
        ("f", "continue", "break"),
        ("f", "'x'", "'XXxXX'"),
        ("f", "a is None", "a is not None"),
        ("f", "a + b", "a - b"),
    } <= found
    assert not any("A function" in m.was or "A module" in m.was for m in mutants(SOURCE))


def test_those_that_read_alike_have_names_of_their_own():
    names = [m.name for m in mutants("def f():\n    return 1, 1, 1")]
    assert names[1:] == ["f: 1 -> 2", "f: 1 -> 2 (number 2)", "f: 1 -> 2 (number 3)"]
    every = [m.name for m in mutants(source_of("server"))]
    assert len(every) == len(set(every))


@pytest.mark.parametrize("name", TESTS)
def test_each_is_another_program(name):
    source = ast.unparse(ast.parse(source_of(name)))
    every = mutants(source_of(name))
    assert len(every) > 50
    for mutant in every[::60]:
        assert mutant.source != source
        compile(mutant.source, name, "exec")


def test_equivalent_ones_have_a_reason_and_exist():
    rows = Path(__file__).with_name("equivalent.txt").read_text().splitlines()
    for row in rows:
        module, _, why = row.split(" | ")
        assert module in TESTS
        assert len(why) > 10
    for module in TESTS:
        assert equivalent(module) <= {m.name for m in mutants(source_of(module))}
