"""A real Trac as client."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.e2e.tools import ROOT, missing

TRAC_PYTHON = ROOT / ".venv-trac" / "bin" / "python"


class Trac:
    """A real Trac environment in a process of its own."""

    def __init__(self, folder, options):
        self.process = subprocess.Popen(
            [TRAC_PYTHON, Path(__file__).with_name("trac_driver.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.ask("create", path=str(folder), options=options)

    def ask(self, do, **request):
        self.process.stdin.write(json.dumps({"do": do, **request}) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        assert "ok" in answer, answer
        return answer["ok"]

    def close(self):
        self.process.stdin.close()
        self.process.wait(20)
        self.process.stdout.close()


@pytest.fixture
def trac(tmp_path):
    """A function: make a Trac whose mail goes to a port."""
    if not TRAC_PYTHON.exists():
        missing("Trac in .venv-trac")
    made = []

    def make(port, *more):
        options = [
            ("project", "name", "Harbour"),
            ("project", "url", "http://tracker.example.com/harbour"),
            ("trac", "base_url", "http://tracker.example.com/harbour"),
            ("trac", "show_full_names", "false"),
            ("notification", "smtp_enabled", "true"),
            ("notification", "smtp_server", "127.0.0.1"),
            ("notification", "smtp_port", str(port)),
            ("notification", "smtp_from", "trac@tracker.example.com"),
            ("notification", "smtp_replyto", "trac@tracker.example.com"),
            ("notification", "use_short_addr", "true"),
            ("notification-subscriber", "always_notify_cc", "CarbonCopySubscriber"),
            ("notification-subscriber", "always_notify_owner", "TicketOwnerSubscriber"),
            ("notification-subscriber", "always_notify_reporter", "TicketReporterSubscriber"),
            ("notification-subscriber", "always_notify_updater", "TicketUpdaterSubscriber"),
            *more,
        ]
        made.append(Trac(tmp_path / f"trac{len(made)}", [list(option) for option in options]))
        return made[-1]

    yield make
    for one in made:
        one.close()
