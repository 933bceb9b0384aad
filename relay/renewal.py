"""Renewal: one exchange with a token server, under the store's lock, kept on disk before it is used."""

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime

from relay import https, journal, namedfile
from relay.errors import RelayError
from relay.oauth import replies, requests, signing, stored
from relay.oauth.client import Client
from relay.oauth.replies import Kind, Refusal, Tokens
from relay.oauth.requests import Request
from relay.oauth.stored import Stored
from relay.options import Secret
from relay.tokenstore import StoreFault, TokenStore

LOCK_PATIENCE = 75.0
"""Seconds to wait for another process's renewal: longer than one may take."""
SKEW_MATTERS = 30.0
"""Seconds by which the token server's clock may differ from ours before a signed request is dated by its clock."""


@dataclass(slots=True)
class Renewal:
    """What it takes: the store, and a wall clock. The daemon and the commands each have one."""

    store: TokenStore
    clock: Callable[[], float]
    _skew: dict[str, float] = field(default_factory=dict)
    """By token address: how far its clock is ahead of ours, in seconds."""

    async def stored(self, client: Client) -> Stored:
        """What is stored for this client. Raises StoreFault."""
        data = await asyncio.to_thread(self.store.load, client.mark)
        try:
            return Stored() if data is None else stored.decode(data)
        except ValueError as fault:
            if not client.grant.needs_person:
                return Stored()  # nothing is lost: the next renewal replaces it
            raise StoreFault(f"{self.store.path(client.mark)}: {fault}: remove it, then log in again") from fault

    async def renew(
        self, client: Client, unlike: Secret | None = None, *, force: bool = False
    ) -> tuple[Tokens | Refusal, Stored]:
        """New tokens, and what is stored now. Raises StoreFault.

        Tokens that another process has just renewed count, unless `force`; `unlike` is a token that does not.
        """
        async with self.store.locked(client.mark, LOCK_PATIENCE):
            held = await self.stored(client)
            now, tokens = self.clock(), held.tokens
            if tokens and tokens.fresh(now) and tokens.access != unlike and not force:
                return tokens, held
            answer = await self._ask(client, tokens)
            if isinstance(answer, Tokens):
                held = Stored(answer)
            elif answer.kind is Kind.PERSON and held.refused != answer.text:
                held = replace(held, refused=answer.text, refused_at=now)
            else:
                return answer, held
            await self.keep(client, held)
            return answer, held

    async def keep(self, client: Client, held: Stored) -> None:
        """Store; who calls this holds the lock. Raises StoreFault."""
        await asyncio.to_thread(self.store.store, client.mark, stored.encode(held))

    async def send(self, client: Client, request: Request) -> https.Answer | Refusal:
        """One request; what keeps it from being answered is a Refusal."""
        try:
            context = await asyncio.to_thread(https.trust, client.ca_file)
            answer = await https.post(request.url, request.body.reveal(), context)
        except https.HttpFault as fault:
            return Refusal(Kind.LATER, str(fault))
        if client.signs:
            self._learn(client, answer)
        return answer

    async def assertion(self, client: Client) -> str:
        """The signed proof that this client's requests carry; "" for one that signs nothing. Raises RelayError."""
        if not client.signs:
            return ""
        now = self.clock() + self._skew.get(client.token_url, 0.0)
        if not client.certificate:
            return await asyncio.to_thread(signing.account_assertion, client, now)
        try:
            certificate = await asyncio.to_thread(namedfile.read, client.certificate)
        except OSError as fault:
            raise signing.CanNotSign(f"{client.certificate}: {fault.strerror}") from fault
        return await asyncio.to_thread(signing.client_assertion, client, certificate, now, secrets.token_urlsafe(24))

    async def ask(self, client: Client, make: Callable[[str], Request], before: Tokens | None) -> Tokens | Refusal:
        """A token request, made from the client's assertion; dated anew, once, where the clocks differ."""
        skew = self._skew.get(client.token_url, 0.0)
        answer = await self._ask_once(client, make, before)
        differs = abs(self._skew.get(client.token_url, 0.0) - skew) > SKEW_MATTERS
        if isinstance(answer, Refusal) and answer.kind is Kind.PERSON and client.signs and differs:
            return await self._ask_once(client, make, before)
        return answer

    async def _ask(self, client: Client, tokens: Tokens | None) -> Tokens | Refusal:
        """By the grant that needs nobody, else by the refresh token that somebody's sign-in has brought."""
        if not client.grant.needs_person:
            return await self.ask(client, lambda proof: requests.without_person(client, proof), tokens)
        if not tokens or not tokens.refresh:
            return Refusal(Kind.PERSON, "there is no refresh token" if tokens else "nobody has signed in yet")
        token = tokens.refresh
        return await self.ask(client, lambda proof: requests.refresh(client, token, proof), tokens)

    async def _ask_once(
        self, client: Client, make: Callable[[str], Request], before: Tokens | None
    ) -> Tokens | Refusal:
        try:
            request = make(await self.assertion(client))
        except RelayError as fault:
            return Refusal(Kind.PERSON, str(fault))
        asked_at = self.clock()
        answer = await self.send(client, request)
        if isinstance(answer, Refusal):
            return answer
        return replies.tokens(answer.status, answer.body, asked_at, before=before, secrets=request.secrets)

    def _learn(self, client: Client, answer: https.Answer) -> None:
        """How far the server's clock is ahead, by its Date field."""
        try:
            theirs = parsedate_to_datetime(answer.fields["date"]).timestamp()
        except (KeyError, ValueError, OverflowError):
            return
        ahead = theirs - self.clock()
        skew = ahead if abs(ahead) > SKEW_MATTERS else 0.0
        if abs(skew - self._skew.get(client.token_url, 0.0)) > SKEW_MATTERS:
            if skew:
                told = f"the clock of the token server {client.token_url} differs from ours by {skew:+.0f} s"
                journal.warning("", f"{told}: signed requests are dated by it")
            self._skew[client.token_url] = skew
