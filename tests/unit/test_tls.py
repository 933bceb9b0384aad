"""What a connection must be, whether it is, and how the log says so."""

import pytest

from relay.entry import Cause
from relay.routing import LISTED, UNLISTED, Upstream
from relay.tls import Barred, Demand, Level, by_policy, demand, may_log_in, told

FAR = Upstream("hop", "mail.example.com")


@pytest.mark.parametrize(
    ("mode", "proof", "made"),
    [
        ("none", "pkix", Demand("none")),
        ("opportunistic", "pkix", Demand("opportunistic")),
        ("opportunistic", "pin", Demand("opportunistic")),
        ("starttls", "pkix", Demand("starttls", "pkix")),
        ("implicit", "pin", Demand("implicit", "pin")),
        ("starttls", "none", Demand("starttls")),
    ],
)
def test_the_demand_of_an_upstream(mode, proof, made):
    assert demand(Upstream("hop", "mail.example.com", tls=mode, proof=proof)) == made


@pytest.mark.parametrize("level", Level)
def test_no_level_below_the_demand_is_enough(level):
    assert not Demand("none").missed(level)
    assert not Demand("opportunistic").missed(level)
    assert bool(Demand("starttls").missed(level)) == (level is Level.PLAIN)
    for proof in ("pkix", "pin"):
        assert bool(Demand("implicit", proof).missed(level)) == (level in (Level.PLAIN, Level.ENCRYPTED))


def test_what_a_mode_means():
    modes = [Demand(mode) for mode in ("none", "opportunistic", "starttls", "implicit")]
    assert [d.tls_first for d in modes] == [False, False, False, True]
    assert [d.tls_wanted for d in modes] == [False, True, True, True]
    assert [d.tls_required for d in modes] == [False, False, True, True]


@pytest.mark.parametrize("level", Level)
def test_promise_6_a_credential_needs_a_proof(level):
    assert may_log_in(FAR, level) == (level not in (Level.PLAIN, Level.ENCRYPTED))
    assert may_log_in(Upstream("hop", "localhost"), level)


@pytest.mark.parametrize(
    ("wanted", "level", "cause", "words"),
    [
        (Demand("none"), Level.PLAIN, None, "none"),
        (Demand("none"), None, Cause.CONNECT, "none?"),
        (Demand("opportunistic"), Level.ENCRYPTED, None, "opportunistic"),
        (Demand("opportunistic"), Level.PLAIN, None, "(opportunistic:none)"),
        (Demand("starttls"), Level.ENCRYPTED, None, "encrypted"),
        (Demand("starttls"), None, Cause.TLS, "!encrypted"),
        (Demand("starttls", "pkix"), Level.VERIFIED, None, "pkix"),
        (Demand("starttls", "pkix"), Level.VERIFIED, Cause.AUTH, "pkix"),
        (Demand("starttls", "pkix"), Level.ENCRYPTED, None, "!pkix"),
        (Demand("implicit", "pkix"), None, Cause.TLS, "!pkix"),
        (Demand("implicit", "pkix"), None, Cause.DNS, "pkix?"),
        (Demand("starttls", "pin"), Level.PINNED, None, "pin"),
    ],
)
def test_desired_and_actual_level_in_one_word(wanted, level, cause, words):
    assert told(wanted, level, cause) == words


def test_what_a_policy_to_enforce_makes_of_a_demand():
    loose, dane = Demand("opportunistic"), Demand("starttls", "dane")
    listed, unlisted = (Upstream("mx", "mx.example.com", sts=sts) for sts in (LISTED, UNLISTED))
    assert by_policy(loose, Upstream("mx", "mx.example.com")) == loose
    made = by_policy(loose, listed)
    assert (made, str(made)) == (Demand("starttls", "pkix", "mta-sts"), "mta-sts")
    assert by_policy(dane, listed) == by_policy(dane, unlisted) == dane
    barred = by_policy(Demand("starttls"), unlisted)
    assert isinstance(barred, Barred)
    assert str(barred.reply) == "454 4.7.5 mx.example.com is no mail server by the MTA-STS policy of this domain"
