"""Every kept mail through the relay's pure road: the facts that are read from it, and the mail that leaves, octet by octet."""

import json
import os
from pathlib import Path

import pytest

from relay import address, config
from relay.app import setting_of
from relay.dialects import facts_of
from relay.entry import Client, Entry
from relay.mail import Envelope, Recipient
from relay.message import BytesBody, parse_bytes
from relay.mime import text_of
from relay.prepare import prepare

HERE = Path(__file__).parent
CASES = sorted(path.parent for path in HERE.glob("*/*/in.eml"))
PEOPLE = ("reporter", "owner", "updater", "previous_owner")
WRITE = os.environ.get("WRITE_GOLDEN") == "1"


def prepared(case):
    """The entry, its facts, and what is to be sent."""
    loaded = config.read(case / "policy.ini", environ={})
    assert loaded.fault_lines() == []
    setting = setting_of(loaded.configuration)
    form = json.loads((case / "envelope.json").read_text())
    sender = address.parse(form["mail_from"]) if form["mail_from"] else None
    recipients = tuple(Recipient.accepted(address.parse(path)) for path in form["rcpt_tos"])
    client = Client("127.0.0.1", "tracker.example.com", listener="127.0.0.1:2525")
    entry = Entry("1hf7yat00000005", 1_795_344_808.0, Envelope(sender, recipients), client=client)
    body = BytesBody((case / "in.eml").read_bytes())
    return entry, body, setting


@pytest.mark.parametrize("case", CASES, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_what_it_says_about_itself(case):
    message = parse_bytes((case / "in.eml").read_bytes())
    facts = facts_of(message, lambda: text_of(message))
    read = {name: getattr(facts, name) for name in ("tracker", "project", "ticket", "event", "event_key")}
    people = {name: getattr(facts, name) for name in PEOPLE}
    read |= {name: person.shown if person else None for name, person in people.items()}
    if unsure := [name for name, person in people.items() if person and person.imitable]:
        read["imitable"] = unsure
    assert read == json.loads((case / "facts.json").read_text())


@pytest.mark.parametrize("case", CASES, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_the_mail_that_leaves(case):
    entry, body, setting = prepared(case)
    ready = prepare(entry, body, setting)
    [(_, mail)] = ready.routed
    reverse = mail.envelope.reverse_path
    form = {
        "mail_from": None if reverse is None else str(reverse),
        "rcpt_tos": sorted(str(recipient.address) for recipient in mail.envelope.recipients),
        "dropped": sorted(f"{outcome.address}: {outcome.reply.text}" for outcome in ready.settled),
    }
    if WRITE:
        (case / "out.eml").write_bytes(bytes(mail.message))
        (case / "out.json").write_text(json.dumps(form, indent=1, ensure_ascii=False) + "\n")
    assert form == json.loads((case / "out.json").read_text())
    assert bytes(mail.message) == (case / "out.eml").read_bytes()


def test_every_case_says_where_its_mail_is_from():
    assert len(CASES) >= 35
    for case in CASES:
        assert "not captured" in (case / "policy.ini").read_text(), case
        assert b"\r\n" in (case / "in.eml").read_bytes()
