"""Promises 4 and 8 against mail that means harm: nothing it holds becomes a field of its own, or names a hidden recipient.

Whatever stands in encoded words, quotes, comments or folds, the header that leaves has the fields that
came and those that rules add, each on its own lines; a second reader finds the same ones.
"""

import email
import email.policy
import re

from hypothesis import given, settings
from hypothesis import strategies as st

from relay import encoded_word
from relay.address import parse
from relay.message import parse_bytes
from tests.gateway import Gateway

GHOST = "ghost@hidden.example"
SECRET = "audit@hidden.example"
BAIT = [
    "\r\nX-Injected: 1",
    "\nX-Injected: 1",
    "\r\n\r\nbody",
    "\0",
    "\r",
    "\x0b",
    "\u2028",
    "\x85",
    "a",
    "é",
    '"',
    "\\",
    "(",
    ")",
    "<",
    ">",
    ",",
    ":",
    ";",
    "@",
]


def worded(text, scheme):
    """`text` as an encoded word, so that what it holds is seen only by those who decode it."""
    if scheme == "q":
        return "=?utf-8?q?" + "".join(f"={o:02X}" for o in text.encode()) + "?="
    import base64

    return f"=?utf-8?b?{base64.b64encode(text.encode()).decode()}?="


PIECES = st.one_of(
    st.builds(worded, st.lists(st.sampled_from(BAIT), min_size=1, max_size=4).map("".join), st.sampled_from("qb")),
    st.sampled_from([GHOST, f"<{GHOST}>", f'"{GHOST}"', f"({GHOST})", worded(GHOST, "q"), f"{GHOST}:", SECRET, f'"{SECRET}" <list@example.org>']),
    st.sampled_from(["list@example.org", "Dana <dana@example.com>", "undisclosed-recipients: ;", "Re: ", "[Harbour]", "#12: x", '"', "(", "\r\n ", "\r\n\t", ",", " ", "é", "=?x?q?y?="]),
)  # fmt: skip
VALUES = st.lists(PIECES, max_size=5).map("".join)
NAMES = ["From", "To", "Cc", "Reply-To", "Sender", "Subject", "X-Trac-Project", "Resent-To", "Resent-From", "Bcc", "Message-ID", "References", "Date", "Content-Type", "Content-Disposition", "X-Odd", "X-Roundup-Name", "Precedence"]  # fmt: skip
FIELDS = st.lists(st.tuples(st.sampled_from(NAMES), VALUES), max_size=8)
OPTIONS = st.fixed_dictionaries(
    {
        "use_public_cc": st.sampled_from(["true", "false"]),
        "from_": st.sampled_from(["keep", "force"]),
        "rewrite": st.sampled_from(["full", "full", "off"]),
        "smtp_always_cc": st.sampled_from(["", "list@example.org"]),
        "smtp_subject_prefix": st.sampled_from(["__default__", "[Häfen]", ""]),
        "mime_encoding": st.sampled_from(["auto", "base64", "none"]),
    }
)
ADDED = {"received", "x-tracker-relay", "date", "message-id", "precedence", "auto-submitted", "from", "reply-to", "to", "cc", "subject", "mime-version", "content-type", "content-transfer-encoding"}  # fmt: skip
GONE = {"bcc", "sender", "to", "cc", "from", "reply-to", "resent-to", "resent-from", "subject", "date", "message-id", "precedence", "content-transfer-encoding"}  # fmt: skip
WRITTEN = {"received", "x-tracker-relay", "date", "message-id", "precedence", "auto-submitted", "mime-version"}
OF_PROMISE_4 = {"to", "cc", "bcc", "apparently-to", "delivered-to", "x-original-to", "x-envelope-to"}


def sent(fields, options):
    head = "".join(f"{name}: {value}\r\n" for name, value in fields)
    raw = f"X-Trac-Version: 1.6\r\n{head}\r\nhello\r\n".encode()
    relay = Gateway(smtp_always_bcc=SECRET, **options)
    prepared = relay.prepare(raw, [GHOST, "dana@example.com"])
    return parse_bytes(raw), prepared.routed[0][1] if prepared.routed else None


@settings(max_examples=500, deadline=None)
@given(FIELDS, OPTIONS)
def test_nothing_in_a_mail_becomes_a_field(fields, options):
    came, left = sent(fields, options)
    if left is None:
        return
    octets = bytes(left.message)
    found = parse_bytes(octets)
    assert found.fields == left.message.fields
    assert found.separator == b"\r\n"
    for field in found.fields:
        assert re.fullmatch(rb"[!-9;-~]+[ \t]*:[^\0\r\n]*(\r\n[ \t][^\0\r\n]*)*\r\n", field.raw), field
    assert {f.name for f in found.fields} - {f.name for f in came.fields} <= ADDED
    assert {f.name for f in came.fields} - {f.name for f in found.fields} <= GONE
    counted = [f.name for f in found.fields if f.name not in ADDED | GONE]
    assert counted == [f.name for f in came.fields if f.name not in ADDED | GONE]
    by_others = [name.lower() for name, _ in email.message_from_bytes(octets, policy=email.policy.compat32).raw_items()]
    assert by_others == [field.name for field in found.fields]


@settings(max_examples=500, deadline=None)
@given(FIELDS, OPTIONS)
def test_promise_4_no_hidden_recipient_is_named(fields, options):
    came, left = sent(fields, options)
    if left is None:
        return
    theirs = {field.name for field in came.fields if field.text}
    ours = [field for field in left.message.fields if field.name in WRITTEN and field.name not in theirs]
    everywhere = "".join(encoded_word.decode(field.text) for field in ours)
    named = [f for f in left.message.fields if f.name in OF_PROMISE_4 or f.name.startswith("resent-")]
    if options["rewrite"] == "full":
        everywhere += "".join(encoded_word.decode(f.text) for f in named)
        assert SECRET not in everywhere
    visible = "".join(encoded_word.decode(field.text) for name in ("to", "cc") for field in came.get_all(name))
    if options["use_public_cc"] == "false" or GHOST not in visible:
        assert options["rewrite"] == "off" or GHOST not in everywhere
    recipients = {r.address.key for r in left.envelope.recipients}
    assert recipients <= {parse(a).key for a in (GHOST, SECRET, "dana@example.com", "list@example.org")}
