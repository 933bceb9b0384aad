"""The listener's side of SCRAM-SHA-256: the vector of its RFC, our own client, and everything else a client may say."""

import base64

import pytest

from relay import passwords
from relay.auth import Channel, Credentials
from relay.auth.scram import scram
from relay.challenge import Challenge, Malformed, offered
from relay.options import Secret

OLD = "scrypt:16:8:1:eHh4eHh4eHh4eHh4eHh4eA==:P3d49pwlF5N8GK0eMX5KiyXNn398olb8KlQs2zHaKrs="
"""What the first version wrote for `s3crét`."""


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(passwords, "ITERATIONS", 4096)


def known(**words):
    return {login: passwords.hashed(word, b"0123456789abcdef") for login, word in words.items()}


def challenge(of, nonce="SERVER"):
    return Challenge(of, nonce, b"a secret of the listener")


def test_the_vector_of_rfc_7677():
    keys = passwords.hashed("pencil", base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="))
    one = challenge({"user": keys}, "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0")
    first = one.first(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO")
    assert first == b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    final = (
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    )
    assert one.final(final) == b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def talk(kept, user, word, binding=b""):
    """Our own client against it: the client's last yield, or None when it was not let in. Raises what the client does."""
    client = scram("sha256", Credentials(user, Secret(word)), Channel("mx", 25, "CLIENT", binding), plus=False)
    one = challenge(kept)
    final = one.final(client.send(one.first(next(client))))
    return None if final is None else (one.login, client.send(final))


@pytest.mark.parametrize("word", ["s3cret", "p%s #;= ä  €", "I\u00adX", "ﬁ", "Ⅸ"])
@pytest.mark.parametrize("login", ["dana", "o=o,o", "dåna", "ﬁn"])
@pytest.mark.parametrize("binding", [b"", b"bound"])
def test_our_own_client_gets_in_and_believes_us(login, word, binding):
    assert talk(known(**{login: word}), login, word, binding) == (login, b"")
    assert talk(known(**{login: word}), login, word + "!") is None


def test_a_login_that_nobody_has_is_answered_like_any_other():
    kept = known(dana="s3cret")
    assert talk(kept, "luc", "s3cret") is None
    asked = [challenge(kept).first(f"n,,n={who},r=x".encode()) for who in ("luc", "luc", "eve", "dana")]
    assert asked[0] == asked[1]
    assert len(set(asked)) == 3
    assert len({len(answer) for answer in asked}) == 1


def test_an_older_line_is_good_for_plain_and_makes_scram_impossible_for_all():
    both, faults = passwords.read(f"old:{OLD}\nnew:{passwords.hashed('s3cret', b'x' * 16)}\n")
    assert faults == []
    assert passwords.verify(both, "old", "s3crét")
    assert not passwords.verify(both, "old", "s3cret")
    assert not offered(both)
    assert offered({"new": both["new"]})
    assert not offered({})
    assert talk(both, "old", "s3crét") is None


def test_plain_takes_the_same_passwords():
    kept = known(dana="p%s #;= ä  €", luc="no\x07bell")
    assert passwords.verify(kept, "dana", "p%s #;= ä  €")
    assert passwords.verify(kept, "luc", "no\x07bell"), "which SCRAM can not say"
    assert not passwords.verify(kept, "luc", "no")


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\xff",
        b"n,,n=dana",
        b"n,,r=x,n=dana",
        b"p=tls-server-end-point,,n=dana,r=x",
        b"n,a=root,n=dana,r=x",
        b"n,,n=da=na,r=x",
        b"n,,n=,r=x",
        b"n,,m=ext,n=dana,r=x",
        b"n,,n=dana,r=" + b"x" * 257,
        b"q,,n=dana,r=x",
    ],
)
def test_what_is_no_first_message(message):
    with pytest.raises(Malformed):
        challenge(known(dana="s3cret")).first(message)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"c=biws,r=xSERVER",
        b"c=biws,r=xOTHER,p=" + base64.b64encode(b"p" * 32),
        b"c=eSws,r=xSERVER,p=" + base64.b64encode(b"p" * 32),
        b"c=biws,r=xSERVER,p=%%%",
        b"c=biws,r=xSERVER,p=" + base64.b64encode(b"p" * 31),
        "c=biws,r=xSERVER,p=ä".encode(),
    ],
)
def test_what_is_no_final_message(message):
    one = challenge(known(dana="s3cret"))
    one.first(b"n,,n=dana,r=x")
    with pytest.raises(Malformed):
        one.final(message)


def test_a_wrong_proof():
    one = challenge(known(dana="s3cret"))
    one.first(b"n,a=dana,n=dana,r=x")
    header = base64.b64encode(b"n,a=dana,").decode()
    assert one.final(f"c={header},r=xSERVER,p={base64.b64encode(bytes(32)).decode()}".encode()) is None
