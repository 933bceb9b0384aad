"""Token: whether a next hop with OAuth2 has a token to log in with; one that has ended is renewed, as for mail."""

import time
from dataclasses import dataclass

from relay.commands.printing import when
from relay.doctor.finding import Finding, fail, ok, warn
from relay.doctor.hop import Hop
from relay.errors import NoToken, RelayError
from relay.oauth.client import Client
from relay.oauth.replies import Kind, Refusal, Tokens
from relay.options import Secret
from relay.renewal import Renewal
from relay.routing import Upstream


@dataclass(frozen=True, slots=True)
class Held:
    """One token, or why there is none. One that the server refuses is not replaced: that would be a second log-in."""

    token: Secret
    why: str = ""

    async def current(self, _upstream: Upstream) -> Secret:
        """The token. Raises NoToken."""
        if not self.token:
            raise NoToken(self.why)
        return self.token

    async def refused(self, _upstream: Upstream, _token: Secret) -> Secret | None:
        """No other one."""
        return None


async def token(hop: Hop, client: Client, renewal: Renewal, *, may_renew: bool) -> tuple[Finding, Held]:
    """The row, and what to log in with. `may_renew`: what is stored then belongs to the relay's user."""
    try:
        held = await renewal.stored(client)
        tokens, now = held.tokens, time.time()
        if tokens and tokens.alive(now):
            return _living(hop, client, tokens, held.refused), Held(tokens.access)
        if client.grant.needs_person and not (tokens and tokens.refresh):
            why = "the token has ended, and there is no refresh token" if tokens else "nobody has signed in yet"
            return fail("token", hop.about, why, f"tracker-relay auth login {hop.names[0]}"), Held(Secret(""), why)
        if not may_renew:
            text = "there is no living token, and only the relay's user may renew it"
            return warn("token", hop.about, text, "sudo tracker-relay doctor"), Held(Secret(""), text)
        answer, _ = await renewal.renew(client)
    except RelayError as fault:
        why = str(fault)
        return fail("token", hop.about, why, f"tracker-relay auth status {hop.names[0]}"), Held(Secret(""), why)
    if isinstance(answer, Refusal):
        return _refused(hop, client, answer), Held(Secret(""), answer.text)
    return ok("token", hop.about, f"renewed; good until {when(answer.expires_at)}"), Held(answer.access)


def _living(hop: Hop, client: Client, tokens: Tokens, refused: str) -> Finding:
    good = f"good until {when(tokens.expires_at)}, renewed from {when(tokens.due_at)} on"
    if refused:
        text = f"{good}; but the last renewal was refused: {refused}"
        return warn("token", hop.about, text, f"tracker-relay auth login {hop.names[0]}")
    if client.grant.needs_person and not tokens.refresh:
        text = f"{good}; there is no refresh token, so mail stops then"
        return warn("token", hop.about, text, f"tracker-relay auth login {hop.names[0]}")
    return ok("token", hop.about, good)


def _refused(hop: Hop, client: Client, refusal: Refusal) -> Finding:
    if refusal.kind is Kind.PERSON and client.grant.needs_person:
        return fail("token", hop.about, refusal.text, f"tracker-relay auth login {hop.names[0]}")
    if refusal.kind is Kind.PERSON:
        remedy = (
            f"correct the oauth options in [{hop.section}], or the application at the provider's: docs/upstreams.md"
        )
        return fail("token", hop.about, refusal.text, remedy)
    text = f"it can not be renewed now: {refusal.text}"
    return fail("token", hop.about, text, f"curl -sS -o /dev/null -w '%{{http_code}}\\n' {client.token_url}")
