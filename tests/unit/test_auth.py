"""The AUTH dialogue and its mechanisms: vectors of the RFCs, servers that lie, secrets that stay ours."""

import base64

import pytest

from relay import auth
from relay.auth import MECHANISMS, Channel, Credentials, dialogue
from relay.options import Secret
from relay.reply import Reply

CHANNEL = Channel("server.example.com", 143, "NONCE")
TIM = Credentials("tim", Secret("tanstaaftanstaaf"))
RFC_7628_TOKEN = "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg=="
GOOGLES_TOKEN = "ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg"


def b64(text):
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def talk(offers, who, *replies, pinned="", channel=CHANNEL):
    """Every command said, and the verdict; the replies must be used up."""
    steps = dialogue(offers.split(), who, channel, pinned)
    said, left = [], list(replies)
    try:
        command = next(steps)
        while True:
            said.append(command.decode())
            command = steps.send(Reply.read(*left.pop(0)))
    except StopIteration as over:
        assert not left
        return said, over.value


IN = (235, "2.7.0 in")


@pytest.mark.parametrize(
    ("offers", "who", "replies", "said"),
    [
        # RFC 4616 4: authcid and password of its first example.
        ("PLAIN", TIM, [IN], ["AUTH PLAIN AHRpbQB0YW5zdGFhZnRhbnN0YWFm"]),
        # RFC 2195 2.
        (
            "CRAM-MD5",
            TIM,
            [(334, "PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2UucmVzdG9uLm1jaS5uZXQ+"), IN],
            ["AUTH CRAM-MD5", "dGltIGI5MTNhNjAyYzdlZGE3YTQ5NWI0ZTZlNzMzNGQzODkw"],
        ),
        (
            "LOGIN",
            TIM,
            [(334, "VXNlcm5hbWU6"), (334, "UGFzc3dvcmQ6"), IN],
            ["AUTH LOGIN", "dGlt", "dGFuc3RhYWZ0YW5zdGFhZg=="],
        ),
        # RFC 4422 A: an identity to act as, or an empty one, which RFC 4954 4 writes "=".
        (
            "EXTERNAL",
            Credentials("fred@example.com", certificate=True),
            [IN],
            ["AUTH EXTERNAL ZnJlZEBleGFtcGxlLmNvbQ=="],
        ),
        ("EXTERNAL", Credentials("", certificate=True), [IN], ["AUTH EXTERNAL ="]),
        # RFC 7628 4.1, and 4.2 for the port of SMTP.
        (
            "OAUTHBEARER",
            Credentials("user@example.com", token=Secret(RFC_7628_TOKEN)),
            [IN],
            [
                "AUTH OAUTHBEARER bixhPXVzZXJAZXhhbXBsZS5jb20sAWhvc3Q9c2VydmVyLmV4YW1wbGUuY29tAXBvcnQ9MTQzAWF1dGg9QmVhcmVyIHZGOWRm"
                "dDRxbVRjMk52YjNSbGNrQmhiSFJoZG1semRHRXVZMjl0Q2c9PQEB"
            ],
        ),
        # Google's page on XOAUTH2.
        (
            "XOAUTH2",
            Credentials("someuser@example.com", token=Secret(GOOGLES_TOKEN)),
            [IN],
            [
                "AUTH XOAUTH2 dXNlcj1zb21ldXNlckBleGFtcGxlLmNvbQFhdXRoPUJlYXJlciB5YTI5LnZGOWRmdDRxbVRjMk52YjNSbGNrQmhkSFJoZG1semRHRX"
                "VZMjl0Q2cBAQ=="
            ],
        ),
    ],
    ids=["PLAIN", "CRAM-MD5", "LOGIN", "EXTERNAL as", "EXTERNAL", "OAUTHBEARER", "XOAUTH2"],
)
def test_vectors(offers, who, replies, said):
    heard, verdict = talk(offers, who, *replies)
    assert heard == said
    assert (verdict.mechanism, verdict.refusal) == (offers, None)


EVERYTHING = (
    "LOGIN PLAIN CRAM-MD5 SCRAM-SHA-1 SCRAM-SHA-256 SCRAM-SHA-1-PLUS SCRAM-SHA-256-PLUS XOAUTH2 OAUTHBEARER EXTERNAL"
)


@pytest.mark.parametrize(
    ("offers", "who", "binding", "chosen"),
    [
        (EVERYTHING, TIM, b"x", "SCRAM-SHA-256-PLUS"),
        (EVERYTHING, TIM, b"", "SCRAM-SHA-256"),
        (EVERYTHING.replace("SCRAM-SHA-256-PLUS", ""), TIM, b"x", "SCRAM-SHA-1-PLUS"),
        ("login plain cram-md5", TIM, b"x", "CRAM-MD5"),
        ("LOGIN PLAIN", TIM, b"x", "PLAIN"),
        (EVERYTHING, Credentials("tim", token=Secret("t")), b"x", "OAUTHBEARER"),
        ("PLAIN LOGIN XOAUTH2", Credentials("tim", Secret("p"), Secret("t")), b"x", "XOAUTH2"),
        (EVERYTHING, Credentials("tim", certificate=True), b"x", "EXTERNAL"),
        (EVERYTHING, Credentials("tim", Secret("p"), certificate=True), b"x", "SCRAM-SHA-256-PLUS"),
        # A password that SCRAM can not say (an emoji is newer than SASLprep) goes by the next one.
        (EVERYTHING, Credentials("tim", Secret("pass\U0001f600")), b"x", "CRAM-MD5"),
        ("SCRAM-SHA-256 PLAIN", Credentials("tim\0", Secret("p")), b"x", ""),
    ],
)
def test_the_strongest_that_both_sides_know(offers, who, binding, chosen):
    said, verdict = (
        talk(offers, who, (454, "no"), channel=Channel("h", 1, "N", binding)) if chosen else talk(offers, who)
    )
    assert [line.split()[1] for line in said] == ([chosen] if chosen else [])
    assert verdict.refusal.code == 454


def test_no_password_goes_where_a_token_should():
    said, verdict = talk("PLAIN LOGIN", Credentials("tim", Secret("p"), Secret("t")))
    assert said == []
    assert verdict.refusal.text == "the server offers no AUTH that we know (OAUTHBEARER, XOAUTH2): LOGIN PLAIN"


@pytest.mark.parametrize(
    ("offers", "pinned", "who", "text"),
    [
        ("PLAIN SCRAM-SHA-256", "plain", TIM, None),
        ("PLAIN", "scram-sha-256", TIM, "the server offers no AUTH that we know (SCRAM-SHA-256): PLAIN"),
        ("", "plain", TIM, "the server offers no AUTH that we know (PLAIN): none at all"),
        (
            "PLAIN XOAUTH2",
            "xoauth2",
            TIM,
            "no log-in: auth = xoauth2 does not log in with a password, and there is nothing else",
        ),
        (
            "SCRAM-SHA-256-PLUS PLAIN",
            "scram-sha-256-plus",
            TIM,
            "no log-in: SCRAM-SHA-256-PLUS: this connection has nothing that SCRAM could be bound to",
        ),
        (
            "SCRAM-SHA-256 PLAIN",
            "scram-sha-256",
            Credentials("tim", Secret("pass\U0001f600word")),
            "no log-in: SCRAM-SHA-256: user or password holds a character that SASLprep does not know (newer than"
            " Unicode 3.2), which SCRAM can not say",
        ),
        (
            "SCRAM-SHA-256",
            "",
            Credentials("tim", Secret("\u00ad")),
            "no log-in: SCRAM-SHA-256: SCRAM needs a user and a password",
        ),
        (
            "EXTERNAL",
            "",
            Credentials("a\0b", certificate=True),
            "no log-in: EXTERNAL: the user holds a NUL, which AUTH EXTERNAL can not say",
        ),
        (
            "PLAIN",
            "",
            Credentials("a", Secret("b\0c")),
            "no log-in: PLAIN: user or password holds a NUL, which AUTH PLAIN can not say",
        ),
        (
            "XOAUTH2",
            "",
            Credentials("a", token=Secret("b\1c")),
            "no log-in: XOAUTH2: user or token holds a control character",
        ),
    ],
)
def test_a_pinned_mechanism_is_the_only_one(offers, pinned, who, text):
    said, verdict = talk(offers, who, *([] if text else [IN]), pinned=pinned)
    assert len(said) == (0 if text else 1)
    assert text == (verdict.refusal.text if text else None)
    assert not verdict.refused


def test_a_system_without_md5_goes_on_to_the_next(monkeypatch):
    def forbidden(*_):
        raise ValueError("disabled for FIPS")

    monkeypatch.setattr("relay.auth.simple.hmac.digest", forbidden)
    said, _ = talk("CRAM-MD5 PLAIN", TIM, IN)
    assert said[0].startswith("AUTH PLAIN")


# --- tokens ----------------------------------------------------------------------------------------

ANN = Credentials("ann@example.com", token=Secret("secret-token"))
GOOGLES_ERROR = "eyJzdGF0dXMiOiI0MDEiLCJzY2hlbWVzIjoiYmVhcmVyIG1hYyIsInNjb3BlIjoiaHR0cHM6Ly9tYWlsLmdvb2dsZS5jb20vIn0K"
ERROR = '{"status":"401","schemes":"bearer mac","scope":"https://mail.google.com/"}'


@pytest.mark.parametrize(("offers", "answer"), [("XOAUTH2", ""), ("OAUTHBEARER", "AQ==")])
def test_the_error_behind_a_refused_token_is_kept(offers, answer):
    """RFC 7628 3.2.3 and Google's page: the challenge is the error, and it wants an answer before the 535."""
    said, verdict = talk(offers, ANN, (334, GOOGLES_ERROR), (535, "5.7.8 not accepted"))
    assert said[1:] == [answer]
    assert verdict.challenge == ERROR
    assert verdict.refused
    assert (
        verdict.refusal.text
        == f"log-in as ann@example.com refused: 535 5.7.8 not accepted; of the token it says {ERROR}"
    )


def test_a_long_token_waits_for_the_334():
    """RFC 5321 4.5.3.1.4 and RFC 4954 4: a command line has 512 octets."""
    who = Credentials("ann@example.com", token=Secret("t" * 2000))
    said, verdict = talk("XOAUTH2", who, (334, ""), IN)
    assert said[0] == "AUTH XOAUTH2"
    assert base64.b64decode(said[1]) == b"user=ann@example.com\1auth=Bearer " + b"t" * 2000 + b"\1\1"
    assert verdict.refusal is None
    just = Credentials("a", token=Secret("t" * (3 * 124 - len("user=a\1auth=Bearer \1\1"))))
    assert len(talk("XOAUTH2", just, IN)[0][0]) + 2 <= auth.LONGEST_COMMAND


def test_a_temporary_failure_says_nothing_of_the_token():
    _, verdict = talk("XOAUTH2", ANN, (454, "4.7.0 later"))
    assert (verdict.refused, verdict.refusal.code) == (False, 454)


def test_a_challenge_without_end_is_broken_off():
    said, verdict = talk("XOAUTH2", ANN, (334, GOOGLES_ERROR), (334, GOOGLES_ERROR), (501, "ok"))
    assert said[-1] == "*"
    assert (
        verdict.refusal.text
        == "log-in by XOAUTH2 broken off, the server is at fault: it asks for more than there is to say"
    )


# --- servers that lie ------------------------------------------------------------------------------


@pytest.mark.parametrize("challenge", ["not base64!", "QQ=", "Qß==", "Q Q=="])
def test_garbage_for_base64_cancels(challenge):
    said, verdict = talk("CRAM-MD5", TIM, (334, challenge), (501, "5.5.2 cancelled"))
    assert said == ["AUTH CRAM-MD5", "*"]
    assert verdict.refusal.text == "log-in by CRAM-MD5 broken off, the server is at fault: its challenge is no base64"


def test_a_positive_reply_before_the_credentials_is_not_believed():
    said, verdict = talk("LOGIN", TIM, (334, "VXNlcm5hbWU6"), IN)
    assert said == ["AUTH LOGIN", "dGlt"]
    assert "not believed" in verdict.refusal.text


def test_any_2xx_is_success():
    assert talk("PLAIN", TIM, (250, "fine"))[1].refusal is None


@pytest.mark.parametrize(
    "echo",
    [
        "500 what is AUTH PLAIN AHRpbQB0YW5zdGFhZnRhbnN0YWFm ?",
        "501 5.5.4 AUTH PLAIN AHRpbQB0YW5zdGFhZ... is too long",
        "535 tim, your password tanstaaftanstaaf is wrong",
        "535 wrong:\ntanstaaftanstaaf",
    ],
)
def test_promise_6_a_server_that_says_our_secrets_back(echo):
    _, verdict = talk("PLAIN", TIM, (int(echo[:3]), echo[4:]))
    assert "***" in verdict.refusal.text
    assert "tanstaaf" not in repr(verdict)
    assert "AHRpbQB0" not in repr(verdict)
    assert "\n" not in verdict.refusal.text


def test_promise_6_a_short_password_with_blanks():
    _, verdict = talk("PLAIN", Credentials("tim", Secret("a b c")), (535, "your a b c is wrong"))
    assert verdict.refusal.text == "log-in as tim refused: 535 your *** is wrong"


def test_promise_6_a_token_in_its_own_error():
    challenge = b64('{"status":"invalid_token","token":"secret-token"}')
    _, verdict = talk("XOAUTH2", ANN, (334, challenge), (535, "no secret-token"))
    assert "secret-token" not in repr(verdict)
    assert verdict.challenge == '{"status":"invalid_token","token":"***"}'


def test_promise_6_nothing_shows_credentials():
    assert "tanstaaf" not in repr(TIM)
    assert "secret-token" not in repr(ANN)


def test_every_row_is_of_use():
    assert len({m.name for m in MECHANISMS}) == len(MECHANISMS) == 10
    assert {m.by for m in MECHANISMS} == {"password", "token", "certificate"}
