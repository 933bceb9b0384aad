"""Policies: the MTA-STS policy of a domain, announced in DNS, fetched over verified TLS, kept on disk (RFC 8461 3).

1. The record _mta-sts.DOMAIN names the policy by an id. The policy that is kept under that id is the domain's.
2. Another id, or half of its life over: it is fetched anew. While that fails the kept one counts until it ends,
   also where the record is gone or DNS is silent: who can cut us off from a domain can not talk it down.
3. With nothing kept, and nothing to be fetched, there is no policy; that is not asked again for PAUSE seconds.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from relay import journal, mtasts
from relay.errors import DnsFault, RelayError
from relay.mtasts import Kept, Policy
from relay.records import Answer

PAUSE = 300.0
"""Seconds between two fetches for one domain that failed (RFC 8461 3.3)."""
AT_ONCE = 100
"""Policies that are being fetched: a mail may have a thousand recipients' domains."""
KNOWN = 1000
"""Domains that are remembered at most."""
HTTPS = 443


class Asks(Protocol):
    """DNS, one question at a time."""

    async def ask(self, name: str, kind: str) -> Answer:
        """Raises DnsFault."""


class Page(Protocol):
    """What a web server has answered."""

    @property
    def status(self) -> int:
        """200 is the only good one."""

    @property
    def fields(self) -> dict[str, str]:
        """The header fields, their names in lower case."""

    @property
    def body(self) -> bytes:
        """The page."""


Fetch = Callable[[str, Sequence[str]], Awaitable[Page]]
"""The page of a URL, asked for at one of these addresses. Raises RelayError."""


class Store(Protocol):
    """Where policies outlast a restart."""

    def load(self, name: str) -> bytes | None:
        """What is stored. Raises RelayError."""

    def store(self, name: str, data: bytes) -> None:
        """Replace it. Raises RelayError."""


@dataclass(slots=True)
class _Domain:
    """What is known of one domain; times are those of the clock."""

    kept: Kept | None = None
    loaded: bool = False
    failed_at: float = -PAUSE
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass(slots=True)
class Policies:
    """`fetch` gives the page of a URL, from one of several hosts, or raises RelayError; `clock` wall-clock seconds."""

    store: Store
    resolver: Callable[[], Asks]
    fetch: Fetch
    clock: Callable[[], float]
    port: int = HTTPS
    _domains: dict[str, _Domain] = field(default_factory=dict)
    _fetching: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    async def of(self, domain: str) -> Policy | None:
        """The policy of a domain (in A-labels) that counts at this moment. Never raises for what others do."""
        known = self._domains.get(domain)
        if known is None:
            while len(self._domains) >= KNOWN:
                del self._domains[next(iter(self._domains))]
            known = self._domains[domain] = _Domain()
        async with known.lock:  # mails for one domain wait for one question
            if not known.loaded:
                known.kept, known.loaded = await self._stored(domain), True
            await self._look(domain, known)
        alive = known.kept if known.kept and known.kept.alive(self.clock()) else None
        return alive.policy if alive and alive.policy.mode != "none" else None

    async def _look(self, domain: str, known: _Domain) -> None:
        """Fetch the policy where there is a new one, or the old one ages."""
        try:
            answer = await self.resolver().ask(f"_mta-sts.{domain}", "TXT")
        except DnsFault:
            return
        now, kept = self.clock(), known.kept
        name = mtasts.record_id(answer.records)
        if not name or (kept and kept.id == name and kept.alive(now) and not kept.aging(now)):
            return
        if now < known.failed_at + PAUSE:
            return
        try:
            async with self._fetching:
                known.kept = Kept(name, now, await self._fetched(domain))
        except (RelayError, ValueError) as fault:
            known.failed_at = now
            counts = "the one of before counts" if kept and kept.alive(now) else "there is none of before"
            journal.warning("", f"the MTA-STS policy of {domain} can not be had: {fault}; {counts}")
            return
        await self._keep(domain, known.kept)

    async def _fetched(self, domain: str) -> Policy:
        """Raises RelayError, ValueError."""
        host = f"mta-sts.{domain}"
        answers = [await self.resolver().ask(host, kind) for kind in ("A", "AAAA")]
        addresses = [address for answer in answers for address in answer.records]
        if not addresses:
            raise ValueError(f"{host} has no address")
        port = "" if self.port == HTTPS else f":{self.port}"
        page = await self.fetch(f"https://{host}{port}/.well-known/mta-sts.txt", addresses)
        if page.status != 200:  # a redirect as well (RFC 8461 3.3)
            raise ValueError(f"{host} answers {page.status}")
        kind = page.fields.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "text/plain":
            raise ValueError(f"{host} gives {kind[:40] or 'no content type'}, not text/plain")
        return mtasts.read(page.body)

    async def _stored(self, domain: str) -> Kept | None:
        try:
            data = await asyncio.to_thread(self.store.load, domain)
        except RelayError as fault:
            journal.warning("", str(fault))
            return None
        return mtasts.decode(data) if data else None

    async def _keep(self, domain: str, kept: Kept) -> None:
        journal.info("", f"the MTA-STS policy of {domain}: {kept.policy.mode}, mx {', '.join(kept.policy.patterns)}")
        with contextlib.suppress(RelayError):  # it counts all the same, until the next start
            await asyncio.to_thread(self.store.store, domain, mtasts.encode(kept))
