"""Real trackers as clients: Trac and Roundup."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.e2e.tools import ROOT, missing

TRAC_PYTHON = ROOT / ".venv-trac" / "bin" / "python"


class Driven:
    """A tracker that a script drives in a Python of its own: JSON lines there and back."""

    def __init__(self, python, script):
        self.process = subprocess.Popen(
            [python, Path(__file__).with_name(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

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


class Trac(Driven):
    """A real Trac environment in a process of its own."""

    def __init__(self, folder, options):
        super().__init__(TRAC_PYTHON, "trac_driver.py")
        self.ask("create", path=str(folder), options=options)


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


ROUNDUP = ROOT / ".venv-roundup" / "bin"


class Roundup(Driven):
    """A real Roundup tracker in a process of its own; its commands are called as an administrator calls them."""

    def __init__(self, home, options):
        super().__init__(ROUNDUP / "python", "roundup_driver.py")
        self.home = home
        home.mkdir()
        self.version = self.ask("create", home=str(home), options=options)

    def command(self, program, *words, mail=""):
        done = subprocess.run(
            [ROUNDUP / program, *words], input=mail.encode(), capture_output=True, timeout=120, cwd=self.home
        )
        assert done.returncode == 0, (done.stdout, done.stderr)
        return done.stdout.decode()

    def admin(self, *words):
        return self.command("roundup-admin", "-i", str(self.home), *words)

    def receive(self, mail):
        """A mail to the tracker's address, as a mail server hands it over."""
        return self.command("roundup-mailgw", str(self.home), mail=mail)


@pytest.fixture
def roundup(tmp_path):
    """A function: make a Roundup whose mail goes to a port."""
    if not (ROUNDUP / "python").exists():
        missing("Roundup in .venv-roundup")
    made = []

    def make(port, *more):
        options = [
            ("main", "admin_email", "roundup-admin"),
            ("tracker", "name", "Orchard"),
            ("tracker", "web", "http://bugs.example.com/orchard/"),
            ("tracker", "email", "orchard"),
            ("mail", "domain", "bugs.example.com"),
            ("mail", "host", "127.0.0.1"),
            ("mail", "port", str(port)),
            ("mail", "local_hostname", "tracker.example.com"),
            *more,
        ]
        made.append(Roundup(tmp_path / f"roundup{len(made)}", [list(option) for option in options]))
        return made[-1]

    yield make
    for one in made:
        one.close()
