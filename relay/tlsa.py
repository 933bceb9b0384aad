"""TLSA: what DNS says of a server's certificate, asked as RFC 7672 2 has it.

1. The server's addresses: where DNS does not prove them, its zone is not signed, and there is no DANE.
2. The TLSA base domain is the name that aliases led to, where all of them are proved, then the name as it was;
   where only the first alias is proved, the name as it was.
3. The first base domain with a proved record decides. No answer, or a forged one, is neither "none" nor "insecure".
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from relay import dane
from relay.address import ascii_domain
from relay.dane import Finding, State
from relay.errors import DnsFault
from relay.records import Answer


class Asks(Protocol):
    """DNS, one question at a time."""

    async def ask(self, name: str, kind: str) -> Answer:
        """Raises DnsFault."""


@dataclass(frozen=True, slots=True)
class Published:
    """Where TLSA records are asked for; `resolver` gives the one to ask at this moment."""

    resolver: Callable[[], Asks]

    async def find(self, server: str, port: int) -> Finding:
        """What is published for a server. Never raises for what DNS does."""
        try:
            host = ascii_domain(server.rstrip("."))
            bases = await self._bases(host)
            if not bases:
                text = f"DNS does not prove what it says of {server}: its zone or the resolver knows no DNSSEC"
                return Finding(State.INSECURE, text=text)
            return await self._first(host, bases, port)
        except DnsFault as fault:
            return Finding(State.FAILED, text=str(fault), ours=fault.ours)
        except UnicodeError as fault:
            return Finding(State.FAILED, text=f"{server} is no name that DNS could know: {fault}", ours=True)

    async def _bases(self, host: str) -> list[str]:
        """The TLSA base domains in the order to try; none where there is no DANE. Raises DnsFault."""
        answers = await asyncio.gather(
            self.resolver().ask(host, "A"), self.resolver().ask(host, "AAAA"), return_exceptions=True
        )
        known = [answer for answer in answers if isinstance(answer, Answer)]
        telling = [answer for answer in known if answer.records] or known
        for fault in answers:
            if isinstance(fault, BaseException) and not (
                isinstance(fault, DnsFault) and telling and telling[0].records
            ):
                raise fault
        target = dane.fold(telling[0].name)
        if all(answer.authentic for answer in telling):
            return list(dict.fromkeys([target, dane.fold(host)]))
        if target == dane.fold(host):
            return []
        first = await self.resolver().ask(host, "CNAME")
        return [dane.fold(host)] if first.authentic else []

    async def _first(self, host: str, bases: list[str], port: int) -> Finding:
        """The finding of the first base domain that has proved records. Raises DnsFault."""
        proved = False
        for base in bases:
            answer = await self.resolver().ask(f"_{port}._tcp.{base}", "TLSA")
            proved = proved or answer.authentic
            if answer.authentic and answer.records:
                return dane.finding(answer.records, (base, host))
        if not proved:
            return Finding(State.INSECURE, text=f"DNS does not prove whether {bases[0]} has TLSA records")
        return dane.finding((), bases)
