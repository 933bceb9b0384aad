"""Proving: the TLS context that a demand needs, and what a connection that stands has shown of the server.

DANE-TA(2) names an authority that only the server shows: a first connection tells which certificate that is,
a second one trusts it and nothing else, so that OpenSSL checks the chain, its dates and its signatures.
"""

import _ssl
import contextlib
import hashlib
import ssl
from collections.abc import Sequence
from typing import Any

from relay import dane, namedfile, tls
from relay.dane import Finding
from relay.der import public_key
from relay.errors import HopError
from relay.records import Tlsa
from relay.routing import Upstream
from relay.securing import shown_pin
from relay.tls import Demand, Level

_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


class NotProven(HopError):
    """the server is not the one that the demand means"""


class Anchored(HopError):
    """the server has shown an authority that DNS names: the chain up to it is to be verified, by another connection"""

    def __init__(self, anchors: Sequence[bytes]) -> None:
        super().__init__("the authority is known now")
        self.anchors = anchors


def context_of(upstream: Upstream) -> ssl.SSLContext:
    """The TLS context of an upstream, to be made once: it costs 20 ms. Raises OSError, ssl.SSLError."""
    if tls.demand(upstream).proof == "pkix" or upstream.sts:
        if upstream.ca_file:
            namedfile.look(upstream.ca_file)
        context = ssl.create_default_context(cafile=upstream.ca_file or None)
        context.hostname_checks_common_name = not upstream.sts  # RFC 8461 4.1: a subjectAltName it must be
        return _with_options(context, upstream)
    return bare(upstream)


def bare(upstream: Upstream) -> ssl.SSLContext:
    """A context that takes any certificate: what it proves is asked afterwards. Raises OSError, ssl.SSLError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return _with_options(context, upstream)


def anchored(upstream: Upstream, anchors: Sequence[bytes]) -> ssl.SSLContext:
    """A context that trusts these certificates (DER) alone, be they roots or not.

    Raises NotProven where none of them is a certificate, OSError, ssl.SSLError.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # the names are compared afterwards: there may be several
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    for anchor in anchors:
        with contextlib.suppress(ssl.SSLError):  # a stranger's octets; the others may be certificates
            context.load_verify_locations(cadata=anchor)
    if not context.cert_store_stats()["x509"]:
        raise NotProven("the authority that DNS names is no certificate")
    return _with_options(context, upstream)


def _with_options(context: ssl.SSLContext, upstream: Upstream) -> ssl.SSLContext:
    context.minimum_version = _VERSIONS[upstream.minimum]
    if upstream.client_certificate:
        namedfile.look(upstream.client_certificate)
        context.load_cert_chain(upstream.client_certificate)
    return context


def level_of(inner: Any, upstream: Upstream, wanted: Demand, found: Finding | None = None) -> Level:
    """What the connection really is, asked of the socket, not of what was meant. Raises NotProven, Anchored.

    `inner` is its ssl.SSLObject, None without TLS; `found` the TLSA records of a demand for DANE.
    """
    if inner is None:
        return Level.PLAIN
    if wanted.proof == "pin":
        return _pinned(inner, upstream)
    if wanted.proof == "dane" and found:
        return _by_dane(inner, found)
    verified = inner.context.verify_mode == ssl.CERT_REQUIRED and inner.context.check_hostname
    return Level.VERIFIED if verified else Level.ENCRYPTED


def _pinned(inner: Any, upstream: Upstream) -> Level:
    shown = pin_of(inner.getpeercert(binary_form=True) or b"")
    if shown not in upstream.pins:
        raise NotProven(f"the server's key is none of tls_pins: it is {shown_pin(shown)}")
    return Level.PINNED


def _by_dane(inner: Any, found: Finding) -> Level:
    chain = presented(inner)
    if chain and found.is_own(chain[0]):
        return Level.DANE
    if inner.context.verify_mode == ssl.CERT_REQUIRED:  # the second connection: the chain leads to who DNS names
        if dane.is_named(inner.getpeercert() or {}, found.names):
            return Level.DANE
        raise NotProven(f"its authority is the one that DNS names, but its certificate is not for {found.names[0]}")
    if anchors := found.anchors(chain):
        raise Anchored(anchors)
    seen = dane.shown(tlsa_of(chain[0])) if chain else "no certificate"
    raise NotProven(f"no TLSA record of {found.names[0]} fits the certificate, which is {seen}")


def presented(inner: Any) -> list[bytes]:
    """The chain as the server has presented it, its own certificate first (DER); nothing of it is verified.

    Public from Python 3.13 on; before, the same call stands behind a private name.
    """
    ask = getattr(inner, "get_unverified_chain", None) or inner._sslobj.get_unverified_chain
    return [c if isinstance(c, bytes) else c.public_bytes(_ssl.ENCODING_DER) for c in ask() or ()]


def pin_of(certificate: bytes) -> bytes:
    """The pin of a certificate (DER): SHA-256 of its public key."""
    return hashlib.sha256(public_key(certificate)).digest()


def tlsa_of(certificate: bytes) -> Tlsa:
    """The TLSA record that would name this certificate (DER), in the form that RFC 7671 5.1 advises: 3 1 1."""
    return Tlsa(dane.EE, dane.KEY, 1, pin_of(certificate))
