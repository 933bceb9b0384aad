"""Client: one OAuth2 client, complete: what is asked for, where, as whom, and what proves that we may."""

import hashlib
import json
from dataclasses import dataclass
from enum import StrEnum

from relay.options import Secret


class Grant(StrEnum):
    """How the first token is come by; a refresh token needs none of them again."""

    CLIENT_CREDENTIALS = "client_credentials"
    DEVICE_CODE = "device_code"
    AUTHORIZATION_CODE = "authorization_code"
    SERVICE_ACCOUNT = "service_account"

    @property
    def needs_person(self) -> bool:
        """True when somebody must sign in once; else config.ini alone is enough."""
        return self in (Grant.DEVICE_CODE, Grant.AUTHORIZATION_CODE)


@dataclass(frozen=True, slots=True)
class Client:
    """Everything that a token request is made from. `user` is the mailbox, `certificate` a path, `key` a PEM."""

    provider: str
    grant: Grant
    client_id: str
    user: str
    scope: str
    token_url: str
    auth_url: str = ""
    device_url: str = ""
    revoke_url: str = ""
    redirect: str = ""
    ca_file: str = ""
    secret: Secret = Secret("")
    certificate: str = ""
    key: Secret = Secret("")
    account: Secret = Secret("")
    """Google's JSON key of a service account."""

    @property
    def signs(self) -> bool:
        """True when requests carry a signed assertion: the extra `crypto` is needed."""
        return bool(self.certificate) or self.grant is Grant.SERVICE_ACCOUNT

    @property
    def mark(self) -> str:
        """The name under which its tokens are stored: another client, mailbox, scope or server has other tokens.

        Upstreams that are the same client for the same mailbox share them: one sign-in, one renewal.
        """
        said = (self.grant, self.client_id, self.user, self.scope, self.token_url)
        return f"{self.provider}-{hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16]}"
