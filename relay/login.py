"""Login: AUTH at the listener (RFC 4954), SCRAM-SHA-256, PLAIN (RFC 4616) and LOGIN, as far as the session goes.

One exchange at a time; what the client sends for it never comes into a log. A wrong password costs a
moment, the third one the connection.
"""

import asyncio
import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass, replace

from relay import journal
from relay.challenge import Challenge, Malformed
from relay.connection import Connection
from relay.reply import Reply

_PAUSE = 1.0
"""Seconds before a refused password is answered."""
_TRIES = 3


class _Refused(Exception):
    """the exchange is over before a password was tried"""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


@dataclass(slots=True)
class Login:
    """The log-in of one session."""

    session: Connection
    failures: int = 0

    def begin(self, argument: bytes) -> None:
        """AUTH MECHANISM [initial response]."""
        name, _, initial = argument.partition(b" ")
        mechanism = name.upper().decode("ascii", "replace")
        known = self.session.setting.gate.mechanisms
        if mechanism not in known:
            self._over(Reply(504, "5.5.4", f"AUTH {' or '.join(known)}"))
        elif mechanism == "SCRAM-SHA-256":
            self._ask(b"", self._scram, initial.strip())
        elif mechanism == "PLAIN":
            self._ask(b"", self._plain, initial.strip())
        else:
            self._ask(b"Username:", self._user_name, initial.strip())

    def _ask(self, challenge: bytes, then: Callable[[bytes], None], given: bytes = b"") -> None:
        """Hand the client's response to `then`: the initial one, or the next line, in base64."""

        def heard(line: bytes) -> None:
            self.session.expect = None
            try:
                if line == b"*":
                    raise _Refused(Reply(501, "5.7.0", "log-in cancelled"))
                then(_decoded(b"" if line == b"=" else line))
            except _Refused as refused:
                self._over(refused.reply)
            except Malformed as fault:
                self._over(Reply(501, "5.5.2", str(fault)))

        if given:
            heard(given)
        else:
            self.session.answer(Reply(334, "", base64.b64encode(challenge).decode("ascii")))
            self.session.expect = heard

    def _plain(self, response: bytes) -> None:
        parts = response.split(b"\0")
        if len(parts) != 3:
            raise _Refused(Reply(501, "5.5.2", "no PLAIN response"))
        on_behalf, login, password = map(_text, parts)
        if on_behalf not in ("", login):
            raise _Refused(Reply(535, "5.7.8", "log in as yourself"))
        self.session.hold(self._try(login, password))

    def _scram(self, response: bytes) -> None:
        exchange = self.session.setting.gate.challenge()
        self._ask(exchange.first(response), lambda proof: self._proved(exchange, proof))

    def _proved(self, exchange: Challenge, proof: bytes) -> None:
        ours = exchange.final(proof)
        if ours is None:
            self.session.hold(self._failed(exchange.login))
        else:  # only once the client has heard our proof is it in: what it says then is nothing
            self._ask(ours, lambda _: self._succeeded(exchange.login))

    def _user_name(self, response: bytes) -> None:
        login = _text(response)
        self._ask(b"Password:", lambda password: self.session.hold(self._try(login, _text(password))))

    async def _try(self, login: str, password: str) -> None:
        session = self.session
        if await session.setting.gate.verify(login, password):
            self._succeeded(login)
        else:
            await self._failed(login)

    def _succeeded(self, login: str) -> None:
        session = self.session
        protocol = "ESMTPSA" if session.secure else "ESMTPA"
        session.client = replace(session.client, user=login, protocol=protocol)
        session.answer(Reply(235, "2.7.0", "logged in"))

    async def _failed(self, login: str) -> None:
        session = self.session
        self.failures += 1
        journal.rejected(
            session.client, Reply(535, "5.7.8", f"wrong password, or no such login: {login[:100]!r}"), "AUTH"
        )
        await asyncio.sleep(_PAUSE)
        session.refuse(Reply(535, "5.7.8", "wrong password, or no such login"), "AUTH", known=True)
        if self.failures >= _TRIES:
            session.send_away("too many wrong passwords")

    def _over(self, reply: Reply) -> None:
        self.session.refuse(reply, "AUTH")


def _decoded(line: bytes) -> bytes:
    try:
        return base64.b64decode(line, validate=True)
    except binascii.Error:
        raise _Refused(Reply(501, "5.5.2", "no base64")) from None


def _text(octets: bytes) -> str:
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        raise _Refused(Reply(501, "5.5.2", "not UTF-8")) from None
