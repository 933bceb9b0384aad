"""Where mail goes, domain by domain at mx; and where it goes when a next hop can not be reached: only what no hop has said a word about."""

import pytest

from relay.address import parse
from relay.dkim import Signer
from relay.entry import Attempt, Cause, Disposition, Outcome
from relay.exchangers import MxOptions
from relay.mail import Envelope, Mail, Recipient
from relay.message import parse_bytes
from relay.options import Secret
from relay.reply import Reply
from relay.routing import FALLS_OVER, Route, Upstream, instead, mx_from, route

A, B, C = Upstream("a"), Upstream("b"), Upstream("c")
ANN, BOB = (Recipient.accepted(parse(f"{name}@example.org")) for name in ("ann", "bob"))
MAIL = Mail(Envelope(None, (ANN, BOB)), parse_bytes(b"\r\n"))


LATER = Reply(450, "4.2.1", "x")


def outcome(recipient, disposition=Disposition.DEFERRED, cause=Cause.CONNECT, ambiguous=False, reply=LATER):
    return Outcome(recipient.origin, "", disposition, reply, cause=cause, ambiguous=ambiguous)


def after(*outcomes, fallbacks=(B, C)):
    """The route that follows, None for none, and who goes there."""
    found = instead(Route(A, fallbacks), MAIL, Attempt(0.0, "a", outcomes))
    if not found:
        return None, []
    [(following, mail)] = found
    return following, list(mail.envelope.recipients)


def test_every_next_hop_in_order():
    [(made, _)] = route(MAIL, (A, B, C))
    assert made.candidates == (A, B, C)
    following, left = after(outcome(ANN), outcome(BOB))
    assert (following, left) == (Route(B, (C,)), [ANN, BOB])
    assert after(outcome(ANN), fallbacks=()) == (None, [])


def test_what_stands_in_signs_as_the_first_would():
    signer = Signer("s1", "example.com", Secret("key"))
    [(made, mail)] = route(MAIL, (A, B), signer)
    [(following, _)] = instead(made, mail, Attempt(0.0, "a", (outcome(ANN), outcome(BOB))))
    assert following.signer == signer


@pytest.mark.parametrize("cause", Cause)
def test_only_what_concerns_the_way_there_goes_elsewhere(cause):
    _, left = after(outcome(ANN, cause=cause), outcome(BOB, cause=cause))
    assert left == ([ANN, BOB] if cause in FALLS_OVER else [])
    assert FALLS_OVER == (Cause.CONNECT, Cause.DNS, Cause.TLS, Cause.AUTH, Cause.TOKEN, Cause.PAUSED)


def test_never_after_an_answer_and_never_where_it_may_have_arrived():
    assert after(outcome(ANN, Disposition.REFUSED), outcome(BOB))[1] == [BOB]
    assert after(outcome(ANN, Disposition.RELAYED), outcome(BOB, cause=Cause.PEER))[1] == []
    assert after(outcome(ANN, ambiguous=True), outcome(BOB))[1] == [BOB], "promise 3"


@pytest.mark.parametrize(
    "reply, passed_on",
    [
        (Reply(421, "", "closing"), True),
        (Reply(421, "4.7.0", "too many connections"), True),
        (Reply(451, "4.3.0", "mail server temporarily rejected message"), True),
        (Reply(452, "4.3.1", "insufficient system storage"), True),
        (Reply(451, "4.4.2", "bad connection"), True),
        (Reply(451, "", "temporary local problem"), True),
        (Reply(452, "", "insufficient system storage"), True),
        (Reply(450, "", "mailbox busy"), False),
        (Reply(450, "4.2.0", "greylisted"), False),
        (Reply(451, "4.7.1", "greylisted, come again"), False),
        (Reply(452, "4.5.3", "too many recipients"), False),
        (Reply(452, "4.2.2", "mailbox full"), False),
    ],
)
def test_a_host_that_has_no_time_is_stood_in_for(reply, passed_on):
    left = after(outcome(ANN, cause=Cause.PEER, reply=reply), outcome(BOB, Disposition.RELAYED))[1]
    assert left == ([ANN] if passed_on else [])
    assert after(outcome(ANN, cause=Cause.PEER, reply=reply, ambiguous=True))[1] == [], "promise 3"


# --- direct delivery ---------------------------------------------------------------------------------

MX = mx_from(MxOptions())
EVE, KIM, TOM = (Recipient.accepted(parse(a)) for a in ("eve@Example.ORG", "kim@bücher.example", "tom@[192.0.2.1]"))
WIDE = MAIL.to(ANN, KIM, EVE, TOM)


def test_direct_delivery_is_one_transaction_for_each_domain():
    found = [(made.domain, list(mail.envelope.recipients)) for made, mail in route(WIDE, (MX, B))]
    assert found == [("example.org", [ANN, EVE]), ("xn--bcher-kva.example", [KIM]), ("[192.0.2.1]", [TOM])]


def test_what_stands_in_for_a_server_is_split_where_it_is_direct_delivery():
    [(made, mail)] = route(WIDE, (A, MX, B))
    assert (made.domain, mail) == ("", WIDE)
    tried = Attempt(0.0, "a", tuple(outcome(r) for r in (ANN, KIM, EVE)))
    found = instead(made, mail, tried)
    assert [(made.domain, list(mail.envelope.recipients)) for made, mail in found] == [
        ("example.org", [ANN, EVE]),
        ("xn--bcher-kva.example", [KIM]),
    ]
    assert {(made.upstream, made.fallbacks) for made, _ in found} == {(MX, (B,))}


def test_direct_delivery_knows_no_log_in_and_asks_for_no_proof():
    assert not MX.logs_in
    assert (MX.tls, MX.port, str(MX)) == (
        "opportunistic",
        25,
        "the recipients' own mail servers, port 25 (opportunistic)",
    )
