"""Commands where neither a daemon nor a spool is: one line, whatever is asked, and no spool is made by asking."""

import subprocess
import sys

import pytest

CONFIG = "[spool]\npath = none\n[notification]\nsmtp_enabled = true\nsmtp_from = a@example.org\n"


@pytest.mark.parametrize(
    "command", ["queue list", "queue hold --all --yes", "trace #12", "upstream list", "queue cat 1"]
)
def test_no_spool_is_one_line(tmp_path, command):
    path = tmp_path / "config.ini"
    path.write_text(CONFIG)
    line = [sys.executable, "-m", "relay", "--config", str(path), *command.split()]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (69, "")
    spool = tmp_path / "none"
    assert done.stderr == (
        f"tracker-relay: no daemon is running, and there is no spool {spool}: No such file or directory\n"
    )
    assert not spool.exists()
