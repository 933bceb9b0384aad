"""The outbox: a Maildir that never shows half a mail and never loses one."""

import asyncio
import errno
import json
import mailbox
import os
import stat
from dataclasses import replace

import pytest

from relay import outbox
from relay.address import parse
from relay.entry import Cause, Disposition
from relay.mail import Envelope, Mail, Recipient
from relay.message import parse_bytes
from relay.reply import Reply
from relay.routing import OUTBOX, Route, Upstream

DATA = (
    b"Received: from trac ([127.0.0.1]) by gw.example.com with ESMTP\r\n id 06a1b2c3d4e5f6g; Tue, 14 Nov 2023\r\n"
    b"Subject: x\r\nTo: undisclosed-recipients: ;\r\n\r\nbody\r\n.\r\n"
)


def a_mail(data=DATA, *names):
    recipients = tuple(Recipient.accepted(parse(name)) for name in names or ("spy@example.org",))
    return Mail(Envelope(parse("bot@example.com"), recipients), parse_bytes(data))


def deliver(path, mail):
    return asyncio.run(outbox.deliver(Route(Upstream(OUTBOX, path=str(path))), mail, lambda: 5.0))


def test_a_mail_stands_in_new_byte_for_byte_and_its_envelope_beside_it(tmp_path):
    box = tmp_path / "var" / "outbox"
    attempt = deliver(box, a_mail(DATA, "spy@example.org", "b@example.org"))

    (file,) = (box / "new").iterdir()
    assert file.read_bytes() == DATA
    assert file.name.startswith("06a1b2c3d4e5f6g.")
    assert list((box / "tmp").iterdir()) == list((box / "cur").iterdir()) == []
    assert json.loads((box / "envelope" / f"{file.name}.json").read_text()) == {
        "from": "bot@example.com",
        "to": [
            {"address": "spy@example.org", "origin": "rcpt:spy@example.org", "shown": False},
            {"address": "b@example.org", "origin": "rcpt:b@example.org", "shown": False},
        ],
        "body": "",
        "smtputf8": False,
    }
    assert (attempt.upstream, attempt.at) == (OUTBOX, 5.0)
    assert [(o.origin, o.address, o.disposition, o.host) for o in attempt.outcomes] == [
        ("rcpt:spy@example.org", "spy@example.org", Disposition.RELAYED, OUTBOX),
        ("rcpt:b@example.org", "b@example.org", Disposition.RELAYED, OUTBOX),
    ]
    assert file.name in str(attempt.outcomes[0].reply)


def test_a_maildir_reader_finds_it(tmp_path):
    deliver(tmp_path / "box", a_mail())
    (message,) = mailbox.Maildir(tmp_path / "box", create=False)
    assert message["Subject"] == "x"


def test_nobody_else_may_read(tmp_path):
    before = os.umask(0)
    try:
        deliver(tmp_path / "var" / "box", a_mail())
    finally:
        os.umask(before)
    for path in (tmp_path / "var").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)


def test_promise_1_each_step_is_on_the_disk_before_the_next(tmp_path, syscalls):
    box = tmp_path / "box"
    deliver(box, a_mail())
    syscalls.clear()
    deliver(box, a_mail(b"Subject: second\r\n\r\n"))
    shown = [(name, os.path.relpath(path, box).split(os.sep)[0]) for name, path in syscalls]
    assert shown == [
        ("fsync", "tmp"),
        ("fsync", "tmp"),
        ("rename", "envelope"),
        ("fsync", "envelope"),
        ("rename", "new"),
        ("fsync", "new"),
    ]
    assert syscalls[3][1] == str(box / "envelope")
    assert syscalls[5][1] == str(box / "new")


def test_new_folders_are_on_the_disk_before_a_mail_stands_in_them(tmp_path, syscalls):
    box = tmp_path / "var" / "box"
    deliver(box, a_mail())
    assert syscalls[:3] == [("fsync", str(tmp_path)), ("fsync", str(tmp_path / "var")), ("fsync", str(box))]


@pytest.mark.parametrize("step", range(1, 7))
def test_a_fault_at_any_step_defers_and_leaves_no_half_mail(tmp_path, monkeypatch, step):
    box = tmp_path / "box"
    deliver(box, a_mail())
    seen = 0
    real = {"fsync": os.fsync, "rename": os.rename}

    def failing(name):
        def call(*args, **more):
            nonlocal seen
            seen += 1
            if seen == step:
                raise OSError(errno.ENOSPC, "No space left on device", "/secret/path")
            return real[name](*args, **more)

        return call

    monkeypatch.setattr(os, "fsync", failing("fsync"))
    monkeypatch.setattr(os, "rename", failing("rename"))
    attempt = deliver(box, a_mail(b"Subject: second\r\n\r\n"))
    (outcome,) = attempt.outcomes
    assert (outcome.disposition, outcome.cause) == (Disposition.DEFERRED, Cause.LOCAL)
    assert outcome.reply == Reply(452, "4.3.1", "the outbox can not be written: No space left on device")
    assert list((box / "tmp").iterdir()) == []
    assert len(list((box / "new").iterdir())) == (2 if step == 6 else 1)

    monkeypatch.undo()
    assert deliver(box, a_mail(b"Subject: second\r\n\r\n")).outcomes[0].disposition is Disposition.RELAYED
    assert len(list((box / "new").iterdir())) == 2
    assert len(list((box / "envelope").iterdir())) == 2


def test_promise_3_the_same_mail_again_takes_its_own_place(tmp_path):
    box = tmp_path / "box"
    for _ in range(2):
        deliver(box, a_mail())
    assert len(list((box / "new").iterdir())) == 1
    deliver(box, a_mail(DATA, "other@example.org"))
    deliver(box, a_mail(DATA + b"more\r\n"))
    assert len(list((box / "new").iterdir())) == 3


@pytest.mark.parametrize(
    "data", [b"", b"Subject: id 06a1b2c3d4e5f6g\r\n\r\n", b"Received: by x id ../../etc/pass\r\n\r\n"]
)
def test_a_mail_without_our_trace_field_has_a_name_too(tmp_path, data):
    deliver(tmp_path / "box", a_mail(data))
    (file,) = (tmp_path / "box" / "new").iterdir()
    assert len(file.name) == 32
    assert "." not in file.name


def test_a_null_reverse_path_is_null(tmp_path):
    mail = a_mail()
    deliver(tmp_path / "box", replace(mail, envelope=replace(mail.envelope, reverse_path=None)))
    (file,) = (tmp_path / "box" / "envelope").iterdir()
    assert json.loads(file.read_text())["from"] is None


def test_a_path_that_can_not_be_a_folder_defers(tmp_path):
    (tmp_path / "file").write_text("")
    (outcome,) = deliver(tmp_path / "file" / "box", a_mail()).outcomes
    assert outcome.disposition is Disposition.DEFERRED
    assert outcome.reply.code == 451
    assert str(tmp_path) not in str(outcome.reply)
