"""The requests to a token server (RFC 6749, 7009, 7523, 7636, 8628), as forms; nothing here sends them."""

import base64
import hashlib
import hmac
from dataclasses import dataclass
from urllib.parse import parse_qs, urlencode, urlsplit

from relay.oauth.client import Client, Grant
from relay.oauth.providers import PROVIDERS
from relay.options import Secret

_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"


class Declined(ValueError):
    """the person, or the provider, said no"""


@dataclass(frozen=True, slots=True)
class Request:
    """A form to POST. The body holds secrets; `secrets` are those that an answer must not show."""

    url: str
    body: Secret
    secrets: tuple[Secret, ...] = ()


def without_person(client: Client, assertion: str) -> Request:
    """The grant that needs nobody: client credentials, or a service account's assertion."""
    if client.grant is Grant.SERVICE_ACCOUNT:
        return _request(client.token_url, grant_type=_JWT_BEARER, assertion=assertion)
    return _as_client(client, assertion, client.token_url, grant_type="client_credentials", scope=client.scope)


def refresh(client: Client, token: Secret, assertion: str) -> Request:
    """RFC 6749 6: for the scope that was granted."""
    scope = {"scope": client.scope} if PROVIDERS[client.provider].scope_on_refresh else {}
    fields = {"grant_type": "refresh_token", "refresh_token": token.reveal()}
    return _as_client(client, assertion, client.token_url, **fields, **scope)


def device_start(client: Client) -> Request:
    """RFC 8628 3.1."""
    return _request(client.device_url, client_id=client.client_id, scope=client.scope)


def device_poll(client: Client, device_code: Secret, assertion: str) -> Request:
    """RFC 8628 3.4."""
    return _as_client(client, assertion, client.token_url, grant_type=_DEVICE_CODE, device_code=device_code.reveal())


def code_exchange(client: Client, code: Secret, verifier: Secret, redirect: str, assertion: str) -> Request:
    """RFC 6749 4.1.3, with the verifier of RFC 7636 4.5."""
    return _as_client(
        client,
        assertion,
        client.token_url,
        grant_type="authorization_code",
        code=code.reveal(),
        redirect_uri=redirect,
        code_verifier=verifier.reveal(),
    )


def revoke(client: Client, token: Secret, assertion: str) -> Request:
    """RFC 7009 2.1."""
    return _as_client(client, assertion, client.revoke_url, token=token.reveal())


def sign_in_page(client: Client, redirect: str, state: str, verifier: Secret) -> str:
    """The page where a person consents (RFC 6749 4.1.1, RFC 7636 4.3)."""
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.reveal().encode("ascii")).digest())
    fields = {
        "response_type": "code",
        "client_id": client.client_id,
        "redirect_uri": redirect,
        "scope": client.scope,
        "state": state,
        "code_challenge": challenge.decode("ascii").rstrip("="),
        "code_challenge_method": "S256",
        "login_hint": client.user,
        **dict(PROVIDERS[client.provider].sign_in),
    }
    joint = "&" if "?" in client.auth_url else "?"
    return f"{client.auth_url}{joint}{urlencode(fields)}"


def returned_code(address: str, state: str) -> Secret:
    """The code in the address that the browser came back to (RFC 6749 4.1.2).

    Raises Declined where our own sign-in was refused, ValueError with a sentence for what is no answer to it.
    """
    try:
        fields = parse_qs(urlsplit(address.strip()).query, max_num_fields=50)
    except ValueError:
        raise ValueError("that is no address of a page") from None
    one = {name: values[0] for name, values in fields.items() if len(values) == 1}
    if not hmac.compare_digest(one.get("state", "").encode(), state.encode()):
        raise ValueError("that address belongs to another sign-in (its state is not ours): begin again")
    if "error" in one:
        why = f"{one['error']}: {one['error_description']}" if one.get("error_description") else one["error"]
        raise Declined(f"the provider says {printable(why)}")
    if not one.get("code"):
        raise ValueError("there is no code in that address: copy it whole from the browser's address line")
    return Secret(one["code"])


def printable(text: str, longest: int = 500) -> str:
    """One line for people, of what somebody else wrote."""
    shown = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return shown if len(shown) <= longest else shown[:longest] + "..."


def _as_client(client: Client, assertion: str, url: str, **fields: str) -> Request:
    """As this client, with its proof: an assertion, a secret, or none (a public client)."""
    fields["client_id"] = client.client_id
    if client.certificate:
        fields |= {"client_assertion_type": _ASSERTION, "client_assertion": assertion}
    elif client.secret:
        fields["client_secret"] = client.secret.reveal()
    return _request(url, **fields)


_SECRET = (
    "client_secret",
    "client_assertion",
    "assertion",
    "refresh_token",
    "device_code",
    "code",
    "code_verifier",
    "token",
)


def _request(url: str, **fields: str) -> Request:
    secrets = tuple(Secret(fields[name]) for name in _SECRET if fields.get(name))
    return Request(url, Secret(urlencode(fields)), secrets)
