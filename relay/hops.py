"""Hops: what an administrator does with the next hops: look at them, pause and resume one, try one out.

A pause is remembered in the spool, so that a restart does not end it. Mail for a paused hop waits, or
goes to what stands in for it; when the pause ends, what waited is due at once.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from relay import journal
from relay.address import AddressError, ascii_domain, parse_domain
from relay.discovery import Nowhere
from relay.entry import Attempt, Cause
from relay.errors import RelayError
from relay.known import HopState
from relay.linkfault import LinkFault
from relay.mail import Mail
from relay.reply import Reply
from relay.routing import Route, Upstream
from relay.spool import Clock, Spool
from relay.transaction import all_alike
from relay.transcript import Session
from relay.upstream import Upstreams

VERBS = ("upstreams", "session", "pause", "resume", "probe")
"""The requests that are answered here."""
_FOR_EVER = 9e15
_OUTBOX = {
    "ok": True,
    "reply": "250 2.0.0 the outbox is a folder of ours",
    "host": "",
    "tls_now": "",
    "tls_level": "",
    "features": [],
}


@dataclass(slots=True)
class Hops:
    """`hops` are those of the configuration of this moment; `due_again` makes due what waits for some of them."""

    spool: Spool
    upstreams: Upstreams
    hops: Callable[[], Sequence[Upstream]]
    clock: Clock
    due_again: Callable[[Sequence[str], str], Awaitable[int]]
    discover: Callable[[Upstream, str], Awaitable[Sequence[Upstream]]]
    """The hosts behind a next hop that DNS has to name. Raises Nowhere."""
    _paused: dict[str, str] = field(default_factory=dict)
    """By name: who has paused it and when, in words."""

    async def open(self) -> None:
        """Remember what was paused before a restart. Raises SpoolError."""
        for hop in self.hops():
            if said := await self.spool.recall(_key(hop.name)):
                self._paused[hop.name] = said

    def announce(self) -> None:
        """Say which are paused, as a daemon does at its start."""
        for name, said in self._paused.items():
            journal.warning("", f"next hop {name} is {said}: its mail waits for `upstream resume {name}`")

    def deferral(self, route: Route, mail: Mail) -> Attempt | None:
        """What becomes of a mail for a paused hop; None when it is not paused."""
        said = self._paused.get(route.upstream.name)
        if said is None:
            return None
        reply = Reply(451, "4.3.2", f"this next hop is {said}")
        outcomes = all_alike(mail.envelope.recipients, reply, Cause.PAUSED, route.upstream.server)
        return Attempt(self.clock(), route.upstream.name, outcomes)

    def is_paused(self, hop: Upstream) -> bool:
        """True while an administrator lets it rest."""
        return hop.name in self._paused

    async def answer(self, request: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """One request of VERBS, line by line. Raises RelayError with a sentence."""
        if request["do"] == "upstreams":
            for hop in self.hops():
                yield self.row(hop)
            return
        hop = self._named(str(request.get("name", "")))
        by = str(request.get("by", ""))
        if request["do"] == "session":
            yield self.row(hop) | {"session": await self._session(hop)}
            return
        if request["do"] == "probe" and hop.is_mx and not request.get("domain"):
            raise RelayError(
                f"{hop.name} is as many mail servers as there are domains: say one, as in probe mx example.com"
            )
        match request["do"]:
            case "pause":
                yield await self._pause(hop, by)
            case "resume":
                yield await self._resume(hop, by)
            case "probe":
                yield await self._probe(hop, by, str(request.get("domain") or ""))

    def _named(self, name: str) -> Upstream:
        for hop in self.hops():
            if hop.name == name:
                return hop
        known = ", ".join(dict.fromkeys(hop.name for hop in self.hops()))
        raise RelayError(f"no next hop is named {name!r}: there are {known}")

    def row(self, hop: Upstream) -> dict[str, Any]:
        """A next hop and how it stands at this moment."""
        return row(hop, self.upstreams.state_of(hop), self._paused.get(hop.name, ""))

    async def _session(self, hop: Upstream) -> dict[str, Any] | None:
        """The last session that failed, of this run or an earlier one; None when there was none for two weeks."""
        session = self.upstreams.session_of(hop)
        if session is None:
            session = Session.read(await self.spool.recall(f"session:{hop.name}") or "")
        return asdict(session) if session else None

    async def _pause(self, hop: Upstream, by: str) -> dict[str, Any]:
        said = f"paused by {by}"
        await self.spool.remember(_key(hop.name), said, _FOR_EVER)
        self._paused[hop.name] = said
        journal.info("", f"next hop {hop.name}: {said}")
        return self.row(hop)

    async def _resume(self, hop: Upstream, by: str) -> dict[str, Any]:
        was = self._paused.pop(hop.name, "")
        await self.spool.remember(_key(hop.name), "", 0.0)
        self.upstreams.forgive([hop.name])
        due = await self.due_again([hop.name], by)
        if was:
            journal.info("", f"next hop {hop.name}: resumed by {by}; {due} mails are due again")
        return self.row(hop) | {"due": due}

    async def _probe(self, hop: Upstream, by: str, domain: str) -> dict[str, Any]:
        """Connect, secure, log in, QUIT; with several hosts until one works. One that works again is used at once."""
        if hop.is_outbox:
            return self.row(hop) | _OUTBOX
        try:
            self.upstreams.forgive([hop.name])
            hosts = await self.discover(hop, _domain(domain)) if hop.is_discovered else (hop,)
        except Nowhere as fault:
            return self._failed(hop, by, fault)
        last: LinkFault | None = None
        for host in hosts:
            try:
                link = await self.upstreams.probe(host)
            except LinkFault as fault:
                last = fault
                if fault.cause in (Cause.AUTH, Cause.TOKEN):
                    break  # the same password is not tried at host after host
                continue
            journal.info("", f"next hop {hop.name}: probed by {by}: it works ({link.security or 'no TLS'})")
            features = sorted(f"{name} {value}".strip() for name, value in link.features.keywords.items())
            found = {"ok": True, "reply": "", "host": link.host, "tls_now": link.security, "features": features}
            found["tls_level"] = link.tls_level
            return self.row(hop) | found
        assert last is not None, "a next hop without hosts"
        return self._failed(hop, by, last)

    def _failed(self, hop: Upstream, by: str, fault: LinkFault | Nowhere) -> dict[str, Any]:
        journal.info("", f"next hop {hop.name}: probed by {by}: {fault.reply}")
        found = {"ok": False, "reply": str(fault.reply), "host": fault.host, "tls_now": "", "features": []}
        return self.row(hop) | found | {"cause": str(fault.cause), "tls_level": fault.tls_level}


def _domain(text: str) -> str:
    """Whose mail servers direct delivery shall be tried at; "" where nobody said. Raises RelayError."""
    try:
        return ascii_domain(parse_domain(text)) if text else ""
    except AddressError as fault:
        raise RelayError(f"{text!r} is no domain: {fault}") from fault


def row(hop: Upstream, state: HopState, paused: str = "") -> dict[str, Any]:
    """A next hop and how it stands; times in seconds since 1970, 0 for never since the start."""
    return {
        "name": hop.name,
        "server": hop.server,
        "place": hop.place,
        "port": hop.port,
        "tls": hop.tls,
        "outbox": hop.path if hop.is_outbox else "",
        "paused": paused,
        "connections": state.connections,
        "used_at": state.used_at,
        "trouble_at": state.trouble_at,
        "trouble": str(state.trouble) if state.trouble else "",
        "cause": str(state.cause) if state.cause else "",
        "holds": list(state.holds),
    }


def _key(name: str) -> str:
    return f"paused:{name}"
