"""OAuth2 without I/O: whose tokens, which request, what an answer means, how tokens are stored."""

from relay.oauth.client import Client, Grant
from relay.oauth.options import OPTION_NAMES, OAuthOptions, client_of, faults

__all__ = ["OPTION_NAMES", "Client", "Grant", "OAuthOptions", "client_of", "faults"]
