"""Inheriting: what a profile's next hop takes over from [notification], and what stays with its server."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from relay.routing import NextHopOptions

PROVES = ("tls_verify", "tls_proof", "tls_pins")
"""The options that say what proves who the server is: one profile's word replaces all of them."""
LOG_IN = ("smtp_user", "smtp_password", "auth", "client_certificate", "oauth")
"""The options that say who we are: they belong to the server that they stand with."""


def inherited(
    base: NextHopOptions, own: Mapping[str, Any], tokens: Mapping[str, Any], limits: Mapping[str, Any]
) -> NextHopOptions:
    """The next hop of a profile: what it says itself (`tokens`: of OAuth2, `limits`), over what [notification] says.

    Not inherited are: `upstream` where the profile names a server, and the other way round; log-in and limits,
    where it names another server (promise 7: no server gets another one's password) or another user; a
    password where it has tokens, and the other way round; `use_tls` where it has `tls`, and the other way
    round, as both say the same; pins of another server; a proof where it says another one.
    """
    nothing = NextHopOptions()
    if "smtp_server" in own or "upstream" in own:
        base = replace(base, upstream=())
    if own.get("upstream"):
        base = replace(nothing, outbox=base.outbox)
    if own.get("smtp_server", base.smtp_server) != base.smtp_server:
        base = _of_another_server(base)
    if own.get("smtp_user", base.smtp_user) != base.smtp_user:
        base = replace(base, smtp_password=nothing.smtp_password, manners=nothing.manners)
    if "smtp_password" in own:
        base = replace(base, oauth=nothing.oauth)
    if tokens.get("provider"):
        base = replace(base, smtp_password=nothing.smtp_password)
    if tokens.get("provider", base.oauth.provider) != base.oauth.provider:
        base = replace(base, oauth=nothing.oauth)
    limited = replace(base.manners, **limits)
    return replace(_tls_of(base, own), **own, oauth=replace(base.oauth, **tokens), manners=limited)


def _tls_of(base: NextHopOptions, own: Mapping[str, Any]) -> NextHopOptions:
    """`base` without what it says of TLS where `own` says the same in another way."""
    nothing = NextHopOptions()
    if "tls" in own:
        base = replace(base, use_tls=None)
    if "use_tls" in own:
        base = replace(base, tls="")
    if any(name in own for name in PROVES):
        base = replace(base, **{name: getattr(nothing, name) for name in PROVES})
    return base


def _of_another_server(base: NextHopOptions) -> NextHopOptions:
    """What another server than that of `base` gets of it: neither the log-in nor the pins, nor the limits."""
    nothing = NextHopOptions()
    proof = "" if base.tls_proof == "pin" else base.tls_proof
    none = {name: getattr(nothing, name) for name in LOG_IN}
    return replace(base, tls_pins=(), tls_proof=proof, srv_targets=(), manners=nothing.manners, **none)
