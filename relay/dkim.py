"""DKIM: sign the mail that leaves (RFC 6376; Ed25519 as in RFC 8463), last of all, from the very octets.

1. The body is hashed in its relaxed form, streamed: trailing blanks and empty lines at the end do not count.
2. The fields that a reader sees, and those that MIME and threads need, are signed in their relaxed form;
   From once more than it stands there, so that nobody can add a second one.
3. Nothing but the message and the key decides: a mail that is sent again carries the same signature.
"""

import base64
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from relay import mailboxes
from relay.address import ascii_domain
from relay.message import Field, Message, pieces
from relay.options import Secret

SIGNED = (
    "from", "reply-to", "sender", "to", "cc", "subject", "date", "message-id", "in-reply-to", "references",
    "mime-version", "content-type", "content-transfer-encoding", "content-disposition", "auto-submitted", "list-id",
)  # fmt: skip
"""The fields that are signed where a mail has them (RFC 6376 5.4.1)."""
SHORTEST_RSA = 1024
"""Bits of an RSA key at least (RFC 8301 3.2)."""
GOOD_RSA = 2048
NEEDS_EXTRA = "signing needs the extra `crypto`: pip install 'tracker-relay[crypto]'"
_LABEL = "[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"
_SELECTOR = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_BLANKS = re.compile(rb"[ \t]+")
_COLUMNS = 72


class CanNotSign(ValueError):
    """no signature can be made with this key"""


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signs: the selector under which the key is published, and the domain; "" is that of From."""

    selector: str
    domain: str
    key: Secret


def selector(value: str) -> str:
    """A DKIM selector, or nothing. Raises ValueError."""
    value = value.strip()
    if value and not _SELECTOR.fullmatch(value):
        raise ValueError(f"{value!r} is no selector: write the name in front of ._domainkey, letters and digits")
    return value


@dataclass(frozen=True, slots=True)
class _Key:
    algorithm: str
    private: Any
    bits: int


@lru_cache(64)
def _key(pem: str) -> _Key:
    """Raises CanNotSign with what is wrong; the key itself stands in no error."""
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519, rsa  # noqa: PLC0415 - an extra
        from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415
    except ImportError as fault:
        raise CanNotSign(NEEDS_EXTRA) from fault
    try:
        private = load_pem_private_key(pem.encode(), None)
    except (ValueError, TypeError):
        text = "the private key can not be read: it must be PEM, and without a pass phrase"
        raise CanNotSign(text) from None  # the cause could quote the key
    match private:
        case rsa.RSAPrivateKey():
            return _Key("rsa-sha256", private, private.key_size)
        case ed25519.Ed25519PrivateKey():
            return _Key("ed25519-sha256", private, 256)
    raise CanNotSign("the private key is neither RSA nor Ed25519")


def faults(signer: Signer) -> str:
    """What is wrong with a signer, "" when nothing is."""
    try:
        key = _key(signer.key.reveal())
    except CanNotSign as fault:
        return str(fault)
    if key.algorithm == "rsa-sha256" and key.bits < SHORTEST_RSA:
        return f"an RSA key of {key.bits} bits is refused everywhere: make one of {GOOD_RSA}"
    return ""


def warnings(signer: Signer) -> str:
    """What is weak about a usable signer, "" when nothing is."""
    key = _key(signer.key.reveal())
    weak = key.algorithm == "rsa-sha256" and key.bits < GOOD_RSA
    return f"an RSA key of {key.bits} bits is weak: make one of {GOOD_RSA}" if weak else ""


def record(signer: Signer) -> str:
    """The TXT record to publish at SELECTOR._domainkey.DOMAIN (RFC 6376 3.6.1). Raises CanNotSign."""
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - an extra

    key = _key(signer.key.reveal())
    public = key.private.public_key()
    if key.algorithm == "rsa-sha256":
        kind = "rsa"
        octets = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    else:
        kind, octets = "ed25519", public.public_bytes_raw()
    return f"v=DKIM1; k={kind}; p={_base64(octets)}"


def sign(signer: Signer, message: Message) -> Message:
    """The message with our signature in front. One whose From names no domain stays as it is. Raises CanNotSign."""
    domain = signer.domain or _domain_of(message)
    if not domain:
        return message
    key = _key(signer.key.reveal())
    digest = hashlib.sha256()
    for octets in canonical_body(pieces(message.body)):
        digest.update(octets)
    fields = list(_fields(message))
    names = [field.name for field in fields] + ["from"]
    tags = [
        "v=1",
        f"a={key.algorithm}",
        "c=relaxed/relaxed",
        f"d={domain}",
        f"s={signer.selector}",
        f"bh={_base64(digest.digest())}",
        f"h={':'.join(names)}",
        "b=",
    ]
    field = f"DKIM-Signature: {_folded(tags)}"
    signed = b"".join(canonical_field(f.raw) for f in fields)
    signed += canonical_field(field.encode("ascii")).removesuffix(b"\r\n")
    signature = _base64(_signature(key, signed))
    return message.prepend(f"{field}{_in_lines(signature)}\r\n".encode("ascii"))


def _domain_of(message: Message) -> str:
    boxes = mailboxes.written(message, "from")
    domain = boxes[0].address.domain if len(boxes) == 1 and boxes[0].address else ""
    return "" if domain.startswith("[") else ascii_domain(domain)


def _fields(message: Message) -> Iterator[Field]:
    """What is signed; of several of one name the last one first (RFC 6376 5.4.2)."""
    for name in SIGNED:
        yield from reversed(message.get_all(name))


def canonical_field(raw: bytes) -> bytes:
    """A field in its relaxed form (RFC 6376 3.4.2), CRLF at its end."""
    name, _, value = raw.partition(b":")
    value = _BLANKS.sub(b" ", value.replace(b"\r\n", b"")).strip(b" ")
    return name.strip(b" \t").lower() + b":" + value + b"\r\n"


def canonical_body(octets: Iterator[bytes]) -> Iterator[bytes]:
    """A body in its relaxed form (RFC 6376 3.4.4), piece by piece; its lines end in CRLF."""
    rest, empty = b"", 0
    for piece in octets:
        data = rest + piece
        cut = data.rfind(b"\r\n") + 2
        if cut < 2:
            rest = data
            continue
        whole, rest = data[:cut], data[cut:]
        text = _BLANKS.sub(b" ", whole).replace(b" \r\n", b"\r\n")
        kept = text.rstrip(b"\r\n")
        if kept:
            yield b"\r\n" * empty + kept + b"\r\n"
            empty = (len(text) - len(kept)) // 2 - 1
        else:
            empty += len(text) // 2
    if last := _BLANKS.sub(b" ", rest).rstrip(b" "):
        yield b"\r\n" * empty + last + b"\r\n"


def _signature(key: _Key, signed: bytes) -> bytes:
    if key.algorithm == "ed25519-sha256":
        return bytes(key.private.sign(hashlib.sha256(signed).digest()))  # RFC 8463 3
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415 - an extra
    from cryptography.hazmat.primitives.asymmetric import padding  # noqa: PLC0415

    return bytes(key.private.sign(signed, padding.PKCS1v15(), hashes.SHA256()))


def _folded(tags: list[str]) -> str:
    """The tags as a field's value, folded between them and between the names of h=."""
    lines, column = [""], len("DKIM-Signature: ")
    for tag in tags:
        for number, part in enumerate(re.findall(r"[^:]+:?", tag if tag == "b=" else f"{tag};")):
            glue = " " if lines[-1] and not number else ""
            if lines[-1] and column + len(glue) + len(part) > _COLUMNS:
                lines.append("")
                glue, column = "", 1
            lines[-1] += glue + part
            column += len(glue) + len(part)
    return "\r\n ".join(lines)


def _in_lines(text: str) -> str:
    parts = [text[at : at + _COLUMNS] for at in range(0, len(text), _COLUMNS)]
    return "".join(f"\r\n {part}" for part in parts)


def _base64(octets: bytes) -> str:
    return base64.b64encode(octets).decode("ascii")
