"""Real programs on loopback: Postfix (SASL by Dovecot) and others as next hops, Trac as client, the daemon in between.

Everything lies in temporary folders and on free ports; what was started is ended by its pid. Without
root or the packages these tests skip and say so; under CI=true they fail instead.
"""

from tests.e2e.daemon import daemon
from tests.e2e.hop import hop, relay
from tests.e2e.mta import peer, peer_server
from tests.e2e.postfix import certificates, postfix, postfix_server, upstream_lines
from tests.e2e.tracker import roundup, trac

__all__ = [
    "certificates",
    "daemon",
    "hop",
    "peer",
    "peer_server",
    "postfix",
    "postfix_server",
    "relay",
    "roundup",
    "trac",
    "upstream_lines",
]
