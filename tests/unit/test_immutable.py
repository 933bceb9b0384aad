"""Immutable: as a frozen dataclass to whoever uses it; that nobody changes one is the type checker's to see."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from relay.entry import Client, Entry, Event, Outcome
from relay.mail import Mail, Recipient
from relay.message import Message
from relay.reply import Reply

ROOT = Path(__file__).resolve().parents[2]


def test_the_type_checker_forbids_a_change(tmp_path):
    changing = tmp_path / "changing.py"
    changing.write_text('from relay.reply import Reply\nreply = Reply(250, "", "ok")\nreply.code = 550\n')
    command = [sys.executable, "-m", "mypy", "--cache-dir", str(tmp_path), "--follow-imports", "silent", str(changing)]
    checked = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "MYPYPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert 'changing.py:3: error: Property "code" defined in "Reply" is read-only' in checked.stdout, checked
    assert "Found 1 error" in checked.stdout


@pytest.mark.parametrize("kind", [Client, Entry, Event, Mail, Message, Outcome, Recipient, Reply])
def test_it_has_no_place_for_more(kind):
    assert "__dict__" not in dir(kind)
    assert kind.__slots__ == tuple(kind.__dataclass_fields__)


def test_two_of_the_same_are_one():
    one, same, other = Reply(250, "2.0.0", "ok"), Reply(250, "2.0.0", "ok"), Reply(550, "2.0.0", "ok")
    assert one == same != other
    assert {one: "known"}[same] == "known"
    assert replace(one, code=550) == other
    assert one.code == 250
