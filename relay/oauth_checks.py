"""Checks of OAuth2: what only a look at the files beside config.ini shows, so that a sign-in never fails for it."""

from pathlib import Path

from relay.loaded import Loaded
from relay.oauth import Client, client_of, signing
from relay.routing import NextHopOptions


def tokens(loaded: Loaded) -> None:
    """Whatever must be signed can be."""
    hops = [(profile.section, profile.next_hop) for profile in loaded.configuration.notifications]
    hops += [(f"upstream:{name}", hop) for name, hop in loaded.configuration.upstreams]
    for section, hop in hops:
        client = _client(hop)
        if client and client.signs and (found := _fault(client)):
            loaded.fault_once(section, *found)


def _client(hop: NextHopOptions) -> Client | None:
    """The client, unless it has faults of its own, which are told already."""
    try:
        return client_of(hop.oauth, hop.smtp_user)
    except ValueError:
        return None


def _fault(client: Client) -> tuple[str, str] | None:
    """The option and what is wrong: a trial signature tells."""
    option = "oauth_certificate" if client.certificate else "oauth_service_account"
    try:
        if client.certificate:
            signing.client_assertion(client, Path(client.certificate).read_bytes(), 0.0, "trial")
        else:
            signing.account_assertion(client, 0.0)
    except OSError as fault:
        return option, f"{client.certificate}: {fault.strerror}"
    except signing.CanNotSign as fault:
        return ("oauth_key" if "private key" in str(fault) and client.certificate else option), str(fault)
    return None
