"""Reply and its classes (RFC 5321 4.2, RFC 3463)."""

import re
from functools import lru_cache

from relay.immutable import immutable

_ENHANCED = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?: |$)")


@immutable
class Reply:
    """What one side of an SMTP dialogue answered.

    `code` is the three-digit code, `status` the enhanced status code such as "5.1.1" ("" when the
    peer gave none), `text` the human part; the lines of a multi-line reply are joined by a newline.
    """

    code: int
    status: str
    text: str

    @classmethod
    def read(cls, code: int, text: str) -> "Reply":
        """Split an enhanced status code off `text` (RFC 2034: it repeats on every line)."""
        found = _ENHANCED.match(text)
        if not found or found[1][0] != str(code)[:1]:
            return cls(code, "", text)
        status = found[1]
        lines = [line.removeprefix(status).removeprefix(" ") for line in text.split("\n")]
        return cls(code, status, "\n".join(lines))

    @property
    def positive(self) -> bool:
        """Any 2xx counts as success (RFC 5321 4.3.2: judge by the first digit)."""
        return 200 <= self.code < 300

    @property
    def transient(self) -> bool:
        """4xx: worth another try."""
        return 400 <= self.code < 500

    @property
    def permanent(self) -> bool:
        """5xx: the same mail will be refused again."""
        return 500 <= self.code < 600

    @property
    def status_or_default(self) -> str:
        """The enhanced status code, or the class's general one (RFC 3463: X.0.0)."""
        return self.status or f"{min(max(self.code // 100, 2), 5)}.0.0"

    def __str__(self) -> str:
        """One printable line: controls of the peer's text never reach a log or a page."""
        text = self.text
        if not text.isprintable():
            text = "".join(c if c.isprintable() else " " for c in text)
        return " ".join(filter(None, (str(self.code), self.status, text.strip())))


@lru_cache(256)
def wire_form(reply: Reply) -> bytes:
    """The reply as it goes over the wire; its status code on every line (RFC 2034)."""
    status = f"{reply.status} " if reply.status else ""
    *head, last = reply.text.split("\n")
    lines = [f"{reply.code}-{status}{text}\r\n" for text in head]
    return "".join([*lines, f"{reply.code} {status}{last}\r\n"]).encode("utf-8", "replace")
