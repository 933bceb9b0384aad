"""Link fault: why there is no usable connection. Third-party errors become one here, once; the cause stays chained."""

import contextlib
import os
import socket
import ssl
from collections.abc import AsyncIterator

import aiosmtplib

from relay.entry import Cause
from relay.errors import HopError
from relay.reply import Reply


class LinkFault(HopError):
    """no usable connection; `reply` is what the mail's recipients are told, `cause` who can mend it"""

    def __init__(self, reply: Reply, cause: Cause, host: str = "", *, refused: bool = False) -> None:
        super().__init__(str(reply))
        self.reply, self.cause, self.host = reply, cause, host
        self.refused = refused
        """The server does not take these credentials."""
        self.tls_level = ""
        """The level that was wanted, and what came of it, for the log."""


@contextlib.asynccontextmanager
async def faults(host: str) -> AsyncIterator[None]:
    """Third-party errors become LinkFaults here, once; the cause stays chained."""
    try:
        yield
    except LinkFault:
        raise
    except aiosmtplib.SMTPResponseException as refused:
        reply = Reply.read(refused.code, refused.message)
        if not reply.transient:  # a 5xx before any mail was named is no answer to a mail; -1 is garbage
            said = str(reply) if reply.code > 0 else "an answer that is no SMTP reply"
            reply = Reply(451, "4.3.2", f"the server said {said}")
        raise LinkFault(reply, Cause.CONNECT, host) from refused
    except (aiosmtplib.SMTPException, OSError, TimeoutError, ValueError) as fault:
        if (broken := tls_fault(fault)) is not None:
            reply = Reply(454, "4.7.5", f"TLS failed: {words(broken)}")
            raise LinkFault(reply, Cause.TLS, host) from fault
        raise LinkFault(Reply(451, "4.4.2", words(fault)), Cause.CONNECT, host) from fault


def tls_fault(fault: BaseException | None) -> ssl.SSLError | None:
    """The TLS error behind a fault, if there is one."""
    while fault is not None:
        if isinstance(fault, ssl.SSLError):
            return fault
        fault = fault.__cause__ or fault.__context__
    return None


_WORDS: dict[type[BaseException], str] = {
    aiosmtplib.SMTPTimeoutError: "the server did not answer in time",
    aiosmtplib.SMTPServerDisconnected: "the server closed the connection",
    aiosmtplib.SMTPConnectError: "the server closed the connection",
    TimeoutError: "timed out",
}
"""The first that fits; those of aiosmtplib are told apart by their order."""


def words(fault: BaseException) -> str:
    """A fault in a few words for a person."""
    if isinstance(broken := tls_fault(fault), ssl.SSLCertVerificationError):
        return f"certificate not accepted: {broken.verify_message}"
    if isinstance(fault, ssl.SSLError):
        return (fault.reason or "TLS error").replace("_", " ").lower()
    for kind, text in _WORDS.items():
        if isinstance(fault, kind):
            return text
    if isinstance(fault, socket.gaierror):
        return fault.strerror or "unknown name"
    if isinstance(fault, OSError) and fault.errno:
        return os.strerror(fault.errno)
    return str(fault) or type(fault).__name__
