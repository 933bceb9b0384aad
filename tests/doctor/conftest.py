"""A configuration whose next hop is a scripted peer, and what doctor says of it."""

import pytest

from relay import config, doctor
from relay.doctor.finding import shown
from relay.doctor.hop import hops_of
from tests.e2e.daemon import daemon
from tests.e2e.hop import hop, relay
from tests.upstream.conftest import certificates, run, stage, tls

__all__ = ["certificates", "daemon", "hop", "relay", "run", "stage", "tls"]

TIMEOUTS = "\n".join(f"{name} = 1s" for name in ("connect", "greeting", "command"))


class Rows(list):
    """Findings; `row(check)` is the only one of that check."""

    def row(self, check):
        [found] = [row for row in self if row.check == check]
        return found

    def checks(self):
        return [(row.check, str(row.level)) for row in self]


@pytest.fixture
def configured(tmp_path, certificates):
    """A config.ini that was read; its log-in is me:hunter2-secret."""

    def make(port, more="", timeouts=TIMEOUTS, server="localhost", user="me", sections=""):
        login = f"smtp_user = {user}\nsmtp_password = hunter2-secret\n" if user else ""
        path = tmp_path / "config.ini"
        path.write_text(
            f"[timeouts]\n{timeouts}\n[notification]\nsmtp_enabled = true\nsmtp_from = bot@example.com\n"
            f"smtp_server = {server}\nsmtp_port = {port}\ntls_ca_file = {certificates}/ca.pem\n{login}{more}\n{sections}"
        )
        path.chmod(0o600)
        loaded = config.read(path)
        assert not loaded.faults, loaded.fault_lines()
        return loaded.configuration

    return make


@pytest.fixture
def examined(configured):
    """What doctor says of the one next hop of that configuration, secrets and control characters taken out."""

    async def examine(port, more="", recipient=None, **options):
        made = configured(port, more, **options)
        [found] = hops_of(made)
        rows = [row async for row in doctor.examine(made, found, recipient)]
        assert "hunter2-secret" not in str(rows)
        return Rows(shown(row, []) for row in rows)

    return examine
