"""Credentials: how the log-in options of a next hop can contradict each other."""

from typing import Protocol

from relay import oauth, securing
from relay.auth import MECHANISMS
from relay.oauth import OAuthOptions
from relay.options import Secret

_BY_TOKEN = [mechanism.name.lower() for mechanism in MECHANISMS if mechanism.by == "token"]


class Options(securing.Options, Protocol):
    """The options of a next hop that say who we are, beside those of TLS."""

    @property
    def smtp_user(self) -> str: ...  # noqa: D102 - as routing.NextHopOptions declares them
    @property
    def smtp_password(self) -> Secret: ...  # noqa: D102
    @property
    def client_certificate(self) -> str: ...  # noqa: D102
    @property
    def auth(self) -> str: ...  # noqa: D102
    @property
    def oauth(self) -> OAuthOptions: ...  # noqa: D102


def faults(options: Options, *, local: bool) -> list[tuple[str, str]]:
    """Every contradiction: the option's name, what is wrong and what to do; `local`: nothing leaves this host."""
    found = oauth.faults(options.oauth, options.smtp_user)
    by_tokens = bool(options.oauth.provider)
    by_certificate = options.client_certificate and options.auth in ("", "external")
    if options.smtp_user and not (options.smtp_password or by_certificate or by_tokens):
        found.append(("smtp_user", "there is no password for it: set smtp_password_file or smtp_password"))
    if options.auth == "external":
        found += _external_faults(options)
    if by_tokens:
        found += _token_faults(options)
    elif options.auth in _BY_TOKEN:
        found.append(("auth", f"auth = {options.auth} logs in with a token: set oauth to say where it comes from"))
    elif options.smtp_password and not options.smtp_user:
        found.append(("smtp_password", "there is no smtp_user that it belongs to: set smtp_user"))
    if options.smtp_user and (why := securing.exposed(options)) and not local:
        what = "token" if by_tokens else "password"
        found.append(("smtp_user", f"the {what} would cross an unprotected connection ({why}): set use_tls = true"))
    return found


def _token_faults(options: Options) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    if options.smtp_password:
        text = f"oauth = {options.oauth.provider} logs in with tokens instead: remove one of them"
        found.append(("smtp_password", text))
    if options.auth not in ("", *_BY_TOKEN):
        text = f"auth = {options.auth} takes no token, oauth brings nothing else: remove it, or oauth"
        found.append(("auth", text))
    return found


def _external_faults(options: Options) -> list[tuple[str, str]]:
    if not options.client_certificate:
        return [("auth", "auth = external logs in with a client certificate: set client_certificate")]
    if options.smtp_password:
        return [("smtp_password", "auth = external logs in with the client certificate alone: remove the password")]
    if securing.mode(options) in ("none", "opportunistic"):
        return [("auth", f"auth = external needs TLS, and tls is {securing.mode(options)}: set use_tls = true")]
    return []
