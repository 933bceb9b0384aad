"""Which next hops serve which recipient ([route:NAME]), and how those with a weight share the mail."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.address import parse
from relay.dkim import Signer
from relay.exchangers import MxOptions, by_weight
from relay.mail import Envelope, Mail, Recipient
from relay.message import parse_bytes
from relay.options import Secret
from relay.policy import Policy
from relay.profiles import Profile
from relay.routes import Condition, Rule, chance, conditions, fits, in_order, routed
from relay.routing import Upstream, mx_from

MAIN, SPARE, HR, PARTNER = (Upstream(name, f"{name}.test") for name in ("main", "spare", "hr", "partner"))
MX = mx_from(MxOptions())
PROFILE = Profile("notification", Policy(), MAIN, (SPARE,))


def mail(*rcpt, sender="bugs@example.com"):
    recipients = tuple(Recipient.accepted(parse(r)) for r in rcpt)
    return Mail(Envelope(parse(sender) if sender else None, recipients), parse_bytes(b"\r\n"))


def ways(sent, *rules, profile=PROFILE, seed="x"):
    """By route and next hop: to whom."""
    return {
        (route.name, route.upstream.name, route.domain): [str(r.address) for r in part.envelope.recipients]
        for route, part in routed(sent, rules, profile, seed)
    }


def rule(name, match, *hops, profiles=()):
    return Rule(name, hops, conditions(match), profiles)


# --- conditions ------------------------------------------------------------------------------------


def test_a_kind_holds_until_the_next_one():
    assert conditions("recipient: a.example, .B.example\n Kim@Bücher.example,sender:<>\n\n sender: x@y.example") == (
        Condition("recipient", "a.example"),
        Condition("recipient", ".b.example"),
        Condition("recipient", "kim@xn--bcher-kva.example"),
        Condition("sender", ""),
        Condition("sender", "x@y.example"),
    )
    assert [str(c) for c in conditions("sender: <>, recipient: .b.example")] == ["sender: <>", "recipient: .b.example"]


FORMS = "sender: or recipient: and an address, a domain, or .DOMAIN for all below it; or sender: <>"


@pytest.mark.parametrize(
    "text, said",
    [
        ("a.example", f"'a.example' begins with no kind of match: write {FORMS}"),
        ("recipent: a.example", "'recipent: a.example' begins with no kind of match: write recipient:"),
        ("from: a.example", f"'from: a.example' begins with no kind of match: write {FORMS}"),
        ("recipient:", f"recipient: says nobody: write {FORMS}"),
        ("recipient: <>", "'<>' is neither an address nor a domain: bad domain"),
        ("recipient: *.example", "'*.example' is neither an address nor a domain: bad domain"),
        ("recipient: a..example", "'a..example' is neither an address nor a domain: bad domain"),
        ("recipient: .", "'.' is neither an address nor a domain: bad domain"),
        ("sender: a@b@c", "'a@b@c' is neither an address nor a domain: bad domain"),
        ("recipient: a b", "'a b' is neither an address nor a domain: bad domain"),
    ],
)
def test_what_is_no_condition(text, said):
    with pytest.raises(ValueError) as fault:
        conditions(text)
    assert str(fault.value) == said


@pytest.mark.parametrize(
    "condition, address, holds",
    [
        ("recipient: a.example", "eve@A.example", True),
        ("recipient: a.example", "eve@b.a.example", False),
        ("recipient: a.example", "eve@xa.example", False),
        ("recipient: .a.example", "eve@b.a.example", True),
        ("recipient: .a.example", "eve@c.b.a.example", True),
        ("recipient: .a.example", "eve@a.example", False),
        ("recipient: .a.example", "eve@xa.example", False),
        ("recipient: Eve@a.example", "eVE@a.EXAMPLE", True),
        ("recipient: eve@a.example", "adam@a.example", False),
        ("recipient: xn--bcher-kva.example", "eve@bücher.example", True),
        ("recipient: eve@a.example", "eve", False),
        ("recipient: a.example", "eve", False),
        ("sender: <>", "eve@a.example", False),
        ("sender: <>", None, True),
        ("sender: a.example", None, False),
    ],
)
def test_whom_a_condition_fits(condition, address, holds):
    [made] = conditions(condition)
    assert fits(made, parse(address) if address else None) is holds


# --- routes ----------------------------------------------------------------------------------------


def test_without_a_route_the_profile_decides():
    assert ways(mail("eve@a.example")) == {("", "main", ""): ["eve@a.example"]}
    other = rule("other", "recipient: b.example", HR)
    assert ways(mail("eve@a.example"), other) == {("", "main", ""): ["eve@a.example"]}


def test_each_recipient_by_the_first_route_that_fits_him():
    partner = rule("partner", "recipient: partner.example, .partner.example", PARTNER)
    late = rule("late", "recipient: partner.example, eve@a.example", HR)
    sent = mail("eve@a.example", "tom@partner.example", "kim@b.example", "ann@x.partner.example")
    assert ways(sent, partner, late) == {
        ("late", "hr", ""): ["eve@a.example"],
        ("partner", "partner", ""): ["tom@partner.example", "ann@x.partner.example"],
        ("", "main", ""): ["kim@b.example"],
    }


def test_a_sender_has_next_hops_and_so_a_log_in_of_his_own():
    personnel = rule("personnel", "sender: hr@example.com", HR, SPARE)
    assert ways(mail("eve@a.example", sender="hr@example.com"), personnel) == {
        ("personnel", "hr", ""): ["eve@a.example"]
    }
    assert ways(mail("eve@a.example"), personnel) == {("", "main", ""): ["eve@a.example"]}
    [(made, _)] = routed(mail("eve@a.example", sender="HR@example.com"), [personnel], PROFILE, "x")
    assert made.candidates == (HR, SPARE), "not those of the profile"


def test_reports_have_no_sender():
    reports = rule("reports", "sender: <>", SPARE)
    assert ways(mail("eve@a.example", sender=None), reports) == {("reports", "spare", ""): ["eve@a.example"]}
    assert ways(mail("eve@a.example"), reports) == {("", "main", ""): ["eve@a.example"]}


def test_promise_7_a_route_of_one_profile_serves_no_other():
    own = rule("own", "recipient: a.example", HR, profiles=("harbour",))
    every = Rule("every", (PARTNER,), (), ("harbour", "notification"))
    harbour = Profile("harbour", Policy(), SPARE)
    assert ways(mail("eve@a.example"), own) == {("", "main", ""): ["eve@a.example"]}
    assert ways(mail("eve@a.example"), own, profile=harbour) == {("own", "hr", ""): ["eve@a.example"]}
    assert ways(mail("eve@a.example"), own, every) == {("every", "partner", ""): ["eve@a.example"]}


def test_direct_delivery_by_a_route_goes_domain_by_domain():
    direct = rule("direct", "recipient: a.example, b.example", MX, SPARE)
    assert ways(mail("eve@a.example", "kim@b.example", "tom@c.example", "ann@A.example"), direct) == {
        ("direct", "mx", "a.example"): ["eve@a.example", "ann@A.example"],
        ("direct", "mx", "b.example"): ["kim@b.example"],
        ("", "main", ""): ["tom@c.example"],
    }


def test_every_route_signs_as_the_profile_does():
    signer = Signer("s1", "example.com", Secret("key"))
    profile = Profile(
        "notification", Policy(dkim_selector="s1", dkim_domain="example.com", dkim_key=Secret("key")), MAIN
    )
    found = routed(mail("eve@a.example", "kim@b.example"), [rule("r", "recipient: a.example", HR)], profile, "x")
    assert [made.signer for made, _ in found] == [signer, signer]


ADDRESSES = st.sampled_from(["a@a.example", "b@a.example", "c@b.example", "d@x.b.example", "e@[192.0.2.1]", "f"])
RULES = st.lists(
    st.builds(
        Rule,
        st.sampled_from("pqr"),
        st.lists(st.sampled_from([MAIN, SPARE, MX, HR]), min_size=1, max_size=3, unique=True).map(tuple),
        st.lists(
            st.sampled_from(conditions("recipient: a.example, .b.example, f@x, a@a.example\nsender: <>")), max_size=3
        ).map(tuple),
        st.sampled_from([(), ("notification",), ("other",)]),
    ),
    max_size=4,
)


@given(st.lists(ADDRESSES, max_size=6, unique=True), RULES)
def test_promise_2_every_recipient_is_on_exactly_one_route(rcpt, rules):
    found = routed(mail(*rcpt), rules, PROFILE, "x")
    assert sorted(str(r.address) for _, part in found for r in part.envelope.recipients) == sorted(rcpt)
    assert all(part.envelope.recipients for _, part in found)
    assert all(
        bool(made.domain) or made.upstream != MX or str(part.envelope.recipients[0].address) == "f"
        for made, part in found
    )


# --- weights ---------------------------------------------------------------------------------------


def heavy(name, weight):
    return Upstream(name, weight=weight)


def order(*hops, seed="x"):
    return "".join(hop.name for hop in in_order(hops, seed))


def test_without_weights_the_order_is_the_one_written():
    assert order(*map(Upstream, "abc")) == "abc"
    assert order(heavy("a", 1), Upstream("b"), heavy("c", 9)) == "abc", "a weight without a neighbour says nothing"


def test_neighbours_with_a_weight_share_the_mail_by_it():
    hops = heavy("a", 3), heavy("b", 1), Upstream("c"), heavy("d", 1), heavy("e", 1)
    orders = Counter(order(*hops, seed=str(n)) for n in range(2000))
    first = Counter(found[0] for found, number in orders.items() for _ in range(number))
    assert set(first) == {"a", "b"}
    assert 0.7 < first["a"] / 2000 < 0.8
    assert all(found[2] == "c" and set(found[3:]) == {"d", "e"} for found in orders)
    later = Counter(found[3] for found, number in orders.items() for _ in range(number))
    assert 0.46 < later["d"] / 2000 < 0.54


def test_a_mail_keeps_its_order_at_every_attempt():
    hops = heavy("a", 1), heavy("b", 1)
    for seed in map(str, range(20)):
        assert len({order(*hops, seed=seed) for _ in range(5)}) == 1
    [(first, _)] = routed(mail("eve@a.example"), (), Profile("notification", Policy(), hops[0], hops[1:]), "0")
    [(second, _)] = routed(mail("eve@a.example"), (), Profile("notification", Policy(), hops[0], hops[1:]), "0")
    assert first == second
    assert set(first.candidates) == set(hops), "the other one stands in"


def test_RFC_2782_a_weight_of_nothing_has_a_small_chance():
    found = Counter(by_weight([0, 10], lambda w: w, chance(str(n)))[0] for n in range(3000))
    assert found[0] < 30
    assert Counter(by_weight("ab", lambda _: 0, chance(str(n)))[0] for n in range(2000))["a"] > 800


@given(st.lists(st.integers(0, 65535), max_size=8), st.floats(0, 1))
def test_an_order_by_weight_leaves_nobody_out(weights, number):
    assert sorted(by_weight(weights, lambda w: w, lambda: number)) == sorted(weights)
