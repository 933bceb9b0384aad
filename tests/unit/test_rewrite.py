"""The rules as a whole: their order, what ends them early, what a rule that fails does, and what none may write."""

import pytest

from relay import address, rewrite
from relay.dialects import facts_of
from relay.errors import BodyDamaged, RuleError, SpoolError
from relay.mail import Envelope, Mail, Recipient, Refusal
from relay.message import Field, parse_bytes
from relay.policy import Context, Stamp
from tests.gateway import policy_of

STAMP = Stamp("1hf7yat00000005", 1_700_000_000.0, "gw.example.com", "gw.example.com")
HEADER = b"From: h@t.example.com\r\nTo: eve@example.org\r\nSubject: x\r\nMIME-Version: 1.0\r\n"
BODY = b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nh\xc3\xa9\r\n"
ODD = b"Content-Type: text/plain\r\nContent-Transfer-Encoding: x-odd\r\n\r\nhi\r\n"


def case(octets=HEADER + BODY, **options):
    message = parse_bytes(octets)
    policy = policy_of(smtp_enabled="true", smtp_from="bot@example.com", **options)
    envelope = Envelope(address.parse("h@t.example.com"), (Recipient.accepted(address.parse("eve@example.org")),))
    return Mail(envelope, message), Context(policy, facts_of(message, lambda: ""), STAMP)


def with_rules(monkeypatch, *rules):
    monkeypatch.setattr(rewrite, "RULES", rules)


def test_the_rules_in_their_order():
    full = ["filter_domains", "complete_addresses", "notify", "always_cc", "always_bcc", "mute", "suppress", "staging", "visible_recipients", "originator", "subject_prefix", "trace_fields", "encoding", "wire"]  # fmt: skip
    off = [
        "filter_domains",
        "complete_addresses",
        "mute",
        "suppress",
        "staging",
        "visible_recipients",
        "trace_fields",
        "wire",
    ]
    for option, names in (("full", full), ("off", off)):
        passed = rewrite.steps(*case(rewrite=option))
        assert [name for name, _ in passed] == names
        assert passed[-1][1] == rewrite.rewrite(*case(rewrite=option)) or bytes(passed[-1][1].message)
    assert [name for name, _ in rewrite.RULES] == full
    assert [name for name, _ in rewrite.OFF_RULES] == off
    for name, rule in rewrite.RULES:
        assert rule.__name__ == name
    others = {"complete_addresses": "complete_untouched", "visible_recipients": "remove_hidden"}
    for name, rule in rewrite.OFF_RULES:
        assert rule.__name__ == others.get(name, name)


@pytest.mark.parametrize(
    ("encoding", "field", "text"),
    [
        ("base64", "base64", b"aMOpDQo="),
        ("qp", "quoted-printable", b"h=C3=A9"),
        ("none", "8bit", b"h\xc3\xa9"),
        ("auto", "quoted-printable", b"h=C3=A9"),
        ("keep", "8bit", b"h\xc3\xa9"),
    ],
)
def test_the_encoding(encoding, field, text):
    left = rewrite.rewrite(*case(mime_encoding=encoding))
    assert left.message.text("content-transfer-encoding") == field
    assert bytes(left.message).partition(b"\r\n\r\n")[2].strip() == text
    assert left.keep_body == (encoding == "keep")
    assert left.refusal is None


def test_none_strict_sends_ascii_and_refuses_everything_else():
    refused = rewrite.steps(*case(mime_encoding="none-strict"))
    text = "the mail has letters outside ASCII, which mime_encoding = none-strict does not send"
    assert refused[-1][0] == "encoding", "no rule follows"
    assert refused[-1][1].refusal == Refusal("encoding", "5.6.1", text)
    plain = rewrite.rewrite(*case(HEADER + BODY.replace(b"\xc3\xa9", b"e"), mime_encoding="none-strict"))
    assert plain.refusal is None
    assert bytes(plain.message).endswith(b"\r\n\r\nhe\r\n")
    base64 = HEADER + BODY.replace(b"8bit", b"base64").replace(b"h\xc3\xa9", b"aGU=")
    assert (
        rewrite.rewrite(*case(base64, mime_encoding="none-strict")).message.text("content-transfer-encoding") == "7bit"
    )


def test_what_stays_as_it_is_is_noted():
    left = rewrite.rewrite(*case(HEADER + ODD, mime_encoding="base64"))
    assert [(note.rule, note.text) for note in left.notes if note.rule == "encoding"] == [
        ("encoding", "a part in 'x-odd' is left as it is")
    ]


@pytest.mark.parametrize(
    "told",
    [SpoolError("spool: Input/output error"), BodyDamaged("spool: short"), MemoryError(), OSError(24, "Too many")],
    ids=repr,
)
def test_a_body_that_can_not_be_read_and_a_want_of_memory_are_no_rules_faults(monkeypatch, told):
    """What becomes of it is decided by what is wrong with the system: an error of the disk may pass."""

    def fails(mail, context):
        raise told

    with_rules(monkeypatch, ("reads", fails))
    with pytest.raises(type(told)) as fault:
        rewrite.rewrite(*case())
    assert fault.value is told


def test_a_rule_that_fails_is_named(monkeypatch):
    def fails(mail, context):
        raise KeyError("surprise")

    with_rules(monkeypatch, ("quiet", lambda mail, context: mail), ("loud", fails))
    with pytest.raises(RuleError) as fault:
        rewrite.rewrite(*case())
    assert "loud" in str(fault.value)
    assert "surprise" in str(fault.value)
    assert isinstance(fault.value.__cause__, KeyError)


WRITTEN = [
    b"X: 1\r\nY: 2\r\n",
    b"X: 1\r\n\r\nbody\r\n",
    b"X: 1\n",
    b"X: 1",
    b"X 1\r\n",
    b": 1\r\n",
    b"X: a\0b\r\n",
    b"X: a\rb\r\n",
    b"X: a\nb\r\n",
    b"",
    b"\xc3\xa9: 1\r\n",
    b"X: 1\r\n \r\n\r\n",
]


@pytest.mark.parametrize("raw", WRITTEN)
def test_what_would_not_leave_as_one_field_is_never_sent(monkeypatch, raw):
    with_rules(monkeypatch, ("adds", lambda mail, context: adding(mail, raw)))
    with pytest.raises(RuleError) as fault:
        rewrite.rewrite(*case())
    cause = ValueError(f"{raw[:80]!r} would not leave as one header field")
    assert str(fault.value) == f"rule wire: {cause!r}"


@pytest.mark.parametrize(
    "raw", [b"X: 1\r\n", b"X : 1\r\n", b"X:\r\n", b"X: a\r\n b\r\n\tc\r\n", b"X-\x7e!: \xc3\xa9\r\n"]
)
def test_one_field_is_sent(monkeypatch, raw):
    with_rules(monkeypatch, ("adds", lambda mail, context: adding(mail, raw)))
    assert rewrite.rewrite(*case()).message.fields[-1].raw == raw


def test_the_fault_shows_only_the_beginning(monkeypatch):
    with_rules(monkeypatch, ("adds", lambda mail, context: adding(mail, b"x" * 500)))
    with pytest.raises(RuleError) as fault:
        rewrite.rewrite(*case())
    assert "x" * 80 in str(fault.value)
    assert "x" * 81 not in str(fault.value)


def adding(mail, raw):
    message = mail.message
    return mail.with_message(message.with_fields((*message.fields, Field(raw))))


def test_what_came_is_not_judged(monkeypatch):
    """A field that no rule wrote is admission's affair, and `wire`'s."""
    with_rules(monkeypatch, ("quiet", lambda mail, context: mail))
    octets = b"odd line\r\n" + HEADER + b"\r\n"
    assert bytes(rewrite.rewrite(*case(octets)).message) == octets


@pytest.mark.parametrize("octets", [b"Subject: x", b"Subject: x\r\nX: y", b"X: y\r\n z"])
def test_a_mail_that_ends_within_its_header_is_ended(monkeypatch, octets):
    with_rules(monkeypatch, ("adds", lambda mail, context: adding(mail, b"Z: 1\r\n")))
    assert bytes(rewrite.rewrite(*case(octets)).message) == octets + b"\r\nZ: 1\r\n"


def test_a_mail_without_a_header_gets_one(monkeypatch):
    with_rules(monkeypatch, ("adds", lambda mail, context: adding(mail, b"Z: 1\r\n")))
    assert bytes(rewrite.rewrite(*case(b"")).message) == b"Z: 1\r\n"
    whole = HEADER + b"\r\n"
    assert rewrite.rewrite(*case(whole)).message.fields[:-1] == parse_bytes(whole).fields
