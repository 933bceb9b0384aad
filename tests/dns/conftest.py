"""A validating resolver and a signed zone, for real, and mail servers as scripted peers."""

from tests.dns.servers import servers
from tests.e2e.daemon import daemon
from tests.upstream.conftest import certificates, run, stage

__all__ = ["certificates", "daemon", "run", "servers", "stage"]
