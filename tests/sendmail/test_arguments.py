"""The command line, as programs really write it."""

import pytest

from relay.sendmail.arguments import Mode, UsageError, parse

CALLS = {
    # What PHP, git and the like call, and what is understood: recipients, then what is not as by default.
    "PHP mail()": (["-t", "-i"], [], {"from_header": True, "dot_ends": False}),
    "PHP with a sender": (
        ["-t", "-i", "-fwww@example.org"],
        [],
        {"from_header": True, "dot_ends": False, "sender": "www@example.org"},
    ),
    "PHPMailer and Mantis": (
        ["-oi", "-fbugs@example.org", "-t"],
        [],
        {"from_header": True, "dot_ends": False, "sender": "bugs@example.org"},
    ),
    "git send-email": (
        ["-i", "-f", "me@example.org", "a@example.org", "b@example.org"],
        ["a@example.org", "b@example.org"],
        {"dot_ends": False, "sender": "me@example.org"},
    ),
    "Trac": (
        ["-i", "-f", "trac@example.org", "dana@example.com"],
        ["dana@example.com"],
        {"dot_ends": False, "sender": "trac@example.org"},
    ),
    "Vixie's cron": (
        ["-FCronDaemon", "-odi", "-oem", "-oi", "-t"],
        [],
        {"from_header": True, "dot_ends": False, "full_name": "CronDaemon"},
    ),
    "Debian's cron": (
        ["-FCronDaemon", "-i", "-B8BITMIME", "-oem", "root"],
        ["root"],
        {"dot_ends": False, "body": "8BITMIME", "full_name": "CronDaemon"},
    ),
    "cronie": (
        ["-FCronDaemon", "-i", "-odi", "-oem", "-oi", "-t", "-f", "root"],
        [],
        {"from_header": True, "dot_ends": False, "full_name": "CronDaemon", "sender": "root"},
    ),
    "mutt": (
        ["-oem", "-oi", "-N", "failure,delay", "-R", "hdrs", "-f", "me@example.org", "--", "a@example.org"],
        ["a@example.org"],
        {"dot_ends": False, "sender": "me@example.org"},
    ),
    "mailx": (["-i", "-r", "me@example.org", "-m", "root"], ["root"], {"dot_ends": False, "sender": "me@example.org"}),
    "heirloom mailx": (["-i", "-v", "--", "root"], ["root"], {"dot_ends": False, "verbose": True}),
    "Redmine": (["-i", "-t"], [], {"from_header": True, "dot_ends": False}),
    "ActionMailer": (
        ["-i", "-f", "redmine@example.org", "--", "a@example.org"],
        ["a@example.org"],
        {"dot_ends": False, "sender": "redmine@example.org"},
    ),
    "Bugzilla": (
        ["-ODeliveryMode=deferred", "-i", "a@example.org"],
        ["a@example.org"],
        {"dot_ends": False},
    ),
    "RT": (
        ["-oi", "-t", "-ODeliveryMode=b", "-OErrorMode=m"],
        [],
        {"from_header": True, "dot_ends": False},
    ),
    "RT with a sender": (
        ["-oi", "-ODeliveryMode=b", "-OErrorMode=m", "-f", "rt@example.org", "-t"],
        [],
        {"from_header": True, "dot_ends": False, "sender": "rt@example.org"},
    ),
    "Exim's own": (["-oMr", "local", "-odq", "-i", "a@example.org"], ["a@example.org"], {"dot_ends": False}),
    "Perl's Mail::Sendmail": (["-t", "-oi", "-oem"], [], {"from_header": True, "dot_ends": False}),
    "smartd": (["-bm", "-oi", "root"], ["root"], {"dot_ends": False}),
    "short options together": (["-tifme@example.org"], [], {"from_header": True, "dot_ends": False, "sender": "me@example.org"}),
    "options behind recipients": (["root", "-f", "me@example.org", "-i"], ["root"], {"dot_ends": False, "sender": "me@example.org"}),
    "an empty sender": (["-f", "", "root"], ["root"], {"sender": ""}),
    "a null sender": (["-f", "<>", "root"], ["root"], {"sender": "<>"}),
    "what looks like an option behind --": (["-i", "--", "-f"], ["-f"], {"dot_ends": False}),
    "a dot ends it": (["root"], ["root"], {}),
    "options that mean nothing here": (
        ["-Am", "-Ac", "-C", "/etc/mail/sendmail.cf", "-L", "tag", "-h", "3", "-X", "/dev/null", "-V", "id", "-n", "-U",
         "-G", "-m", "-R", "full", "-N", "never", "-p", "smtp:host", "-d21.12", "-o7", "-o8", "-om", "-Otimeout=1h", "x"],
        ["x"],
        {},
    ),
    "IgnoreDots": (["-O", "IgnoreDots=True", "x"], ["x"], {"dot_ends": False}),
    "IgnoreDots off": (["-OIgnoreDots=False", "x"], ["x"], {}),
}  # fmt: skip
DEFAULTS = {
    "mode": Mode.SUBMIT,
    "from_header": False,
    "dot_ends": True,
    "sender": None,
    "full_name": None,
    "body": "",
    "verbose": False,
}


@pytest.mark.parametrize("name", CALLS)
def test_how_programs_call_it(name):
    words, recipients, expected = CALLS[name]
    request = parse("sendmail", words)
    assert request.recipients == recipients
    assert {option: getattr(request, option) for option in DEFAULTS} == DEFAULTS | expected


@pytest.mark.parametrize(
    ("program", "words", "mode"),
    [
        ("sendmail", ["-bp"], Mode.QUEUE),
        ("mailq", [], Mode.QUEUE),
        ("mailq", ["-Ac"], Mode.QUEUE),
        ("newaliases", [], Mode.NOTHING),
        ("newaliases", ["-bp"], Mode.QUEUE),
        ("sendmail", ["-bi"], Mode.NOTHING),
        ("sendmail", ["-I"], Mode.NOTHING),
        ("sendmail", ["-q"], Mode.NOTHING),
        ("sendmail", ["-q30m"], Mode.NOTHING),
        ("runq", [], Mode.NOTHING),
        ("sendmail", ["-bs"], Mode.SESSION),
        ("sendmail", ["-b", "s"], Mode.SESSION),
        ("sendmail", ["-bm", "root"], Mode.SUBMIT),
        ("sendmail", ["--help"], Mode.HELP),
        ("sendmail", ["--version"], Mode.VERSION),
    ],
)
def test_what_it_is_asked_to_do(program, words, mode):
    assert parse(program, words).mode is mode


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-f"], "-f needs a value"),
        (["-tif"], "-f needs a value"),
        (["-Z", "root"], "no such option: -Z"),
        (["--to", "root"], "no such option: --"),
        (["-Bbinary", "root"], "-B is 7BIT or 8BITMIME, not 'binary'"),
        (["-bd", "-q30m"], "the daemon is started by `tracker-relay run`"),
        (["-bv", "root"], "-bv is not supported; `tracker-relay explain` shows what becomes of a mail"),
        (["-bt"], "-bt is not supported; `tracker-relay explain` shows what becomes of a mail"),
    ],
)
def test_what_can_not_be_done_is_one_line(words, said):
    with pytest.raises(UsageError) as fault:
        parse("sendmail", words)
    assert str(fault.value) == said
