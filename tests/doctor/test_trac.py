"""--trac: a trac.ini that hands its mail to this relay, and each way in which one does not."""

import pytest

from relay import config
from relay.doctor.trac import trac

RIGHT = "smtp_enabled = true\nsmtp_server = localhost\nsmtp_port = 2525\nsmtp_always_cc = in@relay.example.com\n"


@pytest.fixture
def said(tmp_path):
    def look(options, listener="catch_all = in@relay.example.com\n"):
        own, ini = tmp_path / "config.ini", tmp_path / "trac.ini"
        own.write_text(f"[listener]\n{listener}[notification]\nsmtp_enabled = true\nsmtp_from = a@example.com\n")
        ini.write_text(f"[notification]\n{options}")
        return [(str(row.level), row.text, row.remedy) for row in trac(config.read(own).configuration, ini)]

    return look


@pytest.mark.parametrize("true", ["true", "2", "1.0", "Enabled", "-1"])
def test_all_is_well(said, true):
    """True is what Trac takes for true."""
    [(level, text, _)] = said(RIGHT.replace("= true", f"= {true}"))
    assert (level, text) == ("ok", "its notifications come to this relay")


@pytest.mark.parametrize(
    ("options", "words", "line"),
    [
        (RIGHT.replace("= true", "= false"), "smtp_enabled is false: Trac sends nothing", "smtp_enabled = true"),
        (RIGHT.replace("= true", "= aye"), "smtp_enabled is aye: Trac sends nothing", "smtp_enabled = true"),
        (RIGHT.replace("smtp_enabled = true", ""), "absent, which means false", "smtp_enabled = true"),
        (RIGHT.replace("2525", "25"), "smtp_port is 25: the relay is at 127.0.0.1:2525", "smtp_port = 2525"),
        (RIGHT.replace("smtp_port = 2525", ""), "absent, which means 25", "smtp_port = 2525"),
        (RIGHT.replace("localhost", "mail.example.com"), "smtp_server is mail.example.com", "smtp_server = localhost"),
        (
            RIGHT + "use_tls = enabled\n",
            "the listener offers no STARTTLS|listener offers no STARTTLS",
            "use_tls = false",
        ),
        (RIGHT + "smtp_user = me\n", "asks for no log-in", "smtp_user ="),
    ],
)
def test_what_is_wrong(said, options, words, line):
    [(level, text, remedy)] = said(options)
    assert level == "fail"
    assert any(word in text for word in words.split("|")), text
    assert f"[notification]\n{line}" in remedy


def test_trac_1_2_needs_somebody_who_is_always_notified(said):
    alone = RIGHT.replace("smtp_always_cc = in@relay.example.com", "")
    [(level, text, remedy)] = said(alone)
    assert level == "warn" and "Trac 1.2 and later send nothing" in text
    assert remedy == "[notification]\nsmtp_always_cc = in@relay.example.com"
    [(level, text, remedy)] = said(alone, "hostname = relay.example.com\n")
    assert level == "warn" and "[listener]\ncatch_all = in@relay.example.com" in remedy
    assert said(RIGHT, "")[0][0] == "ok"


def test_the_drop_in(said):
    options = "smtp_enabled = true\nemail_sender = SendmailEmailSender\nsmtp_always_cc = in@relay.example.com\n"
    [(level, text, remedy)] = said(options)
    assert level == "warn" and "Trac hands its mail to sendmail" in text
    assert "sendmail_path = /usr/local/bin/tracker-relay-sendmail" in remedy
    assert said(options + "sendmail_path = /usr/local/bin/tracker-relay-sendmail\n")[0][0] == "ok"


def test_what_is_no_trac_ini(said, tmp_path):
    [(level, text, _)] = said("nonsense\n")
    assert level == "fail" and "Trac can not read this file either" in text
    [row] = trac(config.read(tmp_path / "config.ini").configuration, tmp_path / "nothing.ini")
    assert (row.level, row.text) == ("fail", "No such file or directory")


def test_a_listener_with_tls_and_log_in_takes_both(said):
    ours = "catch_all = in@relay.example.com\ntls_certificate = cert.pem\npasswd_file = users\n"
    assert [level for level, _, _ in said(RIGHT + "use_tls = true\nsmtp_user = me\n", ours)] == ["ok"]
