"""Servers that are none, words that mean false without saying so, and a whole trac.ini in place of a config.ini."""

from pathlib import Path

import pytest

from relay import places

OK = "[notification]\nsmtp_enabled = true\nsmtp_from = bugs@example.com\n"

CASES = {
    "servers that are none": (
        OK
        + "smtp_server = smtp.gmail.com:587\nsmtp_user = me\nsmtp_password = x\n[upstream:a]\nserver = https://mail.example.com\n[upstream:b]\n"
        "server = a.example.com, b.example.com\n[upstream:c]\nserver = [2001:db8::1]:25\n[upstream:d]\nserver = me@example.com\n",
        [
            "4: [notification] smtp_server: 'smtp.gmail.com:587' is a server and a port: keep smtp.gmail.com, and give the port an option of its own",
            "8: [upstream:a] server: 'https://mail.example.com' is none of host, IP address, unix:PATH, srv:DOMAIN",
            "10: [upstream:b] server: 'a.example.com, b.example.com' is none of host, IP address, unix:PATH, srv:DOMAIN",
            "12: [upstream:c] server: '[2001:db8::1]:25' is a server and a port: keep [2001:db8::1], and give the port an option of its own",
            "14: [upstream:d] server: 'me@example.com' is none of host, IP address, unix:PATH, srv:DOMAIN",
        ],
    ),
    "a whole trac.ini": (
        "[trac]\nbase_url = https://trac.example.com\n" + OK + "[logging]\nlog_type = file\n",
        [
            "1: [trac]: a section of trac.ini: leave it there; `tracker-relay import TRAC_INI` makes a config.ini of the rest",
            "6: [logging]: a section of trac.ini: leave it there; `tracker-relay import TRAC_INI` makes a config.ini of the rest",
        ],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_broken(checked, case):
    text, faults = CASES[case]
    loaded = checked(text)
    assert (loaded.status, loaded.faults) == (78, faults)


@pytest.mark.parametrize("word", ["ture", "maybe", "y", "1x", "true false"])
def test_a_word_that_trac_takes_for_false_is_named(checked, word):
    loaded = checked(OK + f"smtp_server = mail.example.com\nuse_tls = {word}\n")
    assert (loaded.status, loaded.faults) == (0, [])
    assert loaded.warnings == [f"5: [notification] use_tls: {word!r} means false here, as in Trac: write true or false"]


@pytest.mark.parametrize(
    "word", ["true", "ON", "enabled", "no", "off", "Disabled", "0", "2", "-1", "0.0", "1e3", "+1", ""]
)
def test_a_word_that_says_what_it_means_is_not(checked, word):
    loaded = checked(OK + f"use_public_cc = {word}\n")
    assert (loaded.status, loaded.faults, loaded.warnings) == (0, [], [])


SERVERS = ["mail", "mail_1.lan", "25", "192.0.2.1", "::1", "[::1]", "fe80::1%eth0", "unix:a:b", "b\u00fccher.example"]


@pytest.mark.parametrize("server", SERVERS)
def test_servers_that_are_some(checked, server):
    loaded = checked(OK + f"smtp_server = {server}\nsmtp_port = 26\n")
    assert (loaded.status, loaded.faults, loaded.warnings) == (0, [], [])


def test_the_folder_that_the_unit_makes_at_its_start_need_not_be_there(checked, monkeypatch, tmp_path):
    """README: `check` comes before the first start."""
    made = tmp_path / "log"
    text = OK + f"[log]\nfile = {made}/relay.log\n"
    assert checked(text).faults == [f"5: [log] file: there is no folder {made}: make it, for the relay's user"]
    monkeypatch.setattr(places, "LOGS", str(made))
    assert checked(text).faults == []


def test_the_unit_makes_it():
    unit = Path(__file__).parents[2] / "contrib" / "systemd" / "tracker-relay.service"
    assert f"LogsDirectory={places.LOGS.removeprefix('/var/log/')}" in unit.read_text().splitlines()
