"""Admission: who may send, how much, and what a header must not hold."""

from dataclasses import replace

import pytest

from relay import admission
from relay.admission import Listen, ListenerOptions, listen_list, networks
from relay.message import parse_bytes

OPTIONS = replace(ListenerOptions(), allow=networks("127.0.0.0/8, ::1/128 192.0.2.0/24,2001:db8::/32"))


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("127.0.0.1", True),
        ("127.255.255.254", True),
        ("::1", True),
        ("192.0.2.255", True),
        ("192.0.3.0", False),
        ("::ffff:127.0.0.1", True),
        ("::ffff:192.0.2.1", True),
        ("::ffff:198.51.100.1", False),
        ("2001:db8:1::2", True),
        ("2001:db9::", False),
        ("fe80::1%eth0", False),
        ("0.0.0.0", False),
    ],
)
def test_networks(address, allowed):
    refusal = admission.client_allowed(admission.unmapped(address), OPTIONS)
    assert (refusal is None) is allowed
    if refusal:
        assert (refusal.code, refusal.status) == (554, "5.7.1")


def test_a_link_local_client_is_allowed_by_its_network():
    options = replace(OPTIONS, allow=networks("fe80::/10"))
    assert admission.client_allowed("fe80::1%eth0", options) is None


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("127.0.0.1:2525", [Listen("127.0.0.1", 2525)]),
        ("[::1]:2525 localhost:25", [Listen("::1", 2525), Listen("localhost", 25)]),
        ("unix:/run/x.sock, 127.0.0.1:0", [Listen(path="/run/x.sock"), Listen("127.0.0.1", 0)]),
    ],
)
def test_listen(value, found):
    assert list(listen_list(value)) == found
    assert list(listen_list(" ".join(map(str, found)))) == found


@pytest.mark.parametrize(
    "value", ["", "2525", "host", "::1:25", "[::1]", "host:99999", "unix:", "host:25:26", "[x]:25"]
)
def test_listen_that_is_none(value):
    with pytest.raises(ValueError):
        listen_list(value)


def test_limits_are_told_with_their_codes():
    options = replace(OPTIONS, max_size=100, max_recipients=2, max_per_host=3)
    assert admission.declared_size(100, options) is None
    assert str(admission.declared_size(101, options)) == "552 5.3.4 mail is larger than 100 octets"
    assert admission.recipients(1, options) is None
    assert str(admission.recipients(2, options)) == "452 4.5.3 more than 2 recipients"
    assert admission.connections_of_host(3, options) is None
    assert admission.connections_of_host(4, options).code == 421
    assert admission.connections_of_host(10**6, replace(options, max_per_host=0)) is None


@pytest.mark.parametrize(
    ("header", "reply"),
    [
        (b"Received: x\r\n" * 99, None),
        (b"Received: x\r\n" * 100, "554 5.4.6 too many hops: 100 Received fields"),
        (b"received: x\r\n" * 100, "554 5.4.6 too many hops: 100 Received fields"),
        (b"X-Tracker-Relay: GW.example.com id=1\r\n", "554 5.4.6 mail loop: it has passed here before"),
        (b"X-Tracker-Relay: other.example.com id=1\r\nx-tracker-relay: gw.example.com\r\n", "554 5.4.6 mail loop: it has passed here before"),
        (b"X-Tracker-Relay: gw.example.com.evil id=1\r\n", None),
        (b"X-Tracker-Relay:\r\n", None),
        (b"X: y\r\n" * 1000, None),
        (b"X: y\r\n" * 1001, "552 5.3.4 header of more than 1000 fields or 262144 octets"),
        (b"X: " + b"y" * (65536 - 5) + b"\r\n", None),
        (b"X: " + b"y" * (65536 - 4) + b"\r\n", "552 5.3.4 header field of more than 65536 octets"),
    ],
)  # fmt: skip
def test_headers(header, reply):
    refusal = admission.content(parse_bytes(header + b"\r\nbody\r\n"), OPTIONS, "gw.example.com")
    assert (refusal and str(refusal)) == reply


@pytest.mark.parametrize(
    ("listen", "reachable"),
    [
        ("0.0.0.0:25", "127.0.0.1:25"),
        ("*:25", "127.0.0.1:25"),
        ("[::]:25", "[::1]:25"),
        ("[2001:db8::1]:25", "[2001:db8::1]:25"),
        ("localhost:25", "localhost:25"),
        ("unix:/run/x.sock", "unix:/run/x.sock"),
        ("systemd:x", "systemd:x"),
    ],
)
def test_where_a_client_of_this_host_reaches_a_socket(listen, reachable):
    [one] = listen_list(listen)
    assert str(one.reachable) == reachable
