"""doctor against a real Postfix: all is well, ports mixed up, a wrong password, and one test mail that arrives."""

import json

import pytest

from tests.e2e.tools import USER


@pytest.fixture
def doctor(relay, postfix, upstream_lines):
    """The levels and texts of the rows about the mail server, by check."""

    def look(port, *arguments, tls="starttls", user=USER, running=False):
        lines = upstream_lines(port, tls=tls, user=user)
        relay.configure(
            f"[timeouts]\ngreeting = 3s\n[notification]\nsmtp_enabled = true\nsmtp_from = bugs@example.com\n{lines}"
        )
        if running:
            relay.start()
        rows = json.loads(relay.run("doctor", "--json", *arguments).stdout)
        return {row["check"]: row for row in rows if row["check"] not in ("config", "spool", "daemon", "policy")}

    return look


def test_all_is_well_and_a_test_mail_arrives(doctor, postfix):
    rows = doctor(postfix.starttls, "--send-to", "eve@example.org", running=True)
    assert {row["level"] for row in rows.values()} == {"ok"}, rows
    assert "proves localhost by tls_ca_file" in rows["tls"]["text"]
    assert rows["auth"]["text"].startswith(f"logged in as {USER} by SCRAM-SHA-256")
    assert rows["mail"]["text"].startswith("relayed by localhost[127.0.0.1]")
    [mail] = postfix.mails()
    assert mail.recipient == "eve@example.org"
    assert mail.field("Subject") == "Test mail of tracker-relay doctor"


@pytest.mark.parametrize(("tls", "wrong"), [("starttls", "implicit"), ("implicit", "starttls")])
def test_ports_mixed_up(doctor, postfix, tls, wrong):
    row = doctor(getattr(postfix, wrong), tls=tls)["tls"]
    assert row["level"] == "fail" and "ports 465 and 587 mixed up" in row["text"]


def test_a_wrong_user_in_the_servers_own_words(doctor, postfix):
    rows = doctor(postfix.starttls, user="nobody-there")
    assert rows["auth"]["level"] == "fail"
    assert "log-in as nobody-there refused: 535 5.7.8" in rows["auth"]["text"]
    assert "sender" not in rows
