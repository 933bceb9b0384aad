"""`./test` runs everything in two halves at once: no folder may be in none, or in both."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = {path.name for path in (ROOT / "tests").iterdir() if any(path.glob("test_*.py"))}


@pytest.fixture(scope="module")
def halves():
    spec = importlib.util.spec_from_file_location("halves", ROOT / "scripts" / "halves.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_folder_is_in_one_half(halves):
    first, second = halves.commands(["-k", "name"])
    left_out = {word.removeprefix("--ignore=tests/") for word in first if word.startswith("--ignore=")}
    chosen = {word.removeprefix("tests/") for word in second if word.startswith("tests/")}
    assert "tests" in first
    assert left_out == chosen | {"soak", "vm"}
    assert left_out <= FOLDERS
    assert not chosen & {"soak", "vm"}
    assert first[-2:] == second[-2:] == ["-k", "name"]


@pytest.mark.parametrize(
    ("statuses", "whole"),
    [((0, 0), 0), ((0, 1), 1), ((1, 0), 1), ((5, 0), 0), ((0, 5), 0), ((5, 1), 1), ((5, 5), 5), ((-9, 0), -9)],
)
def test_either_half_fails_the_whole(halves, statuses, whole):
    assert halves.together(statuses) == whole
