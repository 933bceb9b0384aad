"""Direct delivery with DANE and MTA-STS: each host is what its records and its domain's policy say, or gets nothing."""

import contextlib
import random
import ssl
from dataclasses import replace

import pytest
import trustme

from relay import proving
from relay.discovery import Discovery
from relay.entry import Disposition
from relay.exchangers import MxOptions
from relay.mtasts import Policy
from relay.records import DnsOptions, Nameserver
from relay.resolver import Resolver
from relay.routing import mx_from, route
from relay.tlsa import Published
from relay.upstream import Upstreams
from tests.e2e.tools import free_port
from tests.nameserver import SERVFAIL, Zone, serving
from tests.upstream.test_leaks import leaks

RELAYED, DEFERRED = Disposition.RELAYED, Disposition.DEFERRED
AUTHORITY, OPTIONS = trustme.CA(), MxOptions()


def server(folder, *names, authority=AUTHORITY):
    made = authority.issue_cert(*names)
    path = folder / f"{names[0]}-{id(made)}.pem"
    made.private_key_and_cert_chain_pem.write_to_path(path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context, ssl.PEM_cert_to_DER_cert(made.cert_chain_pems[0].bytes().decode())


class Direct:
    """Two mail servers of a.test, and what DNS and policies say of them; `send` gives the attempt."""

    def __init__(self, stage, folder):
        self.stage, self.folder, self.port = stage, folder, free_port()
        self.policies, self.asked, self.records = {}, [], {}
        AUTHORITY.cert_pem.write_to_path(folder / "authority.pem")

    async def of(self, domain):
        self.asked.append(domain)
        return self.policies.get(domain)

    def tlsa(self, certificate, host="mx1.a.test"):
        record = f"3 1 1 {proving.tlsa_of(certificate).data.hex()}"
        return {(f"_{self.port}._tcp.{host}", "TLSA"): [record]}

    def zone(self, more=(), **options):
        hosts = {(f"mx{n}.a.test", "A"): [f"127.0.0.{n}"] for n in (1, 2)}
        names = {("a.test", "MX"): ["10 mx1.a.test.", "20 mx2.a.test."], ("b.test", "MX"): ["10 mx1.a.test."]}
        return Zone({**hosts, **names, **dict(more)}, **options)

    @contextlib.asynccontextmanager
    async def delivering(self, zone, options=OPTIONS):
        resolver = Resolver(DnsOptions((Nameserver("127.0.0.1", zone.port),), 0.5))
        made = Upstreams(self.stage.timeouts, "relay.test", lambda: 1e9, published=Published(lambda: resolver))
        discovery = Discovery(resolver, made, lambda: 1e9, random.random, policies=self)
        mx = replace(mx_from(replace(options, port=self.port)), ca_file=str(self.folder / "authority.pem"))

        async def send(to="eve@a.test"):
            [(way, mail)] = route(self.stage.mail(to), (mx,))
            return await discovery.attempt(way, mail)

        try:
            yield send
        finally:
            await made.close()
            await resolver.close()

    def peer(self, last, context=None, **options):
        return self.stage.peer(host=f"127.0.0.{last}", port=self.port, certificate=context, **options)


@pytest.fixture
def direct(stage, tmp_path):
    return Direct(stage, tmp_path)


def ends(attempt):
    return [outcome.disposition for outcome in attempt.outcomes]


ENFORCE = Policy("enforce", ("mx1.a.test", "*.a.test"), 1000)


def test_without_a_word_it_is_opportunistic(direct, run):
    async def story():
        context, _ = server(direct.folder, "other.test", authority=trustme.CA())
        with serving(direct.zone(proven=True)) as zone:
            async with direct.delivering(zone) as send, direct.peer(1, context):
                attempt = await send()
                assert (ends(attempt), attempt.tls_level) == ([RELAYED], "opportunistic")
            async with direct.delivering(zone) as send, direct.peer(1):
                assert (await send()).tls_level == "(opportunistic:none)"

    run(story)


@pytest.mark.parametrize("right", [True, False])
def test_dane_decides_where_the_whole_way_is_proved(direct, run, right):
    async def story():
        context, shown = server(direct.folder, "other.test", authority=trustme.CA())
        _, another = server(direct.folder, "mx1.a.test")
        records = direct.tlsa(shown if right else another)
        with serving(direct.zone(records, proven=True)) as zone:
            async with direct.delivering(zone) as send, direct.peer(1, context) as peer:
                attempt = await send()
                assert ends(attempt) == [RELAYED if right else DEFERRED]
                if right:
                    assert attempt.tls_level == "dane"
                else:
                    # mx2 was tried instead, and is not there.
                    assert peer.mails == [] and leaks(peer.clear + peer.secured) == []
        with serving(direct.zone(records)) as zone:
            async with direct.delivering(zone) as send, direct.peer(1, context):
                assert (await send()).tls_level == "opportunistic", "nobody proves it"
        with serving(direct.zone(records, proven=True)) as zone:
            async with direct.delivering(zone, MxOptions(dane=False)) as send, direct.peer(1, context):
                assert (await send()).tls_level == "opportunistic", "dane = false"

    run(story)


def test_a_host_whose_records_do_not_come_is_passed_over(direct, run):
    async def story():
        context, shown = server(direct.folder, "mx1.a.test")
        records = {(f"_{direct.port}._tcp.mx1.a.test", "TLSA"): SERVFAIL, **direct.tlsa(shown, "mx2.a.test")}
        with serving(direct.zone(records, proven=True)) as zone:
            async with direct.delivering(zone) as send, direct.peer(1, context) as one, direct.peer(2, context) as two:
                attempt = await send()
                assert (ends(attempt), attempt.tls_level) == ([RELAYED], "dane")
                assert (one.connections, len(two.mails)) == (0, 1)
            async with direct.delivering(zone) as send, direct.peer(1, context) as one:
                attempt = await send()
                assert ends(attempt) == [DEFERRED]
                assert one.connections == 0

    run(story)


CERTIFICATES = {
    "good": (lambda f: server(f, "mx1.a.test"), True),
    "for another name": (lambda f: server(f, "a.test"), False),
    "of nobody's authority": (lambda f: server(f, "mx1.a.test", authority=trustme.CA()), False),
    "none": (lambda f: (None, b""), False),
}


@pytest.mark.parametrize("name", CERTIFICATES)
def test_a_policy_to_enforce_is_a_demand(direct, run, name):
    make, good = CERTIFICATES[name]
    direct.policies["a.test"] = ENFORCE

    async def story():
        context, _ = make(direct.folder)
        with serving(direct.zone()) as zone:
            async with direct.delivering(zone) as send, direct.peer(1, context) as peer:
                attempt = await send()
                assert (ends(attempt), bool(peer.mails)) == ([RELAYED if good else DEFERRED], good)
                assert attempt.tls_level == ("mta-sts" if good else "mta-sts?"), "mx2 is not there"
                if not good:
                    assert leaks(peer.clear + peer.secured) == []
            assert direct.asked == ["a.test"]

    run(story)


@pytest.mark.parametrize("policy", [Policy("testing", ("elsewhere.test",), 1000), None])
def test_one_in_testing_only_tells(direct, run, policy, caplog):
    direct.policies["a.test"] = policy

    async def story():
        with serving(direct.zone()) as zone:
            async with direct.delivering(zone) as send, direct.peer(1):
                with caplog.at_level("INFO"):
                    assert (await send()).tls_level == "(opportunistic:none)"
        assert ("which is in testing, mx1.a.test is none of its mail servers" in caplog.text) == (policy is not None)

    run(story)


def test_a_host_that_the_policy_does_not_name_is_never_asked(direct, run):
    direct.policies["a.test"] = Policy("enforce", ("mx2.a.test",), 1000)

    async def story():
        context, shown = server(direct.folder, "mx1.a.test", "mx2.a.test")
        with serving(direct.zone()) as zone:
            async with direct.delivering(zone) as send, direct.peer(1, context) as one, direct.peer(2, context) as two:
                assert (await send()).tls_level == "mta-sts"
                assert (one.connections, len(two.mails)) == (0, 1)
            async with direct.delivering(zone) as send, direct.peer(1, context) as one:
                assert ends(await send()) == [DEFERRED]
                assert one.connections == 0
        with serving(direct.zone(direct.tlsa(shown), proven=True)) as zone:
            async with direct.delivering(zone) as send, direct.peer(1, context):
                assert (await send()).tls_level == "dane", "DANE comes first"

    run(story)


def test_a_policy_never_softens_dane(direct, run):
    """RFC 8461 2: a certificate that an authority signed is worth nothing where TLSA records name another one."""
    direct.policies["a.test"] = ENFORCE

    async def story():
        context, _ = server(direct.folder, "mx1.a.test")
        _, another = server(direct.folder, "mx1.a.test")
        for records in (direct.tlsa(another), {(f"_{direct.port}._tcp.mx1.a.test", "TLSA"): SERVFAIL}):
            with serving(direct.zone(records, proven=True)) as zone:
                async with direct.delivering(zone) as send, direct.peer(1, context) as peer:
                    assert ends(await send()) == [DEFERRED]
                    assert peer.mails == []
        useless = {(f"_{direct.port}._tcp.mx1.a.test", "TLSA"): ["1 1 1 " + "00" * 32]}
        with serving(direct.zone(useless, proven=True)) as zone:
            async with direct.delivering(zone) as send, direct.peer(1, context):
                assert (await send()).tls_level == "mta-sts"

    run(story)


def test_a_connection_of_a_careless_domain_never_carries_a_careful_ones_mail(direct, run):
    """Both domains have the same mail server; what its connection has to be is the domain's own word."""
    direct.policies["a.test"] = ENFORCE

    async def story():
        context, _ = server(direct.folder, "other.test")
        with serving(direct.zone()) as zone:
            async with direct.delivering(zone) as send, direct.peer(1, context) as peer:
                assert (await send("kim@b.test")).tls_level == "opportunistic"
                assert ends(await send("eve@a.test")) == [DEFERRED]
                assert [rcpts for rcpts, _ in peer.mails] == [("kim@b.test",)]

    run(story)


def test_policies_are_asked_for_the_domains_that_we_deliver_to_alone(direct, run):
    async def story():
        with serving(direct.zone()) as zone:
            async with direct.delivering(zone, MxOptions(mta_sts=False)) as send, direct.peer(1):
                assert ends(await send()) == [RELAYED]
            async with direct.delivering(zone) as send, direct.peer(1):
                assert ends(await send("eve@[127.0.0.1]")) == [RELAYED]
                assert direct.asked == []
                await send("kim@b.test")
                assert direct.asked == ["b.test"]
                await send("kim@none.test")
                assert direct.asked == ["b.test"]

    run(story)
