"""The DKIM key in DNS: a name server of ours on loopback tells each state of it."""

import socket
import threading

import dns.asyncresolver
import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from relay import dkim
from relay.doctor.published import published, zone_line
from relay.options import Secret


def _pem(key):
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Secret(key.private_bytes(*form).decode())


@pytest.fixture(scope="module")
def signer():
    return dkim.Signer("s1", "example.com", _pem(ed25519.Ed25519PrivateKey.generate()))


@pytest.fixture
def resolver():
    """`records` is what is published; None: no such name; "": silence."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    made = dns.asyncresolver.Resolver(configure=False)
    made.nameservers, made.port, made.records = ["127.0.0.1"], sock.getsockname()[1], None

    def serve():
        while True:
            wire, client = sock.recvfrom(4096)
            if not wire:
                return
            query = dns.message.from_wire(wire)
            answer = dns.message.make_response(query)
            answer.flags |= dns.flags.RA
            if made.records == "":
                answer.set_rcode(dns.rcode.SERVFAIL)
            elif made.records is None:
                answer.set_rcode(dns.rcode.NXDOMAIN)
            else:
                answer.answer.append(dns.rrset.from_text(query.question[0].name, 60, "IN", "TXT", *made.records))
            sock.sendto(answer.to_wire(), client)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield made
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
        last.sendto(b"", ("127.0.0.1", made.port))
    thread.join(5)
    sock.close()


def test_the_right_key(run, signer, resolver):
    resolver.records = [f'"{dkim.record(signer)}"']
    row = run(lambda: published("notification", signer, resolver))
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
def test_what_is_wrong_names_the_record_to_publish(run, signer, resolver, records, words):
    resolver.records = records
    row = run(lambda: published("notification", signer, resolver))
    assert row.level == "fail" and words in row.text
    ours = dkim.record(signer)
    assert row.remedy == f'publish this TXT record:\ns1._domainkey.example.com. IN TXT ( "{ours}" )'


def test_a_key_for_another_hash_and_one_on_trial(run, signer, resolver):
    resolver.records = [f'"{dkim.record(signer)}; h=sha1"']
    assert "not for sha256" in run(lambda: published("notification", signer, resolver)).text
    resolver.records = [f'"{dkim.record(signer)}; t=y"']
    row = run(lambda: published("notification", signer, resolver))
    assert row.level == "warn" and "t=y" in row.text


def test_a_name_server_that_fails(run, signer, resolver):
    resolver.records = ""
    row = run(lambda: published("notification", signer, resolver))
    assert (row.level, row.remedy) == ("warn", "dig TXT s1._domainkey.example.com")


def test_a_long_key_stands_in_several_strings_and_is_read_from_them(run, resolver):
    long = dkim.Signer("s2", "example.com", _pem(rsa.generate_private_key(65537, 2048)))
    record = dkim.record(long)
    line = zone_line("s2._domainkey.example.com", record)
    strings = line.partition("( ")[2].removesuffix(" )")
    assert strings.count('"') == 4
    resolver.records = [strings]
    assert run(lambda: published("notification", long, resolver)).level == "ok"
