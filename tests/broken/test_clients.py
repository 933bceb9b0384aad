"""Broken [client:NAME] sections, each with every line that `check` says about it; and one that works."""

import re
from pathlib import Path

import pytest

from relay import cli, config
from relay.limits import Meter, ProfileLimits
from relay.loaded import limits_of

HEAD = "[listener]\nlisten = 127.0.0.1:2525\n[notification]\nsmtp_enabled = true\nsmtp_from = bugs@example.com\n"

BROKEN = {
    "for nobody": (
        "[client:a]\nmails_per_minute = 5\n",
        ["6: [client:a] match: it is missing, so it limits nobody: say which clients are limited, as in match = host: 192.0.2.0/24"],
    ),
    "no such kind": (
        "[client:a]\nmatch = project: x\nmails_per_day = 5\n",
        ["7: [client:a] match: 'project: x' says nothing about a client: write host: NETWORK, user: LOGIN or listener: ADDRESS"],
    ),
    "host bits": (
        "[client:a]\nmatch = host: 10.0.0.1/8\nmails_per_day = 5\n",
        ["7: [client:a] match: 'host: 10.0.0.1/8': 10.0.0.1/8 has host bits set"],
    ),
    "no such listener": (
        "[client:a]\nmatch = listener: 127.0.0.1:25\nmails_per_day = 5\n",
        ["7: [client:a] match: this relay does not listen on 127.0.0.1:25, so no client is meant: name one of 127.0.0.1:2525, sendmail"],
    ),
    "twice": (
        "[client:a]\nmatch = user: trac\nmails_per_day = 5\n[client:b]\nmatch = user: Trac\nmails_per_day = 6\n",
        ["10: [client:b] match: [client:a] is for user: Trac already (line 7), and the first wins: remove one"],
    ),
    "no path": (
        "[client:a]\nmatch = user: trac\nsenders = a@b@c\n",
        ["8: [client:a] senders: 'a@b@c' is none of an address, @DOMAIN and <>: bad domain"],
    ),
    "no number": (
        "[client:a]\nmatch = user: trac\nmails_per_minute = many\n",
        ["8: [client:a] mails_per_minute: 'many' is not a whole number from 0 to 1000000000"],
    ),
    "an option of a profile": (
        "[client:a]\nmatch = user: trac\naccept_per_day = 1\n",
        ["8: [client:a] accept_per_day: no such option here: it belongs into [notification]"],
    ),
    "no name": ("[client:]\n", ["6: [client:]: it has no name: write [client:NAME]"]),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_broken(name, tmp_path, capsys):
    text, expected = BROKEN[name]
    path = tmp_path / "config.ini"
    path.write_text(HEAD + text)
    path.chmod(0o600)
    assert cli.main(["--config", str(path), "check"]) == 78
    lines = [line for line in "".join(capsys.readouterr()).splitlines() if not line.startswith("warning:")]
    assert lines == [f"{path}:{line}" for line in expected]


def test_what_it_says_and_what_a_profile_inherits(tmp_path):
    path = tmp_path / "config.ini"
    path.write_text(
        HEAD + "accept_per_day = 9\n[notification:a]\nmatch = project: A\naccept_per_minute = 2\n"
        "[client:x]\nmatch = user: 0, host: ::1\nsenders = @example.com\n[client:y]\nmatch = host: 10.0.0.0/8\n"
    )
    path.chmod(0o600)
    loaded = config.read(path)
    assert not loaded.faults, loaded.fault_lines()
    assert loaded.warning_lines() == [
        f"{path}:13: [client:y]: it sets no limit, so these clients may do anything, whatever stands further down"
    ]
    limits = limits_of(loaded.configuration, Meter())
    assert limits.profiles == {"notification": ProfileLimits(0, 9), "a": ProfileLimits(2, 9)}
    [(name, options), _] = limits.clients
    assert name == "x"
    assert options.match[0].uid == 0


def test_the_example_of_the_security_page_is_accepted(tmp_path):
    example = re.search(
        r"```ini\n(.*?)```", (Path(__file__).parents[2] / "docs" / "security.md").read_text(), re.DOTALL
    )
    path = tmp_path / "config.ini"
    path.write_text(HEAD + example[1])
    path.chmod(0o600)
    loaded = config.read(path)
    assert not loaded.faults + loaded.warnings, loaded.fault_lines()
    assert len(loaded.configuration.clients) == 2
