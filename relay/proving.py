"""Proving: the TLS context that a demand needs, and what a connection that stands has shown of the server."""

import hashlib
import ssl

from relay import tls
from relay.der import public_key
from relay.errors import HopError
from relay.routing import Upstream
from relay.securing import shown_pin
from relay.tls import Demand, Level

_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


class NotProven(HopError):
    """the server is not the one that the demand means"""


def context_of(upstream: Upstream) -> ssl.SSLContext:
    """The TLS context of an upstream, to be made once: it costs 20 ms. Raises OSError, ssl.SSLError."""
    if tls.demand(upstream).proof == "pkix":
        context = ssl.create_default_context(cafile=upstream.ca_file or None)
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.minimum_version = _VERSIONS[upstream.minimum]
    if upstream.client_certificate:
        context.load_cert_chain(upstream.client_certificate)
    return context


def level_of(inner: ssl.SSLObject | None, upstream: Upstream, wanted: Demand) -> Level:
    """What the connection really is, asked of the socket, not of what was meant. Raises NotProven."""
    if inner is None:
        return Level.PLAIN
    if wanted.proof == "pin":
        _pinned(inner, upstream)
        return Level.PINNED
    verified = inner.context.verify_mode == ssl.CERT_REQUIRED and inner.context.check_hostname
    return Level.VERIFIED if verified else Level.ENCRYPTED


def _pinned(inner: ssl.SSLObject, upstream: Upstream) -> None:
    shown = pin_of(inner.getpeercert(binary_form=True) or b"")
    if shown not in upstream.pins:
        raise NotProven(f"the server's key is none of tls_pins: it is {shown_pin(shown)}")


def pin_of(certificate: bytes) -> bytes:
    """The pin of a certificate (DER): SHA-256 of its public key."""
    return hashlib.sha256(public_key(certificate)).digest()
