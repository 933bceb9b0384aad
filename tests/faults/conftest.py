"""The certificates of the peers, good and bad, and one relay for the whole matrix."""

import datetime
import ssl
import warnings

import pytest
import trustme

from tests.e2e.daemon import Daemon
from tests.faults.matrix import Matrix
from tests.faults.peer import PASSWORD, Peers


@pytest.fixture(scope="session")
def authorities(tmp_path_factory):
    """The file of the authority that the relay trusts, and a TLS context for each certificate of a peer."""
    folder = tmp_path_factory.mktemp("certificates")
    trusted, stranger = trustme.CA(), trustme.CA()
    trusted.cert_pem.write_to_path(folder / "ca.pem")
    long_ago = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    certificates = {
        "good": trusted.issue_cert("localhost"),
        "old": trusted.issue_cert("localhost"),
        "othername": trusted.issue_cert("mail.example.net"),
        "expired": trusted.issue_cert("localhost", not_after=long_ago),
        "stranger": stranger.issue_cert("localhost"),
    }
    contexts = {}
    for name, certificate in certificates.items():
        contexts[name] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(contexts[name])
    stranger.cert_pem.write_to_path(folder / "self.pem")
    stranger.private_key_pem.write_to_path(folder / "self.key")
    contexts["selfsigned"] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    contexts["selfsigned"].load_cert_chain(folder / "self.pem", folder / "self.key")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        contexts["old"].minimum_version = ssl.TLSVersion.TLSv1
        contexts["old"].maximum_version = ssl.TLSVersion.TLSv1_1
        contexts["old"].set_ciphers("ALL:@SECLEVEL=0")
    return folder / "ca.pem", contexts


@pytest.fixture(scope="session")
def matrix(tmp_path_factory, authorities):
    """The matrix after both its rounds: every mail's life after each, and what the peers saw."""
    daemon, peers = Daemon(tmp_path_factory.mktemp("relay")), Peers()
    made = Matrix(daemon, peers, *authorities)
    try:
        made.run()
        yield made
    finally:
        if daemon.process and daemon.process.poll() is None:
            daemon.stop()
        peers.stop()
    assert "Traceback" not in daemon.log()
    assert PASSWORD not in daemon.log()
