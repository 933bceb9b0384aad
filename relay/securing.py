"""Securing: what the TLS options of a next hop come to, and how they can contradict each other."""

import base64
import re
from typing import Protocol

from relay import services

IMPLICIT_PORT = 465
"""Submission over implicit TLS (RFC 8314)."""
MODES = ("none", "opportunistic", "starttls", "implicit")
PROOFS = ("none", "pkix", "dane", "pin")
_UNPROVEN = ("none", "opportunistic")


class Options(services.Options, Protocol):
    """The options of a next hop that speak of TLS."""

    @property
    def tls_verify(self) -> bool: ...  # noqa: D102 - as routing.NextHopOptions declares them
    @property
    def tls_proof(self) -> str: ...  # noqa: D102
    @property
    def tls_pins(self) -> tuple[bytes, ...]: ...  # noqa: D102
    @property
    def tls_ca_file(self) -> str: ...  # noqa: D102


def pin(value: str) -> bytes:
    """One pin: 32 octets in base64, `sha256:` or `sha256//` before them or not. Raises ValueError."""
    text = re.sub(r"^sha256(://|:|//)", "", value.strip(), flags=re.IGNORECASE)
    try:
        octets = base64.b64decode(text, validate=True)
    except ValueError:
        octets = b""
    if len(octets) != 32:
        raise ValueError(f"{value!r} is no SHA-256 in base64: doctor shows the one that the server has")
    return octets


def shown_pin(octets: bytes) -> str:
    """A pin as config.ini has it."""
    return base64.b64encode(octets).decode("ascii")


def mode(options: Options) -> str:
    """The TLS mode: `tls`, else implicit on port 465, else what use_tls says."""
    if options.tls:
        return options.tls
    if options.smtp_port == IMPLICIT_PORT:
        return "implicit"
    if options.smtp_server.startswith(services.PREFIX):
        return "starttls"  # or implicit, as DNS says: never without
    return {True: "starttls", False: "none", None: "opportunistic"}[options.use_tls]


def proof(options: Options) -> str:
    """What proves who the server is: one of PROOFS."""
    if options.tls_proof:
        return options.tls_proof
    if options.tls_pins:
        return "pin"
    return "pkix" if options.tls_verify else "none"


def exposed(options: Options) -> str:
    """Why a password over such a connection is anybody's to read; "" when it is not."""
    if mode(options) in _UNPROVEN:
        return f"tls is {mode(options)}"
    if proof(options) == "none":
        return "tls_proof is none" if options.tls_proof else "tls_verify is false"
    return ""


def faults(options: Options) -> list[tuple[str, str]]:
    """Every contradiction: the option's name, and what is wrong and what to do."""
    return _mode_faults(options) + _proof_faults(options)


def _mode_faults(options: Options) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    if options.use_tls is True and options.tls in _UNPROVEN:
        found.append(("tls", f"use_tls = true demands TLS, tls = {options.tls} does not: remove one of them"))
    if options.use_tls is False and options.tls in ("starttls", "implicit"):
        found.append(("tls", f"use_tls = false forbids TLS, tls = {options.tls} demands it: remove use_tls"))
    if options.smtp_port == IMPLICIT_PORT and options.tls in ("none", "opportunistic", "starttls"):
        text = f"port 465 is TLS from the first octet, tls = {options.tls} is not: tls = implicit, or port 587"
        found.append(("tls", text))
    return found


def _proof_faults(options: Options) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    by, given = proof(options), options.tls_proof
    if not options.tls_verify and by != "none":
        named = f"tls_proof = {by}" if given else "tls_pins"
        found.append(("tls_verify", f"tls_verify = false asks for no proof, {named} for one: remove one of them"))
    if by == "pin" and not options.tls_pins:
        found.append(("tls_proof", "there are no tls_pins that could prove it: set them, doctor shows the server's"))
    if options.tls_pins and by != "pin":
        found.append(("tls_pins", f"they have no effect beside tls_proof = {by}: remove one of them"))
    if by in ("dane", "pin") and options.tls_ca_file:
        named = f"tls_proof = {by}" if given else "tls_pins"
        found.append(("tls_ca_file", f"no authority is asked with {named}: remove one of them"))
    allowed = ("starttls", "implicit", "opportunistic") if by == "dane" else ("starttls", "implicit")
    if (given in ("pkix", "dane", "pin") or options.tls_pins) and mode(options) not in allowed:
        name = "tls_proof" if given else "tls_pins"
        found.append((name, f"nothing is proved while tls is {mode(options)}: set use_tls = true"))
    server = options.smtp_server
    if by == "dane" and (server.startswith("unix:") or services.is_address(server)):
        text = f"DANE needs a name in DNS, {server} is none: name the server, or another proof"
        found.append(("tls_proof", text))
    return found
