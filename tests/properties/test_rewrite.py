"""Promises 2, 4 and 8 for the rules: any mail, any policy.

2: every recipient is routed or dropped by a named rule, once.
4: no field that we write, and none that names recipients, shows a hidden one; other fields keep their bytes.
8: rewriting twice equals rewriting once.
"""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from relay import address, mailboxes
from relay.dialects import facts_of
from relay.mail import Envelope, Mail, Recipient
from relay.message import parse_bytes
from relay.mime import text_of
from relay.people import User, Users
from relay.policy import Context, Policy, Stamp
from relay.rewrite import rewrite

LOCALS = st.sampled_from(["dana", "luc", "x&y", "o'reilly", '"q q"', "A", "a", "press", "zoë"])
DOMAINS = st.sampled_from(
    ["", "example.org", "EXAMPLE.org", "realm.example", "localhost", "münchen.example", "[127.0.0.1]"]
)
ADDRESSES = st.builds(address.Address, LOCALS, DOMAINS)
TEXTS = st.text(st.characters(blacklist_categories=["Cs", "Cc"]), max_size=60)
WORDS = st.sampled_from(
    [
        "Re: ",
        "re:",
        "[Harbour] ",
        "[Crew]",
        "#12: ",
        "=?utf-8?q?=5BHarbour=5D?= ",
        "=?utf-8?b?w6k=?=",
        " ",
        "x" * 80,
        "é",
        "=?bad?q?x?=",
    ]
)
SUBJECTS = st.lists(st.one_of(WORDS, TEXTS), max_size=5).map("".join)
MAILBOXES = st.one_of(
    st.sampled_from(
        [
            "Harbour <>",
            "Harbour",
            "",
            "undisclosed-recipients: ;",
            '"=?utf-8?q?H=C3=A4fen?=" <h@t.example.com>',
            "<>",
            "a)b@c",
        ]
    ),
    st.lists(ADDRESSES.map(str), min_size=1, max_size=3).map(", ".join),
)
FIELD_NAMES = ["From", "To", "Cc", "Bcc", "Reply-To", "Sender", "Resent-To", "Apparently-To", "X-Odd", "References"]
FIELDS = st.lists(st.tuples(st.sampled_from(FIELD_NAMES), MAILBOXES), max_size=8)
TRACKERS = st.sampled_from(
    [
        "",
        "X-Trac-Project: Harbour\r\nX-Trac-Version: 1.6\r\n",
        "X-Roundup-Name: Harbour\r\nX-Roundup-Version: 2.6.0\r\n",
        "X-Redmine-Project: harbour\r\n",
    ]
)
BODIES = st.one_of(
    st.sampled_from(["", "plain\r\n", "hélas\r\n", "x" * 1200 + "\r\n", "\r\n\r\n.\r\nFrom me\r\n"]),
    TEXTS.map(lambda t: t + "\r\n"),
)
POLICIES = st.builds(
    Policy,
    smtp_enabled=st.just(True),
    smtp_from=st.one_of(st.just(address.parse("bot@example.com")), st.just(address.parse("bot"))),
    smtp_from_name=st.one_of(st.just(""), TEXTS.map(str.strip)),
    smtp_replyto=st.one_of(st.none(), st.just(address.parse("r@example.com"))),
    smtp_default_domain=st.sampled_from(["", "corp.example.com"]),
    smtp_always_cc=st.lists(ADDRESSES, max_size=2).map(tuple),
    smtp_always_bcc=st.lists(st.builds(address.Address, st.just("audit"), st.just("secret.example")), max_size=1).map(
        tuple
    ),
    staging=st.one_of(st.just(()), st.lists(ADDRESSES, max_size=2).map(tuple)),
    smtp_subject_prefix=st.one_of(
        st.sampled_from(["__default__", "", "[Crew]", "Re: x", "[Häfen]", "Crew", "é"]), TEXTS.map(str.strip)
    ),
    own_changes=st.sampled_from([None, False, True]),
    always_notify_reporter=st.booleans(),
    always_notify_updater=st.sampled_from([None, False, True]),
    use_public_cc=st.booleans(),
    public_envelope=st.booleans(),
    use_short_addr=st.booleans(),
    mime_encoding=st.sampled_from(["base64", "qp", "none", "auto", "keep"]),
    ignore_domains=st.sampled_from([(), ("realm.example",)]),
    rewrite=st.sampled_from(["full", "full", "full", "off"]),
    from_=st.sampled_from(["force", "keep"]),
)


PEOPLE = st.lists(
    st.builds(
        User,
        st.sampled_from(["dana", "bob", "joe"]),
        st.just("Dana Field"),
        st.one_of(st.none(), ADDRESSES.filter(lambda a: a.domain != "realm.example")),
        st.sampled_from([None, False, True]),
        st.booleans(),
    ),
    max_size=3,
).map(tuple)


@st.composite
def cases(draw):
    fields = "".join(f"{name}: {value}\r\n" for name, value in draw(FIELDS))
    head = f"Subject: {draw(SUBJECTS)}\r\n{draw(TRACKERS)}{fields}MIME-Version: 1.0\r\n"
    kind = "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n"
    message = parse_bytes((head + kind + "\r\n" + draw(BODIES)).encode())
    recipients = tuple(dict.fromkeys(Recipient.accepted(a) for a in draw(st.lists(ADDRESSES, max_size=5))))
    reverse = draw(st.sampled_from([None, address.parse("h@t.example.com"), address.parse("Harbour")]))
    stamp = Stamp("1hf7yat00000005", 1.7e9, "gw.example.com", "gw.example.com", "127.0.0.1", "tracker")
    context = Context(draw(POLICIES), facts_of(message, lambda: text_of(message)), stamp, users=Users(draw(PEOPLE)))
    return Mail(Envelope(reverse, recipients), message), context


def again(mail, context):
    """The same mail arriving once more, under the same configuration and stamp."""
    recipients = tuple(Recipient.accepted(r.address) for r in mail.envelope.recipients)
    arrived = Mail(replace(mail.envelope, recipients=recipients), parse_bytes(bytes(mail.message)))
    facts = facts_of(arrived.message, lambda: text_of(arrived.message))
    return arrived, replace(context, facts=facts)


@settings(max_examples=400, deadline=None)
@given(cases())
def test_promise_8_twice_is_once(case):
    once = rewrite(*case)
    if once.refusal:
        return
    twice = rewrite(*again(once, case[1]))
    assert bytes(twice.message) == bytes(once.message)
    assert twice.envelope.reverse_path == once.envelope.reverse_path
    assert [r.address for r in twice.envelope.recipients] == [r.address for r in once.envelope.recipients]


@settings(max_examples=400, deadline=None)
@given(cases())
def test_promise_2_every_recipient_is_routed_or_dropped_once(case):
    mail, context = case
    left = rewrite(mail, context)
    kept = [r.origin for r in left.envelope.recipients]
    gone = [d.recipient.origin for d in left.dropped]
    accepted = [r.origin for r in mail.envelope.recipients]
    assert sorted(o for o in kept + gone if o.startswith("rcpt:")) == sorted(accepted)
    assert len(set(kept)) == len(kept)
    assert all(d.rule and d.reason for d in left.dropped)
    keys = [r.address.key for r in left.envelope.recipients]
    assert len(set(keys)) == len(keys)


@settings(max_examples=400, deadline=None)
@given(cases())
def test_promise_4_hidden_recipients_are_in_no_field(case):
    mail, context = case
    left = rewrite(mail, context)
    if left.refusal:
        return
    names = {field.name for field in left.message.fields}
    assert not names & {"bcc", "resent-to", "resent-cc", "resent-bcc", "apparently-to", "delivered-to", "x-envelope-to"}
    assert "audit@" not in "".join(f.text for f in left.message.fields if f.name != "x-odd")
    policy = context.policy
    if policy.rewrite == "full" and not policy.use_public_cc:
        shown = {
            b.address.key
            for n in ("to", "cc")
            for f in left.message.get_all(n)
            for b in mailboxes.read(f.text)
            if b.address and "=?" not in b.address.local  # a bare name outside ASCII is a word there
        }
        known = {user.login: user.address for user in reversed(context.users) if user.address}
        assert shown <= {policy.full(known.get(str(a), a)).key for a in policy.smtp_always_cc}


@settings(max_examples=400, deadline=None)
@given(cases())
def test_nobody_who_is_mute_gets_it(case):
    left = rewrite(*case)
    mute = {case[1].policy.full(user.address or address.parse(user.login)).key for user in case[1].users if user.mute}
    assert not mute & {r.address.key for r in left.envelope.recipients}


@settings(max_examples=300, deadline=None)
@given(cases())
def test_promise_4_other_fields_keep_their_bytes(case):
    mail, context = case
    left = rewrite(mail, context)
    if left.refusal:
        return
    before = [f.raw for f in mail.message.fields if f.name in ("x-odd", "x-trac-project") and f.raw.isascii()]
    assert [f.raw for f in left.message.fields if f.name in ("x-odd", "x-trac-project") and f.raw in before] == before
    lines = bytes(left.message).partition(b"\r\n\r\n")[0].split(b"\r\n")
    assert all(len(line) <= 998 for line in lines)
