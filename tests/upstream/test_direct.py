"""Direct delivery: a scripted name server, mail servers on loopback addresses that share a port, and whom the mail reaches."""

import contextlib
import random

import pytest

from relay import discovery
from relay.admission import Listen
from relay.entry import Cause, Disposition
from relay.exchangers import MxOptions
from relay.routing import mx_from
from tests.nameserver import SERVFAIL, SILENCE

RELAYED, DEFERRED, REFUSED = Disposition.RELAYED, Disposition.DEFERRED, Disposition.REFUSED


TWO = {
    ("a.test", "MX"): ["10 mx1.a.test.", "20 mx2.a.test."],
    ("mx1.a.test", "A"): ["127.0.0.1"],
    ("mx2.a.test", "A"): ["127.0.0.2"],
}


def test_the_best_mail_server_gets_it(net):
    @net(TWO)
    async def story(net):
        async with net.peer(1) as first, net.peer(2) as second:
            outcome = await net.one()
            assert (outcome.disposition, outcome.host) == (RELAYED, f"mx1.a.test[127.0.0.1]:{net.port}")
            assert (len(first.mails), second.connections) == (1, 0)


@pytest.mark.parametrize("fault", [None, "421 4.3.2 too busy", "554 5.3.2 go away", "DROP", "GARBAGE"])
def test_the_next_one_stands_in_for_one_that_can_not_be_asked(net, fault):
    @net(TWO)
    async def story(net):
        async with contextlib.AsyncExitStack() as stack:
            if fault:
                await stack.enter_async_context(net.peer(1, script={"greeting": fault}))
            second = await stack.enter_async_context(net.peer(2))
            outcome = await net.one()
            assert (outcome.disposition, outcome.host) == (RELAYED, f"mx2.a.test[127.0.0.2]:{net.port}")
            assert len(second.mails) == 1


def test_a_word_about_the_recipient_is_final(net):
    @net(TWO)
    async def story(net):
        async with net.peer(1, script={"RCPT": "550 5.1.1 nobody"}), net.peer(2) as second:
            assert (await net.one()).disposition is REFUSED
            assert second.connections == 0


def test_nobody_can_be_asked(net):
    @net(TWO)
    async def story(net):
        outcome = await net.one()
        assert (outcome.disposition, outcome.cause) == (DEFERRED, Cause.CONNECT)
        assert "connect to mx2.a.test[127.0.0.2]" in outcome.reply.text


def test_one_transaction_for_all_recipients_of_a_domain_and_one_each_for_others(net):
    records = {**TWO, ("b.test", "MX"): ["5 mx2.a.test."]}

    @net(records)
    async def story(net):
        async with net.peer(1) as first, net.peer(2) as second:
            found = await net.send("eve@a.test", "kim@b.test", "tom@A.test", "ann@none.test")
            assert [rcpts for rcpts, _ in first.mails] == [("eve@a.test", "tom@A.test")]
            assert [rcpts for rcpts, _ in second.mails] == [("kim@b.test",)]
            assert str(found["ann@none.test"].reply) == "550 5.1.2 there is no domain none.test"


def test_equal_preferences_share_the_mail(net):
    records = {**TWO, ("a.test", "MX"): ["10 mx1.a.test.", "10 mx2.a.test."]}

    @net(records)
    async def story(net):
        net.discovery.draw = random.Random(7).random
        async with net.peer(1) as first, net.peer(2) as second:
            for _ in range(40):
                assert (await net.one()).disposition is RELAYED
            assert len(first.mails) > 8 and len(second.mails) > 8


def test_two_domains_at_one_host_share_its_connection(net):
    records = {**TWO, ("b.test", "MX"): ["5 mx1.a.test."]}

    @net(records)
    async def story(net):
        async with net.peer(1) as first:
            await net.one("eve@a.test")
            await net.one("kim@b.test")
            assert (len(first.mails), first.connections) == (2, 1)


# --- what DNS says ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "records, reply",
    [
        ({}, "550 5.1.2 there is no domain a.test"),
        ({("a.test", "MX"): ["0 ."]}, "556 5.1.10 a.test takes no mail (null MX, RFC 7505)"),
        ({("a.test", "TXT"): ["x"]}, "550 5.1.2 a.test has no mail server: neither MX nor address"),
        ({("a.test", "MX"): ["0 gone.test.", "5 away.test."]}, "550 5.4.4 the mail servers of a.test have no address: gone.test, away.test"),
        ({("a.test", "MX"): ["0 b.test."], ("b.test", "A"): ["0.0.0.0"]}, "550 5.4.4 the mail servers of a.test have no address: b.test"),
        ({("a.test", "MX"): ["0 192.0.2.1."]}, "550 5.4.4 no MX of a.test is a host name"),
        ({("a.test", "CNAME"): ["b.test."]}, "550 5.1.2 there is no domain a.test"),
    ],
)  # fmt: skip
def test_where_there_is_nobody_it_bounces_at_once(net, records, reply):
    @net(records)
    async def story(net):
        outcome = await net.one()
        assert (outcome.disposition, outcome.cause, str(outcome.reply)) == (REFUSED, Cause.DNS, reply)


@pytest.mark.parametrize(
    "records, cause, said",
    [
        ({("a.test", "MX"): SERVFAIL}, Cause.CONNECT, "MX of a.test: the resolver answers SERVFAIL"),
        ({("a.test", "MX"): SILENCE}, Cause.CONNECT, "MX of a.test: no resolver has answered within 0.5 s"),
        ({("a.test", "MX"): "REFUSED"}, Cause.DNS, "MX of a.test: the resolver answers REFUSED"),
        ({("a.test", "MX"): ["5 b.test."], ("b.test", "A"): SERVFAIL}, Cause.CONNECT, "A of b.test: the resolver answers SERVFAIL"),
        ({("a.test", "MX"): ["5 b.test.", "6 gone.test."], ("b.test", "AAAA"): SERVFAIL}, Cause.CONNECT, "AAAA of b.test: the resolver answers SERVFAIL"),
    ],
)  # fmt: skip
def test_where_dns_fails_it_waits(net, records, cause, said):
    """What fails at our own resolver is ours to mend: after the lifetime such mail is held; else it is bounced."""

    @net(records)
    async def story(net):
        outcome = await net.one()
        assert (outcome.disposition, outcome.cause, str(outcome.reply)) == (DEFERRED, cause, f"451 4.4.3 {said}")


def test_a_host_whose_address_is_not_known_now_keeps_no_other_from_the_mail(net):
    @net({**TWO, ("mx1.a.test", "A"): SERVFAIL})
    async def story(net):
        async with net.peer(2) as second:
            assert (await net.one()).disposition is RELAYED
            assert len(second.mails) == 1


@pytest.mark.parametrize("follows", [True, False])
@pytest.mark.parametrize(
    "records",
    [
        {("a.test", "A"): ["127.0.0.1"]},
        {("a.test", "CNAME"): ["b.test."], ("b.test", "MX"): ["5 c.test."], ("c.test", "A"): ["127.0.0.1"]},
        {("a.test", "CNAME"): ["b.test."], ("b.test", "A"): ["127.0.0.1"]},
        {("a.test", "MX"): ["5 b.test."], ("b.test", "CNAME"): ["c.test."], ("c.test", "A"): ["127.0.0.1"]},
        {("a.test", "MX"): ["5 b.test."], ("b.test", "AAAA"): ["::ffff:127.0.0.1"]},
    ],
    ids=["A without MX", "CNAME to MX", "CNAME to A", "MX to CNAME", "mapped"],
)
def test_other_ways_to_a_host(net, records, follows):
    @net(records, follows=follows)
    async def story(net):
        async with net.peer(1) as peer:
            assert (await net.one()).disposition is RELAYED
            assert len(peer.mails) == 1


def test_ipv6_comes_first_and_ipv4_stands_in_for_it(net, stage):
    @net({("a.test", "AAAA"): ["::1"], ("a.test", "A"): ["127.0.0.1"]})
    async def story(net):
        async with net.peer(1) as four:
            async with stage.peer(host="::1", port=net.port) as six:
                outcome = await net.one()
                assert outcome.host == f"a.test[::1]:{net.port}"
                assert (len(six.mails), four.connections) == (1, 0)
                only = mx_from(MxOptions(port=net.port, ip="ipv4"))
                assert (await net.one(mx=only)).host == f"a.test[127.0.0.1]:{net.port}"
            assert (await net.one("kim@a.test")).disposition is RELAYED
            assert len(four.mails) == 2


def test_address_literals_need_no_dns(net):
    @net({})
    async def story(net):
        async with net.peer(3) as peer:
            assert (await net.one("eve@[127.0.0.3]")).host == f"127.0.0.3[127.0.0.3]:{net.port}"
            assert [rcpts for rcpts, _ in peer.mails] == [("eve@[127.0.0.3]",)]
            assert net.zone.asked == []


def test_a_bare_name_has_no_domain(net):
    @net({})
    async def story(net):
        assert str((await net.one("eve")).reply).startswith("550 5.1.2 a bare name has no domain")


def test_an_internationalised_domain_is_asked_for_in_a_labels(net):
    @net({("xn--bcher-kva.test", "A"): ["127.0.0.1"]})
    async def story(net):
        async with net.peer(1, features=("PIPELINING",)) as peer:
            assert (await net.one("eve@bücher.test")).disposition is RELAYED
            assert peer.mails[0][0] == ("eve@xn--bcher-kva.test",)


# --- ourselves -------------------------------------------------------------------------------------

THREE = {
    **TWO,
    ("a.test", "MX"): ["10 mx1.a.test.", "20 mx2.a.test.", "30 mx3.a.test."],
    ("mx3.a.test", "A"): ["127.0.0.3"],
}


def test_RFC_5321_5_1_our_own_name_ends_the_list(net):
    @net(THREE)
    async def story(net):
        net.discovery.names = lambda: ("MX2.a.test", "")
        async with net.peer(3) as third:
            outcome = await net.one()
            assert (outcome.disposition, outcome.cause) == (DEFERRED, Cause.CONNECT), "the better one is down"
            assert third.connections == 0
        net.discovery.names = lambda: ("mx1.a.test",)
        outcome = await net.one()
        assert str(outcome.reply).startswith("554 5.4.6 the mail server of a.test is this relay itself")


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::"])
def test_RFC_5321_5_1_where_we_listen_is_ourselves(net, host):
    @net({**TWO, ("a.test", "MX"): ["10 mx1.a.test."]})
    async def story(net):
        net.discovery.listening = lambda: [Listen(host, net.port), Listen(path="/run/s"), Listen("192.0.2.9", 25)]
        assert (await net.one()).reply.status == "5.4.6"
        assert (await net.one("eve@[127.0.0.1]")).reply.status == "5.4.6"
        net.discovery.listening = lambda: [Listen(host, net.port + 1)]
        assert (await net.one()).cause is Cause.CONNECT, "another port is another program"


def test_an_address_of_somebody_else_is_not_ours():
    assert discovery._is_local("127.0.0.1")
    assert not discovery._is_local("192.0.2.1")
    assert not discovery._is_local("2001:db8::1")


# --- TLS, and no log-in ----------------------------------------------------------------------------


@pytest.mark.parametrize("certificate", ["othername", "expired", "selfsigned"])
def test_tls_is_used_where_it_is_offered_whatever_the_certificate(net, tls, certificate):
    @net(TWO)
    async def story(net):
        async with net.peer(1, certificate=tls(certificate)) as peer:
            assert (await net.one()).disposition is RELAYED
            assert b"hello" in peer.secured and b"hello" not in peer.clear
            assert peer.auths == 0 and "AUTH" not in "".join(peer.commands)


def test_mail_goes_in_plain_text_where_tls_is_broken(net, tls):
    @net(TWO)
    async def story(net):
        async with net.peer(1, certificate=tls(), script={"STARTTLS": "454 4.7.0 no"}) as peer:
            assert (await net.one()).disposition is RELAYED
            assert b"hello" in peer.clear
