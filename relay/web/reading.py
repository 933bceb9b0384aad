"""Reading: what the pages show, gathered from the sources. Everything that takes time happens in a thread.

The forms are those of the commands: a mail here is what `queue list --json` and `trace --json` print.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from relay import explain, journal
from relay.entry import Attempt, Cause, Entry, Outcome, State
from relay.errors import RuleError, SpoolFull
from relay.message import Body, parse
from relay.prepare import Setting, event_key, read
from relay.queue import ALL, detail, summary
from relay.routing import OUTBOX, Upstream
from relay.search import Search
from relay.spool import Wanted
from relay.status import Picture, Standing, standing
from relay.statuspage import Sources
from relay.web import captured
from relay.web.captured import Captured
from relay.web.readable import Readable, readable

ROWS = 50
"""Mails on a page."""
LAST = 20
"""Finished mails that the first page shows and judges by."""
QUEUE, HISTORY = (State.QUEUED, State.HELD), (State.DONE,)


@dataclass(frozen=True, slots=True)
class Overview:
    """The first page."""

    standing: Standing
    counts: dict[State, int]
    oldest: Entry | None
    last: tuple[Entry, ...]
    hops: tuple[tuple[Upstream, dict[str, Any]], ...]
    now: float


@dataclass(frozen=True, slots=True)
class Page:
    """Some entries of a listing; `following` is the id behind which the next page begins, "" at the end."""

    entries: tuple[Entry, ...]
    following: str = ""


@dataclass(frozen=True, slots=True)
class Rules:
    """What the rules make of a queued mail with the configuration of this moment: `explain`'s rows, or why not."""

    changes: Sequence[dict[str, Any]] = ()
    recipients: Sequence[dict[str, str]] = ()
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Life:
    """One mail. `content` and `rules` are there while its octets are, `captured` when the outbox has it."""

    entry: Entry
    content: Readable | None = None
    rules: Rules | None = None
    captured: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Moment:
    """One line of a life: an event's kind and words, or the answer that some recipients got in one try."""

    at: float
    kind: str = ""
    text: str = ""
    answer: Outcome | None = None
    addresses: Sequence[str] = ()
    way: str = ""


async def overview(sources: Sources) -> Overview:
    """The state of the whole."""
    setting, now = sources.setting(), sources.clock()
    counts = await sources.spool.counts()
    oldest = next(iter(await _some(sources, 1, (State.QUEUED,), oldest_first=True)), None)
    held = next(iter(await _some(sources, 1, (State.HELD,), oldest_first=True)), None)
    last = await _some(sources, LAST, HISTORY)
    picture = Picture(
        now,
        counts[State.QUEUED],
        counts[State.HELD],
        oldest,
        held,
        last,
        [p.name for p in setting.profiles if not p.policy.smtp_enabled],
        all(p.upstream.is_outbox for p in setting.profiles),
        _full(sources),
    )
    return Overview(standing(picture), counts, oldest, tuple(last), tuple(sources.hops()), now)


def _full(sources: Sources) -> str:
    try:
        sources.spool.room(0)
    except SpoolFull as fault:
        return str(fault)
    return ""


async def _some(sources: Sources, limit: int, states: tuple[State, ...], *, oldest_first: bool = False) -> list[Entry]:
    wanted = Wanted(limit=limit, states=states, oldest_first=oldest_first)
    return [entry async for entry in sources.spool.browse(wanted)]


async def listing(
    sources: Sources, states: tuple[State, ...], *, text: str, beyond: str, oldest_first: bool, limit: int = ROWS
) -> Page:
    """One page of queue, history or both. `text`: #TICKET, or part of an id, address, Message-ID or subject."""
    exact = Search(ticket=text[1:]) if text.startswith("#") else Search()
    text = "" if text.startswith("#") else text
    wanted = Wanted(limit=limit + 1, states=states, text=text, search=exact, beyond=beyond, oldest_first=oldest_first)
    rows = [entry async for entry in sources.spool.browse(wanted)]
    return Page(tuple(rows[:limit]), rows[limit - 1].id if len(rows) > limit else "")


async def life(sources: Sources, name: str) -> Life | None:
    """One mail by its id; None when nothing is known of it."""
    found = [entry async for entry in sources.spool.browse(Wanted(states=ALL, id=name))]
    if not found:
        return None
    kept = await sources.spool.peek(name)
    if kept is None:
        copies = await asyncio.to_thread(captured.of_entry, sources.outboxes(), name)
        return Life(found[0], captured=copies)
    entry, body = kept
    rules = await _rules(sources, entry, body)
    return Life(entry, await asyncio.to_thread(lambda: readable(parse(body))), rules)


async def _rules(sources: Sources, entry: Entry, body: Body) -> Rules:
    """A mail on which the rules fail is held for that reason: it is shown all the same."""
    setting = sources.setting()
    try:
        key = await asyncio.to_thread(lambda: event_key(read(entry, body, setting)))
        first = not key or await sources.first_of_event(key, entry.id)
        return await asyncio.to_thread(_explained, entry, body, setting, first)
    except RuleError as fault:
        return Rules(fault=str(fault))
    except Exception as fault:
        return Rules(fault=f"it can not be prepared: {fault!r}")


def _explained(entry: Entry, body: Body, setting: Setting, first: bool) -> Rules:
    explained = explain.explain_entry(entry, body, setting, first_of_event=first)
    changes = [row for row in explain.changes_of(explained) if any(row[k] for k in row if k != "rule")]
    return Rules(changes, explain.recipients_of(explained))


def moments(entry: Entry) -> list[Moment]:
    """What happened to it, in order. Recipients who got the same answer in one try stand together."""
    told = [Moment(e.at, e.kind, e.text) for e in entry.events]
    for attempt in entry.attempts:
        alike: dict[Outcome, list[str]] = {}
        for outcome in attempt.outcomes:
            alike.setdefault(replace(outcome, origin="", address=""), []).append(outcome.address)
        told += [Moment(attempt.at, answer=one, addresses=all_, way=_way(attempt, one)) for one, all_ in alike.items()]
    return sorted(told, key=lambda moment: moment.at)


def _way(attempt: Attempt, outcome: Outcome) -> str:
    """How the answer came; nothing is said of a connection that never stood, or leads into our own folder."""
    level = f" (tls={attempt.tls_level})" if attempt.tls_level else ""
    if attempt.tls:
        return f"over {attempt.tls}{level}"
    return f"without TLS{level}" if outcome.cause is Cause.PEER and outcome.host not in ("", OUTBOX) else level.strip()


async def octets(sources: Sources, name: str) -> Body | None:
    """A queued or held mail as it was accepted."""
    kept = await sources.spool.peek(name)
    return kept[1] if kept else None


async def outbox(sources: Sources, before: str, limit: int = ROWS) -> tuple[list[dict[str, Any]], bool, int]:
    """One page of captured mails, whether there are more, and how many in all."""

    def look() -> tuple[list[dict[str, Any]], bool, int]:
        found, more, number = captured.page(sources.outboxes(), before, limit)
        return [one.row() for one in found], more, number

    return await asyncio.to_thread(look)


async def one_captured(sources: Sources, name: str) -> tuple[Captured, Readable] | None:
    """A captured mail, decoded."""

    def look() -> tuple[Captured, Readable] | None:
        found = captured.find(sources.outboxes(), name)
        return (found, readable(found.message())) if found else None

    return await asyncio.to_thread(look)


# --- for programs ----------------------------------------------------------------------------------


def overview_json(seen: Overview) -> dict[str, Any]:
    """The state of the whole."""
    return {
        "level": str(seen.standing.level),
        "sentence": seen.standing.sentence,
        "more": list(seen.standing.more),
        "counts": {str(state): number for state, number in seen.counts.items()},
        "oldest": summary(seen.oldest) if seen.oldest else None,
        "since_start": dict(sorted(journal.COUNTERS.items())),
        "next_hops": [row for _, row in seen.hops],
    }


def life_json(seen: Life) -> dict[str, Any]:
    """A whole life: `trace --json`, and what the rules make of it while its octets are there."""
    rules = seen.rules
    return detail(seen.entry) | {
        "rules": None if rules is None else list(rules.changes),
        "recipients": None if rules is None else list(rules.recipients),
        "rules_fault": rules.fault if rules else "",
        "content": seen.content.as_json if seen.content else None,
        "captured": list(seen.captured),
    }
