"""Tokens: every upstream's access token, renewed before it ends, one renewal at a time.

1. A token that lives is used; the store on disk is the only place where tokens are kept.
2. At 80 % of its life it is renewed beside the road: mail goes on with the old one until it ends.
3. A renewal holds the store's lock, reads the store anew, asks the token server, and stores what it
   got before anybody uses it: a command and the daemon never renew twice.
4. What fails by the network or the server is tried again, later each time. What a person must mend
   is an alarm, and only rarely tried again; mail waits, it is not refused.
5. A token that a mail server refuses is renewed at once, but never twice in a row.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from relay import journal
from relay.errors import NoToken, RelayError
from relay.oauth.client import Client
from relay.oauth.replies import Kind, Refusal, Tokens
from relay.oauth.stored import Stored
from relay.options import Secret
from relay.renewal import Renewal
from relay.routing import Upstream

FIRST_PAUSE, LONGEST_PAUSE = 5.0, 300.0
"""Seconds before a renewal is tried again that failed by the network or the server."""
STUBBORN = 900.0
"""Seconds before one is tried again that a person must mend: he may do so at the provider's."""
LOOK = 60.0
"""Seconds at most between two looks at what is due; a command may have changed the store."""
WAIT = 10.0
"""Seconds that a mail waits for a renewal under way before it is deferred: workers are for other mail, too."""
SHORTEST = 1.0
"""Seconds at least between two looks: a server that gives tokens for less is not asked more often."""
LAST_WORDS = 10.0
"""Seconds that a renewal under way gets when the relay stops: a refresh token may just have been replaced."""


@dataclass(eq=False, slots=True)
class _Kept:
    """What is known of one client besides its tokens. `until` is a time of the event loop's clock."""

    client: Client
    names: list[str]
    task: asyncio.Task[Tokens | Refusal] | None = None
    until: float = 0.0
    pause: float = 0.0
    refusal: Refusal | None = None
    seen: Stored | None = None
    """What the store held when it was refused: something else is a new chance."""
    forced: Secret = Secret("")
    """The token that came of a mail server's refusal: if that one is refused too, another will not help."""
    ends_at: float = 0.0
    """When the token ends that was last seen (wall-clock seconds), 0 for none."""
    waiting: bool = False
    """True once it has been said that mail waits for this token."""
    dead: Secret = Secret("")
    """A token that a mail server refused and that can not be renewed: it is not tried again, whatever its age."""

    @property
    def name(self) -> str:
        """Its upstreams, for people."""
        return " and ".join(self.names)


@dataclass(slots=True)
class Keeper:
    """The tokens of all upstreams. `clock` gives wall-clock seconds."""

    renewal: Renewal
    clock: Callable[[], float]
    _kept: dict[str, _Kept] = field(default_factory=dict)
    _tasks: set[asyncio.Task[Tokens | Refusal]] = field(default_factory=set)
    _woken: asyncio.Event = field(default_factory=asyncio.Event)
    _watch: asyncio.Task[None] | None = None

    def use(self, upstreams: Iterable[Upstream]) -> None:
        """Keep the tokens of these, from now on; renewals under way for others come to their end."""
        wanted: dict[str, _Kept] = {}
        for client, name in sorted({(u.oauth, u.name) for u in upstreams if u.oauth}, key=lambda pair: pair[1]):
            if client.mark not in wanted:
                known = self._kept.get(client.mark)
                wanted[client.mark] = known if known and known.client == client else _Kept(client, [])
                wanted[client.mark].names = []
            wanted[client.mark].names.append(name)
        self._kept = wanted
        self._woken.set()

    async def current(self, upstream: Upstream) -> Secret:
        """The access token to log in with now. Raises NoToken, whose text says what to do."""
        kept = self._of(upstream)
        tokens = await self._living(kept)
        if tokens is None:
            answer = await self._renewed(kept, kept.dead)
            if isinstance(answer, Refusal):
                raise NoToken(f"no OAuth2 token for {upstream.name} ({_remedy(kept, answer)}): {answer.text}")
            tokens = answer
        elif not tokens.fresh(self.clock()) and _may_ask(kept):
            self._begin(kept, kept.dead)
        return tokens.access

    async def refused(self, upstream: Upstream, token: Secret) -> Secret | None:
        """A mail server refused `token`: another one, or None when there is none to be had."""
        kept = self._of(upstream)
        tokens = await self._living(kept)
        if tokens and tokens.access != token:
            return tokens.access
        if token == kept.forced:
            return None
        answer = await self._renewed(kept, token)
        if isinstance(answer, Refusal):
            if answer.kind is Kind.PERSON:
                kept.dead = token
            return None
        if answer.access == token:
            return None
        kept.forced = answer.access
        journal.info("", f"the mail server refused the token of {upstream.name}: it was renewed")
        return answer.access

    def start(self) -> None:
        """Renew what is due from now on, mail or no mail: a sign-in that ended is known before it is needed."""
        self._watch = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Begin no more; renewals under way get LAST_WORDS."""
        if self._watch:
            self._watch.cancel()
            await asyncio.wait((self._watch,))
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=LAST_WORDS)

    async def _run(self) -> None:
        while True:
            self._woken.clear()
            try:
                pause = min([await self._look(kept) for kept in list(self._kept.values())], default=LOOK)
            except Exception as fault:
                journal.fault("keeping of tokens", fault)
                pause = LOOK
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._woken.wait()

    async def _look(self, kept: _Kept) -> float:
        """Begin to renew what is due; seconds until the next look."""
        try:
            tokens = await self._living(kept)
        except NoToken as fault:
            if kept.refusal is None or kept.refusal.text != str(fault):
                self._note(kept, Refusal(Kind.LATER, str(fault)), None)
            return LOOK
        now = self.clock()
        if tokens and tokens.fresh(now):
            return min(max(tokens.due_at - now, SHORTEST), LOOK)
        if _may_ask(kept):
            self._begin(kept, kept.dead)
            return LOOK  # its end wakes us
        return min(max(kept.until - _steady(), SHORTEST), LOOK)

    def _of(self, upstream: Upstream) -> _Kept:
        """What is kept of this upstream's client. One that is no longer configured still gets its mail out."""
        assert upstream.oauth is not None
        known = self._kept.get(upstream.oauth.mark)
        if known is None or known.client != upstream.oauth:
            return _Kept(upstream.oauth, [upstream.name])
        return known

    async def _living(self, kept: _Kept) -> Tokens | None:
        """The stored tokens if they live. Raises NoToken when they can not be read."""
        try:
            stored = await self.renewal.stored(kept.client)
        except RelayError as fault:
            raise NoToken(f"no OAuth2 token for {kept.name}: {fault}") from fault
        if kept.seen is not None and stored != kept.seen:
            kept.until = 0.0  # somebody signed in, or another process renewed it
        tokens = stored.tokens
        living = tokens if tokens and tokens.alive(self.clock()) and tokens.access != kept.dead else None
        kept.ends_at = living.expires_at if living else 0.0
        return living

    async def _renewed(self, kept: _Kept, unlike: Secret) -> Tokens | Refusal:
        """Wait for a renewal; while it must not be tried, why the last one failed."""
        if kept.task is None and kept.refusal and not _may_ask(kept):
            return kept.refusal
        try:
            async with asyncio.timeout(WAIT):
                return await asyncio.shield(self._begin(kept, unlike))
        except TimeoutError:
            return Refusal(Kind.LATER, f"the token server has not answered for {WAIT:.0f} s")

    def _begin(self, kept: _Kept, unlike: Secret) -> asyncio.Task[Tokens | Refusal]:
        """The renewal under way, or a new one."""
        if kept.task is None:
            kept.task = asyncio.get_running_loop().create_task(self._renew(kept, unlike))
            self._tasks.add(kept.task)
            kept.task.add_done_callback(self._tasks.discard)
        return kept.task

    async def _renew(self, kept: _Kept, unlike: Secret) -> Tokens | Refusal:
        stored: Stored | None = None
        answer: Tokens | Refusal
        try:
            answer, stored = await self.renewal.renew(kept.client, unlike)
        except RelayError as fault:
            answer = Refusal(Kind.LATER, str(fault))
        except Exception as fault:
            journal.fault(f"token of {kept.name}", fault)
            answer = Refusal(Kind.LATER, f"fault in the relay: {type(fault).__name__}")
        finally:
            kept.task = None
            self._woken.set()
        self._note(kept, answer, stored)
        return answer

    def _note(self, kept: _Kept, answer: Tokens | Refusal, stored: Stored | None) -> None:
        """Remember how it ended; an alarm when that is news and mail depends on it."""
        before = kept.refusal
        if isinstance(answer, Tokens):
            kept.refusal, kept.pause, kept.seen, kept.waiting = None, 0.0, None, False
            if before:
                journal.info("", f"the token of {kept.name} is renewed again")
            return
        kept.pause = min(max(kept.pause * 2, FIRST_PAUSE), LONGEST_PAUSE)
        kept.until = _steady() + (STUBBORN if answer.kind is Kind.PERSON else kept.pause)
        kept.refusal, kept.seen = answer, stored
        left = kept.ends_at - self.clock()
        news = before is None or (before.kind, before.code) != (answer.kind, answer.code)
        if news or (left <= 0 and not kept.waiting):
            kept.waiting = left <= 0
            meanwhile = f"mail goes on for {left:.0f} s" if left > 0 else "its mail waits"
            # What to do comes first: a log line cuts a provider's long sentences.
            text = f"the token of {kept.name} can not be renewed ({_remedy(kept, answer)}; {meanwhile}): {answer.text}"
            if answer.kind is Kind.PERSON or left <= 0:
                journal.alarm(text)
            else:
                journal.warning("", text)


def _steady() -> float:
    return asyncio.get_running_loop().time()


def _may_ask(kept: _Kept) -> bool:
    return kept.refusal is None or _steady() >= kept.until


def _remedy(kept: _Kept, refusal: Refusal) -> str:
    if refusal.kind is not Kind.PERSON:
        return "it is tried again"
    if kept.client.grant.needs_person:
        return f"type: tracker-relay auth login {kept.names[0]}"
    return f"correct the oauth options of {kept.name}, or the application at the provider's"
