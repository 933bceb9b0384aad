"""DKIM: what we sign, another library verifies; what it signs of a mail is what a reader sees of it."""

import base64

import dkim as peer
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from relay import dkim
from relay.address import parse
from relay.fit import fit
from relay.mail import Envelope, Mail, Recipient
from relay.message import parse_bytes
from relay.options import Secret
from relay.transaction import Features


def pem(private):
    return Secret(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())


RSA = pem(rsa.generate_private_key(65537, 2048))
ED25519 = pem(ed25519.Ed25519PrivateKey.generate())
MAIL = (
    b"From: Harbour <bot@example.com>\r\nTo: undisclosed-recipients: ;\r\nSubject:  [Harbour]\r\n #12: x\r\n"
    b"Date: Tue, 24 Nov 2026 10:00:00 +0000\r\nMessage-ID: <a@example.com>\r\nX-Other: y\r\n\r\nfirst \t line  \r\n\r\nlast\r\n\r\n\r\n"
)


def signer(key=RSA, domain=""):
    return dkim.Signer("s1", domain, key)


def verified(octets, one):
    seen = []

    def dns(name, timeout=5):
        seen.append(name)
        return dkim.record(one).encode()

    return peer.verify(octets, dnsfunc=dns), seen


@pytest.mark.parametrize("key", [RSA, ED25519], ids=["rsa", "ed25519"])
def test_another_library_verifies_it(key):
    one = signer(key)
    octets = bytes(dkim.sign(one, parse_bytes(MAIL)))
    ok, names = verified(octets, one)
    assert ok
    assert names == [b"s1._domainkey.example.com."]
    assert octets.endswith(MAIL), "the mail itself stays byte for byte behind the new field"
    assert max(map(len, octets.split(b"\r\n\r\n")[0].split(b"\r\n"))) <= 78


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"last", b"lost"),
        (b"#12", b"#13"),
        (b"bot@example.com", b"bad@example.com"),
        (b"From: H", b"From: evil@example.org\r\nFrom: H"),
        (b"undisclosed-recipients: ;", b"eve@example.org"),
    ],
)
def test_what_is_changed_on_the_way_is_seen(old, new):
    one = signer()
    octets = bytes(dkim.sign(one, parse_bytes(MAIL)))
    assert not verified(octets.replace(old, new, 1), one)[0]


def test_relaxed_forms_survive_what_relays_do():
    one = signer()
    octets = bytes(dkim.sign(one, parse_bytes(MAIL)))
    assert verified(
        octets.replace(b"Subject:  [Harbour]\r\n #12", b"subject: [Harbour] #12").rstrip(b"\r\n") + b"\r\n", one
    )[0]


def test_the_same_mail_is_signed_alike_at_each_attempt():
    assert bytes(dkim.sign(signer(), parse_bytes(MAIL))) == bytes(dkim.sign(signer(), parse_bytes(MAIL)))


def test_the_domain_is_that_of_from_unless_it_is_configured():
    octets = bytes(dkim.sign(signer(domain="mail.example.net"), parse_bytes(MAIL)))
    assert b" d=mail.example.net;" in octets
    assert dkim.sign(signer(), parse_bytes(b"From: Harbour\r\n\r\nx\r\n")).get("dkim-signature") is None
    idn = bytes(dkim.sign(signer(), parse_bytes("From: b@bücher.example\r\n\r\nx\r\n".encode())))
    assert b" d=xn--bcher-kva.example;" in idn


@pytest.mark.parametrize(
    "body", [b"", b"\r\n", b"\r\n\r\n", b"x", b" \r\n", b"x \r\n \r\n", b"\r\n\r\nx\r\n\r\ny\r\n\r\n"]
)
@pytest.mark.parametrize("step", [1, 2, 3, 100])
def test_the_body_in_its_relaxed_form(body, step):
    """Against RFC 6376 3.4.4 done in one go."""
    lines = [b" ".join(line.replace(b"\t", b" ").split(b" ")).rstrip(b" ") for line in body.split(b"\r\n")]
    whole = b"\r\n".join(lines).rstrip(b"\r\n")
    pieces = (body[at : at + step] for at in range(0, len(body), step))
    assert b"".join(dkim.canonical_body(pieces)) == (whole + b"\r\n" if whole else b"")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from([b"", b" ", b"\t", b"a", b"a  b ", b". x", b"From x", "ü".encode()]), max_size=12),
    st.sampled_from([b"\r\n", b""]),
    st.integers(1, 50),
)
def test_any_body_verifies(lines, end, step):
    one = signer(ED25519)
    octets = bytes(dkim.sign(one, parse_bytes(b"From: bot@example.com\r\n\r\n" + b"\r\n".join(lines) + end)))
    # On the wire the last line ends, too.
    assert verified(octets if octets.endswith(b"\r\n") else octets + b"\r\n", one)[0]
    body = b"\r\n".join(lines) + end
    pieces = (body[at : at + step] for at in range(0, len(body), step))
    assert b"".join(dkim.canonical_body(pieces)) == b"".join(dkim.canonical_body(iter([body])))


def test_the_signature_is_over_what_the_hop_gets():
    """Made after the body was converted for a hop without 8BITMIME; its octets count in SIZE."""
    one = signer()
    raw = "From: bot@example.com\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\né\r\n"
    mail = Mail(
        Envelope(parse("bot@example.com"), (Recipient.accepted(parse("a@example.org")),)), parse_bytes(raw.encode())
    )
    fitted = fit(mail, Features({"SIZE": ""}), "hop", one)
    octets = bytes(fitted.message)
    assert octets.isascii()
    assert verified(octets, one)[0]
    assert f"SIZE={len(octets)}" in fitted.plan.parameters


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (Secret("nonsense"), "must be PEM"),
        (pem(ec.generate_private_key(ec.SECP256R1())), "neither RSA nor Ed25519"),
        (RSA, ""),
        (ED25519, ""),
    ],
    ids=["garbage", "elliptic", "rsa", "ed25519"],
)
def test_faults_name_the_matter_and_never_the_key(key, text):
    found = dkim.faults(signer(key))
    assert text in found
    assert bool(found) == bool(text)
    assert key.reveal() not in found


def test_a_weak_key_is_told():
    weak = signer(pem(rsa.generate_private_key(65537, 1024)))
    assert dkim.faults(weak) == ""
    assert "make one of 2048" in dkim.warnings(weak)
    assert dkim.warnings(signer()) == ""


def test_the_record_to_publish():
    kind = dkim.record(signer(ED25519))
    assert kind.startswith("v=DKIM1; k=ed25519; p=")
    assert len(base64.b64decode(kind.rpartition("=")[0].rpartition("p=")[2] + "=" * 2)) == 32


@pytest.mark.parametrize("value", ["a b", "-a", "a..b", "a;b", "ä"])
def test_no_selector(value):
    with pytest.raises(ValueError, match="no selector"):
        dkim.selector(value)
