"""`explain`: what it prints, and that it is what `prepare` makes of the same mail."""

import json
from pathlib import Path

import pytest

from relay import app, cli, config, explain, prepare
from relay.errors import RelayError
from relay.message import BytesBody

MAILS = sorted((Path(__file__).parents[1] / "data" / "tracker-mail").glob("*.eml"))
CONFIG = """[notification]
smtp_enabled = true
smtp_from = bot@example.com
smtp_default_domain = corp.example.com
smtp_always_cc = list@example.org
smtp_always_bcc = audit@example.org
always_notify_reporter = true
mime_encoding = qp
[users]
dana = Dana Field <dana@example.com>
"""


@pytest.fixture
def configured(tmp_path):
    path = tmp_path / "config.ini"
    path.write_text(CONFIG)
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("path", MAILS, ids=lambda p: p.stem)
def test_what_is_explained_is_what_leaves(configured, path):
    envelope = path.with_suffix(".json")
    sender, recipients = explain.envelope_file(envelope)
    setting = app.setting_of(config.read(configured, {}).configuration)
    explained = explain.explain(path.read_bytes(), sender, recipients, setting, 1e9)
    prepared = prepare.prepare(explained.entry, BytesBody(path.read_bytes()), setting)
    [(_, mail)] = prepared.routed
    assert bytes(mail.message) == bytes(explained.after.message)
    assert mail.envelope == explained.after.envelope
    rows = explain.recipients_of(explained)
    assert {r["address"] for r in rows if r["outcome"] == "gets it"} == {
        str(r.address) for r in mail.envelope.recipients
    }
    assert {r["address"] for r in rows if r["outcome"] == "dropped"} == {o.address for o in prepared.settled}
    rules = explain.changes_of(explained)
    before = [f.raw for f in explained.before.message.fields]
    gone = [line for rule in rules for line in rule["removed"]]
    come = [line for rule in rules for line in rule["added"]]
    shown = [explain._line(raw) for raw in before]
    after = [explain._line(f.raw) for f in mail.message.fields]
    assert sorted(set(after) - set(shown)) == sorted(set(come) - set(gone))


def test_the_command(configured, capsysbinary):
    arguments = [
        "--config",
        str(configured),
        "explain",
        str(MAILS[0]),
        "--from",
        "x@example.org",
        "--to",
        "bob",
        "a b@x",
        "eve@example.org",
    ]
    assert cli.main(arguments) == 0
    out = capsysbinary.readouterr().out.decode()
    assert "  bob@corp.example.com: gets it, the tracker asked for bob" in out
    assert "  list@example.org: gets it, smtp_always_cc = list@example.org" in out
    assert "  a b@x: refused, not an address (553 5.1.3 at RCPT)" in out
    assert "envelope from <x@example.org> to <bot@example.com>" in out
    assert "\r\n\r\n" in out
    assert cli.main([*arguments, "--json"]) == 0
    form = json.loads(capsysbinary.readouterr().out)
    assert form["from"] == "bot@example.com"
    assert [rule["rule"] for rule in form["rules"]][-1] == "wire"
    assert form["mail"].startswith("Received: from explain")


def test_without_an_envelope_the_header_names_the_recipients(configured, tmp_path, capsysbinary):
    mail = tmp_path / "x.eml"
    mail.write_bytes(b"From: a@example.org\nTo: bob\nBcc: c@example.org\n\nx\n")
    assert cli.main(["--config", str(configured), "explain", str(mail), "--json"]) == 0
    form = json.loads(capsysbinary.readouterr().out)
    assert {r["address"] for r in form["recipients"]} == {
        "bob@corp.example.com",
        "c@example.org",
        "list@example.org",
        "audit@example.org",
    }


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (["explain", "/nonexistent/x.eml"], 66, "/nonexistent/x.eml: No such file"),
        (["explain", str(MAILS[0]), "--envelope", "/nonexistent"], 66, "/nonexistent: No such file"),
        (["explain", str(MAILS[0]), "--from", "a b"], 65, "is no sender address"),
    ],
)
def test_errors_are_one_line(configured, capsys, arguments, status, text):
    assert cli.main(["--config", str(configured), *arguments]) == status
    err = capsys.readouterr().err
    assert text in err
    assert len(err.splitlines()) == 1


def test_a_disabled_profile_explains_that(configured, capsysbinary):
    configured.write_text(CONFIG.replace("smtp_enabled = true", "smtp_enabled = false"))
    assert cli.main(["--config", str(configured), "explain", str(MAILS[0]), "--to", "a@example.org"]) == 0
    assert b"a@example.org: dropped, smtp_enabled is false" in capsysbinary.readouterr().out


def test_whom_the_mail_does_not_prove_is_marked(configured, capsysbinary):
    case = Path(__file__).parents[1] / "mails" / "roundup" / "comment-imitates"
    arguments = ["--config", str(case / "policy.ini"), "explain", str(case / "in.eml")]
    assert cli.main([*arguments, "--envelope", str(case / "envelope.json")]) == 0
    text = capsysbinary.readouterr().out.decode()
    assert "owner: mallory (a user may have written that)\n" in text
    assert "updater: sato@example.jp\n" in text


@pytest.mark.parametrize(
    ("form", "leaves"),
    [
        ('{"mail_from": null, "rcpt_tos": ["a@example.org"]}', None),
        ('{"mail_from": "", "rcpt_tos": ["a@example.org"]}', None),
        ('{"from": null, "to": ["a@example.org"]}', None),
        ('{"rcpt_tos": ["a@example.org"]}', "bot@example.com"),
    ],
)
def test_an_envelope_with_a_null_sender_is_that_of_a_report(configured, tmp_path, form, leaves):
    """As the daemon has it: a report keeps its null reverse-path; only where no sender is told is it From's."""
    (tmp_path / "envelope.json").write_text(form)
    sender, recipients = explain.envelope_file(tmp_path / "envelope.json")
    report = b"From: mailer-daemon@example.net\r\nAuto-Submitted: auto-replied\r\nSubject: failed\r\n\r\nx\r\n"
    setting = app.setting_of(config.read(configured, {}).configuration)
    reverse = explain.explain(report, sender, recipients, setting, 1e9).after.envelope.reverse_path
    assert (None if reverse is None else str(reverse)) == leaves


def test_an_envelope_whose_sender_is_no_text_is_refused(tmp_path):
    (tmp_path / "envelope.json").write_text('{"mail_from": 7, "rcpt_tos": []}')
    with pytest.raises(RelayError, match="mail_from is a string or null"):
        explain.envelope_file(tmp_path / "envelope.json")
