"""Which tracker wrote a mail, and what its header says: the samples' own truth, and each grammar."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.dialects import DIALECTS, facts_of
from relay.message import parse_bytes
from relay.mime import text_of

SAMPLES = sorted((Path(__file__).parents[1] / "data" / "tracker-mail").glob("*.eml"))


def read(raw):
    message = parse_bytes(raw)
    return facts_of(message, lambda: text_of(message))


@pytest.mark.parametrize("path", SAMPLES, ids=lambda p: p.stem)
def test_the_samples(path):
    truth = json.loads(path.with_suffix(".json").read_text())
    facts = read(path.read_bytes())
    assert facts.tracker == truth["tracker"]
    assert facts.project == truth["facts"]["project"]
    assert facts.ticket == str(truth["facts"]["ticket"])
    assert facts.takes_replies == (truth["tracker"] == "roundup")


GRAMMAR = [
    (
        "X-Redmine-Host: r.example.com\r\nX-Redmine-Project: harbour\r\nX-Redmine-Issue-Id: 12\r\n",
        ("redmine", "harbour", "12", True),
    ),
    (
        "X-Bugzilla-Reason: Reporter\r\nX-Bugzilla-Product: Harbour\r\nSubject: [Bug 12] Crane\r\n",
        ("bugzilla", "Harbour", "12", False),
    ),
    ("X-GitLab-Project: harbour\r\nX-GitLab-Issue-IID: 12\r\n", ("gitlab", "harbour", "12", True)),
    (
        "X-Gitea-Reason: comment\r\nX-Gitea-Repository: harbour\r\nX-GitLab-Project: harbour\r\nX-GitLab-Issue-IID: 12\r\n",
        ("gitea", "harbour", "12", False),
    ),
    ("RT-Ticket: example.com #12\r\nSubject: [example.com #12] Crane\r\n", ("rt", "Harbour", "12", True)),
    ("X-RT-Ticket: example.com #12\r\n", ("rt", "Harbour", "12", True)),
    ("X-JIRA-FingerPrint: abc\r\nSubject: [JIRA] (HARB-12) Crane\r\n", ("jira", "HARB", "HARB-12", False)),
    ("Subject: [Harbour 0000012]: Crane jams\r\n", ("mantis", "Harbour", "12", False)),
    ("X-Mailer: django\r\nSubject: [crew-12] Crane\r\n", ("helpdesk", "crew", "12", True)),
    ("X-Trac-Version: 1.6\r\nX-Trac-Project: =?utf-8?q?H=C3=A4fen?=\r\n", ("trac", "Häfen", "", False)),
    (
        "X-Trac-Version: 1.0\r\nX-Trac-Project: Harbour\r\nX-Trac-Announcement-Realm: ticket\r\nX-Announcement-Id: 12\r\n",
        ("trac", "Harbour", "12", False),
    ),
    (
        "X-Trac-Version: 1.0\r\nX-Trac-Project: Harbour\r\nX-Trac-Announcement-Realm: wiki\r\nX-Trac-Announcement-ID: 12\r\n",
        ("trac", "Harbour", "", False),
    ),
    ("Subject: [harbour] hello\r\n", ("", "", "", False)),
]


@pytest.mark.parametrize(("header", "expected"), GRAMMAR)
def test_each_grammar(header, expected):
    facts = read(header.encode() + b"\r\nQueue: Harbour\r\n")
    assert (facts.tracker, facts.project, facts.ticket, facts.takes_replies) == expected
    assert facts.recognised == bool(expected[0])


@given(st.text(), st.sampled_from([h for h, _ in GRAMMAR]), st.binary())
def test_nothing_makes_it_fail(subject, header, body):
    read(header.encode() + b"Subject: " + subject.replace("\n", " ").replace("\r", " ").encode() + b"\r\n\r\n" + body)


def test_generic_is_last():
    assert DIALECTS[-1].__name__.endswith("generic")


@pytest.mark.parametrize(
    ("subject", "event"),
    [
        ("[jira] [Commented] (HARB-12) Crane", "comment"),
        ("[jira] Commented: (HARB-12) Crane", "comment"),
        ("[Harbour Jira] Created: (HARB-12) Crane", "new"),
        ("[HARB] [JIRA] Assigned: (HARB-12) Crane", "change"),
        ("Re: [HARB] [jira] [Created] (HARB-12) Crane", "new"),
        ("[JIRA] (HARB-12) Crane", ""),
        ("[JIRA] (HARB-12) [x] Created: (HARB-13)", ""),
    ],
)
def test_what_jira_says_has_happened(subject, event):
    """Jira 4 wrote it without brackets; a prefix of ours may stand in front, a summary only behind."""
    facts = read(f"X-JIRA-FingerPrint: abc\r\nSubject: {subject}\r\n\r\n".encode())
    assert (facts.ticket, facts.event) == ("HARB-12", event)
