"""One SMTP transaction without I/O: what is said when, whose answer each reply is, and what the end of a connection means."""

import dataclasses

import pytest

from relay.address import parse
from relay.entry import Cause, Disposition, Outcome
from relay.errors import HopError
from relay.mail import Recipient
from relay.reply import Reply
from relay.transaction import Features, Plan, Stuffer, Timeouts, Transaction, all_alike

RELAYED, DEFERRED, REFUSED = Disposition.RELAYED, Disposition.DEFERRED, Disposition.REFUSED
HOST = "mx.example.net[192.0.2.1]:25"
NAMES = ("a@example.org", "b@example.org")
OK, GO, NO, LATER = Reply(250, "2.0.0", "ok"), Reply(354, "", "go"), Reply(550, "5.1.1", "no"), Reply(450, "", "later")
BYE = Reply(421, "4.3.2", "bye")


def plan(*names, pipelining=True, parameters=" SIZE=9"):
    recipients = tuple((Recipient.accepted(parse(name)), name) for name in names or NAMES)
    return Plan("s@example.com", parameters, recipients, pipelining)


def transaction(*replies, pipelining=True, names=NAMES):
    made = Transaction(plan(*names, pipelining=pipelining), HOST)
    for reply in replies:
        while made.next_commands():
            pass
        made.answer(reply)
    return made


def ended(*replies, dot=None, pipelining=True, names=NAMES):
    made = transaction(*replies, pipelining=pipelining, names=names)
    made.dot_sent = dot is not None
    if dot is not None:
        made.answer(dot)
    return made.outcomes()


def ends(outcomes):
    return [outcome.disposition for outcome in outcomes]


# --- what is said ----------------------------------------------------------------------------------------


def test_pipelined_it_is_said_at_once_and_once():
    made = transaction()
    assert made.next_commands() == (
        b"MAIL FROM:<s@example.com> SIZE=9\r\nRCPT TO:<a@example.org>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n"
    )
    assert made.next_commands() == b""
    assert made.waiting == 4
    made.answer(OK)
    assert made.waiting == 3


def test_else_one_by_one():
    made = transaction(pipelining=False)
    said = []
    for reply in (OK, NO, OK, GO):
        said.append(made.next_commands())
        assert made.next_commands() == b""
        assert made.waiting == 1
        made.answer(reply)
        assert made.waiting == 0
    assert [line[:4] for line in said] == [b"MAIL", b"RCPT", b"RCPT", b"DATA"]
    assert made.next_commands() == b""
    assert made.content_wanted


def test_one_by_one_nothing_is_said_behind_a_refused_mail():
    made = transaction(NO, pipelining=False)
    assert (made.next_commands(), made.waiting) == (b"", 0)
    assert ends(made.outcomes()) == [REFUSED, REFUSED]


def test_one_by_one_no_data_for_nobody():
    made = transaction(OK, NO, LATER, pipelining=False)
    assert (made.next_commands(), made.waiting, made.content_wanted) == (b"", 0, False)
    assert ends(made.outcomes()) == [REFUSED, DEFERRED]
    assert not made.clean, "MAIL stands: it is reset before the next one"


@pytest.mark.parametrize("address", ["a\r\nDATA@b", "a\nb", "a\0b", "\ud800"])
def test_what_can_not_be_said_is_no_transaction(address):
    for made in (Plan(address, "", plan().recipients, True), Plan("", "", ((plan().recipients[0][0], address),), True)):
        with pytest.raises(HopError, match=r"^an address can not be said in SMTP$"):
            Transaction(made, HOST)


def test_letters_of_every_script_are_said_in_utf8():
    made = Plan("ü@example.com", " SMTPUTF8", plan("é@example.org").recipients, True)
    assert (
        b"".join(made.commands()).decode()
        == "MAIL FROM:<ü@example.com> SMTPUTF8\r\nRCPT TO:<é@example.org>\r\nDATA\r\n"
    )


# --- the content -----------------------------------------------------------------------------------------


def test_content_goes_when_354_was_said_for_somebody():
    assert transaction(OK, NO, OK, GO).content_wanted
    assert not transaction(OK, NO, OK).content_wanted
    assert not transaction(OK, NO, OK, LATER).content_wanted
    assert not transaction(OK, NO, OK, GO).lone_dot_wanted


@pytest.mark.parametrize("replies", [(OK, NO, NO, GO), (NO, OK, OK, GO), (LATER, NO, OK, GO)])
def test_354_for_nobody_wants_a_lone_dot(replies):
    made = transaction(*replies)
    assert made.lone_dot_wanted
    assert not made.content_wanted


def test_a_421_ends_it_wherever_it_comes():
    for at in range(4):
        made = transaction(*(OK, OK, OK, GO)[:at], BYE)
        assert made.broken == BYE
        assert made.waiting == 0
        assert not made.content_wanted
        assert not made.lone_dot_wanted
        assert ends(made.outcomes()) == [DEFERRED, DEFERRED]
        assert all(outcome.reply.code == 421 for outcome in made.outcomes())
    assert ends(ended(OK, OK, OK, GO, dot=BYE)) == [DEFERRED, DEFERRED]


OUT_OF_STEP = [
    ((GO,), "MAIL"),
    ((OK, Reply(334, "", "x")), "RCPT"),
    ((OK, OK, Reply(300, "", "x")), "RCPT"),
    ((Reply(399, "", "x"),), "MAIL"),
    ((OK, OK, OK, Reply(300, "", "x")), "DATA"),
    ((OK, OK, OK, OK), "DATA"),
    ((OK, OK, OK, Reply(399, "", "x")), "DATA"),
    ((OK, OK, OK, Reply(353, "", "x")), "DATA"),
]


@pytest.mark.parametrize(("replies", "asked"), OUT_OF_STEP)
def test_a_server_out_of_step_is_not_spoken_to_any_more(replies, asked):
    made = transaction(*replies)
    text = f"the server is out of step: it answered {asked} with {replies[-1]}"
    assert made.broken == Reply(451, "4.5.0", text)
    assert {str(o.reply) for o in made.outcomes()} & {f"451 4.5.0 {text}"}
    assert RELAYED not in ends(made.outcomes())


def test_354_to_the_dot_is_no_answer_to_the_mail():
    made = transaction(OK, OK, OK, GO)
    made.dot_sent = True
    made.answer(GO)
    assert not made.ended
    assert made.broken == Reply(451, "4.5.0", "the server is out of step: it answered the final dot with 354 go")
    assert [(o.disposition, o.ambiguous) for o in made.outcomes()] == [(DEFERRED, True)] * 2


@pytest.mark.parametrize("code", [300, 399])
def test_nothing_between_yes_and_no_is_an_answer_to_the_dot(code):
    made = transaction(OK, OK, OK, GO)
    made.dot_sent = True
    made.answer(Reply(code, "", "x"))
    assert not made.ended
    assert made.broken


def test_400_to_a_recipient_is_in_step():
    for code in (400, 299):
        assert transaction(OK, Reply(code, "", "x")).broken is None
    assert transaction(OK, OK, OK, Reply(400, "", "x")).broken is None


def test_blanks_of_every_script_are_said():
    """Such a letter is not printable for Python, and may stand in an address all the same."""
    made = Plan("a\u3000b@example.com", "", plan().recipients, True)
    assert made.commands()[0] == "MAIL FROM:<a\u3000b@example.com>\r\n".encode()


@pytest.mark.parametrize("code", [299, 400, 499, 500, 250])
def test_what_says_yes_or_no_is_in_step(code):
    made = transaction(OK, OK, OK, GO)
    made.dot_sent = True
    made.answer(Reply(code, "", "x"))
    assert made.ended
    assert made.broken is None


# --- outcomes --------------------------------------------------------------------------------------------


def test_each_recipient_has_its_own_answer():
    first, second = ended(OK, NO, OK, GO, dot=OK)
    assert first == Outcome("rcpt:a@example.org", "a@example.org", REFUSED, NO, HOST, Cause.PEER)
    assert second == Outcome("rcpt:b@example.org", "b@example.org", RELAYED, OK, HOST, Cause.PEER)


@pytest.mark.parametrize(
    ("replies", "dot", "expected", "said"),
    [
        ((OK, OK, OK, GO), OK, [RELAYED, RELAYED], OK),
        ((OK, OK, OK, GO), Reply(299, "", "x"), [RELAYED, RELAYED], Reply(299, "", "x")),
        ((OK, OK, OK, GO), NO, [REFUSED, REFUSED], NO),
        ((OK, OK, OK, GO), LATER, [DEFERRED, DEFERRED], LATER),
        ((OK, OK, OK, NO), None, [REFUSED, REFUSED], NO),
        ((OK, OK, OK, LATER), None, [DEFERRED, DEFERRED], LATER),
        ((NO, OK, OK, GO), None, [REFUSED, REFUSED], NO),
        ((LATER, NO, OK, LATER), None, [DEFERRED, DEFERRED], LATER),
    ],
)
def test_one_answer_for_all(replies, dot, expected, said):
    outcomes = ended(*replies, dot=dot)
    assert ends(outcomes) == expected
    assert {outcome.reply for outcome in outcomes} == {said}
    assert {outcome.cause for outcome in outcomes} == {Cause.PEER}
    assert not any(outcome.ambiguous for outcome in outcomes)


def test_who_was_accepted_is_told_by_his_own_reply():
    assert transaction(OK, OK, NO, GO).content_wanted
    assert transaction(OK, OK, GO, names=["a@example.org"]).content_wanted
    assert transaction(OK, NO, GO, names=["a@example.org"]).lone_dot_wanted


def test_552_to_a_recipient_means_too_many():
    first, second = ended(OK, Reply(552, "5.5.3", "too many"), OK, GO, dot=OK)
    assert (first.disposition, first.reply) == (DEFERRED, Reply(452, "4.5.3", "too many"))
    assert second.disposition is RELAYED
    assert ends(ended(OK, OK, OK, GO, dot=Reply(552, "5.3.4", "too big"))) == [REFUSED, REFUSED]


def test_a_connection_that_breaks_keeps_the_answers_so_far():
    made = transaction(OK, NO)
    made.lost("it broke", Cause.TLS)
    first, second = made.outcomes()
    assert (first.disposition, first.cause) == (REFUSED, Cause.PEER)
    assert (second.disposition, second.reply, second.cause) == (DEFERRED, Reply(451, "4.4.2", "it broke"), Cause.TLS)
    assert (made.waiting, made.next_commands()) == (0, b"")
    assert not first.ambiguous
    assert not second.ambiguous


@pytest.mark.parametrize("known", [0, 1, 2, 3, 4])
def test_what_broke_before_the_dot_is_clear(known):
    made = transaction(*(OK, OK, OK, GO)[:known])
    made.lost("it broke")
    assert not made.content_wanted
    for outcome in made.outcomes():
        assert (outcome.disposition, outcome.ambiguous, outcome.cause) == (DEFERRED, False, Cause.CONNECT)
        assert outcome.reply == Reply(451, "4.4.2", "it broke")


def test_what_broke_behind_the_dot_is_ambiguous_for_those_who_were_accepted():
    made = transaction(OK, NO, OK, GO)
    made.dot_sent = True
    made.lost("it broke")
    assert [(o.disposition, o.ambiguous) for o in made.outcomes()] == [(REFUSED, False), (DEFERRED, True)]


def test_without_any_reply():
    outcomes = Transaction(plan(), HOST).outcomes()
    assert {(o.disposition, o.reply) for o in outcomes} == {(DEFERRED, Reply(451, "4.5.0", "no reply came"))}
    accepted = transaction(OK, OK, OK).outcomes()
    assert {(o.disposition, o.reply) for o in accepted} == {(DEFERRED, Reply(451, "4.5.0", "no reply came"))}


def test_when_the_next_mail_needs_no_reset():
    assert transaction(NO).clean
    assert not transaction().clean
    assert not transaction(OK).clean
    assert not transaction(OK, NO, NO, NO).clean
    made = transaction(OK, OK, OK, GO)
    assert not made.clean
    made.dot_sent = True
    made.answer(LATER)
    assert made.clean


def test_what_was_said_can_be_read():
    made = transaction(OK, NO, OK, GO)
    assert (list(made.replies), made.final) == ([OK, NO, OK, GO], None)
    made.dot_sent = True
    made.answer(LATER)
    assert (list(made.replies), made.final) == ([OK, NO, OK, GO], LATER)


def test_what_has_been_answered():
    assert not transaction().answered
    assert transaction(OK).answered
    assert not transaction(OK, OK, OK, GO).ended


# --- the rest --------------------------------------------------------------------------------------------


def stuffed(*pieces):
    stuffer = Stuffer()
    return b"".join(map(stuffer.feed, pieces)) + stuffer.finish()


@pytest.mark.parametrize(
    ("content", "wire"),
    [
        (b"", b".\r\n"),
        (b".", b"..\r\n.\r\n"),
        (b"a\r\n", b"a\r\n.\r\n"),
        (b"a", b"a\r\n.\r\n"),
        (b".a\r\n..b\r\nc.\r\n.\r\n", b"..a\r\n...b\r\nc.\r\n..\r\n.\r\n"),
        (b"\r\n", b"\r\n.\r\n"),
    ],
)
def test_dots_however_it_is_cut(content, wire):
    assert stuffed(content) == wire
    assert stuffed(*(bytes((octet,)) for octet in content)) == wire
    for at in range(len(content)):
        assert stuffed(content[:at], b"", content[at:]) == wire


@pytest.mark.parametrize(
    ("size", "expected"),
    [({"SIZE": "1000"}, 1000), ({"SIZE": ""}, 0), ({}, 0), ({"SIZE": "x"}, 0), ({"SIZE": "٣"}, 0), ({"SIZE": "9" * 19}, 10**19 - 1), ({"SIZE": "9" * 20}, 0)],
)  # fmt: skip
def test_the_largest_mail_that_a_peer_takes(size, expected):
    features = Features(size)
    assert features.max_size == expected
    assert ("SIZE" in features) == bool(size)
    assert "PIPELINING" not in Features()


def test_all_alike():
    recipients = [recipient for recipient, _ in plan().recipients]
    assert all_alike(recipients, NO, Cause.DNS, "mx", "rule") == tuple(
        Outcome(f"rcpt:{name}", name, REFUSED, NO, "mx", Cause.DNS, rule="rule") for name in NAMES
    )
    assert {o.host for o in all_alike(recipients, LATER, Cause.DNS)} == {""}
    assert {o.rule for o in all_alike(recipients, LATER, Cause.DNS)} == {""}
    assert ends(all_alike(recipients, LATER, Cause.DNS)) == [DEFERRED, DEFERRED]
    assert ends(all_alike(recipients, Reply(650, "", ""), Cause.DNS)) == [DEFERRED, DEFERRED]


def test_the_limits_of_rfc_5321_are_the_defaults():
    shown = {field.name: field.metadata["shown"] for field in dataclasses.fields(Timeouts)}
    assert shown == {"connect": "30s", "greeting": "5m", "command": "5m", "data_block": "3m", "final_dot": "10m"}
    assert dataclasses.astuple(Timeouts()) == (30.0, 300.0, 300.0, 180.0, 600.0)
