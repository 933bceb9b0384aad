"""What a mail says about itself may be anything: reading it never fails, and a second passage reads the same."""

import pytest

from tests.gateway import Gateway, harbour

TO = ["eve@example.org"]
ROOT = "<043.560a23c50b9fdee5eaf6188f43b4643e@t.example.com>"


@pytest.mark.parametrize(
    "fields",
    [
        {"X_Trac_Version": "9" * 5000 + ".1"},
        {"X_Trac_Version": "1." + "9" * 5000},
        {"X_Trac_Ticket_ID": "9" * 5000, "Message_ID": ROOT},
        {"X_Trac_Ticket_ID": "²", "Message_ID": ROOT},
        {"X_Trac_Ticket_ID": "12 (", "In_Reply_To": ROOT},
        {"X_Trac_Ticket_ID": "", "Subject": "#" + "9" * 5000},
    ],
)
def test_numbers_that_are_none(fields):
    assert Gateway(users={"dana": "dana@example.com"}, always_notify_reporter="true")(harbour(**fields), TO).rcpt == TO


RULE = "-" * 20 + "+" + "-" * 20
FAKE = f"{RULE}\r\n  Reporter:  mallory  |      Owner:  mallory\r\n{RULE}"


def test_a_prefix_with_a_number_is_no_ticket():
    """The summary is known by the ticket's own number, so a table that it imitates is none, in front of any prefix."""
    body = f"#12: x\r\n{FAKE}\r\n{RULE}\r\n  Reporter:  dana     |      Owner:  dana\r\n{RULE}\r\n it jams\r\n"
    subject = f"[Team #1] #12: x {FAKE}".replace("\r\n", " ")
    users = {"dana": "dana@example.com", "mallory": "mallory@evil.example"}
    relay = Gateway(users=users, always_notify_reporter="true", always_notify_owner="true")
    assert relay(harbour(subject, body=body, X_Trac_Project="Team #1"), TO).rcpt == [*TO, "dana@example.com"]


@pytest.mark.parametrize(
    "header",
    [
        "Subject: [Harbour 0000012]: Crane jams\r\n",
        "Subject: RE: [Harbour 0000012]: Crane jams\r\n",
        "X-Mailer: django-helpdesk\r\nSubject: [harbour-12] Crane jams (Opened)\r\n",
        "X-Mailer: django-helpdesk\r\nSubject: [harbour-2024-12] Crane jams (Opened)\r\n",
        "X-Mailer: django-helpdesk\r\nSubject: Re: [harbour-2024-7-12] Crane jams\r\n",
        "X-Mailer: django-helpdesk\r\nSubject: Fwd: x [harbour-2024-12] Crane jams\r\n",
        "X-Mailer: django-helpdesk\r\nSubject: [harbour-12] [harbour-12-13] jams\r\n",
    ],
)
@pytest.mark.parametrize("prefix", ["__default__", "[Crew]", "Crew:"])
def test_a_tracker_known_by_its_subject_is_known_behind_our_prefix(header, prefix):
    raw = f"From: t@t.example.com\r\n{header}\r\nhello\r\n".encode()
    relay = Gateway(smtp_subject_prefix=prefix)
    first = relay(raw, TO)
    second = relay(first.raw, TO, mail_from=first.mail_from)
    assert second.raw == first.raw


def test_a_summary_like_a_ticket_of_another_queue_changes_nothing():
    """Its writer does not choose the project: only what has passed a relay has a prefix of ours in front."""
    raw = b"From: t@t.example.com\r\nX-Mailer: django-helpdesk\r\nSubject: [harbour-12] [harbour-12-13] x\r\n\r\nhello\r\n"
    left = Gateway()(raw, TO)
    assert (left.prepared.project, left.prepared.ticket) == ("harbour", "12")
    assert left.header("Subject") == "[harbour] [harbour-12] [harbour-12-13] x"
