"""Promises 4 and 8 over real mail: the kept mails of ten trackers, and the standard library's own where it has them.

Each goes through under every encoding. What leaves is one mail of the same parts with the same text,
with nothing an SMTP server could choke on; it goes through once more unchanged; and its form for a hop
without 8BITMIME has the same parts again. Then the same for these mails with stretches of theirs mixed up.
"""

import email
import re
import sysconfig
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay import downgrade
from relay.admission import ListenerOptions, content
from relay.message import parse_bytes
from tests.gateway import Gateway

TESTS = Path(__file__).resolve().parents[1]
OF_PYTHON = Path(sysconfig.get_path("stdlib")) / "test" / "test_email" / "data"
FILES = [
    *sorted(TESTS.glob("mails/*/*/in.eml")),
    *sorted(TESTS.glob("data/tracker-mail/*.eml")),
    *sorted(OF_PYTHON.glob("*.txt")),
]
ENCODINGS = ["base64", "qp", "none", "auto", "keep"]
OPTIONS = [
    *({"mime_encoding": encoding} for encoding in ENCODINGS),
    {
        "use_public_cc": "true",
        "public_envelope": "true",
        "from_": "keep",
        "mime_encoding": "auto",
        "smtp_always_cc": "list@example.org",
    },
    {"rewrite": "off", "smtp_default_domain": "corp.example.com"},
]
USERS = {
    "dana": "Dana Field <dana@example.com>",
    "luc": "Luc Bézier <luc@example.net>",
    "sato": "佐藤 花子 <sato@example.jp>",
}
RCPT = ["eve@example.org", "dana@example.com", "bob"]
RELAYS = [Gateway(users=USERS, **options) for options in OPTIONS]


def admitted(octets):
    """As the listener gives it to the spool; None for what it refuses."""
    octets = re.sub(rb"\r*\n", b"\r\n", octets)
    octets += b"" if octets.endswith(b"\r\n") else b"\r\n"
    bad = (
        b"\0" in octets
        or re.search(rb"\r(?!\n)", octets)
        or content(parse_bytes(octets), ListenerOptions(), "gw.example.com")
    )
    return None if bad else octets


def parts(octets):
    """Type, name and content of every part by another reader; line ends as \\n, the last ones left out."""
    found = []
    for part in email.message_from_bytes(octets).walk():
        payload = None if part.is_multipart() else part.get_payload(decode=True)
        text = None if payload is None else re.sub(rb"\r*\n", b"\n", payload).rstrip(b"\n")
        found.append((part.get_content_type(), str(part.get_filename()), text))
    return found


def goes_through(octets, relay):
    """The mail as it leaves, with all that must hold for it; None where a rule refuses it."""
    prepared = relay.prepare(octets, RCPT)
    if not prepared.routed:
        assert prepared.settled
        return None
    mail = prepared.routed[0][1]
    left = bytes(mail.message)
    assert parse_bytes(left).fields == mail.message.fields
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n|\0", left)
    assert max(map(len, left.split(b"\r\n"))) <= 998
    sender = "" if mail.envelope.reverse_path is None else str(mail.envelope.reverse_path)
    recipients = [r.address for r in mail.envelope.recipients]
    again = relay.prepare(left, list(map(str, recipients)), mail_from=sender)
    assert bytes(again.routed[0][1].message) == left
    through_another_gateway(left, relay, recipients, sender)
    return mail.message


def through_another_gateway(left, relay, recipients, sender):
    """Example 45 for any mail: a second gateway of the same configuration only adds its own trace fields."""
    other = Gateway("gw2.example.com")
    other.setting = replace(relay.setting, hostname="gw2.example.com", gateway_id="gw2.example.com")
    prepared = other.prepare(left, list(map(str, recipients)), mail_from=sender, id="1hf7yat00000009")
    mail = prepared.routed[0][1]
    assert [r.address for r in mail.envelope.recipients] == recipients
    assert ("" if mail.envelope.reverse_path is None else str(mail.envelope.reverse_path)) == sender
    octets = bytes(mail.message)
    assert octets.endswith(left)
    assert [f.name for f in parse_bytes(octets[: -len(left)]).fields] == ["received", "x-tracker-relay"]


@pytest.mark.parametrize("file", FILES, ids=[f"{file.parent.name}-{file.name}" for file in FILES])
def test_real_mail_keeps_its_parts_and_passes_twice_alike(file):
    octets = admitted(file.read_bytes())
    if octets is None:
        pytest.skip("the listener refuses it")
    for relay in RELAYS:
        message = goes_through(octets, relay)
        if message is None:
            continue
        assert parts(bytes(message)) == parts(octets)
        seven = downgrade.seven_bit(message)
        assert seven is None or parts(bytes(seven)) == parts(octets)


SAMPLES = [octets for file in FILES if (octets := admitted(file.read_bytes()))]
LINES = [octets.split(b"\r\n") for octets in SAMPLES]
BAIT = [b"", b" ", b"\t", b"--", b"=?utf-8?q?=0D=0AX: 1?=", b"Subject:", b"From: ", b"Content-Type: multipart/mixed; boundary=", b"Content-Transfer-Encoding: base64", b"\xff", "é".encode(), b"9" * 5000, b"x" * 1200, b"=", b"<@>"]  # fmt: skip


@st.composite
def mixed_up(draw):
    """Lines of one or two real mails, some doubled, left out, exchanged, cut or glued to another."""
    lines = list(draw(st.sampled_from(LINES)))
    other = draw(st.sampled_from(LINES))
    for _ in range(draw(st.integers(1, 8))):
        at, step = draw(st.integers(0, len(lines) - 1)), draw(st.integers(0, 5))
        line = draw(st.sampled_from([*BAIT, *other[:60]]))
        match step:
            case 0:
                lines[at:at] = [line]
            case 1:
                lines[at] = line
            case 2:
                lines[at] += line
            case 3:
                lines[at] = lines[at][: len(lines[at]) // 2] + line
            case 4:
                lines[at : at + 3] = [line]
            case _:
                lines[at] = lines[at].swapcase()
    return admitted(b"\r\n".join(lines))


@settings(max_examples=400, deadline=None)
@given(mixed_up(), st.sampled_from(RELAYS))
def test_no_mail_makes_a_rule_fail_and_twice_is_once(octets, relay):
    if octets is not None:
        goes_through(octets, relay)
