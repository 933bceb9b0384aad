"""docs/security.md: every test that it names exists, and every row of the table of library faults stands in it."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text()
NAMED = re.findall(r"`([^`\s]+\.py)(?:::([^`]*))?`", PAGE)


def test_every_test_that_it_names_exists():
    assert len(NAMED) > 80
    for file, name in NAMED:
        path = ROOT / "tests" / file
        assert name, f"{file}: which test?"
        assert path.exists(), file
        assert re.search(rf"^(?:async )?def {re.escape(name)}\(", path.read_text(), re.MULTILINE), f"{file}::{name}"


def test_no_row_is_missing():
    rows = [line.split("|")[1:4] for line in PAGE.splitlines() if line.startswith("| ")]
    covered = {row for first, _, tests in rows if "::" in tests for row in re.findall(r"\b[A-D]\d+\b", first)}
    wanted = {
        f"{letter}{n}" for letter, last in (("D", 18), ("C", 13), ("A", 12), ("B", 10)) for n in range(1, last + 1)
    }
    assert covered == wanted
