r"""DataPhase: the octets between DATA and the final dot (RFC 5321 4.5.2), read in chunks, without I/O.

1. Only CRLF "." CRLF ends the mail, whatever else stands there: a bare LF or CR makes no line for
   this purpose, so no mail can hide a second one (SMTP smuggling).
2. A line that begins with a dot loses it; lines begin behind CRLF only.
3. Then a bare LF becomes CRLF, or the mail is refused; a bare CR or NUL always refuses it.
4. Whatever a chunk's edge could have cut (`\r\n.\r`) waits for the next chunk.
"""

_END = b"\r\n.\r\n"
_HOLD = (b"\r\n.\r", b"\r\n.", b"\r\n", b"\r")


class DataPhase:
    """Feed it what arrives; it gives the mail's content, dots removed, lines ended by CRLF."""

    def __init__(self, *, refuse_bare_lf: bool = False) -> None:
        self._carry = b"\r\n"  # the mail begins on a new line
        self._begun = False
        self._refuse_bare_lf = refuse_bare_lf
        self.done = False
        self.rest = b""
        """What followed the final dot: the next commands."""
        self.fault = ""
        """Why the mail must be refused: its content is of no use then."""

    def feed(self, chunk: bytes) -> bytes:
        """The content that `chunk` completes; sets `done` and `rest` behind the final dot."""
        data = self._carry + chunk
        at = data.find(_END)
        if at >= 0:
            self.done, self.rest = True, data[at + 5 :]
            data = data[: at + 2]
        else:
            held = next((h for h in _HOLD if data.endswith(h)), b"")
            data, self._carry = data[: len(data) - len(held)], held
        if not data:
            return b""
        content = self._content(data)
        if not self._begun:
            self._begun = True
            content = content[2:]
        return content

    def _content(self, data: bytes) -> bytes:
        rest = data.replace(b"\r\n", b"")  # a quarter of the time of counting
        if b"\r" in rest:
            self.fault = self.fault or "a bare CR"
        if b"\0" in rest:
            self.fault = self.fault or "a NUL octet"
        if b"\r\n." in data:
            data = data.replace(b"\r\n.", b"\r\n")
        if b"\n" in rest:
            if self._refuse_bare_lf:
                self.fault = self.fault or "a bare LF"
            data = data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        return data
