"""Mails as many programs write them, under many policies, judged by an oracle that knows the rules but not relay/.

The mails in judged/ are written to the grammar of their programs, none was captured; they are octets as a client would
send them, so some have bare line feeds or no last line end. judged.json has their envelopes, and what they say about
themselves (what is missing there is nothing), written by hand.
"""

import json
import re
from pathlib import Path

import pytest

from relay.dialects import facts_of
from relay.message import parse_bytes
from relay.mime import text_of
from tests.gateway import Gateway
from tests.mails.oracle import World, expected, read
from tests.mails.verdict import content, deviations, leaves

HERE = Path(__file__).parent
JUDGED = json.loads((HERE / "judged.json").read_text())
USERS = {
    "dana": "Dana Field <dana@example.com>",
    "luc": "Luc Bézier <luc@example.net>",
    "sato": "佐藤 花子 <sato@example.jp>",
    "rené": "René <rene@example.fr>",
    "zoe@realm.example": "Zoe <zoe@example.com>",
}
LIST = {"smtp_always_cc": "list@example.org, bob", "smtp_always_bcc": "audit@secret.example"}
CORP = {"smtp_default_domain": "corp.example.com"}
PUBLIC = {"use_public_cc": "true"}
POLICIES = [
    {"mime_encoding": "base64"},
    {"mime_encoding": "qp"},
    {"mime_encoding": "none"},
    {"mime_encoding": "auto"},
    {"mime_encoding": "keep"},
    {"mime_encoding": "none-strict"},
    {"mime_encoding": "qp", **LIST, **CORP},
    {"mime_encoding": "auto", **PUBLIC, "smtp_always_cc": "a@example.org; b@example.org", "smtp_always_bcc": "a@example.org"},
    PUBLIC,
    {"mime_encoding": "none", **PUBLIC, "public_envelope": "yes", "smtp_always_bcc": "audit@secret.example"},
    {"mime_encoding": "keep", "smtp_from_name": "Équipe de nuit"},
    {"smtp_from_name": 'Crew, "Night"', "smtp_replyto": "r@example.com"},
    {"mime_encoding": "auto", "from": "keep"},
    {**PUBLIC, "from": "keep", "smtp_replyto": "r@example.com"},
    {"smtp_from": None, "smtp_replyto": "r@example.com"},
    {"smtp_from": "bot", "smtp_default_domain": "d.example.com"},
    {"smtp_subject_prefix": ""},
    {"smtp_subject_prefix": "[Crew]"},
    {"smtp_subject_prefix": "[Häfen]", "mime_encoding": "qp"},
    {"project_name": "Sérvice", "mime_encoding": "none"},
    {"always_notify_reporter": "true"},
    {"always_notify_owner": "true", **PUBLIC},
    {"always_notify_updater": "true", **CORP},
    {"always_notify_updater": "false"},
    {
        "always_notify_updater": "false",
        "always_notify_reporter": "true",
        "always_notify_owner": "true",
        "public_envelope": "yes",
        **PUBLIC,
    },
    {"use_short_addr": "true", **CORP},
    {"use_short_addr": "true", **PUBLIC, "mime_encoding": "none"},
    {"ignore_domains": "realm.example"},
    {"ignore_domains": "realm.example", **CORP, **PUBLIC, "smtp_always_cc": "kim@REALM.EXAMPLE, zoe@Realm.example"},
    {"smtp_always_cc": "luc; sato", "smtp_always_bcc": "dana", **PUBLIC},
    {"smtp_from_name": "Un nom très long " * 6, "smtp_subject_prefix": "[Un projet dont le nom est très long, lui aussi]"},
    {"rewrite": "off", "mime_encoding": "qp"},
    {"rewrite": "off", **CORP},
]  # fmt: skip
EACH = 5
"""Policies that one mail is tried under; all of them in the harness that these mails were made with."""
PEOPLE = ("reporter", "owner", "updater", "previous_owner")


def came(name):
    """The mail as the listener has it."""
    octets = re.sub(rb"\r*\n", b"\r\n", (HERE / "judged" / f"{name}.eml").read_bytes())
    return octets if octets.endswith(b"\r\n") else octets + b"\r\n"


def refused(octets, options):
    """Whether a rule has to refuse it: what may not be changed is too long, or has letters outside ASCII."""
    encoding = options.get("mime_encoding")
    if encoding == "keep":
        return max(map(len, octets.partition(b"\r\n\r\n")[2].split(b"\r\n"))) > 998
    parts = [part for part, _ in leaves(read(octets)) if part.get_content_maintype() == "text"]
    texts = [part for part in parts if not part.get_filename() and part.get_content_disposition() != "attachment"]
    return encoding == "none-strict" and not all(content(part).isascii() for part in texts)


def policies(name):
    """Those of this mail: each policy meets its share of all mails."""
    at = list(JUDGED).index(name)
    return [POLICIES[(at + step * 5) % len(POLICIES)] for step in range(EACH)]


@pytest.mark.parametrize("name", JUDGED)
def test_what_it_says_about_itself(name):
    message = parse_bytes(came(name))
    facts = facts_of(message, lambda: text_of(message))
    known = {n: getattr(facts, n) for n in ("tracker", "project", "ticket", "event") if getattr(facts, n)}
    known |= {n: getattr(facts, n).shown for n in PEOPLE if getattr(facts, n)}
    assert known == {n: told for n, told in JUDGED[name]["facts"].items() if n != "old"}


@pytest.mark.parametrize("name", JUDGED)
def test_what_leaves(name):
    octets, form = came(name), JUDGED[name]
    for options in policies(name):
        relay = Gateway(users=USERS, **{"from_" if n == "from" else n: text for n, text in options.items()})
        world = World(
            {**options, "mime_encoding": options.get("mime_encoding", "base64").removesuffix("-strict")}, USERS
        )
        prepared = relay.prepare(octets, form["rcpt_tos"], mail_from=form["mail_from"])
        nobody = not expected(world, octets, form["mail_from"], form["rcpt_tos"], form["facts"])["rcpt"]
        assert bool(prepared.routed) is not (nobody or refused(octets, options)), (options, prepared.settled)
        for _, mail in prepared.routed:
            left, reverse = bytes(mail.message), mail.envelope.reverse_path
            sender, recipients = (
                None if reverse is None else str(reverse),
                [str(r.address) for r in mail.envelope.recipients],
            )
            assert deviations(world, octets, form, left, sender, recipients, form["facts"]) == [], options
            [(_, again)] = relay.prepare(left, recipients, mail_from=sender).routed
            assert bytes(again.message) == left, options
            assert (again.envelope.reverse_path, len(again.envelope.recipients)) == (reverse, len(recipients)), options


def test_each_policy_meets_its_share():
    met = [str(policy) for name in JUDGED for policy in policies(name)]
    assert len(JUDGED) >= 200
    assert all(met.count(str(policy)) >= len(JUDGED) // len(POLICIES) * EACH // 2 for policy in POLICIES)
