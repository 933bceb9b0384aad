"""What a person reads of a decision: why a mail is held, why a recipient was refused."""

from dataclasses import replace

import pytest

from relay import retry
from relay.entry import Cause, Disposition, Outcome
from relay.reply import Reply
from tests.unit.test_retry import BORN, DAY, an_entry, deferred, next_form, refused

NO_ADDRESS = Reply(553, "5.1.3", "not an address")
NOT_FROM_HIM = Reply(550, "5.7.1", "the listener does not take it from this client, or not with these parameters")


@pytest.mark.parametrize(
    ("path", "shown", "reply"),
    [
        ("<eve@example.org>", "eve@example.org", NOT_FROM_HIM),
        ("<eve@example.org> NOTIFY=SIDEWAYS", "<eve@example.org> NOTIFY=SIDEWAYS", NOT_FROM_HIM),
        ("<x y@z>", "x y@z", NO_ADDRESS),
        ("<\udcff>", "\udcff", NO_ADDRESS),
    ],
)
def test_a_path_that_is_an_address_is_not_said_to_be_none(path, shown, reply):
    [outcome] = retry.refused_paths(an_entry(refused_paths=(path,)))
    assert outcome == Outcome(f"refused:{path}", shown, Disposition.REFUSED, reply, "", Cause.RULE, "path")


@pytest.mark.parametrize(
    ("number", "names"),
    [
        (1, "n0@x.org"),
        (2, "n0@x.org, n1@x.org"),
        (3, "n0@x.org, n1@x.org, n2@x.org"),
        (4, "n0@x.org, n1@x.org, n2@x.org and 1 more"),
        (6, "n0@x.org, n1@x.org, n2@x.org and 3 more"),
    ],
)
def test_who_is_held_and_what_there_is_to_mend(number, names):
    waiting = [deferred(f"n{i}@x.org", Cause.TLS) for i in range(number)]
    entry = next_form(an_entry(), *waiting, now=BORN + 6 * DAY).entry
    assert entry.reason == (
        f"not delivered to {names} within 5d, and the cause is at our side (tls): 451 4.7.1 later;"
        " correct it, then release the mail"
    )


def test_who_may_have_it_already():
    twice = deferred("a@example.org", ambiguous=True)
    entry = next_form(next_form(an_entry(), twice).entry, twice, now=BORN + 60).entry
    assert entry.reason == (
        "twice the connection broke after the whole mail was sent, so a@example.org may have it already;"
        " ask there, then release or drop it"
    )


def test_a_long_reply_is_kept_short():
    long_ = replace(deferred("a@example.org"), reply=Reply(451, "4.0.0", "x" * 70000))
    entry = next_form(an_entry(), long_).entry
    assert len(entry.attempts[0].outcomes[0].reply.text) == 1003
    assert len(entry.reason) < 1100
    final = replace(refused("a@example.org"), reply=Reply(550, "5.0.0", "x" * 70000))
    assert len(next_form(an_entry(), final).entry.answered[0].reply.text) == 1003


def test_a_reply_of_a_thousand_characters_is_kept_whole():
    reply = Reply(550, "5.0.0", "x" * 1000)
    assert next_form(an_entry(), replace(refused("a@example.org"), reply=reply)).entry.answered[0].reply == reply
