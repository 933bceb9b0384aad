"""Pinned keys: the server's key is the proof, whoever signed its certificate, whatever name and date it bears."""

import ssl

import pytest

from relay import proving
from relay.entry import Cause, Disposition
from relay.options import Secret
from relay.securing import shown_pin
from tests.upstream.test_tls_and_auth import clean, ends

RELAYED, DEFERRED = Disposition.RELAYED, Disposition.DEFERRED


@pytest.fixture
def pin_of(certificates):
    def pin(name):
        first = (certificates / f"{name}.pem").read_text().partition("-----BEGIN CERT")
        pem = (first[1] + first[2]).partition("-----END CERTIFICATE-----")
        return proving.pin_of(ssl.PEM_cert_to_DER_cert(pem[0] + pem[1] + "\n"))

    return pin


def test_the_pin_is_what_openssl_makes_of_the_key(certificates, pin_of):
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    key = load_pem_private_key((certificates / "good.pem").read_bytes(), None).public_key()
    digest = hashes.Hash(hashes.SHA256())
    digest.update(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    assert pin_of("good") == digest.finalize()


@pytest.mark.parametrize("certificate", ["good", "othername", "expired", "selfsigned"])
@pytest.mark.parametrize("implicit", [False, True])
def test_a_pinned_key_proves_whatever_the_certificate_says(stage, run, tls, pin_of, certificate, implicit):
    async def story():
        mode = "implicit" if implicit else "starttls"
        pins = (bytes(32), pin_of(certificate))
        async with stage.peer(certificate=tls(certificate), implicit=implicit) as peer:
            attempt = await stage.attempt(stage.secured(peer, tls=mode, proof="pin", pins=pins, ca_file=""))
            assert (ends(attempt), attempt.tls, attempt.tls_level) == ([RELAYED], f"TLSv1.3 {mode} pinned", "pin")
            assert clean(peer)
            assert peer.auths == 1

    run(story)


@pytest.mark.parametrize("implicit", [False, True])
def test_another_key_gets_nothing_be_its_certificate_ever_so_good(stage, run, tls, pin_of, implicit):
    async def story():
        mode = "implicit" if implicit else "starttls"
        hop = {"tls": mode, "proof": "pin", "pins": (pin_of("selfsigned"), bytes(32))}
        async with stage.peer(certificate=tls("good"), implicit=implicit) as peer:
            attempt = await stage.attempt(stage.secured(peer, **hop))
            [outcome] = attempt.outcomes
            assert (outcome.disposition, outcome.cause, attempt.tls_level) == (DEFERRED, Cause.TLS, "!pin")
            said = f"TLS failed: the server's key is none of tls_pins: it is {shown_pin(pin_of('good'))}"
            assert outcome.reply.text == said
            assert clean(peer)
            assert peer.secured == b"", "not even EHLO"

    run(story)


def test_the_least_version_is_asked_for(stage, run, tls, pin_of):
    async def story():
        for proof, pins in (("pkix", ()), ("none", ()), ("pin", (pin_of("good"),))):
            context = tls(maximum_version=ssl.TLSVersion.TLSv1_2)
            async with stage.peer(certificate=context) as peer:
                hop = {"proof": proof, "pins": pins, "password": Secret(""), "user": ""}
                assert ends(await stage.attempt(stage.secured(peer, **hop))) == [RELAYED]
                attempt = await stage.attempt(stage.secured(peer, minimum="1.3", **hop))
                assert (ends(attempt), attempt.outcomes[0].cause) == ([DEFERRED], Cause.TLS)
                assert len(peer.mails) == 1
                assert clean(peer)

    run(story)
