"""Entry: what it knows, and the form it is stored in."""

import json
from dataclasses import replace

import pytest

from relay.address import Address, parse
from relay.entry import (
    Attempt,
    Cause,
    Client,
    Disposition,
    Entry,
    Event,
    Outcome,
    State,
    decode,
    encode,
    new_id,
)
from relay.mail import Envelope, Recipient
from relay.reply import Reply

OUTCOME = Outcome(
    "rcpt:bob",
    "bob@example.org",
    Disposition.REFUSED,
    Reply(550, "5.1.1", "nö"),
    "mx[192.0.2.1]",
    Cause.AUTH,
    "rule",
    True,
)
FULL = Entry(
    id="0abc",
    received_at=1.5,
    envelope=Envelope(
        Address('"a b"', "exämple.org"),
        (Recipient(parse("bob"), "rcpt:bob"), Recipient(parse("l@example.org"), "smtp_always_cc:l@example.org", True)),
        "8BITMIME",
        True,
    ),
    size=17,
    state=State.HELD,
    profile="notification:x",
    due=2.5,
    client=Client("127.0.0.1", "trac", "SMTP", "in", 33, "luc"),
    report=True,
    reason="because",
    refused_paths=("x y", "\udcff"),
    answered=(OUTCOME,),
    attempts=(Attempt(3.0, "up", (OUTCOME, replace(OUTCOME, ambiguous=False)), "TLSv1.3", (0.1, 0.2, 0.3, 0.4)),),
    events=(Event(1.5, "accepted", "by 250"),),
    summary="Subject: ü",
    message_id="<1@x>",
    project="Häfen",
    ticket="12",
    done_at=9.0,
)


@pytest.mark.parametrize("entry", [FULL, Entry("1", 0.0, Envelope(None, ()))])
def test_the_stored_form_reads_back_the_same(entry):
    assert decode(encode(entry)) == entry


def test_the_stored_form_is_json_with_its_version_first():
    assert encode(FULL).startswith(b'{"v":3,"id":"0abc"')


@pytest.mark.parametrize(
    "change",
    [
        lambda form: form.pop("envelope"),
        lambda form: form.pop("v"),
        lambda form: form.update(v=4),
        lambda form: form.update(state="lost"),
        lambda form: form.update(client={"nose": 1}),
        lambda form: form.update(surprise=1),
        lambda form: form.update(attempts=5),
        lambda form: form["envelope"].update(to=[["a b", "x", False]]),
        lambda form: form["envelope"].update(to=[["a"]]),
        lambda form: form["answered"][0].update(disposition="eaten"),
        lambda form: form.update(id=7),
        lambda form: form.update(due="soon"),
        lambda form: form.update(due=float("inf")),
        lambda form: form.update(received_at=float("nan")),
        lambda form: form.update(size="17"),
        lambda form: form.update(reason=None),
        lambda form: form.update(refused_paths=["x", 1]),
        lambda form: form["client"].update(helo=1),
        lambda form: form["client"].update(uid="root"),
        lambda form: form["envelope"].update(body=8),
        lambda form: form["envelope"].update(to=[["a@b.example", 1, False]]),
        lambda form: form["answered"][0].update(host=["mx"]),
        lambda form: form["answered"][0].update(reply=["550", "5.1.1", "no"]),
        lambda form: form["answered"][0].update(reply=[550, "5.1.1", None]),
        lambda form: form["attempts"][0].update(at="then"),
        lambda form: form["attempts"][0].update(delays=[1, 2]),
        lambda form: form["attempts"][0].update(delays=[1, 2, 3, "4"]),
        lambda form: form["attempts"][0].update(tls=True),
        lambda form: form.update(events=[["then", "held", "x"]]),
        lambda form: form.update(events=[[1, "held", 2]]),
    ],
)
def test_a_damaged_or_later_form_is_a_value_error(change):
    form = json.loads(encode(FULL).decode("utf-8", "surrogatepass"))
    change(form)
    with pytest.raises(ValueError):
        decode(json.dumps(form).encode())


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"\xff", b"null", b"[" * 100_000])
def test_octets_that_are_no_form_are_a_value_error(data):
    with pytest.raises(ValueError):
        decode(data)


def test_events_are_stored_as_json_has_them():
    texts = ("", '"', "\\", "\x00\x1f\x7f", "\u2028\x85", "\u00fc\U0001f389", "\ud800", "</", "a\r\nb\tc")
    events = [Event(at, text, text) for at in (0, 1.5, 1e-9, 1.8e9 + 1 / 3, 1e22) for text in texts]
    stored = encode(replace(FULL, events=tuple(events))).decode("utf-8", "surrogatepass")
    assert json.loads(stored)["events"] == [[event.at, event.kind, event.text] for event in events]
    assert json.dumps(json.loads(stored), ensure_ascii=False, separators=(",", ":")) == stored


def test_a_later_version_says_so():
    with pytest.raises(ValueError, match="format 4, this program reads up to 3"):
        decode(b'{"v":4}')


def test_an_entry_knows_the_final_outcome_of_an_origin():
    assert FULL.outcome("rcpt:bob") == OUTCOME
    assert FULL.outcome("rcpt:eve") is None


def test_an_event_is_added_behind():
    assert FULL.with_event(4.0, "held", "x").events == (*FULL.events, Event(4.0, "held", "x"))


def test_only_deferred_is_not_final():
    assert [d for d in Disposition if not d.final] == [Disposition.DEFERRED]


def test_what_is_ours_to_mend():
    assert {c for c in Cause if c.ours_to_mend} == {
        Cause.DNS,
        Cause.TLS,
        Cause.AUTH,
        Cause.TOKEN,
        Cause.LOCAL,
        Cause.PAUSED,
        Cause.TURN,
    }


def test_ids_sort_by_age_and_differ_by_their_random_part():
    ids = [new_id(1_700_000_000.000, (1 << 30) - 1), new_id(1_700_000_000.001, 0), new_id(1_800_000_000.0, 0)]
    assert ids == sorted(ids)
    assert all(len(i) == 15 for i in ids)
    assert new_id(1.0, 1) != new_id(1.0, 2)
    assert new_id(1.0, 1) == new_id(1.0, 1 + (1 << 30))
