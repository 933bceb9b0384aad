"""What is said to a token server and what it answers: forms, vectors, and answers of every kind of bad faith."""

import json
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.oauth import replies, requests, stored
from relay.oauth.client import Client, Grant
from relay.oauth.replies import Device, Kind, Refusal, Tokens
from relay.oauth.stored import Stored
from relay.options import Secret

TOKEN_URL = "https://id.example/token"
NOW = 1_800_000_000.0


def client(grant=Grant.AUTHORIZATION_CODE, provider="custom", **more):
    base = {
        "auth_url": "https://id.example/auth",
        "device_url": "https://id.example/device",
        "revoke_url": "https://id.example/revoke",
    }
    return Client(provider, grant, "app", "me@example.com", "smtp offline", TOKEN_URL, **{**base, **more})


def form(request):
    return dict(parse_qsl(request.body.reveal(), strict_parsing=True))


# --- requests --------------------------------------------------------------------------------------


def test_client_credentials_with_a_secret():
    request = requests.without_person(client(Grant.CLIENT_CREDENTIALS, secret=Secret("s+ &=")), "")
    assert request.url == TOKEN_URL
    assert form(request) == {
        "grant_type": "client_credentials",
        "scope": "smtp offline",
        "client_id": "app",
        "client_secret": "s+ &=",
    }
    assert "s+" not in repr(request)


def test_a_certificate_goes_in_place_of_the_secret():
    request = requests.without_person(client(Grant.CLIENT_CREDENTIALS, certificate="c.pem"), "JWT")
    assert form(request)["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    assert form(request)["client_assertion"] == "JWT"
    assert "client_secret" not in form(request)


def test_a_service_account():
    request = requests.without_person(client(Grant.SERVICE_ACCOUNT), "JWT")
    assert form(request) == {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": "JWT"}


@pytest.mark.parametrize(("provider", "scope"), [("microsoft", "smtp offline"), ("google", None), ("custom", None)])
def test_refresh(provider, scope):
    said = form(requests.refresh(client(provider=provider), Secret("R"), ""))
    assert (said["grant_type"], said["refresh_token"], said["client_id"]) == ("refresh_token", "R", "app")
    assert said.get("scope") == scope


def test_the_device_flow():
    assert form(requests.device_start(client())) == {"client_id": "app", "scope": "smtp offline"}
    assert form(requests.device_poll(client(), Secret("D"), "")) == {
        "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
        "device_code": "D",
        "client_id": "app",
    }


def test_revocation():
    request = requests.revoke(client(secret=Secret("s")), Secret("R"), "")
    assert request.url == "https://id.example/revoke"
    assert form(request) == {"token": "R", "client_id": "app", "client_secret": "s"}


def test_pkce_as_in_rfc_7636_b():
    verifier = Secret("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")
    page = requests.sign_in_page(client(), "http://127.0.0.1:1/", "STATE", verifier)
    said = dict(parse_qsl(urlsplit(page).query))
    assert said["code_challenge"] == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
    assert said | {"code_challenge": ""} == {
        "response_type": "code",
        "client_id": "app",
        "redirect_uri": "http://127.0.0.1:1/",
        "scope": "smtp offline",
        "state": "STATE",
        "code_challenge": "",
        "code_challenge_method": "S256",
        "login_hint": "me@example.com",
    }
    assert verifier.reveal() not in page
    exchange = form(requests.code_exchange(client(), Secret("C"), verifier, "http://127.0.0.1:1/", ""))
    assert exchange == {
        "grant_type": "authorization_code",
        "code": "C",
        "redirect_uri": "http://127.0.0.1:1/",
        "code_verifier": verifier.reveal(),
        "client_id": "app",
    }


def test_google_is_asked_for_a_refresh_token():
    page = requests.sign_in_page(
        client(provider="google", auth_url="https://a.example/?x=1"), "http://127.0.0.1:1/", "S", Secret("v")
    )
    assert page.startswith("https://a.example/?x=1&")
    said = parse_qs(urlsplit(page).query)
    assert (said["access_type"], said["prompt"]) == (["offline"], ["consent"])


def test_the_code_comes_back():
    assert requests.returned_code(" http://127.0.0.1:1/?code=C%2F1&state=S&scope=x \n", "S").reveal() == "C/1"


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("http://127.0.0.1:1/?code=C&state=other", "another sign-in"),
        ("http://127.0.0.1:1/?code=C", "another sign-in"),
        ("http://127.0.0.1:1/?code=C&state=S&state=S", "another sign-in"),
        (
            "http://127.0.0.1:1/?error=access_denied&error_description=no%0Ano&state=S",
            "the provider says access_denied: no no",
        ),
        ("http://127.0.0.1:1/?error=access_denied", "another sign-in"),
        ("http://127.0.0.1:1/?state=S", "no code in that address"),
        ("http://127.0.0.1:1/?state=S&code=", "no code in that address"),
        ("http://127.0.0.1:1/?state=S&code=a&code=b", "no code in that address"),
        ("http://[::1/?state=S", "no address of a page"),
        ("", "another sign-in"),
        ("?" + "&".join(f"x{n}=1" for n in range(99)), "no address of a page"),
        ("http://127.0.0.1/?state=\u00e4", "another sign-in"),
    ],
)
def test_a_code_that_is_not_ours(address, text):
    with pytest.raises(ValueError, match=text):
        requests.returned_code(address, "S")


def test_a_sign_in_that_was_declined():
    with pytest.raises(requests.Declined, match=r"^the provider says access_denied$"):
        requests.returned_code("http://127.0.0.1:1/?error=access_denied&state=S", "S")


# --- replies ---------------------------------------------------------------------------------------


def read(answer, status=200, **more):
    return replies.tokens(status, answer if isinstance(answer, bytes) else json.dumps(answer).encode(), NOW, **more)


def test_tokens_and_their_life():
    tokens = read(
        {"access_token": "A", "token_type": "Bearer", "expires_in": 3600, "refresh_token": "R", "scope": "smtp"}
    )
    assert tokens == Tokens(Secret("A"), NOW, NOW + 3600, Secret("R"), "smtp")
    assert (tokens.due_at, tokens.fresh(NOW + 2879), tokens.fresh(NOW + 2880)) == (NOW + 2880, True, False)
    assert (tokens.alive(NOW + 3599), tokens.alive(NOW + 3600)) == (True, False)


def test_a_clock_that_was_set_back_a_little_is_borne():
    tokens = read({"access_token": "A", "expires_in": 3600})
    assert tokens.alive(NOW - 299)
    assert not tokens.alive(NOW - 301)
    assert not tokens.fresh(NOW - 301)


def test_a_refresh_token_stays_or_is_replaced():
    before = Tokens(Secret("A"), NOW, NOW + 1, Secret("R1"), "smtp")
    assert read({"access_token": "B"}, before=before).refresh.reveal() == "R1"
    assert read({"access_token": "B"}, before=before).scope == "smtp"
    assert read({"access_token": "B", "refresh_token": "R2"}, before=before).refresh.reveal() == "R2"
    assert read({"access_token": "B", "refresh_token": "R\n2"}, before=before).refresh.reveal() == "R1"
    assert read({"access_token": "B", "refresh_token": 5}).refresh.reveal() == ""


@pytest.mark.parametrize(
    ("told", "lives"),
    [(3599, 3599), ("3599", 3599), (1.5, 1.5), (None, 3600), (0, 3600), (-5, 3600), ("soon", 3600), (True, 3600), ([], 3600), (1e300, 366 * 86400), ("9" * 20, 3600)],
)  # fmt: skip
def test_lifetimes_of_every_kind(told, lives):
    assert read({"access_token": "A", "expires_in": told}).expires_at == NOW + lives
    assert read(b'{"access_token":"A","expires_in":NaN}').expires_at == NOW + 3600
    assert read(b'{"access_token":"A","expires_in":Infinity}').expires_at == NOW + 3600


@pytest.mark.parametrize(
    ("answer", "status", "kind", "text"),
    [
        ({"error": "invalid_grant", "error_description": "AADSTS70008: expired.\r\nTrace ID: 1"}, 400, Kind.PERSON, "invalid_grant: AADSTS70008: expired. Trace ID: 1"),
        ({"error": "invalid_client"}, 401, Kind.PERSON, "invalid_client"),
        ({"error": "invalid_grant"}, 200, Kind.PERSON, "invalid_grant"),
        ({"error": "authorization_pending"}, 400, Kind.PENDING, "authorization_pending"),
        ({"error": "slow_down"}, 400, Kind.SLOW_DOWN, "slow_down"),
        ({"error": "temporarily_unavailable"}, 400, Kind.LATER, "temporarily_unavailable"),
        ({"error": "server_error"}, 400, Kind.LATER, "server_error"),
        ({"error": "odd"}, 500, Kind.LATER, "odd"),
        ({"error": "odd"}, 429, Kind.LATER, "odd"),
        ({"error": "odd", "error_description": 5}, 400, Kind.PERSON, "odd"),
        ({"error": {"code": 5}}, 400, Kind.LATER, "the token server answered 400 without a reason"),
        ({}, 200, Kind.LATER, "the token server answered 200 without a token"),
        ({"access_token": ""}, 200, Kind.LATER, "the token server answered 200 without a token"),
        ({"access_token": "a b"}, 200, Kind.LATER, "the token server answered 200 without a token"),
        ({"access_token": "\u00e4"}, 200, Kind.LATER, "the token server answered 200 without a token"),
        ({"access_token": "x" * 8193}, 200, Kind.LATER, "the token server answered 200 without a token"),
        ({"access_token": ["x"]}, 200, Kind.LATER, "the token server answered 200 without a token"),
        ({"access_token": "x", "token_type": "mac"}, 200, Kind.PERSON, "the token is no bearer token but mac"),
        (b"<html>gateway</html>", 502, Kind.LATER, "the token server answered 502 without a reason"),
        (b"\xff\xfe", 200, Kind.LATER, "the token server answered 200 without a token"),
        (b"[" * 100_000, 200, Kind.LATER, "the token server answered 200 without a token"),
        (b"[1]", 200, Kind.LATER, "the token server answered 200 without a token"),
        (b"", 302, Kind.LATER, "the token server answered 302: it redirects, which is not followed"),
    ],
)  # fmt: skip
def test_answers_without_tokens(answer, status, kind, text):
    refusal = read(answer, status)
    assert isinstance(refusal, Refusal)
    assert (refusal.kind, refusal.text) == (kind, text)


def test_promise_6_a_server_that_says_our_secrets_back():
    answer = {"error": "invalid_client", "error_description": "the secret hunter2 is wrong " + "x" * 900}
    refusal = read(answer, 401, secrets=(Secret("hunter2"),))
    assert "hunter2" not in refusal.text
    assert "the secret *** is wrong" in refusal.text
    assert len(refusal.text) < 520


def test_a_device_code():
    answer = {
        "device_code": "D",
        "user_code": "ABCD-EFGH",
        "verification_uri": "https://id.example/d",
        "expires_in": 900,
        "interval": 5,
    }
    assert replies.device(200, json.dumps(answer).encode()) == Device(
        Secret("D"), "ABCD-EFGH", "https://id.example/d", 900, 5
    )
    del answer["verification_uri"], answer["interval"]
    answer["verification_url"] = "https://id.example/g"
    assert replies.device(200, json.dumps(answer).encode()).interval == 5


@pytest.mark.parametrize(
    ("change", "status", "kind"),
    [
        ({"device_code": ""}, 200, Kind.LATER),
        ({"user_code": "\x1b[2J"}, 200, Kind.LATER),
        ({"verification_uri": 5}, 200, Kind.LATER),
        ({"verification_uri": "http://id.example/d"}, 200, Kind.PERSON),
        ({"verification_uri": "https://[::1"}, 200, Kind.PERSON),
        ({"error": "invalid_client"}, 200, Kind.PERSON),
        ({}, 503, Kind.LATER),
    ],
)
def test_a_device_code_that_is_none(change, status, kind):
    answer = {"device_code": "D", "user_code": "A", "verification_uri": "https://id.example/d"} | change
    assert replies.device(status, json.dumps(answer).encode()).kind is kind


@given(st.integers(100, 599), st.binary(max_size=300) | st.recursive(st.none() | st.integers() | st.text(), lambda s: st.dictionaries(st.sampled_from(["access_token", "error", "expires_in", "token_type", "refresh_token", "device_code"]), s)).map(lambda v: json.dumps(v).encode()))  # fmt: skip
def test_promise_10_any_answer_is_tokens_or_a_refusal(status, body):
    assert isinstance(replies.tokens(status, body, NOW), Tokens | Refusal)
    assert isinstance(replies.device(status, body), Device | Refusal)


# --- the stored form -------------------------------------------------------------------------------


def test_the_stored_form_reads_back():
    for kept in (
        Stored(),
        Stored(Tokens(Secret("A"), NOW, NOW + 1, Secret("R"), "s")),
        Stored(None, "invalid_grant", NOW),
    ):
        assert stored.decode(stored.encode(kept)) == kept
    assert "hunter2" not in repr(Stored(Tokens(Secret("hunter2"), NOW, NOW, Secret("hunter2"))))


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"v":1,"tokens":{}}', b'{"v":1,"tokens":5}', b"\xff", b'{"v":1,"tokens":{"access":"SECRET"', b"[" * 9999, b'{"v":1,"refused_at":"x"}'])  # fmt: skip
def test_a_damaged_form_says_so_and_shows_nothing(data):
    with pytest.raises(ValueError, match="damaged tokens") as caught:
        stored.decode(data)
    assert caught.value.__suppress_context__


def test_a_later_form_is_refused():
    with pytest.raises(ValueError, match="tokens of format 2, this program reads 1"):
        stored.decode(b'{"v":2}')
