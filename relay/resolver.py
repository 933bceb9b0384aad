"""Resolver: one question to DNS, one Answer, within a time limit.

What comes back is a stranger's: at most MOST_RECORDS of it are read, aliases are followed MOST_ALIASES
times, and a name is text to be judged by who asked. A resolver that is silent keeps no mail waiting that
has nothing to do with it (promise 7): equal questions wait together, one that got no answer is not asked
again for PAUSE seconds, and after SILENT questions in a row without any answer none is for a while.
"""

import asyncio
import ipaddress
import os
from collections.abc import Callable
from typing import Any

import dns.asyncresolver
import dns.exception
import dns.flags
import dns.nameserver
import dns.rcode
import dns.resolver

from relay.errors import DnsFault
from relay.records import Answer, DnsOptions, Mx, Srv, Tlsa

SYSTEM = "/etc/resolv.conf"
MOST_RECORDS = 64
"""Records of one answer that are read; those behind them do not exist for us."""
MOST_ALIASES = 8
"""CNAMEs that are followed by asking again, where the resolver has not followed them itself."""
ONE_TRY = 2.0
"""Seconds that one resolver gets before the next one is asked."""
PAUSE = 30.0
"""Seconds in which a question that got no answer is not asked again."""
SILENT, SILENCE = 3, 5.0
"""After how many unanswered questions in a row nothing is asked, and for how many seconds."""
AT_ONCE = 100
"""Questions under way, each with a socket of its own: a mail may have a thousand recipients' domains."""
CACHED = 1000
"""Answers, and unanswered questions, that are remembered at most."""

_Question = tuple[str, str]


def _host(name: Any) -> str:
    return str(name.to_text(omit_final_dot=True)).removesuffix(".")


_READ: dict[str, Callable[[Any], Any]] = {
    "A": lambda row: str(row.address),
    "AAAA": lambda row: str(row.address),
    "MX": lambda row: Mx(row.preference, _host(row.exchange)),
    "SRV": lambda row: Srv(row.priority, row.weight, row.port, _host(row.target)),
    "TLSA": lambda row: Tlsa(row.usage, row.selector, row.mtype, bytes(row.cert)),
    "TXT": lambda row: b"".join(row.strings),
    "CNAME": lambda row: _host(row.target),
}
"""What can be asked, and how a record is read."""


class Resolver:
    """DNS, asked by dnspython. Belongs to one event loop; `system` is the file that names the system's resolvers."""

    def __init__(self, options: DnsOptions, system: str = SYSTEM) -> None:
        self.options = options
        self._system = system
        self._base: dns.asyncresolver.Resolver | None = None
        self._read_of: Any = None
        self._asking: dict[_Question, asyncio.Task[Answer]] = {}
        self._places = asyncio.Semaphore(AT_ONCE)
        self._unanswered: dict[_Question, tuple[float, DnsFault]] = {}
        self._silent = 0
        self._silent_until = 0.0

    async def ask(self, name: str, kind: str) -> Answer:
        """What DNS says of `name` (absolute, in A-labels): `kind` is one of _READ. Raises DnsFault."""
        question = (name.lower().removesuffix("."), kind)
        now = asyncio.get_running_loop().time()
        if known := self._unanswered.get(question):
            if now < known[0]:
                raise known[1]
            del self._unanswered[question]
        asking = self._asking.get(question)
        if asking is None:
            if self._silent >= SILENT:
                if now < self._silent_until:
                    raise _left_off(name, kind)
                self._silent_until = now + self.options.timeout  # this question finds out whether one does again
            asking = self._asking[question] = asyncio.create_task(self._in_turn(*question))
            asking.add_done_callback(lambda done: self._answered(question, done))
        return await asyncio.shield(asking)

    async def close(self) -> None:
        """Leave off what is being asked."""
        asking = list(self._asking.values())
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    def _answered(self, question: _Question, done: "asyncio.Task[Answer]") -> None:
        del self._asking[question]
        if done.cancelled():
            return
        if isinstance(fault := done.exception(), DnsFault):
            while len(self._unanswered) >= CACHED:
                del self._unanswered[next(iter(self._unanswered))]
            self._unanswered[question] = (asyncio.get_running_loop().time() + PAUSE, fault)

    async def _in_turn(self, name: str, kind: str) -> Answer:
        waits = self._places.locked()
        async with self._places:
            if waits and self._silent >= SILENT and asyncio.get_running_loop().time() < self._silent_until:
                raise _left_off(name, kind)  # what was asked before it has shown that nobody answers
            return await self._within_limits(name, kind)

    async def _within_limits(self, name: str, kind: str) -> Answer:
        about = f"{kind} of {name}"
        try:
            async with asyncio.timeout(self.options.timeout + 1.0):  # dnspython's own limit is the wall clock's
                answer = await self._followed(name, kind)
        except (dns.resolver.LifetimeTimeout, TimeoutError) as fault:
            self._silent += 1
            self._silent_until = asyncio.get_running_loop().time() + SILENCE
            text = f"{about}: no resolver has answered within {self.options.timeout:g} s"
            raise DnsFault(text, ours=self._silent >= SILENT) from fault
        except dns.resolver.NoNameservers as fault:
            self._silent = 0
            said = _refusal(fault)
            raise DnsFault(f"{about}: {said}", ours=not said.endswith("SERVFAIL")) from fault
        except (dns.exception.DNSException, OSError, ValueError) as fault:
            text = " ".join(str(fault).split()) or type(fault).__name__
            raise DnsFault(f"{about}: {text[:200]}", ours=True) from fault
        self._silent = 0
        return answer

    async def _followed(self, name: str, kind: str) -> Answer:
        """The answer at the end of all aliases."""
        authentic = True
        for _ in range(MOST_ALIASES + 1):
            answer = await self._asked(name, kind)
            authentic = authentic and answer.authentic
            if answer.records or not answer.exists or answer.name == name:
                return Answer(answer.name, answer.records, answer.exists, authentic)
            name = answer.name
        raise DnsFault(f"{kind} of {name}: its aliases (CNAME) do not end")

    async def _asked(self, name: str, kind: str) -> Answer:
        base = self._resolver()
        try:
            found = await base.resolve(
                f"{name}.", kind, raise_on_no_answer=False, search=False, lifetime=self.options.timeout
            )
        except dns.resolver.NXDOMAIN as fault:
            # There is one question, so there is one response; that of the cache has no sender.
            [response] = fault.kwargs["responses"].values()
            return Answer(name, exists=False, authentic=self._trusted(response, None))
        rows = list(found.rrset or ())[:MOST_RECORDS]
        target = _host(found.canonical_name).lower()
        return Answer(target, tuple(map(_READ[kind], rows)), authentic=self._trusted(found.response, found.nameserver))

    def _trusted(self, response: Any, nameserver: Any) -> bool:
        """DNSSEC's proof is only as good as the way that its verdict takes: from a resolver on this host."""
        if not response.flags & dns.flags.AD:
            return False
        known = self._resolver().nameservers
        asked = [nameserver] if nameserver else [getattr(one, "address", one) for one in known]
        return all(_is_loopback(str(address)) for address in asked)

    def _resolver(self) -> dns.asyncresolver.Resolver:
        """dnspython's resolver, made anew when the system's file has changed. Raises DNSException, OSError."""
        stamp = None if self.options.nameservers else _stamp(self._system)
        if self._base is None or stamp != self._read_of:
            self._base, self._read_of = self._made(), stamp
        return self._base

    def _made(self) -> dns.asyncresolver.Resolver:
        if given := self.options.nameservers:
            base = dns.asyncresolver.Resolver(configure=False)
            base.nameservers = [dns.nameserver.Do53Nameserver(one.address, one.port) for one in given]
        else:
            base = dns.asyncresolver.Resolver(self._system)
        base.timeout = min(ONE_TRY, self.options.timeout)
        base.cache = dns.resolver.LRUCache(CACHED)
        base.set_flags(dns.flags.RD | dns.flags.AD)  # RFC 6840 5.7: the verdict, without the signatures
        return base


def _left_off(name: str, kind: str) -> DnsFault:
    return DnsFault(f"{kind} of {name}: no resolver answers, the next question is asked in some seconds", ours=True)


def _stamp(path: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return False


def _refusal(fault: dns.resolver.NoNameservers) -> str:
    """What the last resolver said, in a word: SERVFAIL, REFUSED, or that it can not be asked."""
    errors = fault.kwargs.get("errors", [])
    if not errors:
        return "no resolver is known"
    *_, why, response = errors[-1]
    if response is not None:
        return f"the resolver answers {dns.rcode.to_text(response.rcode())}"
    return f"the resolver can not be asked: {' '.join(str(why).split())[:200] or type(why).__name__}"
