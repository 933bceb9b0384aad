"""Which hosts take submissions for a domain, decided from its SRV records, from chance, and from what vouches for them."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.exchangers import is_host_name
from relay.records import Answer, Srv
from relay.routes import chance
from relay.services import EITHER, Service, domain_of, nobody, offered, questions, target


def answers(implicit=(), starttls=(), **more):
    return {"implicit": Answer("x", tuple(implicit), **more), "starttls": Answer("x", tuple(starttls), **more)}


def hosts(found, targets=(), draw=lambda: 0.5):
    return [(one.host, one.port, one.tls) for one in offered("a.test", found, targets, draw)[0]]


def test_what_is_asked():
    assert questions("a.test", EITHER) == {
        "implicit": "_submissions._tcp.a.test",
        "starttls": "_submission._tcp.a.test",
    }
    assert questions("a.test", "implicit") == {"implicit": "_submissions._tcp.a.test"}
    assert questions("a.test", "starttls") == {"starttls": "_submission._tcp.a.test"}
    assert [domain_of(s) for s in ("srv:Bücher.test", "srv: a.test", "a.test", "unix:/s")] == [
        "xn--bcher-kva.test",
        "a.test",
        "",
        "",
    ]


def test_RFC_8314_implicit_tls_comes_first_whatever_the_priorities():
    found = answers([Srv(20, 0, 465, "b.a.test")], [Srv(1, 0, 587, "c.a.test"), Srv(0, 0, 587, "B.a.test")])
    assert hosts(found) == [("b.a.test", 465, "implicit"), ("b.a.test", 587, "starttls"), ("c.a.test", 587, "starttls")]


def test_RFC_2782_priority_then_weight_by_chance():
    rows = [Srv(2, 9, 465, "last.a.test"), Srv(1, 30, 465, "b.a.test"), Srv(1, 10, 465, "c.a.test")]
    first = Counter()
    for n in range(1000):
        found = [host for host, _, _ in hosts(answers(rows), draw=chance(str(n)))]
        assert found[2] == "last.a.test"
        first[found[0]] += 1
    assert 700 < first["b.a.test"] < 800


def test_what_is_not_offered():
    assert hosts(answers([Srv(0, 0, 0, "")], [Srv(0, 0, 587, "b.a.test")])) == [("b.a.test", 587, "starttls")]
    assert hosts(answers([Srv(0, 0, 0, "b.a.test"), Srv(0, 0, 465, "192.0.2.1"), Srv(0, 0, 465, "x y")])) == []
    assert nobody("a.test", EITHER, []) == "a.test offers no _submissions._tcp and no _submission._tcp"
    assert nobody("a.test", "implicit", []) == "a.test offers no _submissions._tcp"


def test_RFC_6186_6_a_host_outside_of_the_domain_needs_somebody_to_vouch_for_it():
    rows = [
        Srv(n, 0, 465, name)
        for n, name in enumerate(["a.test", "b.a.test", "xa.test", "smtp.evil.test", "in.provider.test"])
    ]
    ours = [("a.test", 465, "implicit"), ("b.a.test", 465, "implicit")]
    assert hosts(answers(rows)) == ours
    assert offered("a.test", answers(rows), (), float)[1] == ["xa.test", "smtp.evil.test", "in.provider.test"]
    assert hosts(answers(rows), ("provider.test",)) == ours
    assert hosts(answers(rows), (".provider.test",)) == [*ours, ("in.provider.test", 465, "implicit")]
    assert hosts(answers(rows), ("xa.test",)) == [*ours, ("xa.test", 465, "implicit")]
    assert len(hosts(answers(rows, authentic=True))) == 5
    said = "DNS names xa.test, outside of a.test and not proved by DNSSEC: if that is right, set srv_targets = xa.test"
    assert nobody("a.test", EITHER, ["xa.test"]) == said


@pytest.mark.parametrize("text", ["", ".", "a b", "192.0.2.1", "[192.0.2.1]", "*.a.test", "a@b"])
def test_what_is_no_target(text):
    with pytest.raises(ValueError):
        target(text)


def test_targets():
    assert [target(t) for t in ("SMTP.a.test", ".Bücher.test")] == ["smtp.a.test", ".xn--bcher-kva.test"]


ROWS = st.lists(st.builds(Srv, *[st.integers(0, 65535)] * 3, st.sampled_from(["a.test", "b.a.test", "evil.test", "", "1.2.3.4"]) | st.text(max_size=20)))  # fmt: skip


@given(ROWS, ROWS, st.sampled_from([(), ("evil.test",), (".a.test",)]))
def test_promise_6_whatever_stands_in_dns_only_hosts_that_are_vouched_for_come_out(one, two, targets):
    found, _ = offered("a.test", answers(one, two), targets, lambda: 0.3)
    assert all(isinstance(service, Service) and is_host_name(service.host) and service.port for service in found)
    assert {service.host for service in found} <= {"a.test", "b.a.test", *targets}
    assert len(found) <= 6
    assert all(service.tls in ("implicit", "starttls") for service in found)
