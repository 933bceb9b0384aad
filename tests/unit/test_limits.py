"""Who may send as whom, to whom, and how much in a time: what [client:NAME] says, counted without a clock."""

import ipaddress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from relay.address import Address, parse
from relay.entry import Client
from relay.limits import ClientOptions, Limits, Meter, ProfileLimits, client_matches, fits, named, path_list
from relay.profiles import Match

HERE = Client("127.0.0.1", listener="127.0.0.1:2525")


@pytest.mark.parametrize(
    ("match", "client", "expected"),
    [
        ("host: 10.0.0.0/8", Client("10.1.2.3"), True),
        ("host: 10.0.0.0/8", Client("11.1.2.3"), False),
        ("host: 10.0.0.0/8", Client("::ffff:10.1.2.3"), True),
        ("host: fe80::/10", Client("fe80::1%eth0"), True),
        ("host: 0.0.0.0/0", Client("::1"), False),
        ("host: 0.0.0.0/0", Client("unix", uid=7), False),
        ("host: 192.0.2.1", Client("192.0.2.1"), True),
        ("user: Trac", Client("10.0.0.1", user="trac"), True),
        ("user: trac", Client("10.0.0.1"), False),
        ("listener: 127.0.0.1:2525", HERE, True),
        ("listener: 127.0.0.1:2526", HERE, False),
    ],
)
def test_whom_a_match_fits(match, client, expected):
    [one] = client_matches(match)
    assert fits(one, client) is expected


def test_a_local_user_is_told_by_number():
    assert fits(Match("user", "trac", uid=7), Client("unix", uid=7))
    assert not fits(Match("user", "trac", uid=7), Client("unix", uid=8))
    assert not fits(Match("user", "trac"), Client("unix", uid=0)), "no such user is nobody"


@pytest.mark.parametrize("value", ["trac", "hosts: x", "host:", "host: 10.0.0.1/8", "host: x", "project: a", ":"])
def test_what_is_no_match(value):
    with pytest.raises(ValueError):
        client_matches(value)


@pytest.mark.parametrize("value", ["@", "@-x", "a@b@c", "<a@b>", "<", "@a@b"])
def test_what_is_no_list_of_paths(value):
    with pytest.raises(ValueError):
        path_list(value)


@pytest.mark.parametrize(
    ("path", "listed", "expected"),
    [
        ("a@b.example", "a@b.example", True),
        ("a@B.Example", "a@b.example", True),
        ("A@b.example", "a@b.example", False),
        ('"a"@b.example', "a@b.example", True),
        ("x@b.example", "@B.example", True),
        ("x@sub.b.example", "@b.example", False),
        ("x@bäh.example", "@xn--bh-via.example", True),
        ("bob", "bob", True),
        ("bob", "@example.org", False),
        ("", "<>", True),
        ("", "@example.org, a@b.example", False),
        ("bob", "<>", False),
    ],
)
def test_what_a_list_names(path, listed, expected):
    assert named(parse(path) if path else Address(""), path_list(listed)) is expected


@example([0.0, 10.0, 29.303116516109114, 29.203694745872294], 1)  # rounding left a little where nothing was
@given(st.lists(st.floats(0, 30), max_size=200), st.integers(1, 20))
def test_never_more_than_twice_the_limit_in_any_span_and_always_some_after_it(pauses, limit):
    """A leaky bucket: what was saved up, and what sinks meanwhile."""
    meter, now, taken = Meter(), 0.0, []
    for pause in pauses:
        now += pause
        if meter.take(("client", "x", "minute"), limit, 60.0, now):
            taken.append(now)
    for begin in taken:
        assert sum(begin <= at < begin + 60 for at in taken) <= 2 * limit
    assert meter.take(("client", "x", "minute"), limit, 60.0, now + 60)


def test_a_clock_that_goes_back_takes_nothing_away():
    meter = Meter()
    assert meter.take(("a", "b", "c"), 1, 60.0, 100.0)
    assert not meter.take(("a", "b", "c"), 1, 60.0, 0.0)


def test_each_counts_for_itself_and_the_first_that_fits_limits():
    one = ClientOptions(client_matches("host: 10.0.0.0/8"), mails_per_minute=1, recipients_per_minute=2)
    other = ClientOptions(client_matches("host: 0.0.0.0/0"), senders=path_list("<>"), mails_per_day=1)
    limits = Limits((("one", one), ("other", other)), {"harbour": ProfileLimits(accept_per_minute=1)})
    near, far, unix = Client("10.0.0.1"), Client("192.0.2.1"), Client("unix", uid=1)
    assert limits.sender(near, parse("a@b.example"), 0) is None
    assert str(limits.sender(near, None, 1).text) == "more than 1 mails in a minute, try again later"
    assert limits.sender(far, parse("a@b.example"), 1).code == 550
    assert limits.sender(far, None, 1) is None
    assert limits.sender(far, None, 3600).text == "more than 1 mails in a day, try again later"
    assert limits.sender(far, None, 90_000) is None
    assert [limits.recipients(near, 0) is None for _ in range(3)] == [True, True, False]
    assert all(limits.sender(unix, None, 0) is None and limits.recipients(unix, 0) is None for _ in range(9))
    assert [limits.profile("harbour", 0) is None for _ in range(2)] == [True, False]
    assert [limits.profile("depot", 0) is None for _ in range(2)] == [True, True]


def test_networks_of_a_match_are_networks():
    assert [ipaddress.ip_network(one.value) for one in client_matches("host: ::1, host: 10.0.0.0/8\nhost: 192.0.2.1")]
