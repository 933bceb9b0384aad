"""Promise 8 where a configured smtp_subject_prefix looks like a ticket, an event or a reply mark: it is no word of the tracker's.

Read as one, a second passage found another ticket, another project, and so another name in From.
"""

import pytest

from relay.message import parse_bytes
from tests.gateway import Gateway

PREFIXES = (
    *("[Site-7]", "[site-7]", "[harbour-12]", "[release-2024]", "[Site-7] [Site-8]", "release-2024", "[q-1] (opened)"),
    *("[Trac #7]", "[#7]", "#7", "#7:", "re: #7", "12", "[7]", "[P 0000012]:", "[Harbour 0000012]:", "[Site 0000007]"),
    *("[Harbour", "[Site", "[issue", "[", "Harbour", "Harbour |"),
    *("[Bug 7]", "[Bug 12]", "[Bug 7] x", "[issue7]", "[issue12]", "[x #7] ", "[Harbour #12]", "[Harbour]", "(opened)"),
    *("SITE-7", "SITE-12", "(SITE-7)", "[jira]", "[jira] [created]", "[Commented]", "Re:", "RE", "X (opened)", "#é 7"),
)
TRAC = "X-Trac-Version: 1.6\r\nX-Trac-Project: Harbour\r\n"
MAILS = {
    "Trac": (f"{TRAC}X-Trac-Ticket-ID: 12\r\n", "[Harbour] #12: x", "12", "Harbour"),
    "Trac, a reply": (TRAC, "Re: [Harbour] #12: x", "", "Harbour"),
    "Roundup": ("X-Roundup-Name: Harbour\r\n", "[issue12] x", "issue12", "Harbour"),
    "Redmine": ("X-Redmine-Project: harbour\r\nX-Redmine-Issue-Id: 12\r\n", "[Harbour - Bug #12] x", "12", "harbour"),
    "Bugzilla": ("X-Bugzilla-Product: Harbour\r\n", "[Bug 12] New: x", "12", "Harbour"),
    "Jira": ("X-JIRA-FingerPrint: x\r\n", "[jira] [Created] (SITE-12) x", "SITE-12", "SITE"),
    "Mantis": ("", "Re: [Harbour 0000012]: x", "12", "Harbour"),
    "Mantis, by its field": ("X-Mantis-Project: Harbour\r\n", "[Harbour 0000012]: x", "12", "Harbour"),
    "django-helpdesk": ("X-Mailer: django-helpdesk\r\n", "[harbour-12] x (Opened)", "12", "harbour"),
    "django-helpdesk, a year": ("X-Mailer: django-helpdesk\r\n", "Re: [harbour-2024-12] x", "12", "harbour-2024"),
    "RT": ("RT-Ticket: harbour #12\r\n", "[harbour #12] AutoReply: x", "12", "harbour"),
    "GitLab": ("X-GitLab-Project: harbour\r\nX-GitLab-Issue-IID: 12\r\n", "Re: Harbour | x (#12)", "12", "harbour"),
    "nobody's": ("", "#12 x", "", ""),
}
TO = ["eve@example.org"]


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("name", MAILS)
def test_promise_8_a_prefix_like_a_ticket(name, prefix):
    fields, subject, ticket, project = MAILS[name]
    raw = f"From: N <t@t.example.com>\r\nTo: eve@example.org\r\nSubject: {subject}\r\n{fields}\r\nhello\r\n".encode()
    relay = Gateway(smtp_subject_prefix=prefix, always_notify_owner="true")
    first = relay(raw, TO)
    second = relay(first.raw, TO, mail_from=first.mail_from)
    assert second.raw == first.raw
    assert (second.mail_from, second.rcpt) == (first.mail_from, first.rcpt)
    assert second.prepared.project == first.prepared.project
    assert second.prepared.ticket == first.prepared.ticket
    if not parse_bytes(raw).text("subject").removeprefix("Re: ").lower().startswith(prefix.strip().lower()):
        assert (first.prepared.ticket, first.prepared.project) == (ticket, project)


@pytest.mark.parametrize("prefix", ["[Harbour", "[", "[harbour", "[issue", "[Bug"])
@pytest.mark.parametrize("name", MAILS)
def test_a_part_of_the_trackers_own_word_is_not_cut_out_of_it(name, prefix):
    """`[Harbour 0000012]: x` begins with the prefix `[Harbour` by chance: without it nobody knew Mantis's mail."""
    fields, subject, ticket, project = MAILS[name]
    raw = f"From: N <t@t.example.com>\r\nTo: eve@example.org\r\nSubject: {subject}\r\n{fields}\r\nhello\r\n".encode()
    prepared = Gateway(smtp_subject_prefix=prefix)(raw, TO).prepared
    assert (prepared.ticket, prepared.project) == (ticket, project)
