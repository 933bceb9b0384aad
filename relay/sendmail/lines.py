"""Lines: what a local program writes becomes lines as SMTP has them. Pure, and in pieces of any size.

1. A line ends at LF; CRs in front of it go, so LF and CRLF (and CR CR LF) are read alike.
2. Where a dot ends the mail, nothing behind the first line that is a single dot counts.
3. A CR elsewhere, as progress bars write it, becomes a blank: SMTP can not carry it.
4. A last line without its line end gets one.
"""

import re

_LINE_END = re.compile(rb"(?<!\r)\r*\n")
_HELD = 65536
"""Octets of one line that are held back at most."""


class Lines:
    """Feed it what arrives; it gives whole lines, each ended by CRLF (a very long one in several pieces)."""

    def __init__(self, *, dot_ends: bool) -> None:
        self._dot_ends = dot_ends
        self._carry = b""
        self._at_start = True
        self.done = False
        """True behind the dot: nothing more is wanted."""

    def feed(self, chunk: bytes) -> bytes:
        """What `chunk` completes."""
        if self.done:
            return b""
        data = self._carry + chunk
        end = data.rfind(b"\n") + 1
        if not end and len(data) > _HELD:
            end = len(data.rstrip(b"\r"))  # CRs may belong to the line's end
        if not end and len(data) > 2 * _HELD:
            data, end = b" ", 1  # nothing but CRs
        data, self._carry = data[:end], data[end:]
        return self._lines(data) if data else b""

    def end(self) -> bytes:
        """What is left when no more comes."""
        if self.done or not (self._carry or not self._at_start):
            return b""
        data, self._carry = self._carry + b"\n", b""
        return self._lines(data)

    def _lines(self, data: bytes) -> bytes:
        data = _LINE_END.sub(b"\n", data).replace(b"\r", b" ")
        if self._dot_ends:
            data = self._up_to_dot(data)
        self._at_start = data.endswith(b"\n")
        return data.replace(b"\n", b"\r\n")

    def _up_to_dot(self, data: bytes) -> bytes:
        if self._at_start and data.startswith(b".\n"):
            self.done = True
            return b""
        at = data.find(b"\n.\n")
        if at < 0:
            return data
        self.done = True
        return data[: at + 1]
