"""The DKIM key in DNS: a name server of ours on loopback tells each state of it."""

import asyncio

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from relay import dkim
from relay.doctor.published import published, zone_line
from relay.options import Secret
from relay.records import DnsOptions, Nameserver
from relay.resolver import Resolver
from tests.nameserver import SERVFAIL, Zone, serving


def _pem(key):
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Secret(key.private_bytes(*form).decode())


@pytest.fixture(scope="module")
def signer():
    return dkim.Signer("s1", "example.com", _pem(ed25519.Ed25519PrivateKey.generate()))


class Published:
    """`records` is what is published; None: no such name; SERVFAIL: a name server that fails."""

    def __init__(self, zone):
        self.zone = zone

    def row(self, signer, records):
        name = (f"{signer.selector}._domainkey.{signer.domain}", "TXT")
        self.zone.records = {} if records is None else {name: records}

        async def asked():
            resolver = Resolver(DnsOptions((Nameserver("127.0.0.1", self.zone.port),), 2.0))
            return await published("notification", signer, resolver)

        return asyncio.run(asked())


@pytest.fixture
def dns():
    with serving(Zone()) as zone:
        yield Published(zone)


def test_the_right_key(signer, dns):
    row = dns.row(signer, [f'"{dkim.record(signer)}"'])
    assert (row.level, row.about) == ("ok", "s1._domainkey.example.com")


@pytest.mark.parametrize(
    ("records", "words"),
    [
        (None, "no key is published: receivers take our signatures for forged"),
        (['"v=spf1 -all"'], "what is published is no key; published is v=spf1 -all"),
        (['"v=DKIM1; k=ed25519; p="'], "the published key is revoked"),
        (['"v=DKIM1; k=ed25519; p=AAAA"'], "another key is published than the one that we sign with"),
        (['"v=DKIM1; p=AAAA"', '"v=DKIM1; p=BBBB"'], "several keys are published"),
    ],
)
def test_what_is_wrong_names_the_record_to_publish(signer, dns, records, words):
    row = dns.row(signer, records)
    assert row.level == "fail" and words in row.text
    ours = dkim.record(signer)
    assert row.remedy == f'publish this TXT record:\ns1._domainkey.example.com. IN TXT ( "{ours}" )'


def test_a_key_for_another_hash_and_one_on_trial(signer, dns):
    assert "not for sha256" in dns.row(signer, [f'"{dkim.record(signer)}; h=sha1"']).text
    row = dns.row(signer, [f'"{dkim.record(signer)}; t=y"'])
    assert row.level == "warn" and "t=y" in row.text


def test_a_name_server_that_fails(signer, dns):
    row = dns.row(signer, SERVFAIL)
    assert (row.level, row.remedy) == ("warn", "dig TXT s1._domainkey.example.com")


def test_a_long_key_stands_in_several_strings_and_is_read_from_them(dns):
    long = dkim.Signer("s2", "example.com", _pem(rsa.generate_private_key(65537, 2048)))
    record = dkim.record(long)
    line = zone_line("s2._domainkey.example.com", record)
    strings = line.partition("( ")[2].removesuffix(" )")
    assert strings.count('"') == 4
    assert dns.row(long, [strings]).level == "ok"
