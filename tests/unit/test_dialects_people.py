"""Reporter, owner and updater in each tracker's mail: what counts, what is nobody, and what only looks so."""

import pytest

from relay.dialects import facts_of
from relay.message import parse_bytes
from relay.mime import text_of
from relay.people import User, resolve


def people(header, body):
    """Who is who, by role; those whom the mail does not prove in brackets."""
    message = parse_bytes(f"{header}\n\n{body}".replace("\n", "\r\n").encode())
    facts = facts_of(message, lambda: text_of(message))
    roles = {name: getattr(facts, name) for name in ("reporter", "owner", "updater", "previous_owner")}
    return {name: f"({p.shown})" if p.imitable else p.shown for name, p in roles.items() if p}


ROUNDUP = "X-Roundup-Name: Orchard\nSubject: [issue2] Crane jams\nFrom: {} <orchard@bugs.example.com>"
SIGNATURE = "\n____________\nOrchard <orchard@bugs.example.com>\n"


@pytest.mark.parametrize(
    ("author", "body", "expected"),
    [
        ("Luc", "\nChange by Luc <luc@example.net>:\n\n----------\nstatus: a -> b\n", {"updater": "luc@example.net"}),
        ("Luc", "\nChange by Luc:\n\n----------\nassignedto:  -> sato\n", {"updater": "Luc", "owner": "sato"}),
        ("Luc", "\nChange by Luc:\n\n----------\nassignedto: sato -> \n", {"updater": "Luc", "previous_owner": "sato"}),
        ("Luc", "\nChange by Luc:\n\n----------\nx: 1 -> 2\n\nassignedto:  -> sato\n", {"updater": "Luc"}),
        ("Luc", f"\nChange by Luc:\n\n----------\nx: 1 -> 2{SIGNATURE}assignedto:  -> sato\n", {"updater": "Luc"}),
        ("Luc (tag)", "\nLuc added the comment:\n\nx\n", {"updater": "Luc"}),
        ("Orchard", "\nLuc added the comment:\n\nx\n", {"updater": "Luc"}),
        ("Luc", "\nhello\n\nSato added the comment:\n", {"updater": "Luc"}),
        ("Luc", "\nChange by Luc:\n----------\nx: 1 -> 2", {"updater": "Luc"}),
        ("Luc", "", {"updater": "Luc"}),
        ("Mallory", "\nMallory <dana@example.com> <m@evil.example> added the comment:\n", {"updater": "Mallory"}),
    ],
)
def test_roundup(author, body, expected):
    found = people(ROUNDUP.format(author), body)
    if "dana@example.com" in body:
        assert "dana@example.com" not in found["updater"]
    else:
        assert found == expected


def test_roundups_header_beats_the_body():
    header = ROUNDUP.format("Luc") + "\nX-Roundup-issue-assignedto: sato"
    assert people(header, "\nLuc added the comment:\n\n----------\nassignedto: dana -> mallory\n")["owner"] == "sato"


RT = "RT-Ticket: example.com #12\nFrom: {}\nSubject: [example.com #12] Crane jams"
ROWS = ["Transaction: Correspondence added by sato", "Queue: Harbour", "Subject: x", "Owner: luc"]
ROWS += ["Requestors: dana@example.com", "Status: open", "Ticket <URL: https://rt.example.com/12 >"]
HEAD = "Sun Nov 22 10:53:28 2026: Request 12 was acted upon."
WHOLE = {"reporter": "dana@example.com", "owner": "luc"}


@pytest.mark.parametrize(
    ("sender", "lines", "expected"),
    [
        ('"Sato via RT" <rt@x.org>', [HEAD, *ROWS], WHOLE | {"updater": "Sato"}),
        ("rt@x.org", [HEAD, *ROWS], WHOLE | {"updater": "sato"}),
        ("rt@x.org", ["", HEAD, *ROWS], WHOLE | {"updater": "sato"}),
        ("rt@x.org", ["hello", HEAD, *ROWS], {}),
        ("rt@x.org", [HEAD, *ROWS[:-1], "", "hello"], {}),
        ("rt@x.org", [HEAD, *ROWS[:-1]], {}),
        ("rt@x.org", [HEAD, *ROWS[:3], *ROWS[5:]], {}),
        ("rt@x.org", [HEAD.replace("12 was", "13 was"), *ROWS], {}),
        ("rt@x.org", [], {}),
        ("The RT System itself via RT <rt@x.org>", [HEAD, *ROWS], WHOLE),
        (
            "rt@x.org",
            [HEAD, *[r.replace("dana@example.com", "dana@example.com, luc@example.net") for r in ROWS]],
            {"owner": "luc", "updater": "sato"},
        ),
    ],
)
def test_rt(sender, lines, expected):
    assert people(RT.format(sender), "\n".join(lines)) == expected


def test_rts_queue_is_no_users_word():
    message = parse_bytes(f"{RT}\n\nhello\n\nQueue: Evil\n".replace("\n", "\r\n").encode())
    assert facts_of(message, lambda: text_of(message)).project == "example.com"


MANTIS = "Subject: [Harbour 0000012]: Crane jams\nX-Mailer: MantisBT"
TOP = "A NOTE has been added to this issue.\nReported By:   dana\nAssigned To:\nSummary:   x\nReported By:   mallory\n"
NOTE = "---\n (~0000034) sato (developer) - 2026-11-22 11:07\n---\nhello\n"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (TOP, {"reporter": "dana"}),
        (TOP + NOTE, {"reporter": "dana", "updater": "(sato)"}),
        (
            TOP
            + NOTE
            + "Issue History\n2026-11-22 11:07 sato           Note Added\n2026-11-22 10:53 dana           New\n",
            {"reporter": "dana", "updater": "sato"},
        ),
        (
            TOP + "Issue History\n2026-11-22 11:07 a-very-long-user-name  Note Added\n",
            {"reporter": "dana", "updater": "a-very-long-user-name"},
        ),
        (TOP + "Issue History\nno rows\n", {"reporter": "dana"}),
        ("hello\n", {}),
    ],
)
def test_mantis(body, expected):
    assert people(MANTIS, body) == expected


BUGZILLA = "X-Bugzilla-Type: changed\nX-Bugzilla-Who: luc@example.net\nX-Bugzilla-Reason: {}\nTo: {}"


@pytest.mark.parametrize(
    ("reason", "to", "reporter"),
    [
        ("Reporter", "dana@example.com", "dana@example.com"),
        ("CC Reporter", "Dana <dana@example.com>", "dana@example.com"),
        ("Reporter", "dana@example.com, luc@example.net", None),
        ("CC", "dana@example.com", None),
        ("Reporter-ish", "dana@example.com", None),
    ],
)
def test_bugzilla(reason, to, reporter):
    assert people(BUGZILLA.format(reason, to), "x").get("reporter") == reporter


@pytest.mark.parametrize(
    ("display", "updater"),
    [
        ('"Luc (@luc)"', "luc"),
        ('"Dana (@dana) (@mallory)"', "mallory"),
        ("Luc", "Luc"),
        ("GitLab", None),
        ('"=?utf-8?q?Luc_B=C3=A9zier?= (@luc)"', "luc"),
    ],
)
def test_gitlab(display, updater):
    header = f"X-GitLab-Project: harbour\nX-GitLab-Issue-IID: 12\nFrom: {display} <gitlab@example.com>\nTo: a@x.org"
    assert people(header, "x").get("updater") == updater


@pytest.mark.parametrize(("login", "who"), [("dana", "dana"), ("anonymous", None), ("", None)])
def test_redmine(login, who):
    header = f"X-Redmine-Host: r.example.com\nX-Redmine-Issue-Author: {login}\nX-Redmine-Sender: {login}"
    found = people(header, "hello\n")
    assert found.get("reporter") == found.get("updater") == who


def test_who_is_not_proven_is_nobody():
    users = (User("mallory"),)
    from relay.dialects import Person

    assert resolve(Person("mallory"), users).login == "mallory"
    who = resolve(Person("mallory", imitable=True), users)
    assert (who.address, who.login) == (None, "")
    assert who.why == "a user may have written that it is mallory"


TRAC = "X-Trac-Version: 1.0.20\nX-Trac-Project: Harbour\nX-Trac-Ticket-ID: 12\nSubject: [Harbour] #12: x\nIn-Reply-To: <1@x>"
LINE = "--------------------+--------------------"
NORMAL = " Reporter:  dana    |      Owner:  luc"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([LINE, NORMAL, LINE], {"reporter": "dana", "owner": "luc"}),
        ([LINE, NORMAL, LINE, "", ""], {"reporter": "dana", "owner": "luc"}),
        ([LINE, NORMAL, "Changes (by mallory):"], {}),
        ([LINE, NORMAL, " Reporter:  mallory |      Owner:  mallory", LINE], {"reporter": "dana", "owner": "luc"}),
        ([LINE, " Reporter:  dana  |      Owner:  luc", LINE], {"reporter": "dana", "owner": "luc"}),
        ([LINE, " Reporter:  佐藤花子|      Owner:  luc", LINE], {"reporter": "佐藤花子", "owner": "luc"}),
        ([LINE, " Reporter:  dana", LINE], {"reporter": "dana"}),
        (
            [LINE, NORMAL, LINE, "Changes (by sato):", "", " * owner:  luc => dana"],
            {"reporter": "dana", "owner": "luc", "updater": "sato", "previous_owner": "luc"},
        ),
        (
            [LINE, NORMAL, LINE, "Changes (by sato):", "", " * owner:  luc =>"],
            {"reporter": "dana", "owner": "luc", "updater": "sato", "previous_owner": "luc"},
        ),
        (
            [LINE, NORMAL, LINE, "Changes (by sato):", "", "mine", " * owner:  mallory => luc"],
            {"reporter": "dana", "owner": "luc", "updater": "sato"},
        ),
        (
            [LINE, NORMAL, LINE, "Changes (by sato):", "", " * cc: x", "", " * owner:  mallory => luc"],
            {"reporter": "dana", "owner": "luc", "updater": "sato"},
        ),
        (
            [LINE, NORMAL, LINE, "Somebody did something.", "Changes (by mallory):"],
            {"reporter": "dana", "owner": "luc"},
        ),
    ],
)
def test_trac(lines, expected):
    assert people(TRAC, "\n".join(["#12: x", *lines, ""])) == expected
