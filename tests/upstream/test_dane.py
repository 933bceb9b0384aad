"""DANE against a next hop: what its TLSA records name gets the mail, and nobody else; DNS is scripted."""

import datetime
import hashlib
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
import trustme

from relay import dane, proving
from relay.entry import Cause, Disposition
from relay.errors import DnsFault
from relay.records import Answer, Tlsa
from relay.routing import Route
from relay.tlsa import Published
from relay.upstream import Upstreams
from tests.unit.test_tlsa import Dns, of
from tests.upstream.test_tls_and_auth import clean, ends

RELAYED, DEFERRED = Disposition.RELAYED, Disposition.DEFERRED
PAST = datetime.datetime(2020, 1, 1)


class House:
    """Certificates of one authority: `leaf` for a name, `chain` as the server presents it."""

    def __init__(self, folder):
        self.folder = folder
        self.root = trustme.CA()
        self.middle = self.root.create_child_ca()

    def server(self, name="localhost", *, presents=(), issuer=None, **options):
        leaf = (issuer or self.middle).issue_cert(name, **options)
        path = self.folder / f"{id(leaf)}.pem"
        pems = [leaf.private_key_pem, leaf.cert_chain_pems[0], *(ca.cert_pem for ca in presents)]
        path.write_bytes(b"".join(pem.bytes() for pem in pems))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return der(leaf.cert_chain_pems[0]), context


def der(pem):
    return ssl.PEM_cert_to_DER_cert(pem.bytes().decode())


@pytest.fixture(scope="session")
def house(tmp_path_factory):
    return House(tmp_path_factory.mktemp("dane"))


def ee(certificate):
    return proving.tlsa_of(certificate)


def ta(authority):
    return Tlsa(dane.TA, dane.WHOLE, 1, hashlib.sha256(der(authority.cert_pem)).digest())


@pytest.fixture
def attempt(stage, run):
    """One attempt at a peer with this certificate, whose zone has these TLSA records."""

    def attempted(context, *records, tls="starttls", proved=True, zone=None, server="localhost", look=None, **options):
        async def story():
            async with stage.peer(certificate=context, **options) as peer:
                at = f"_{peer.port}._tcp.{server}"
                known = {
                    (server, "A"): of(server, "127.0.0.1", proved=proved),
                    (server, "AAAA"): of(server, proved=proved),
                }
                known[at, "TLSA"] = of(at, *records, proved=proved)
                known.update({(at if key == "TLSA" else server, key): value for key, value in (zone or {}).items()})
                hop = stage.secured(peer, tls=tls, proof="dane", ca_file="")
                if tls == "opportunistic":
                    hop = stage.hop(peer, tls=tls, proof="dane", ca_file="")
                upstreams = Upstreams(
                    stage.timeouts, "relay.example.com", lambda: 1e9, published=Published(lambda: Dns(known))
                )
                try:
                    found = await upstreams.attempt(Route(hop), stage.mail())
                finally:
                    await upstreams.close()
                if ends(found) == [DEFERRED]:
                    assert clean(peer)
                    assert not peer.mails
                    assert b"AUTH" not in peer.secured
                if look:
                    look(peer)
                return found

        return run(story)

    return attempted


@pytest.mark.parametrize("tls", ["starttls", "implicit", "opportunistic"])
@pytest.mark.parametrize("odd", [{}, {"name": "other.test"}, {"not_after": PAST}])
def test_dane_ee_names_the_certificate_whatever_it_says(attempt, house, tls, odd):
    leaf, context = house.server(**odd)
    done = attempt(context, ee(leaf), tls=tls, implicit=tls == "implicit")
    mode = "starttls" if tls == "opportunistic" else tls
    assert (ends(done), done.tls, done.tls_level) == ([RELAYED], f"TLSv1.3 {mode} dane", "dane")


@pytest.mark.parametrize("tls", ["starttls", "opportunistic"])
def test_another_certificate_gets_nothing(attempt, house, tls):
    leaf, context = house.server()
    other, _ = house.server()
    done = attempt(context, ee(other), tls=tls)
    [outcome] = done.outcomes
    assert (ends(done), outcome.cause, done.tls_level) == ([DEFERRED], Cause.TLS, "!dane")
    assert outcome.reply.text == (
        f"TLS failed: no TLSA record of localhost fits the certificate, which is {dane.shown(ee(leaf))}"
    )


@pytest.mark.parametrize("anchor", ["middle", "root"])
@pytest.mark.parametrize("implicit", [False, True])
def test_dane_ta_names_an_authority_that_the_server_presents(attempt, house, anchor, implicit):
    _, context = house.server(presents=[house.middle, house.root])
    tls = "implicit" if implicit else "starttls"
    connections = []
    done = attempt(
        context,
        ta(getattr(house, anchor)),
        tls=tls,
        implicit=implicit,
        look=lambda peer: connections.append(peer.connections),
    )
    assert (ends(done), done.tls_level) == ([RELAYED], "dane")
    assert connections == [2], "one that shows the chain, one that verifies it"


def test_dane_ta_by_a_whole_certificate_in_dns(attempt, house):
    _, context = house.server(presents=[house.middle])
    for authority in (house.middle, house.root):
        done = attempt(context, Tlsa(2, 0, 0, der(authority.cert_pem)))
        assert (ends(done), done.tls_level) == ([RELAYED], "dane")


TA_FAULTS = {
    "another name": (lambda h: h.server("other.test", presents=[h.middle]), "certificate is not for localhost"),
    "expired": (
        lambda h: h.server(presents=[h.middle], not_after=PAST),
        "certificate has expired",
    ),
    "the authority is not presented": (lambda h: h.server(), "no TLSA record of localhost fits"),
    "another authority is presented beside": (
        lambda h: h.server(issuer=trustme.CA(), presents=[h.middle]),
        "unable to get local issuer certificate",
    ),
}


@pytest.mark.parametrize("name", TA_FAULTS)
def test_dane_ta_verifies_chain_dates_and_name(attempt, house, name):
    make, words = TA_FAULTS[name]
    done = attempt(make(house)[1], ta(house.middle))
    assert (ends(done), done.outcomes[0].cause, done.tls_level) == ([DEFERRED], Cause.TLS, "!dane")
    assert words in done.outcomes[0].reply.text


def test_an_authority_that_is_no_certificate(attempt, house):
    _, context = house.server(presents=[house.middle])
    done = attempt(context, Tlsa(2, 0, 0, b"no certificate"))
    assert ends(done) == [DEFERRED]
    assert "the authority that DNS names is no certificate" in done.outcomes[0].reply.text
    assert ends(attempt(context, Tlsa(2, 0, 0, b"no certificate"), ta(house.middle))) == [RELAYED]


USELESS = Tlsa(1, 1, 1, bytes(32))
OTHERWISE = {
    "nothing published": ((), True, "opportunistic"),
    "nothing proved": ((USELESS,), False, "opportunistic"),
    "nothing usable": ((USELESS,), True, "encrypted"),
}


@pytest.mark.parametrize("name", OTHERWISE)
def test_where_dane_says_nothing_opportunistic_stays_and_required_waits(attempt, house, name):
    records, proved, level = OTHERWISE[name]
    _, context = house.server()
    done = attempt(context, *records, proved=proved, tls="opportunistic")
    assert (ends(done), done.tls, done.tls_level) == (
        [RELAYED],
        f"TLSv1.3 {'starttls' if level == 'encrypted' else level} encrypted",
        level,
    )
    done = attempt(context, *records, proved=proved)
    assert (ends(done), done.outcomes[0].cause, done.tls_level) == ([DEFERRED], Cause.TLS, "!dane")
    assert "tls_proof = dane demands a proof: " in done.outcomes[0].reply.text


def test_records_of_no_use_still_demand_encryption(attempt, house):
    """RFC 7672 2.2: the peer has said that it knows TLS, so its absence is an attack."""
    _, context = house.server()
    done = attempt(context, USELESS, tls="opportunistic", starttls=False)
    assert (ends(done), done.tls_level) == ([DEFERRED], "!encrypted")
    done = attempt(context, tls="opportunistic", starttls=False)
    assert (ends(done), done.tls_level) == ([RELAYED], "(opportunistic:none)")


@pytest.mark.parametrize("tls", ["starttls", "opportunistic"])
@pytest.mark.parametrize("kind", ["A", "TLSA"])
def test_an_answer_that_does_not_come_is_no_leave_to_do_without(attempt, house, tls, kind):
    leaf, context = house.server()
    zone = {kind: DnsFault("no answer"), "AAAA": Answer("localhost", authentic=True)}
    contacted = []
    done = attempt(context, ee(leaf), tls=tls, zone=zone, look=lambda peer: contacted.append(peer.connections))
    cause = Cause.DNS if tls == "starttls" else Cause.CONNECT
    assert (ends(done), done.outcomes[0].cause, done.tls_level) == ([DEFERRED], cause, "dane?")
    assert done.outcomes[0].reply.text == "DANE: no answer"
    assert contacted == [0]


def test_starttls_that_is_stripped_is_missed_not_done_without(attempt, house):
    leaf, context = house.server()
    for options in ({"starttls": False}, {"script": {"STARTTLS": "454 not now"}}, {"script": {"STARTTLS": "GARBAGE"}}):
        done = attempt(context, ee(leaf), tls="opportunistic", **options)
        assert (ends(done), done.tls_level) == ([DEFERRED], "!dane")


def test_a_password_goes_over_dane(attempt, house, monkeypatch):
    monkeypatch.setattr("relay.tls.is_local", lambda server: False)
    leaf, context = house.server()
    assert ends(attempt(context, ee(leaf), look=lambda peer: peer.auths == 1 or pytest.fail("no log-in"))) == [RELAYED]


PYTHONS = sorted({sys.executable, *map(str, (Path.home() / ".pyenv" / "versions").glob("3.1[1-3]*/bin/python3"))})
"""The one that runs this, and those of a usual place beside it."""
LOOK = """
import contextlib, ssl, sys
sys.path.insert(0, sys.argv[1])
from relay import proving
server, ours, theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.MemoryBIO(), ssl.MemoryBIO()
server.load_cert_chain(sys.argv[2])
client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
two = [client.wrap_bio(theirs, ours, server_hostname="x"), server.wrap_bio(ours, theirs, server_side=True)]
for _ in range(5):
    for one in two:
        with contextlib.suppress(ssl.SSLWantReadError):
            one.do_handshake()
print(*(der.hex() for der in proving.presented(two[0])))
"""


@pytest.mark.parametrize("python", PYTHONS)
def test_the_presented_chain_in_each_python(house, tmp_path, python):
    leaf = house.middle.issue_cert("localhost")
    file = tmp_path / "server.pem"
    pems = [leaf.private_key_pem, leaf.cert_chain_pems[0], house.middle.cert_pem, house.root.cert_pem]
    file.write_bytes(b"".join(pem.bytes() for pem in pems))
    # Another Python has no idna, which only names outside ASCII need here.
    stub = tmp_path / "stub"
    stub.mkdir()
    (stub / "idna.py").write_text("class IDNAError(Exception):\n    pass\n")
    root = str(Path(proving.__file__).parents[1])
    look = subprocess.run(
        [
            python,
            "-I",
            "-c",
            LOOK.replace("sys.argv[1])", "sys.argv[1]); sys.path.append(sys.argv[3])", 1),
            root,
            str(file),
            str(stub),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert look.stderr == ""
    assert look.stdout.split() == [der(pem).hex() for pem in pems[1:]]
