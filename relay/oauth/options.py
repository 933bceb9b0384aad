"""The OAuth2 options of an upstream, and what is wrong with them together."""

import re
from dataclasses import dataclass, fields
from urllib.parse import urlsplit

from relay.oauth.client import Client, Grant
from relay.oauth.providers import PROVIDERS
from relay.oauth.signing import Account
from relay.options import Secret, choice, option, path, secret


def web_address(value: str) -> str:
    """An https address without a password in it."""
    value = value.strip()
    try:
        parts = urlsplit(value)
        fit = parts.scheme == "https" and parts.hostname and parts.port != 0
    except ValueError:
        fit = False
    if value and not (fit and value.isascii() and value.isprintable() and " " not in value):
        raise ValueError(f"{value!r} is no https address")
    if value and (parts.username or parts.password or parts.fragment):
        raise ValueError("an address with a user, a password or a # in it: write it without")
    return value


def redirect_address(value: str) -> str:
    """Where the browser comes back to: http at a loopback name, or any https address."""
    value = value.strip()
    try:
        parts = urlsplit(value)
        loopback = parts.scheme == "http" and parts.hostname in ("localhost", "127.0.0.1", "::1") and parts.port != 0
    except ValueError:
        loopback = False
    return value if loopback else web_address(value)


def tenant(value: str) -> str:
    """What may stand for {tenant} in an address."""
    if not re.fullmatch(r"[A-Za-z0-9.-]*", value.strip()):
        raise ValueError(f"{value!r} is no tenant's id or domain")
    return value.strip()


@dataclass(frozen=True, slots=True)
class OAuthOptions:
    """Tokens instead of a password. Every address of a provider can be replaced: sovereign clouds have their own."""

    provider: str = option(
        "",
        "Log in with OAuth2 tokens of this provider instead of a password: microsoft, google or custom",
        choice(*PROVIDERS, ""),
        name="oauth",
    )
    grant: str = option(
        "",
        "How tokens are come by: client_credentials, device_code, authorization_code or service_account;"
        " empty: what the other options suggest",
        choice(*Grant, ""),
        name="oauth_grant",
    )
    client_id: str = option(
        "", "The client (application) id that the provider gave you", str.strip, name="oauth_client_id"
    )
    client_secret: Secret = option(
        Secret(""),
        "The client's secret; better in oauth_client_secret_file",
        secret,
        name="oauth_client_secret",
        secret=True,
    )
    tenant: str = option("", "microsoft: the tenant's id or domain; empty: common", tenant, name="oauth_tenant")
    certificate: str = option(
        "", "The client's certificate (PEM) in place of a secret; its key is oauth_key", path, name="oauth_certificate"
    )
    key: Secret = option(
        Secret(""),
        "The private key of oauth_certificate (PEM); better in oauth_key_file",
        secret,
        name="oauth_key",
        secret=True,
    )
    service_account: Secret = option(
        Secret(""),
        "google: the key (JSON) of a service account that acts as smtp_user; better in oauth_service_account_file",
        secret,
        name="oauth_service_account",
        secret=True,
    )
    scope: str = option(
        "", "What the token is for; empty: the provider's scope for sending mail", str.strip, name="oauth_scope"
    )
    token_url: str = option(
        "", "The provider's token address, where it is another", web_address, name="oauth_token_url"
    )
    auth_url: str = option(
        "", "The provider's page for signing in, where it is another", web_address, name="oauth_auth_url"
    )
    device_url: str = option(
        "", "The provider's device code address, where it is another", web_address, name="oauth_device_url"
    )
    revoke_url: str = option(
        "", "The provider's address for revoking tokens, where it is another", web_address, name="oauth_revoke_url"
    )
    redirect: str = option(
        "",
        "Where the browser returns to after signing in; a loopback address without a port gets a free one",
        redirect_address,
        name="oauth_redirect",
    )
    ca_file: str = option(
        "", "Certificates of the authorities to trust for the provider; empty: the system's", path, name="oauth_ca_file"
    )


OPTION_NAMES = tuple(field.metadata["name"] for field in fields(OAuthOptions))
Faults = list[tuple[str, str]]


def faults(options: OAuthOptions, user: str) -> Faults:
    """Every contradiction among these options: the option's name, and what is wrong and what to do."""
    if not options.provider:
        text = f"it is of no use without oauth: set oauth to {', '.join(PROVIDERS)}, or remove it"
        return [(field.metadata["name"], text) for field in fields(options) if getattr(options, field.name)]
    grant = grant_of(options)
    found = _identity_faults(options, grant, user)
    found += _secret_faults(options, grant)
    found += _tenant_faults(options, grant)
    if options.provider == "custom":
        found += _custom_faults(options, grant)
    elif options.provider == "google" and grant in _NOT_GOOGLES:
        found.append(("oauth_grant", _NOT_GOOGLES[grant]))
    elif options.provider == "microsoft" and grant is Grant.SERVICE_ACCOUNT:
        found.append(("oauth_grant", "microsoft has no service accounts: use client_credentials"))
    return found


_NOT_GOOGLES = {
    Grant.DEVICE_CODE: "google gives no device code for mail: use authorization_code, or a service account",
    Grant.CLIENT_CREDENTIALS: "google has no client_credentials for mail: use service_account or authorization_code",
}
_MANY = ("", "common", "organizations", "consumers")
"""Microsoft's names for more than one tenant."""


def grant_of(options: OAuthOptions) -> Grant:
    """The grant that is asked for, or that the other options suggest."""
    if options.grant:
        return Grant(options.grant)
    if options.service_account:
        return Grant.SERVICE_ACCOUNT
    if options.certificate or (options.client_secret and options.provider != "google"):
        return Grant.CLIENT_CREDENTIALS
    if options.provider == "microsoft" or options.device_url:
        return Grant.DEVICE_CODE
    return Grant.AUTHORIZATION_CODE


def _tenant_faults(options: OAuthOptions, grant: Grant) -> Faults:
    addresses = (options.token_url, options.auth_url, options.device_url)
    used = "{tenant}" in (options.token_url or PROVIDERS[options.provider].token_url)
    if grant is Grant.CLIENT_CREDENTIALS and used and options.tenant.lower() in _MANY:
        return [("oauth_tenant", "client_credentials needs your tenant: set it to the tenant's id or domain")]
    if options.tenant and not used and not any("{tenant}" in address for address in addresses):
        return [("oauth_tenant", "no address has a {tenant} that it stands for: remove it")]
    return []


def _identity_faults(options: OAuthOptions, grant: Grant, user: str) -> Faults:
    found: Faults = []
    if not user:
        found.append(("smtp_user", "a token logs in as somebody: set it to the address of the mailbox that sends"))
    if grant is not Grant.SERVICE_ACCOUNT:
        if not options.client_id:
            found.append(("oauth_client_id", "the provider knows you by it: set it to your application's client id"))
        return found
    if options.client_id:
        found.append(("oauth_client_id", "a service account brings its own: remove it"))
    if not options.service_account:
        text = "service_account needs the account's key: set oauth_service_account_file to its JSON file"
        return [*found, ("oauth_service_account", text)]
    try:
        Account.read(options.service_account)
    except ValueError as fault:
        found.append(("oauth_service_account", str(fault)))
    return found


def _secret_faults(options: OAuthOptions, grant: Grant) -> Faults:
    found: Faults = []
    if options.certificate and options.client_secret:
        found.append(("oauth_certificate", "a secret is set too: keep the certificate, or oauth_client_secret"))
    if options.certificate and not options.key:
        found.append(("oauth_certificate", "its private key is missing: set oauth_key_file"))
    if options.key and not options.certificate:
        found.append(("oauth_key", "there is no certificate that it belongs to: set oauth_certificate"))
    if grant is Grant.CLIENT_CREDENTIALS and not (options.client_secret or options.certificate):
        text = "client_credentials needs a proof: set oauth_client_secret_file, or oauth_certificate and oauth_key_file"
        found.append(("oauth_grant", text))
    if grant is Grant.AUTHORIZATION_CODE and options.provider == "google" and not options.client_secret:
        text = "google wants the secret of desktop applications too: set oauth_client_secret_file"
        found.append(("oauth_client_secret", text))
    if grant is not Grant.SERVICE_ACCOUNT and options.service_account:
        found.append(("oauth_service_account", f"{grant} does not use it: remove it, or oauth_grant"))
    return found


def _custom_faults(options: OAuthOptions, grant: Grant) -> Faults:
    wanted = [("oauth_token_url", options.token_url), ("oauth_scope", options.scope)]
    if grant is Grant.DEVICE_CODE:
        wanted.append(("oauth_device_url", options.device_url))
    if grant is Grant.AUTHORIZATION_CODE:
        wanted.append(("oauth_auth_url", options.auth_url))
    return [(name, f"oauth = custom with {grant} needs it: set it") for name, value in wanted if not value]


def client_of(options: OAuthOptions, user: str) -> Client | None:
    """The client that these options describe, None without oauth. Raises ValueError with the first contradiction."""
    for name, sentence in faults(options, user):
        raise ValueError(f"{name}: {sentence}")
    if not options.provider:
        return None
    provider, grant = PROVIDERS[options.provider], grant_of(options)
    named = options.tenant or provider.tenant

    def address(given: str, usual: str) -> str:
        return (given or usual).replace("{tenant}", named)

    client_id = options.client_id
    if grant is Grant.SERVICE_ACCOUNT:
        client_id = Account.read(options.service_account).email
    return Client(
        options.provider,
        grant,
        client_id,
        user,
        options.scope or provider.scope_of(grant),
        address(options.token_url, provider.token_url),
        address(options.auth_url, provider.auth_url),
        address(options.device_url, provider.device_url),
        address(options.revoke_url, provider.revoke_url),
        options.redirect or provider.redirect,
        options.ca_file,
        options.client_secret,
        options.certificate,
        options.key,
        options.service_account,
    )
