"""Reports: which failures and delays are reported to whom, as new entries of our own.

At most one report per reader, recipient, cause and day; what is left out stands in the history of
the mail. A report is never reported on: `retry.decide` asks for none (promise 5).
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from relay import dsn, journal, message
from relay.address import Address, ascii_domain
from relay.dsn import Action, Stamp
from relay.entry import Client, Entry, Event, Outcome
from relay.mail import Envelope, Recipient
from relay.message import Body
from relay.prepare import Prepared
from relay.retry import Decision, RetryOptions, life_ends
from relay.spool import Claim, Draft, Spool

DAY = 86400.0
"""Seconds for which a recipient's failure of one cause is not reported again."""


@dataclass(frozen=True, slots=True)
class Report:
    """A report ready for the spool: its entry and octets, and the `keys` it is remembered by."""

    entry: Entry
    data: bytes
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _About:
    """The mail that failed, as it came (`body`) and as the rules made it."""

    entry: Entry
    prepared: Prepared
    body: Body
    schedule: RetryOptions
    now: float

    def senders(self) -> list[Address | None]:
        """The reverse-paths that left; a mail that never got so far has the one its rules decided on, or its own."""
        if self.prepared.routed:
            return [mail.envelope.reverse_path for _, mail in self.prepared.routed]
        return [self.prepared.reverse_path, self.entry.envelope.reverse_path]

    def original(self) -> message.Message:
        """The mail as it left. One that never did shows no To and Cc: no rule has hidden anybody there yet."""
        if self.prepared.routed:
            return self.prepared.routed[0][1].message
        came = message.parse(self.body)
        return came.remove("to", "cc", *(field.name for field in came.fields if field.name.startswith("resent-")))


@dataclass(eq=False, slots=True)
class Reports:
    """Composes reports and sees to their cap. What it composed must be given to `forget` at last.

    `_under_way` are the keys of reports that are composed but not durable yet, so that two mails
    that fail side by side do not report the same recipient twice.
    """

    spool: Spool
    new_id: Callable[[], str]
    hostname: str
    _under_way: set[str] = field(init=False, default_factory=set)

    async def compose(
        self, decision: Decision, prepared: Prepared, body: Body, schedule: RetryOptions, now: float
    ) -> tuple[Decision, list[Report]]:
        """The reports that `decision` asks for, and the decision with a line about each in its history.

        Never raises: a report that can not be made is no reason to forget what became of the mail.
        """
        wanted = ((Action.FAILED, decision.failures), (Action.DELAYED, decision.delays))
        entry, reports = decision.entry, list[Report]()
        if not decision.failures and not decision.delays:
            return decision, reports
        for action, outcomes in wanted:
            if not outcomes:
                continue
            try:
                text, report = await self._report(action, outcomes, _About(entry, prepared, body, schedule, now))
            except Exception as fault:
                journal.fault(f"report on {entry.id}", fault)
                text, report = f"no report, for a fault in the relay: {fault!r}", None
            entry = entry.with_event(now, "reported", text)
            if report is not None:
                reports.append(report)
        return replace(decision, entry=entry), reports

    async def settle(self, claim: Claim, entry: Entry, reports: Sequence[Report]) -> None:
        """Put `entry` in the place of the claimed one, and these reports beside it, in one transaction.

        Raises as the spool's `settle`; then no draft of a report is left.
        """
        drafts: list[Draft] = []
        try:
            for report in reports:
                drafts.append(self.spool.draft())
                drafts[-1].write(report.data)
            await self.spool.settle([claim], (entry, None), *zip((r.entry for r in reports), drafts, strict=True))
        except BaseException:
            for draft in drafts:
                draft.discard()
            raise

    async def remember(self, reports: Sequence[Report], now: float) -> None:
        """They are durable: report none of this again for a day. A cap that is lost costs a second report at most."""
        for report in reports:
            for key in report.keys:
                try:
                    await self.spool.remember(key, report.entry.id, now + DAY)
                except Exception as fault:
                    journal.fault(f"cap of report {report.entry.id}", fault)

    def forget(self, reports: Sequence[Report]) -> None:
        """Durable or given up: what they reported is no longer under way."""
        for report in reports:
            self._under_way.difference_update(report.keys)

    async def _report(self, action: Action, outcomes: Sequence[Outcome], about: _About) -> tuple[str, Report | None]:
        """One report, or None; and the line of history that says which."""
        senders = about.senders()
        reader = dsn.addressee(about.schedule.report_to, senders)
        if reader is None:
            return f"{action}, to nobody: neither report_to nor a sender to tell", None
        fresh = await self._fresh(action, reader, outcomes)
        if not fresh:
            return f"{action}, not again to {reader}: told within a day", None
        told, until = list(fresh.values()), life_ends(about.entry, about.schedule)
        try:
            stamp = Stamp(self.new_id(), reader, self._sender(senders), self.hostname, about.now, until)
            arguments = action, about.entry, told, about.original(), stamp
            many = len(told) > dsn.NAMED
            data = await asyncio.to_thread(dsn.compose, *arguments) if many else dsn.compose(*arguments)
        except BaseException:
            self._under_way.difference_update(fresh)
            raise
        report = Report(_entry(about.entry, stamp, dsn.subject(action, told), len(data)), data, tuple(fresh))
        return f"{action}, to {reader} as {stamp.id}", report

    async def _fresh(self, action: Action, reader: Address, outcomes: Sequence[Outcome]) -> dict[str, Outcome]:
        """The outcomes not reported within a day, by their keys, which are under way from now on."""
        fresh: dict[str, Outcome] = {}
        for outcome in outcomes:
            key = dsn.report_key(action, reader, outcome)
            if key in self._under_way:
                continue
            self._under_way.add(key)
            try:
                told = await self.spool.recall(key)
            except Exception as fault:
                journal.fault("recall of reports", fault)
                told = None
            if told is None:
                fresh[key] = outcome
            else:
                self._under_way.discard(key)
        return fresh

    def _sender(self, senders: Sequence[Address | None]) -> Address:
        """In whose name: the sender that the next hop accepts anyway, if there is one."""
        known = dsn.addressee(None, senders)
        return known if known is not None and known.local.isascii() else Address("MAILER-DAEMON", self.hostname)


def _entry(about: Entry, stamp: Stamp, subject: str, size: int) -> Entry:
    """The report's own entry: null reverse-path, so that nobody ever answers it (RFC 5321 4.5.5)."""
    reader = Address(stamp.to.local, ascii_domain(stamp.to.domain))
    utf8 = not reader.is_ascii
    return Entry(
        id=stamp.id,
        received_at=stamp.now,
        envelope=Envelope(None, (Recipient.accepted(reader),), "8BITMIME" if utf8 else "", utf8),
        size=size,
        profile=about.profile,
        due=stamp.now,
        client=Client(address="local", helo=stamp.hostname, listener="report"),
        report=True,
        summary=subject[:200],
        message_id=stamp.message_id,
        events=(Event(stamp.now, "accepted", f"our report on {about.id}"),),
    )
