"""Addresses: parse strictly, compare, complete, print (RFC 5321 4.1.2, RFC 6531 3.3).

One parser for the whole string: either all of it is an address or it is refused. Nothing is ever
delivered to a part of what was written, so comments, source routes, encoded words and the like,
which other parsers quietly drop or decode, are refused here (library-traps D1 to D3, C2).
"""

import ipaddress
import re
from dataclasses import dataclass
from functools import lru_cache

MAX_PATH = 254
"""Octets in an address at most (RFC 5321 4.5.3.1.3: 256 with the angle brackets)."""

# Said by what they leave out: a class up to U+10FFFF takes milliseconds to compile, at each start of the drop-in.
_ATOM = r"[^\x00-\x20\x7f\"(),.:;<>@\[\\\]]+"
_DOT_STRING = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")
_QUOTED = re.compile(r'"(?:[^\x00-\x1f\x7f"\\]|\\[ -~])*"')
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
UNSAYABLE = re.compile(r"[\u0000-\u001f\u007f-\u009f\u2028\u2029\ud800-\udfff]")
"""Control characters, line ends and half characters: none of them can stand in an SMTP command."""


class AddressError(ValueError):
    """not an address"""


@dataclass(frozen=True, slots=True)
class Address:
    """A mailbox as it was written; without a domain it is a *short address*.

    Equality is exact; use `key` to ask whether two name the same mailbox.
    """

    local: str
    domain: str = ""

    def __str__(self) -> str:
        """The wire form, without angle brackets."""
        return f"{self.local}@{self.domain}" if self.domain else self.local

    @property
    def wire_form(self) -> str:
        """As it is written in a mail and said to a hop: the domain in A-labels, which needs no SMTPUTF8."""
        return str(self) if self.domain.isascii() else f"{self.local}@{ascii_domain(self.domain)}"

    @property
    def key(self) -> tuple[str, str]:
        """What to compare: the local part exactly (unquoted), the domain case-blind and in A-labels."""
        local = self.local
        if local.startswith('"'):
            local = re.sub(r"\\(.)", r"\1", local[1:-1])
        return local, ascii_domain(self.domain)

    @property
    def short(self) -> bool:
        """True when there is no domain yet."""
        return not self.domain

    @property
    def is_ascii(self) -> bool:
        """True when no SMTPUTF8 is needed for it (RFC 6531)."""
        return self.local.isascii() and self.domain.isascii()

    def complete(self, domain: str) -> "Address":
        """With `domain` appended when there is none; an address that has an @ is never touched."""
        return Address(self.local, domain) if self.short and domain else self


@lru_cache(4096)
def ascii_domain(domain: str) -> str:
    """The domain in lower-case A-labels (IDNA 2008), for comparing and for hops without SMTPUTF8."""
    if domain.isascii():
        return domain.lower()
    return ".".join(label.lower() if label.isascii() else _a_label(label) for label in domain.split("."))


@lru_cache(4096)
def parse(text: str) -> Address:
    """The whole of `text` as one address, bare names included.

    Raises AddressError with the reason. No blanks around, no brackets, no display name.
    """
    if not text:
        raise AddressError("empty address")
    if len(text.encode("utf-8", "surrogatepass")) > MAX_PATH:
        raise AddressError(f"longer than {MAX_PATH} octets")
    if UNSAYABLE.search(text):
        raise AddressError("control character in address")
    local = (_QUOTED if text.startswith('"') else _DOT_STRING).match(text)
    if not local:
        raise AddressError("bad local part")
    rest = text[local.end() :]
    if not rest:
        return Address(local[0])
    if not rest.startswith("@"):
        raise AddressError("bad local part")
    address = Address(local[0], parse_domain(rest[1:]))
    if not address.domain.isascii() and len(address.wire_form.encode()) > MAX_PATH:
        raise AddressError(f"longer than {MAX_PATH} octets in A-labels")
    return address


def parse_domain(text: str) -> str:
    """A domain or an address literal, as it was written. Raises AddressError."""
    if text.startswith("["):
        return _parse_literal(text)
    if len(text) > 253:
        raise AddressError("domain too long")
    for label in text.split("."):
        if label.isascii():
            if not _LABEL.fullmatch(label):
                raise AddressError("bad domain")
            continue
        try:
            _a_label(label)
        except UnicodeError as fault:  # idna's own faults are of this kind
            raise AddressError("bad internationalized domain") from fault
    return text


def _a_label(label: str) -> str:
    """A label outside ASCII as its A-label (IDNA 2008). Raises UnicodeError."""
    import idna  # noqa: PLC0415 - few names need it, and the sendmail drop-in is started for every mail

    return idna.alabel(label.lower()).decode("ascii")


def _parse_literal(text: str) -> str:
    if not text.endswith("]"):
        raise AddressError("bad address literal")
    inner = text[1:-1]
    try:
        if inner[:5].lower() == "ipv6:":
            if "%" in inner:  # Python takes a zone, of any characters; RFC 5321 4.1.3 knows none
                raise AddressError("bad address literal")
            ipaddress.IPv6Address(inner[5:])
        else:
            ipaddress.IPv4Address(inner)
    except ValueError as fault:
        raise AddressError("bad address literal") from fault
    return text


def parse_path(raw: bytes) -> tuple[Address | None, bytes]:
    """Read the argument of MAIL FROM: or RCPT TO:, and give what follows the path.

    `raw` begins behind the colon. The null path `<>` is None. A path without angle brackets is
    understood (real trackers write it): it ends at the first blank. Raises AddressError.
    """
    raw = raw.strip(b" ")
    if raw.startswith(b"<"):
        end = _closing_bracket(raw)
        path, rest = raw[1:end], raw[end + 1 :]
        if rest and not rest.startswith(b" "):
            raise AddressError("text right behind the path")
    else:
        path, _, rest = raw.partition(b" ")
        if not path:
            raise AddressError("empty path")
    try:
        text = path.decode("utf-8")
    except UnicodeDecodeError as fault:
        raise AddressError("not UTF-8") from fault
    return (parse(text) if text or not raw.startswith(b"<") else None), rest.strip(b" ")


def _closing_bracket(raw: bytes) -> int:
    """Where the path's `>` is: one inside a quoted string does not count."""
    if b'"' not in raw and (at := raw.find(b">", 0, MAX_PATH + 1024)) >= 0:
        return at
    quoted = escaped = False
    for at, octet in enumerate(raw[: MAX_PATH + 1024]):
        if escaped:
            escaped = False
        elif quoted and octet == 0x5C:
            escaped = True
        elif octet == 0x22:
            quoted = not quoted
        elif octet == 0x3E and not quoted:
            return at
    raise AddressError("no closing bracket")


def without_brackets(path: str) -> str:
    """A path as it stood behind RCPT TO, without its angle brackets, if it has both."""
    return path[1:-1] if path.startswith("<") and path.endswith(">") else path
