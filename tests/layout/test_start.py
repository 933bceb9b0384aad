"""What a command loads before it begins: a person waits for it, and a cron job pays for it each time."""

import subprocess
import sys

import pytest

from relay import cli

HEAVY = ("relay.app", "relay.delivery", "relay.doctor", "relay.link", "aiosmtpd", "aiosmtplib", "dns")
"""The daemon's parts, and what they are made of."""
LOADED = f"import sys, relay.cli; print(*[name for name in {HEAVY} if name in sys.modules])"


def test_the_commands_load_nothing_of_the_daemon():
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("name", cli._LATER)
def test_a_command_that_is_loaded_later_is_whole(name, capsys):
    """It stands in the general help, and its own help has what its module declares."""
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    assert cli._LATER[name][1] in " ".join(capsys.readouterr().out.split())
    with pytest.raises(SystemExit):
        cli.main([name, "--help"])
    declared = {"import": "TRAC_INI", "auth": "revoke", "doctor": "--send-to", "passwd": "--delete"}
    assert declared[name] in capsys.readouterr().out
