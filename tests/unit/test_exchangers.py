"""Which hosts take a domain's mail, decided from what DNS has said and from chance."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.exchangers import (
    MOST_ADDRESSES,
    Host,
    addresses,
    before,
    exchangers,
    is_host_name,
    literal,
    loop,
    nowhere,
    shortened,
)
from relay.records import Answer, Mx
from relay.reply import Reply


def chance(*numbers):
    return itertools.cycle(numbers or (0.5,)).__next__


def named(*records, draw=None, **answer):
    found = exchangers("a.test", Answer("a.test", records, **answer), draw or chance())
    return found if isinstance(found, Reply) else [host.name for host in found]


def test_the_lowest_preference_first():
    assert named(Mx(20, "c.test"), Mx(5, "A.test"), Mx(10, "b.test")) == ["a.test", "b.test", "c.test"]


def test_equal_ones_as_chance_says():
    equal = [Mx(10, "a.test"), Mx(10, "b.test"), Mx(10, "c.test"), Mx(5, "first.test")]
    assert named(*equal, draw=chance(0.9, 0.1, 0.5, 0.0)) == ["first.test", "b.test", "c.test", "a.test"]
    assert named(*equal, draw=chance(0.1, 0.9, 0.5, 0.0)) == ["first.test", "a.test", "c.test", "b.test"]


def test_a_host_named_twice_is_tried_once():
    assert named(Mx(10, "b.test"), Mx(5, "B.test")) == ["b.test"]


def test_without_mx_the_domain_itself_is_the_host():
    assert exchangers("a.test", Answer("alias.test", authentic=True), chance()) == (Host("alias.test", authentic=True),)


def test_a_domain_that_is_not_there():
    assert named(exists=False) == Reply(550, "5.1.2", "there is no domain a.test")


def test_RFC_7505_a_null_mx_takes_no_mail():
    assert named(Mx(0, "")) == Reply(556, "5.1.10", "a.test takes no mail (null MX, RFC 7505)")
    assert named(Mx(0, ""), Mx(10, "b.test")) == ["b.test"], "beside others it says nothing"


@pytest.mark.parametrize(
    "name", ["", "a b.test", "a\\000.test", "-a.test", "192.0.2.1", "127.1", "a..test", "a" * 64 + ".test", "a.test.", "bücher.test", "A.test", "a/b", "a" * 254]
)  # fmt: skip
def test_what_is_no_host_name(name):
    assert not is_host_name(name)


@pytest.mark.parametrize("name", ["a.test", "localhost", "a_b.c-d.e", "1.test", "xn--bcher-kva.example", "a.1b"])
def test_what_is_one(name):
    assert is_host_name(name)


def test_what_is_no_host_name_is_left_out():
    assert named(Mx(1, "192.0.2.1"), Mx(2, "evil\\010.test"), Mx(3, "b.test")) == ["b.test"]
    assert named(Mx(1, "192.0.2.1")) == Reply(550, "5.4.4", "no MX of a.test is a host name")


def test_RFC_5321_5_1_we_and_those_no_better_than_we_are_left_out():
    hosts = (Host("a.test", 5), Host("us.test", 10), Host("b.test", 10), Host("c.test", 20))
    assert before(hosts, ["us.test"]) == (Host("a.test", 5),)
    assert before(hosts, ["a.test"]) == ()
    assert before(hosts, ["elsewhere.test"]) == hosts
    assert loop("a.test").status == "5.4.6"
    assert loop("a.test").permanent


def test_no_address_anywhere():
    assert nowhere("a.test", [Host("a.test")]).status == "5.1.2"
    assert str(nowhere("a.test", [Host("b.test"), Host("c.test")])) == (
        "550 5.4.4 the mail servers of a.test have no address: b.test, c.test"
    )


def test_addresses_in_turns_and_by_chance():
    v6, v4 = ["2001:db8::1", "2001:db8::2"], ["192.0.2.1", "192.0.2.2", "192.0.2.3"]
    assert addresses(v6, v4, chance(0.1, 0.2, 0.3, 0.4, 0.5)) == (
        "2001:db8::1",
        "192.0.2.1",
        "2001:db8::2",
        "192.0.2.2",
        "192.0.2.3",
    )
    assert addresses(v6, v4, chance(0.2, 0.1, 0.5, 0.4, 0.3))[:2] == ("2001:db8::2", "192.0.2.3")
    assert addresses(v6, v4, chance(0.1), "ipv4") == tuple(v4)
    assert addresses(v6, v4, chance(0.1), "ipv6") == tuple(v6)


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "::",
        "224.0.0.1",
        "ff02::1",
        "255.255.255.255",
        "169.254.1.1",
        "fe80::1",
        "::ffff:0.0.0.0",
        "::ffff:224.0.0.1",
    ],
)
def test_addresses_that_are_nobodys_are_left_out(address):
    kinds = ([address], []) if ":" in address else ([], [address])
    assert addresses(*kinds, chance()) == ()


def test_an_ipv4_address_in_the_clothes_of_ipv6_is_one():
    assert addresses(["::ffff:192.0.2.1"], ["192.0.2.1"], chance()) == ("192.0.2.1",)


@given(st.lists(st.lists(st.sampled_from([f"192.0.2.{n}" for n in range(9)]), max_size=9), max_size=20))
def test_one_attempt_tries_so_many_addresses_and_every_host_as_long_as_there_is_room(wanted):
    hosts = [Host(f"h{n}.test", n, addresses=tuple(a)) for n, a in enumerate(wanted)]
    tried = shortened(hosts)
    assert sum(len(host.addresses) for host in tried) <= MOST_ADDRESSES
    assert all(host.addresses for host in tried)
    assert [h.name for h in tried] == [h.name for h in hosts if h.addresses][:MOST_ADDRESSES]


@given(st.lists(st.builds(Mx, st.integers(0, 65535), st.text(max_size=30)), max_size=64), st.booleans())
def test_whatever_stands_in_dns_only_host_names_come_out(records, exists):
    found = exchangers("a.test", Answer("a.test", tuple(records), exists), chance(0.3, 0.7))
    if isinstance(found, Reply):
        assert found.permanent
    else:
        assert found
        assert all(is_host_name(host.name) for host in found)
        assert [h.preference for h in found] == sorted(h.preference for h in found)


def test_address_literals():
    assert [literal(d) for d in ("[192.0.2.1]", "[ipv6:2001:db8::1]", "a.test", "")] == [
        "192.0.2.1",
        "2001:db8::1",
        "",
        "",
    ]
