"""What the known providers want, as they documented it on `AS_OF`; every address and the scope can be overridden."""

from dataclasses import dataclass

from relay.oauth.client import Grant

AS_OF = "2026-11"


@dataclass(frozen=True, slots=True)
class Provider:
    """One provider. `{tenant}` in an address is replaced; `sign_in` goes with the page for signing in."""

    token_url: str = ""
    auth_url: str = ""
    device_url: str = ""
    revoke_url: str = ""
    scope: str = ""
    """For a person's consent."""
    application_scope: str = ""
    """For client credentials."""
    tenant: str = ""
    redirect: str = "http://127.0.0.1"
    sign_in: tuple[tuple[str, str], ...] = ()
    scope_on_refresh: bool = False
    """Microsoft's tokens are for one resource, which the scope names; elsewhere the granted one is meant."""
    where_to_revoke: str = ""
    """For people, where there is no address for it."""

    def scope_of(self, grant: Grant) -> str:
        """The scope for sending mail by that grant."""
        return self.application_scope if grant is Grant.CLIENT_CREDENTIALS else self.scope


_ENTRA = "https://login.microsoftonline.com/{tenant}/oauth2/v2.0"

PROVIDERS: dict[str, Provider] = {
    # US government: login.microsoftonline.us and outlook.office365.us;
    # China: login.partner.microsoftonline.cn and partner.outlook.cn.
    "microsoft": Provider(
        token_url=f"{_ENTRA}/token",
        auth_url=f"{_ENTRA}/authorize",
        device_url=f"{_ENTRA}/devicecode",
        scope="https://outlook.office.com/SMTP.Send offline_access",
        application_scope="https://outlook.office365.com/.default",
        tenant="common",
        redirect="http://localhost",  # what the portal offers for applications on a desktop; any port will do
        sign_in=(("response_mode", "query"),),
        where_to_revoke="https://myapps.microsoft.com (a user's consent), or the application's page in Microsoft Entra",
        scope_on_refresh=True,
    ),
    "google": Provider(
        token_url="https://oauth2.googleapis.com/token",  # noqa: S106 - an address
        auth_url="https://accounts.google.com/o/oauth2/v2/auth",
        revoke_url="https://oauth2.googleapis.com/revoke",
        scope="https://mail.google.com/",
        sign_in=(("access_type", "offline"), ("prompt", "consent")),  # else no refresh token comes at the second time
        where_to_revoke="https://myaccount.google.com/connections, or the service account's page",
    ),
    "custom": Provider(where_to_revoke="the provider's own pages"),
}
