"""Checks of OAuth2: what only a look at the files beside config.ini shows, so that a sign-in never fails for it."""

from collections.abc import Iterator

from relay import https, namedfile
from relay.loaded import Loaded
from relay.oauth import Client, client_of, signing
from relay.routing import NextHopOptions


def tokens(loaded: Loaded) -> None:
    """Whatever must be signed can be, and the authorities to trust are there."""
    hops = [(profile.section, profile.next_hop) for profile in loaded.configuration.notifications]
    hops += [(f"upstream:{name}", hop) for name, hop in loaded.configuration.upstreams]
    for section, hop in hops:
        client = _client(hop)
        for name, text in _faults(client) if client else ():
            loaded.fault_once(section, name, text)


def _client(hop: NextHopOptions) -> Client | None:
    """The client, unless it has faults of its own, which are told already."""
    try:
        return client_of(hop.oauth, hop.smtp_user)
    except ValueError:
        return None


def _faults(client: Client) -> Iterator[tuple[str, str]]:
    """The options and what is wrong: opening and a trial signature tell."""
    if client.ca_file:
        try:
            https.trust(client.ca_file)
        except https.HttpFault as fault:
            yield "oauth_ca_file", str(fault)
    if client.signs:
        option = "oauth_certificate" if client.certificate else "oauth_service_account"
        try:
            _sign(client)
        except OSError as missing:
            yield option, f"{client.certificate}: {missing.strerror}"
        except signing.CanNotSign as fault:
            yield ("oauth_key" if "private key" in str(fault) and client.certificate else option), str(fault)


def _sign(client: Client) -> None:
    if client.certificate:
        signing.client_assertion(client, namedfile.read(client.certificate), 0.0, "trial")
    else:
        signing.account_assertion(client, 0.0)
