"""Certificate: what a server's certificate says, as far as it can be read here."""

import contextlib
import ssl
import time
from dataclasses import dataclass
from typing import Any

from relay.link import Seen


@dataclass(frozen=True, slots=True)
class Certificate:
    """For whom, by whom, until when (seconds since 1970)."""

    names: tuple[str, ...]
    issuer: str
    ends_at: float

    @property
    def days(self) -> int:
        """Whole days that are left; negative when it has ended."""
        return int((self.ends_at - time.time()) // 86400)

    def __str__(self) -> str:
        names = ", ".join(self.names[:5]) + (", ..." if len(self.names) > 5 else "")
        return f"certificate for {names or 'no name'}, issued by {self.issuer or 'nobody named'}"


def certificate(seen: Seen) -> Certificate | None:
    """The one that the connection has shown; None when there was none, or it can not be read."""
    if seen.certificate:
        return _verified(seen.certificate)
    if seen.certificate_octets:
        with contextlib.suppress(ImportError, ValueError):
            return _unverified(seen.certificate_octets)
    return None


def _verified(form: dict[str, Any]) -> Certificate:
    names = tuple(value for _, value in form.get("subjectAltName", ()))
    issuer = {key: value for part in form.get("issuer", ()) for key, value in part}
    shown = issuer.get("organizationName") or issuer.get("commonName") or ""
    return Certificate(names, shown, float(ssl.cert_time_to_seconds(form["notAfter"])))


def _unverified(octets: bytes) -> Certificate:
    """Needs the extra `crypto`. Raises ImportError, ValueError."""
    from cryptography import x509  # noqa: PLC0415 - an extra

    read = x509.load_der_x509_certificate(octets)
    names: list[str] = []
    with contextlib.suppress(x509.ExtensionNotFound):
        held = read.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = [*held.get_values_for_type(x509.DNSName), *map(str, held.get_values_for_type(x509.IPAddress))]
    found = [
        str(attribute.value)
        for oid in (x509.NameOID.ORGANIZATION_NAME, x509.NameOID.COMMON_NAME)
        for attribute in read.issuer.get_attributes_for_oid(oid)
    ]
    return Certificate(tuple(names), found[0] if found else "", read.not_valid_after_utc.timestamp())
