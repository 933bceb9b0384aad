"""OAuth2 options: which client they make, and every contradiction with its sentence."""

import json

import pytest

from relay.oauth import Client, Grant, OAuthOptions, client_of, faults
from relay.oauth.options import grant_of, redirect_address, tenant, web_address
from relay.options import Secret

ACCOUNT = json.dumps(
    {
        "type": "service_account",
        "client_email": "robot@project.example.com",
        "private_key_id": "k1",
        "private_key": "PEM",
    }
)
ID = {"client_id": "app"}
TENANT = {"tenant": "contoso.example"}


def options(provider, **more):
    return OAuthOptions(
        provider,
        **{name: Secret(v) if name in ("client_secret", "key", "service_account") else v for name, v in more.items()},
    )


@pytest.mark.parametrize(
    ("given", "grant"),
    [
        (options("microsoft"), "device_code"),
        (options("microsoft", client_secret="s"), "client_credentials"),
        (options("microsoft", certificate="c", key="k"), "client_credentials"),
        (options("google", client_secret="s"), "authorization_code"),
        (options("google", service_account="x"), "service_account"),
        (options("custom", client_secret="s"), "client_credentials"),
        (options("custom", device_url="https://x.example/d"), "device_code"),
        (options("custom", auth_url="https://x.example/a"), "authorization_code"),
        (options("microsoft", client_secret="s", grant="authorization_code"), "authorization_code"),
    ],
)
def test_the_grant_that_the_options_suggest(given, grant):
    assert grant_of(given) is Grant(grant)
    assert grant_of(given).needs_person == (grant in ("device_code", "authorization_code"))


def test_microsofts_two_ways():
    application = client_of(options("microsoft", **ID, **TENANT, client_secret="s"), "bugs@contoso.example")
    assert application == Client(
        "microsoft",
        Grant.CLIENT_CREDENTIALS,
        "app",
        "bugs@contoso.example",
        "https://outlook.office365.com/.default",
        "https://login.microsoftonline.com/contoso.example/oauth2/v2.0/token",
        "https://login.microsoftonline.com/contoso.example/oauth2/v2.0/authorize",
        "https://login.microsoftonline.com/contoso.example/oauth2/v2.0/devicecode",
        "",
        "http://localhost",
        secret=Secret("s"),
    )
    delegated = client_of(options("microsoft", **ID), "bugs@contoso.example")
    assert delegated.scope == "https://outlook.office.com/SMTP.Send offline_access"
    assert delegated.token_url == "https://login.microsoftonline.com/common/oauth2/v2.0/token"


def test_googles_two_ways():
    person = client_of(options("google", **ID, client_secret="s"), "me@gmail.com")
    assert (person.grant, person.scope) == (Grant.AUTHORIZATION_CODE, "https://mail.google.com/")
    assert person.auth_url == "https://accounts.google.com/o/oauth2/v2/auth"
    assert person.revoke_url == "https://oauth2.googleapis.com/revoke"
    account = client_of(options("google", service_account=ACCOUNT), "bugs@example.com")
    assert (account.client_id, account.user, account.signs) == ("robot@project.example.com", "bugs@example.com", True)
    assert account.token_url == "https://oauth2.googleapis.com/token"


def test_a_sovereign_cloud_replaces_addresses_and_scope():
    client = client_of(
        options(
            "microsoft",
            **ID,
            **TENANT,
            client_secret="s",
            token_url="https://login.microsoftonline.us/{tenant}/oauth2/v2.0/token",
            scope="https://outlook.office365.us/.default",
        ),
        "bugs@contoso.example",
    )
    assert client.token_url == "https://login.microsoftonline.us/contoso.example/oauth2/v2.0/token"
    assert client.scope == "https://outlook.office365.us/.default"


CUSTOM = {"token_url": "https://id.example/token", "scope": "smtp"}


def test_custom():
    client = client_of(
        options("custom", **ID, **CUSTOM, client_secret="s", redirect="http://localhost:8400/back"), "me"
    )
    assert (client.grant, client.token_url, client.redirect) == (
        Grant.CLIENT_CREDENTIALS,
        "https://id.example/token",
        "http://localhost:8400/back",
    )
    assert client_of(OAuthOptions(), "me") is None


@pytest.mark.parametrize(
    ("given", "user", "found"),
    [
        (OAuthOptions(), "", {}),
        (
            OAuthOptions(client_id="app", scope="x"),
            "me",
            {"oauth_client_id": "no use without oauth", "oauth_scope": "no use"},
        ),
        (
            options("microsoft"),
            "",
            {"smtp_user": "address of the mailbox", "oauth_client_id": "application's client id"},
        ),
        (options("microsoft", **ID, client_secret="s"), "me", {"oauth_tenant": "needs your tenant"}),
        (options("microsoft", **ID, client_secret="s", tenant="Common"), "me", {"oauth_tenant": "needs your tenant"}),
        (options("microsoft", **ID, client_secret="s", token_url="https://x.example/t"), "me", {}),
        (options("google", **ID, **TENANT, client_secret="s"), "me", {"oauth_tenant": "no address has a {tenant}"}),
        (options("microsoft", **ID, **TENANT, certificate="c"), "me", {"oauth_certificate": "private key is missing"}),
        (options("microsoft", **ID, **TENANT, key="k", client_secret="s"), "me", {"oauth_key": "no certificate"}),
        (
            options("microsoft", **ID, **TENANT, key="k", certificate="c", client_secret="s"),
            "me",
            {"oauth_certificate": "a secret is set too"},
        ),
        (options("microsoft", **ID, **TENANT, grant="client_credentials"), "me", {"oauth_grant": "needs a proof"}),
        (
            options("microsoft", grant="service_account", service_account=ACCOUNT),
            "me",
            {"oauth_grant": "microsoft has no service accounts"},
        ),
        (options("google", **ID), "me", {"oauth_client_secret": "desktop applications too"}),
        (options("google", **ID, grant="device_code"), "me", {"oauth_grant": "no device code for mail"}),
        (
            options("google", **ID, grant="client_credentials", client_secret="s"),
            "me",
            {"oauth_grant": "no client_credentials for mail"},
        ),
        (options("google", **ID, service_account=ACCOUNT), "me", {"oauth_client_id": "brings its own"}),
        (options("google", grant="service_account"), "me", {"oauth_service_account": "its JSON file"}),
        (options("google", service_account="{}"), "me", {"oauth_service_account": "no JSON key of a service account"}),
        (
            options("google", service_account="no json"),
            "me",
            {"oauth_service_account": "no JSON key of a service account"},
        ),
        (
            options("google", service_account="[" * 9999),
            "me",
            {"oauth_service_account": "no JSON key of a service account"},
        ),
        (
            options("google", service_account=ACCOUNT.replace("service_account", "authorized_user")),
            "me",
            {"oauth_service_account": "of another kind"},
        ),
        (
            options("google", **ID, service_account=ACCOUNT, client_secret="s", grant="authorization_code"),
            "me",
            {"oauth_service_account": "authorization_code does not use it"},
        ),
        (
            options("custom", **ID, grant="device_code"),
            "me",
            {"oauth_token_url": "needs it", "oauth_scope": "needs it", "oauth_device_url": "device_code needs it"},
        ),
        (options("custom", **ID, **CUSTOM), "me", {"oauth_auth_url": "authorization_code needs it"}),
    ],
)
def test_contradictions(given, user, found):
    told = dict(faults(given, user))
    assert told.keys() == found.keys()
    for name, part in found.items():
        assert part in told[name]
    if found:
        with pytest.raises(ValueError, match=next(iter(told))):
            client_of(given, user)


@pytest.mark.parametrize(
    "text", ["", "https://id.example/token", "https://id.example:8443/{tenant}/token?x=y", "https://[::1]/t"]
)
def test_addresses(text):
    assert web_address(f" {text} ") == text
    assert redirect_address(text) == text


@pytest.mark.parametrize(
    "text",
    ["http://id.example/", "id.example", "https://", "https://id.example:0/", "https://id.example:x/", "https://[::1", "https://é.example/", "https://a b.example/", "https://u:p@id.example/", "https://u@id.example/", "https://id.example/#x", "file:///etc"],
)  # fmt: skip
def test_what_is_no_address(text):
    with pytest.raises(ValueError, match=r"https address|write it without"):
        web_address(text)
    with pytest.raises(ValueError, match=r"https address|write it without"):
        redirect_address(text)


@pytest.mark.parametrize("text", ["http://localhost", "http://127.0.0.1:8400/", "http://[::1]:1/x"])
def test_where_the_browser_may_come_back_to(text):
    assert redirect_address(text) == text


def test_a_tenant_is_no_path():
    assert tenant(" contoso.onmicrosoft.com ") == "contoso.onmicrosoft.com"
    with pytest.raises(ValueError, match="no tenant"):
        tenant("x/../y")


def test_tokens_are_shared_by_the_same_client_alone():
    one = client_of(options("microsoft", **ID, client_secret="s", grant="device_code"), "me@x.example")
    assert (
        one.mark == client_of(options("microsoft", **ID, client_secret="new", grant="device_code"), "me@x.example").mark
    )
    assert (
        one.mark != client_of(options("microsoft", **ID, client_secret="s", grant="device_code"), "you@x.example").mark
    )
    assert one.mark != client_of(options("microsoft", client_id="b", grant="device_code"), "me@x.example").mark
    assert one.mark.startswith("microsoft-")


def test_promise_6_nothing_shows_a_secret():
    client = client_of(options("microsoft", **ID, **TENANT, client_secret="hunter2"), "me")
    assert "hunter2" not in repr(client)
    assert "PEM" not in repr(options("google", service_account=ACCOUNT))
