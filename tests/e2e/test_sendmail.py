"""Trac's own SendmailEmailSender calls the drop-in: no TCP port, no SMTP in the tracker."""

import os
import sys
from pathlib import Path

import pytest

PROGRAM = Path(sys.executable).with_name("tracker-relay-sendmail")
OPTIONS = (("notification", "email_sender", "SendmailEmailSender"), ("notification", "sendmail_path", str(PROGRAM)))
NOTIFICATION = """
[notification]
smtp_enabled = true
smtp_from = bugs@example.com
smtp_default_domain = corp.example.com
smtp_always_cc = list@example.org
mime_encoding = qp
"""


@pytest.mark.real
def test_trac_through_the_drop_in_to_postfix(daemon, postfix, trac, upstream_lines, monkeypatch):
    daemon.configure(NOTIFICATION + upstream_lines(postfix.starttls)).start()
    monkeypatch.setenv("TRACKER_RELAY_CONFIG", str(daemon.folder / "config.ini"))
    tracker = trac(1, *OPTIONS)  # nobody listens on port 1
    fields = {"summary": "Kran klemmt: prüfen", "reporter": "dana", "owner": "luc", "cc": "kim, eve@example.org"}
    tracker.ask("new", fields=fields | {"description": "Für alle.\n.\nお願いします。\n.."})
    stored = postfix.wait(5)
    assert set(stored) == {
        "dana@example.com", "luc@example.net", "kim@corp.example.com", "eve@example.org", "list@example.org",
    }  # fmt: skip
    for mail in stored.values():
        assert mail.message["Subject"] == "[Harbour] #1: Kran klemmt: prüfen"
        assert mail.field("From") == "Harbour <bugs@example.com>"
        assert mail.field("To") == "undisclosed-recipients: ;"
        assert mail.field("Cc") == "list@example.org"
        assert "Für alle.\n .\n お願いします。\n ..\n" in mail.text
    assert daemon.log().count(f"client=unix(uid={os.geteuid()})") == 1
    tracker.ask("change", number=1, author="luc", comment="Geölt.", fields={"owner": "dana"})
    postfix.wait(10)


@pytest.mark.real
def test_trac_hears_of_a_relay_that_does_not_run(trac, monkeypatch, tmp_path):
    monkeypatch.setenv("TRACKER_RELAY_CONFIG", str(tmp_path / "config.ini"))
    tracker = trac(1, *OPTIONS)
    with pytest.raises(
        AssertionError, match=r"Sendmail failed with \(75, b'sendmail: the relay is not running, no answer"
    ):
        tracker.ask("new", fields={"summary": "x", "reporter": "dana@example.com", "description": "y"})
