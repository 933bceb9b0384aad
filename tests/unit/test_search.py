"""Search: what an administrator means is found, and no neighbour of it."""

from dataclasses import replace

import pytest

from relay.address import parse
from relay.entry import Attempt, Cause, Disposition, Entry, Outcome, encode
from relay.mail import Envelope, Recipient
from relay.reply import Reply
from relay.search import Search, trace_searches

DEFERRED = Outcome(
    "rcpt:bob", "bob@corp.example.com", Disposition.DEFERRED, Reply(454, "4.7.8", "log-in refused"), cause=Cause.AUTH
)
ENTRY = Entry(
    "0abc",
    1000.0,
    Envelope(parse("Trac@tracker.example.com"), (Recipient.accepted(parse("ann@Example.org")), Recipient.accepted(parse("bob")))),
    profile="notification:harbour",
    reason="bob@corp.example.com: 454 4.7.8 log-in refused",
    summary="[Harbour] #12: Crane jams",
    message_id="<1.x@tracker.example.com>",
    project="Harbour",
    ticket="12",
    refused_paths=("<a b@x>",),
    attempts=(Attempt(1001.0, "notification", (DEFERRED,)),),
)  # fmt: skip
FRESH = replace(ENTRY, project="", ticket="", attempts=())
NULL = replace(ENTRY, envelope=Envelope(None, ENTRY.envelope.recipients))


@pytest.mark.parametrize("entry", [ENTRY, FRESH], ids=["prepared", "fresh"])
@pytest.mark.parametrize(
    ("search", "found"),
    [
        (Search(), True),
        (Search(ids=("0abc", "x")), True),
        (Search(ids=("0ab",)), False),
        (Search(ticket="12"), True),
        (Search(ticket="#12"), True),
        (Search(ticket="0000012"), True),
        (Search(ticket="1"), False),
        (Search(ticket="2"), False),
        (Search(ticket="123"), False),
        (Search(project="harbour"), True),
        (Search(project="Harb"), False),
        (Search(profile="Harbour"), True),
        (Search(profile="notification:harbour"), True),
        (Search(profile="notification"), False),
        (Search(to="ann@example.org"), True),
        (Search(to="ANN@EXAMPLE.ORG"), True),
        (Search(to="<ann@example.org>"), True),
        (Search(to="nn@example.org"), False),
        (Search(to="ann@example.or"), False),
        (Search(to="example.org"), True),
        (Search(to="@example.org"), True),
        (Search(to="ample.org"), False),
        (Search(to="*@example.org"), True),
        (Search(to="a?n@*"), True),
        (Search(to="*@other.org"), False),
        (Search(to="bob"), True),
        (Search(to="bo"), False),
        (Search(to="ann"), False),
        (Search(to="<a b@x>"), True),
        (Search(sender="trac@tracker.example.com"), True),
        (Search(sender="@tracker.example.com"), True),
        (Search(sender="<>"), False),
        (Search(message_id="<1.x@tracker.example.com>"), True),
        (Search(message_id="<1.x@tracker.example.co>"), False),
        (Search(reason="Log-In REFUSED"), True),
        (Search(reason="no such"), False),
        (Search(received_before=1000.1), True),
        (Search(received_before=1000.0), False),
        (Search(ticket="12", to="nobody@example.org"), False),
    ],
)  # fmt: skip
def test_what_is_found(entry, search, found):
    assert search.matches(entry) is found
    if found:
        form = encode(entry).decode().lower()
        assert all(literal.lower() in form for literal in search.literals())


def test_a_cause_and_the_completed_address_of_what_was_tried():
    assert Search(reason="auth").matches(ENTRY)
    assert not Search(reason="auth").matches(FRESH)
    assert Search(to="bob@corp.example.com").matches(ENTRY)
    assert not Search(to="bob@corp.example.com").matches(FRESH)


def test_the_null_sender():
    assert Search(sender="<>").matches(NULL)
    assert not Search(sender="trac@tracker.example.com").matches(NULL)
    assert not Search(sender="*").matches(NULL)


@pytest.mark.parametrize(
    ("subject", "ticket", "found"),
    [
        ("[Bug 12] x", "12", True),
        ("[Harbour - Bug #12] x", "12", True),
        ("[issue12] x", "12", True),
        ("[rt.example.com #12] x", "12", True),
        ("(KEY-12) x", "KEY-12", True),
        ("(KEY-12) x", "12", False),
        ("(KEY-123) x", "KEY-12", False),
        ("(MONKEY-12) x", "KEY-12", False),
        ("costs 12 euro", "12", False),
        ("#12-3", "12", False),
        ("#112", "12", False),
    ],
)
def test_a_ticket_in_the_subject_of_a_mail_never_prepared(subject, ticket, found):
    assert Search(ticket=ticket).matches(replace(FRESH, summary=subject)) is found


@pytest.mark.parametrize(
    ("known", "wanted", "found"),
    [("issue12", "12", True), ("issue12", "issue12", True), ("KEY-12", "key-12", True), ("KEY-12", "12", False)],
)
def test_other_trackers_names_for_a_ticket(known, wanted, found):
    assert Search(ticket=wanted).matches(replace(ENTRY, ticket=known)) is found


@pytest.mark.parametrize("what", ["#12", "<1.x@tracker.example.com>", "1.x@tracker.example.com", "ann@example.org", "0abc", "bob", "trac@tracker.example.com"])  # fmt: skip
def test_whatever_trace_names_finds_it(what):
    assert any(search.matches(ENTRY) for search in trace_searches(what))


@pytest.mark.parametrize("what", ["#1", "<1.x@tracker>", "nobody@example.org", "zzz"])
def test_trace_finds_no_neighbour(what):
    assert not any(search.matches(ENTRY) for search in trace_searches(what))
