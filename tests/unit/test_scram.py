"""SCRAM against its vectors and against servers that cheat; SASLprep; what a log-in is bound to."""

import base64
import datetime
import hashlib

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from hypothesis import given
from hypothesis import strategies as st

from relay.auth.binding import end_point
from relay.auth.credentials import Broken, Channel, Credentials
from relay.auth.saslprep import saslprep
from relay.auth.scram import FEWEST, MOST, scram
from relay.options import Secret
from tests.unit.test_auth import b64, talk
from tests.upstream.sasl import Scram


def test_the_vector_of_rfc_5802():
    who, channel = Credentials("user", Secret("pencil")), Channel("h", 1, "fyko+d2lbbFgONRv9qkxdawL")
    steps = scram("sha1", who, channel, plus=False)
    assert next(steps) == b"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL"
    final = steps.send(b"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096")
    assert final == b"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts="
    assert steps.send(b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=") == b""


def test_the_vector_of_rfc_7677():
    who, channel = Credentials("user", Secret("pencil")), Channel("h", 1, "rOprNGfwEbeRWgbNEkqO")
    steps = scram("sha256", who, channel, plus=False)
    assert next(steps) == b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
    nonce = b"rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    final = steps.send(b"r=" + nonce + b",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096")
    assert final == b"c=biws,r=" + nonce + b",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    assert steps.send(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=") == b""


def against(server, who=None, *, mechanism="SCRAM-SHA-256", offers="", binding=b""):
    """A log-in at a scripted server: the commands and the verdict."""
    who = who or Credentials("me", Secret("pencil"))
    channel = Channel("h", 1, "NONCE", binding)
    from relay.auth import dialogue
    from relay.reply import Reply

    steps = dialogue((offers or mechanism).split(), who, channel)
    said = [next(steps).decode()]
    talked = server.talk(base64.b64decode(said[0].split()[2]))
    try:
        reply = (334, base64.b64encode(next(talked)).decode())
    except StopIteration as over:
        reply = (int(over.value[:3]), over.value[4:])
    try:
        while True:
            said.append(steps.send(Reply.read(*reply)).decode())
            if said[-1] == "*":
                reply = (501, "cancelled")
                continue
            try:
                reply = (334, base64.b64encode(talked.send(base64.b64decode(said[-1]))).decode())
            except StopIteration as over:
                reply = (int(over.value[:3]), over.value[4:])
    except StopIteration as over:
        return said, over.value


@pytest.mark.parametrize("digest", ["sha1", "sha256"])
@pytest.mark.parametrize("plus", [False, True])
def test_both_sides_prove_themselves(digest, plus):
    name = f"SCRAM-SHA-{digest[3:]}{'-PLUS' if plus else ''}"
    server = Scram("pencil", digest=digest, binding=b"certificate", plus=plus)
    _, verdict = against(server, mechanism=name, binding=b"certificate")
    assert (verdict.mechanism, verdict.refusal) == (name, None)
    assert server.header == ("p=tls-server-end-point,," if plus else "y,,")
    assert server.user == "me"


def test_a_relayed_log_in_is_seen_by_the_server():
    """Whoever stands between has another certificate, and so another binding."""
    _, verdict = against(Scram("pencil", binding=b"theirs"), mechanism="SCRAM-SHA-256-PLUS", binding=b"ours")
    assert "bound to another connection" in verdict.refusal.text


def test_a_stripped_offer_is_seen_by_the_server():
    _, verdict = against(Scram("pencil", plus=True), mechanism="SCRAM-SHA-256", binding=b"ours")
    assert "channel binding was stripped" in verdict.refusal.text
    server = Scram("pencil", plus=True)  # it offers one that we do not know: then "y" would be a lie
    _, verdict = against(server, mechanism="SCRAM-SHA-256", offers="SCRAM-SHA-256 SCRAM-SHA-512-PLUS", binding=b"ours")
    assert (server.header, verdict.refusal) == ("n,,", None)


@pytest.mark.parametrize(
    ("user", "password", "known"),
    [
        ("a,b=c", "x", "x"),
        ("me", "pass word", "pass word"),
        ("Ⅸ", "ﬁ\u00adx", "fix"),
        ("ªa", "\u00a0", " "),
        ("me", "пароль€", "пароль€"),
    ],
)
def test_names_and_passwords_are_prepared(user, password, known):
    server = Scram(known)
    _, verdict = against(server, Credentials(user, Secret(password)))
    assert verdict.refusal is None
    assert server.user == saslprep(user, stored=False)


@pytest.mark.parametrize(
    ("twist", "text"),
    [
        ({"first": "r=OTHERnonce,s=QQ==,i=4096"}, "its nonce does not continue ours"),
        ({"first": "r=NONCE,s=QQ==,i=4096"}, "its nonce does not continue ours"),
        ({"first": f"r=NONCEx,s=QQ==,i={FEWEST - 1}"}, f"it wants {FEWEST - 1} iterations, fewer than {FEWEST}"),
        ({"first": "r=NONCEx,s=QQ==,i=1"}, "it wants 1 iterations, fewer than 4096"),
        ({"first": f"r=NONCEx,s=QQ==,i={MOST + 1}"}, f"it wants {MOST + 1} iterations, more than {MOST}"),
        ({"first": "r=NONCEx,s=QQ==,i=9999999999"}, "it wants 9999999999 iterations, more than 1000000"),
        ({"first": "r=NONCEx,s=QQ==,i=04096"}, "its first message is none of SCRAM's"),
        ({"first": "r=NONCEx,s=QQ==,i=-1"}, "its first message is none of SCRAM's"),
        ({"first": "r=NONCEx,s=QQ==,i=99999999999"}, "its first message is none of SCRAM's"),
        ({"first": "m=must,r=NONCEx,s=QQ==,i=4096"}, "its first message is none of SCRAM's"),
        ({"first": "r=NONCE\x07x,s=QQ==,i=4096"}, "its first message is none of SCRAM's"),
        ({"first": "e=unknown-user"}, "its first message is none of SCRAM's"),
        ({"first": ""}, "its first message is none of SCRAM's"),
        ({"first": "r=NONCEx,s=Q!==,i=4096"}, "its answer holds no base64 where SCRAM wants it"),
        ({"first": "r=NONCEx,s=ß,i=4096"}, "its answer holds no base64 where SCRAM wants it"),
        ({"first": "r=NONCEx,s====,i=4096"}, "its answer holds no base64 where SCRAM wants it"),
        ({"first": f"r=NONCEx,s={b64('x' * 1025)},i=4096"}, "its salt is not usable"),
        ({"final": "e=other-error"}, "it says other-error"),
        (
            {"final": "v=" + b64("x" * 32)},
            "it can not prove that it knows the password: it may not be the server that it claims to be",
        ),
        ({"final": "v="}, "it can not prove that it knows the password: it may not be the server that it claims to be"),
        (
            {"final": "hello"},
            "it can not prove that it knows the password: it may not be the server that it claims to be",
        ),
        ({"final": "v=%%%"}, "its answer holds no base64 where SCRAM wants it"),
    ],
)
def test_a_server_that_cheats_is_broken_off(twist, text):
    said, verdict = against(Scram("pencil", **twist))
    assert said[-1] == "*"
    assert verdict.refusal.text == f"log-in by SCRAM-SHA-256 broken off, the server is at fault: {text}"


def test_a_server_that_lets_us_in_without_proof_is_not_believed():
    _, verdict = against(Scram("pencil", final=None))
    assert "not believed" in verdict.refusal.text
    _, verdict = talk("SCRAM-SHA-256", Credentials("me", Secret("pencil")), (235, "come in"))
    assert "not believed" in verdict.refusal.text


def test_a_wrong_password_is_refused_and_not_shown():
    _, verdict = against(Scram("pencil"), Credentials("me", Secret("stylus1234")))
    assert verdict.refused
    assert verdict.refusal.text == "log-in as me refused: 535 5.7.8 wrong password"


def test_extensions_of_a_server_are_left_aside():
    assert against(Scram("pencil", first=lambda t: t + ",x=more", final=lambda t: t + ",y=end"))[1].refusal is None


def test_what_is_no_utf_8_breaks():
    steps = scram("sha256", Credentials("me", Secret("pencil")), Channel("h", 1, "N"), plus=False)
    next(steps)
    with pytest.raises(Broken, match="not UTF-8"):
        steps.send(b"\xff")


@given(st.binary(max_size=200))
def test_a_challenge_of_any_octets_is_broken_or_answered(challenge):
    """Promise 10: no challenge makes anything but Broken."""
    steps = scram("sha256", Credentials("me", Secret("pencil")), Channel("h", 1, "N"), plus=False)
    next(steps)
    with pytest.raises(Broken):
        steps.send(challenge)


# --- SASLprep --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "prepared"),
    [  # RFC 4013 3, and blanks of other scripts
        ("I\u00adX", "IX"),
        ("user", "user"),
        ("USER", "USER"),
        ("\u00aa", "a"),
        ("\u2168", "IX"),
        ("a\u3000b", "a b"),
        ("\u0627\u0628", "\u0627\u0628"),
        ("", ""),
    ],
)
def test_saslprep(text, prepared):
    assert saslprep(text, stored=True) == prepared


@pytest.mark.parametrize(
    "text", ["\u0007", "\u06271", "a\u0627", "\u0627a\u0627", "\ue000", "\ufffd", "\u200e", "\U000e0001", "\ud800"]
)
def test_saslprep_prohibits(text):
    with pytest.raises(ValueError, match=r"."):
        saslprep(text, stored=False)


def test_unassigned_code_points_are_for_queries():
    assert saslprep("\U0001f600", stored=False) == "\U0001f600"
    with pytest.raises(ValueError, match="does not know"):
        saslprep("\U0001f600", stored=True)


# --- tls-server-end-point --------------------------------------------------------------------------


def certificate(key, digest, **padding_):
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    day = datetime.datetime(2026, 1, 1)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(day).not_valid_after(day + datetime.timedelta(1))
    return builder.sign(key, digest, **padding_).public_bytes(serialization.Encoding.DER)


@pytest.fixture(scope="module")
def rsa_key():
    return rsa.generate_private_key(65537, 2048)


@pytest.mark.parametrize(
    "digest", [hashes.SHA224(), hashes.SHA256(), hashes.SHA384(), hashes.SHA512()], ids=lambda d: d.name
)
def test_the_hash_of_the_certificates_signature(rsa_key, digest):
    pss = padding.PSS(mgf=padding.MGF1(digest), salt_length=digest.digest_size)
    for der in (
        certificate(rsa_key, digest),
        certificate(rsa_key, digest, rsa_padding=pss),
        certificate(ec.generate_private_key(ec.SECP256R1()), digest),
    ):
        assert end_point(der) == hashlib.new(digest.name, der).digest()


def test_md5_and_sha_1_become_sha_256(rsa_key):
    """RFC 5929 4.1. Nobody signs with them any more: the algorithm is written into a certificate."""
    der = certificate(rsa_key, hashes.SHA256())
    sha256_with_rsa = bytes.fromhex("06092a864886f70d01010b")
    for last in (4, 5):
        old = der.replace(sha256_with_rsa, sha256_with_rsa[:-1] + bytes([last]))
        assert old != der
        assert end_point(old) == hashlib.sha256(old).digest()


def test_pss_without_a_named_hash_is_sha_1_and_so_sha_256(rsa_key):
    der = certificate(rsa_key, hashes.SHA256())
    identifier = bytes.fromhex("300d06092a864886f70d01010b0500")
    pss = bytes.fromhex("300d06092a864886f70d01010a3000")
    assert end_point(der.replace(identifier, pss)) == hashlib.sha256(der.replace(identifier, pss)).digest()
    other = bytes.fromhex("300d06092a864886f70d01010a0500")
    assert end_point(der.replace(identifier, other)) == hashlib.sha256(der.replace(identifier, other)).digest()


def test_no_binding_where_none_is_defined():
    assert end_point(certificate(ed25519.Ed25519PrivateKey.generate(), None)) == b""
    assert end_point(b"") == b""
    assert end_point(bytes.fromhex("3006 3000 3002 0500")) == b""
    assert end_point(b"\x30\x84\xff\xff\xff\xff\x01") == b""


@given(st.data())
def test_no_certificate_raises(data):
    assert isinstance(end_point(data.draw(st.binary(max_size=300))), bytes)
