"""Delivery: the engine. The road of each mail is `_deliver`:

1. claim: the due entries, as many as there are workers free; nothing polls a mail that is not due.
2. prepare: the entry becomes its routed, rewritten mails, with the configuration of this moment.
3. attempt: one try per route, for the recipients that have no answer yet; where a hop can not be reached, at the next.
4. decide: done, later, held or refused (`retry.py`), and what a report must say.
5. settle: the entry's next form and its reports, in one transaction.

Nothing that one entry contains or meets stops another (promise 10): a fault in 2 to 4 holds that
entry, a fault within an attempt defers its recipients, a spool that can not be written makes step 5
wait with its result in hand, since forgetting it would send the mail twice.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from relay import journal, retry, secondtry
from relay.entry import Attempt, Cause, Entry, Outcome, State
from relay.errors import LeaseLost, RelayError, may_pass
from relay.history import noted
from relay.lanes import Lanes
from relay.mail import Mail
from relay.message import Body
from relay.prepare import Prepared
from relay.profiles import DEFAULT
from relay.reply import Reply
from relay.reports import Report, Reports
from relay.retry import Decision, RetryOptions
from relay.routing import Route, instead
from relay.shares import next_share
from relay.spool import Claim, Clock, Spool, Wanted
from relay.stranded import free_stranded
from relay.transaction import all_alike
from relay.turns import Turns, within

POLL = 0.5
"""Seconds between two looks at the spool when nobody calls `wake`: retries that become due, other nodes' mail."""
HEAD_START = 0.001
"""Seconds that clients get before new mail is worked on: their commands come now, the disk makes them wait soon."""
SPOOL_PAUSE = (1.0, 5.0)
"""The first and the longest pause, in seconds, before a spool that failed is asked again."""
CANCEL_GRACE = 5.0
"""Seconds that a cancelled attempt gets to close its connection."""
LONG = 3600.0
"""Seconds for which a mail may be under way before a person hears of it: few next hops take so long, a fault may."""


@dataclass(eq=False, slots=True)
class _Work:
    """One entry under way. The claim may be renewed."""

    claim: Claim
    began: float
    profile: str
    tries: set[asyncio.Task[Any]] = field(default_factory=set)
    """The tasks that may be cut off at this moment: those that wait for a next hop."""
    due: float = 0.0
    """When it is due by what was settled."""
    told: bool = False
    cut: bool = False
    interrupted: bool = False
    settling: bool = False
    settled: bool = False
    again: Claim | None = None
    """Due again, and claimed, before this work is over."""


@dataclass(eq=False, slots=True)
class Delivery:
    """The engine with everything handed in. `run` delivers until `drain`; `wake` says that mail is due.

    `attempt` must answer for every recipient of its mail; it bounds connections per upstream itself.
    `jitter` gives 0 to 1. `workers` entries of each of the `profiles` are
    under way at once; the leases of those that take long are renewed each `extend_every` seconds.
    """

    spool: Spool
    prepare: Callable[[Entry, Body], Awaitable[Prepared]]
    attempt: Callable[[Route, Mail], Awaitable[Attempt]]
    schedule: Callable[[], RetryOptions]
    clock: Clock
    jitter: Callable[[], float]
    reports: Reports
    workers: int = 96
    extend_every: float = 30.0
    profiles: Callable[[], Collection[str]] = lambda: (DEFAULT,)
    heard: Callable[[], float] = lambda: -math.inf
    """When a client has last said anything, by the loop's clock: they go first, see `turns.py`."""
    _working: dict[str, _Work] = field(init=False, default_factory=dict)
    _more: bool = field(init=False, default=True)
    """The last claim brought all that it asked for: there may be more."""
    _starved: bool = field(init=False, default=False)
    """It could not ask for all: when a worker is free again, there may be more."""
    _turns: Turns = field(init=False)
    _lanes: Lanes = field(init=False)
    _woken: asyncio.Event = field(init=False, default_factory=asyncio.Event)
    _draining: asyncio.Event = field(init=False, default_factory=asyncio.Event)
    _grace_over: asyncio.Event = field(init=False, default_factory=asyncio.Event)
    _stopped: asyncio.Event = field(init=False, default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._turns = Turns(self.heard)
        self._stopped.set()
        self._lanes = Lanes(self.workers, self.clock, self.wake)

    async def run(self) -> None:
        """Deliver until `drain`, and return when nothing is under way any more."""
        self._stopped.clear()
        try:
            async with asyncio.TaskGroup() as keepers:
                keeper = keepers.create_task(self._keep())
                async with asyncio.TaskGroup() as works:
                    while not self._draining.is_set():
                        if not self._more:
                            await self._wait()
                        self._woken.clear()
                        for claim in await self._lanes.called(self.spool, self._working):
                            self._begin(works, claim)
                        for claim in await self._claim():
                            self._begin(works, claim)
                keeper.cancel()
        finally:
            self._stopped.set()

    def wake(self) -> None:
        """New mail, or mail made due: look now."""
        self._woken.set()

    def arrived(self) -> None:
        """New mail is kept: look soon. Who still waits for his own 250 goes first."""
        asyncio.get_running_loop().call_later(HEAD_START, self.wake)

    @property
    def under_way(self) -> int:
        """How many entries are being worked on."""
        return len(self._working)

    async def drain(self, grace: float) -> None:
        """Claim no more; attempts under way get `grace` seconds, then are cut off and stay queued."""
        self._draining.set()
        self.wake()
        await within(self._stopped, grace)
        self._grace_over.set()
        for work in self._working.values():
            _cut_off(work)
        if not await within(self._stopped, CANCEL_GRACE):
            journal.warning("", f"{self.under_way} attempts do not end; their mail is tried again at the next start")

    # --- 1. claim ----------------------------------------------------------------------------------

    async def _claim(self) -> list[Claim]:
        """The due entries for the free workers."""
        share = next_share((work.profile for work in self._working.values()), self.profiles(), self.workers)
        wanted = Wanted(limit=share.limit, without=share.without)
        try:
            claims = await self.spool.claim(wanted, 0) if share.limit > 0 else []
        except Exception as fault:
            journal.fault("claim", fault)
            await within(self._draining, SPOOL_PAUSE[0])
            return []
        self._more = 0 < share.limit <= len(claims)
        self._starved = self._more or share.limit <= 0 or bool(share.without)
        if claims and self._draining.is_set():
            await self._release(claims)
            return []
        return claims

    async def _wait(self) -> None:
        """Until somebody calls `wake`, or for POLL."""
        if not self._woken.is_set():
            await within(self._woken, POLL)

    async def _release(self, claims: Sequence[Claim]) -> None:
        """Give back what was claimed in the very moment that the drain began."""
        try:
            await self.spool.settle(claims, *((claim.entry, None) for claim in claims))
        except Exception as fault:
            journal.fault("release", fault)

    def _begin(self, works: asyncio.TaskGroup, claim: Claim) -> None:
        """Start work on a claimed entry; if it is under way here, its lease had run out: renew that."""
        known = self._working.get(claim.entry.id)
        if known is None:
            work = self._working[claim.entry.id] = _Work(claim, self.clock(), claim.entry.profile)
            works.create_task(self._work(works, work))
        elif known.settled:
            known.again = claim
        elif known.claim.entry == claim.entry:
            known.claim = claim

    async def _work(self, works: asyncio.TaskGroup, work: _Work) -> None:
        entry = work.claim.entry
        try:
            await self._deliver(work)
        except Exception as fault:
            journal.fault(f"delivery of {entry.id}", fault)
        finally:
            del self._working[entry.id]
            self._lanes.ended(entry.id, work.due)
            if work.again and not self._draining.is_set():
                self._begin(works, work.again)
            if self._starved:
                self.wake()

    # --- the road of one mail ----------------------------------------------------------------------

    async def _deliver(self, work: _Work) -> None:
        """Prepare, attempt, decide, settle; a fault on the way holds the entry, one of the system defers it."""
        entry, reports = work.claim.entry, list[Report]()
        try:
            await self._turns.take()
            prepared = await self.prepare(entry, work.claim.body)
            if self._must_line_up(work, prepared):
                decision = Decision(noted(entry, prepared, self.clock()))
            else:
                decision = self._decide(work, prepared, await self._attempt(work, prepared))
            decision, reports = await self.reports.compose(
                decision, prepared, work.claim.body, self.schedule(), self.clock()
            )
        except Exception as fault:
            journal.fault(f"delivery of {entry.id}", fault)
            now, reason = self.clock(), _reason(fault)
            if may_pass(fault):
                decision = Decision(retry.postponed(entry, reason, self.schedule(), now))
            else:
                decision = Decision(retry.held(entry, reason, now))
        if await self._settle(work, decision, reports):
            work.due = decision.entry.due
            self._log(work, decision, reports)

    def _must_line_up(self, work: _Work, prepared: Prepared) -> bool:
        """True for an entry claimed as another profile's (a reload moved it) while its own has all its workers."""
        name = prepared.chosen.profile.name if prepared.chosen else work.profile
        if name == work.profile:
            return False
        busy = sum(other.profile == name for other in self._working.values())
        work.profile = name
        return busy >= self.workers

    async def _attempt(self, work: _Work, prepared: Prepared) -> list[Attempt]:
        """One attempt per route that still has unanswered recipients, side by side; then at what stands in for it."""
        entry = work.claim.entry
        attempts: list[Attempt] = []
        routed = [(route, retry.unanswered(entry, mail)) for route, mail in prepared.routed]
        while routed := [(route, mail) for route, mail in routed if mail.envelope.recipients]:
            tries = [self._try(work, route, mail) for route, mail in routed]
            tried = [await tries[0]] if len(tries) == 1 else await asyncio.gather(*tries)
            attempts += tried
            routed = [next_ for pair, done in zip(routed, tried, strict=True) for next_ in instead(*pair, done)]
        policy = prepared.chosen.profile.policy if prepared.chosen else None
        attempts = secondtry.spared(entry, policy, attempts)
        for attempt in attempts:
            if not retry.lines_up(attempt):
                journal.attempted(entry, attempt)
        return attempts

    async def _try(self, work: _Work, route: Route, mail: Mail) -> Attempt:
        """One attempt; whatever happens to it, every recipient of `mail` has an outcome."""
        started = self.clock()
        upstream = route.upstream.name
        task = asyncio.current_task()
        assert task is not None
        work.tries.add(task)
        try:
            if self._grace_over.is_set():
                _cut_off(work)
                await asyncio.sleep(0)  # where the cut reaches us
            made = await self._lanes.attempt(work.profile, work.claim.entry, route, mail, self.attempt)
            attempt = _completed(made, mail)
        except asyncio.CancelledError:
            if not work.cut:
                raise
            task.uncancel()
            work.interrupted = True
            attempt = Attempt(started, upstream, _deferred(mail, "4.3.2", "interrupted: the relay was stopping"))
        except Exception as fault:
            journal.fault(f"attempt for {work.claim.entry.id} over {upstream}", fault)
            text = f"fault in the relay: {type(fault).__name__}"
            attempt = Attempt(started, upstream, _deferred(mail, "4.3.0", text))
        finally:
            work.tries.discard(task)
        before = max(work.began - work.claim.entry.received_at, 0.0), max(started - work.began, 0.0)
        measured = any(attempt.delays[2:])  # what was cut off, or broke, is not
        spent = attempt.delays[2:] if measured else (0.0, max(self.clock() - started, 0.0))
        delays = (*before, *spent)
        return Attempt(attempt.at, attempt.upstream, attempt.outcomes, attempt.tls, delays, attempt.tls_level)

    def _decide(self, work: _Work, prepared: Prepared, attempts: Sequence[Attempt]) -> Decision:
        """What follows. An interrupted mail stays due: its life does not end because ours does."""
        now, schedule = self.clock(), self.schedule()
        entry = noted(work.claim.entry, prepared, work.began)
        entry = secondtry.marked(entry, prepared.routed[0][1].message if prepared.routed else None, attempts, now)
        if work.interrupted:
            schedule = replace(schedule, lifetime=math.inf, warn_after=None)
        decision = retry.decide(entry, attempts, prepared.settled, schedule, now=now, jitter=self.jitter())
        if work.interrupted and decision.entry.state is State.QUEUED:
            return replace(decision, entry=replace(decision.entry, due=entry.due))
        return decision

    async def _settle(self, work: _Work, decision: Decision, reports: Sequence[Report]) -> bool:
        """Make it durable; False when it is not: another worker has the entry, or we stop. Outlasts a failing spool."""
        work.settling = True
        pause, longest = SPOOL_PAUSE
        try:
            while True:
                claim = work.claim
                try:
                    if not work.settled:
                        await self.reports.settle(claim, decision.entry, reports)
                    work.settled = True
                    await self.reports.remember(reports, self.clock())
                    return True
                except LeaseLost:
                    if work.claim is not claim:
                        continue
                    journal.warning(decision.entry.id, "lease lost: what this attempt brought is not recorded")
                    return False
                except Exception as fault:
                    journal.fault(f"settle of {decision.entry.id}", fault)
                if await within(self._grace_over, pause):
                    journal.warning(decision.entry.id, "the spool failed to the last: this mail may be sent again")
                    return False
                pause = min(pause * 2, longest)
        finally:
            self.reports.forget(reports)

    def _log(self, work: _Work, decision: Decision, reports: Sequence[Report]) -> None:
        """What was decided, once it is durable. The attempts themselves were logged as they ended."""
        entry = decision.entry
        if decision.ruled:
            before = max(work.began - entry.received_at, 0.0)
            journal.attempted(entry, Attempt(work.began, "", decision.ruled, delays=(before, 0.0, 0.0, 0.0)))
        for event in entry.events[len(work.claim.entry.events) :]:
            if event.kind == "held":
                journal.held(entry, event.text)
            elif event.kind != "rule":
                journal.info(entry.id, f"{event.kind}: {event.text}")
        for report in reports:
            journal.reported(entry, report.entry)

    # --- beside the road ---------------------------------------------------------------------------

    async def _keep(self) -> None:
        """Renew the leases of what takes long; find what a clock that was wrong has stranded."""
        while True:
            if await free_stranded(self.spool, self.clock, self.schedule().longest):
                self.wake()
            await asyncio.sleep(self.extend_every)
            for work in list(self._working.values()):
                await self._extend(work)

    async def _extend(self, work: _Work) -> None:
        if self.clock() - work.began > LONG and not work.told:
            work.told = True
            text = "it keeps a worker; a restart of the relay tries the mail again"
            journal.alarm(f"delivery of {work.claim.entry.id} has been under way for an hour: {text}")
        try:
            await self.spool.extend(work.claim)
        except LeaseLost:
            if not work.settling:
                _cut_off(work)
        except Exception as fault:
            journal.fault(f"lease of {work.claim.entry.id}", fault)


def _cut_off(work: _Work) -> None:
    work.cut = True
    for task in work.tries:
        task.cancel()


def _reason(fault: Exception) -> str:
    """Why an entry is held after a fault of ours; a rule's fault says itself which rule it was."""
    return str(fault) if isinstance(fault, RelayError) else f"fault in the relay: {fault!r}"


def _deferred(mail: Mail, status: str, text: str) -> tuple[Outcome, ...]:
    """Every recipient of `mail` DEFERRED by us."""
    return all_alike(mail.envelope.recipients, Reply(451, status, text), Cause.LOCAL)


def _completed(attempt: Attempt, mail: Mail) -> Attempt:
    """With a deferral for each recipient that the attempt forgot: nobody is lost (promise 2)."""
    told = {outcome.origin for outcome in attempt.outcomes}
    left = [r for r in mail.envelope.recipients if r.origin not in told]
    if not left:
        return attempt
    forgotten = mail.to(*left)
    missing = _deferred(forgotten, "4.3.0", f"no outcome came back from {attempt.upstream}")
    return replace(attempt, outcomes=(*attempt.outcomes, *missing))
