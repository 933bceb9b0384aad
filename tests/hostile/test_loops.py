"""Loops and storms, each by its name, on the running daemon: a mail that comes back ends, and nothing answers an answer.

The hop limit and forms of the trace field are in mails.py; reports on reports in edges_engine/test_delivery_reports.py.
"""

import email
import email.policy
import itertools
import re
import time

import pytest

from tests.hostile.replies import REPLIES

NUMBERS = itertools.count(1)
NO = list(REPLIES).index("code alone")
"""The next hop says 550 to a recipient `reply-NO-rcpt@`, the same for good."""
REPLIED = b"Auto-Submitted: auto-replied\r\nPrecedence: junk\r\nX-Auto-Response-Suppress: All\r\n"


def submit(world, recipient, content, sender=b"trac@tracker.example.com"):
    """The replies to one mail with `content`; bare of dots that need stuffing."""
    commands = b"EHLO x\r\nMAIL FROM:<%b>\r\nRCPT TO:<%b>\r\nDATA\r\n" % (sender, recipient)
    return world.say(commands + content.replace(b"\r\n.", b"\r\n..") + b".\r\nQUIT\r\n")


def refused():
    """A recipient of his own whom the next hop does not know, and a word that names him."""
    number = next(NUMBERS)
    return b"reply-%d-rcpt@l%d.example.net" % (NO, number), b"l%d.example.net" % number


def reports(world, word):
    """The reports that tell of `word`, once the mail is answered for."""
    return [mail for mail in world.hop.mails if mail.sender.startswith(b"<>") and word in mail.content]


def wait_for(ask, seconds=20):
    end = time.monotonic() + seconds
    while not (found := ask()) and time.monotonic() < end:
        time.sleep(0.02)
    return found


def bounced(world, word, number=1):
    """The log says so of that many mails."""
    pattern = rf"[^\n]*{re.escape(word.decode())}[^\n]*status=bounced"
    assert wait_for(lambda: len(re.findall(pattern, world.daemon.log())) >= number), world.daemon.log()[-2000:]


def a_report(world):
    """A report of the relay's own, as its reader gets it."""
    recipient, word = refused()
    assert b"queued as" in submit(world, recipient, b"Subject: x\r\n\r\nx\r\n")
    assert wait_for(lambda: reports(world, word))
    [mail] = reports(world, word)
    return mail


def test_our_mail_that_the_next_hop_sends_back_to_us(world):
    tag = b"back-%d@example.org" % next(NUMBERS)
    submit(world, tag, b"Subject: x\r\n\r\nx\r\n")
    [mail] = world.arrived(tag, 1)
    assert b"\r\n554 5.4.6 mail loop: it has passed here before\r\n" in submit(world, tag, mail.content)
    assert len(world.arrived(tag, 2, seconds=0.3)) == 1


def test_our_report_that_the_next_hop_sends_back_to_us(world):
    report = a_report(world)
    tag = b"back-%d@example.org" % next(NUMBERS)
    assert b"\r\n554 5.4.6 mail loop: it has passed here before\r\n" in submit(world, tag, report.content, b"")
    assert world.arrived(tag, 1, seconds=0.3) == []


def test_a_report_tells_every_robot_not_to_answer(world):
    report = a_report(world)
    assert report.sender.split()[0] == b"<>"
    parsed = email.message_from_bytes(report.content, policy=email.policy.default)
    assert parsed["Auto-Submitted"] == "auto-replied"
    assert parsed.get_content_type() == "multipart/report"
    assert parsed["Disposition-Notification-To"] is parsed["Return-Receipt-To"] is None


ANSWERS = {
    "an out-of-office to the notification": REPLIED + b"Subject: Out of office: Re: [P] #1: x\r\n",
    "an automatic reply to a report": REPLIED + b"Subject: Re: Undelivered mail\r\n",
    "a report of the next hop": b"Auto-Submitted: auto-replied\r\n"
    b"MIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\r\n",
}


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_without_reverse_path_is_never_answered_to_its_author(world, name):
    """The administrator of `report_to` hears of it; its author, who is a robot, does not."""
    recipient, word = refused()
    content = b"From: robot@%b\r\n%b\r\nx\r\n" % (word, ANSWERS[name])
    assert b"queued as" in submit(world, recipient, content, b"")
    bounced(world, word)
    time.sleep(0.3)
    assert not [mail for mail in world.hop.mails if any(b"robot@" in one for one in mail.recipients)]
    assert len(reports(world, word)) <= 1


def test_ping_pong_with_a_robot_that_names_itself_ends_after_one_report(world):
    """It answers each report with a mail of its own, against RFC 3834; the cap of one a day ends it."""
    recipient, word = refused()
    for turn in range(8):
        content = b"From: robot@%b\r\nMessage-ID: <%d@%b>\r\n%b\r\n%d\r\n" % (word, turn, word, REPLIED, turn)
        assert b"queued as" in submit(world, recipient, content, b"robot@" + word)
        bounced(world, word, turn + 1)
    assert wait_for(lambda: reports(world, word))
    time.sleep(0.3)
    assert len(reports(world, word)) == 1
