"""Holds: refusals that are about us keep mail here, instead of bouncing a whole queue. Pure.

A sender that this account may not use holds that sender's mail, a day's share that is used up holds
all mail of the next hop. What was refused waits as well. Each PROBE one mail is tried: when it is
taken, somebody has mended it, or the day is over, and the hold ends. Times are of one steady clock.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from relay.entry import Cause, Disposition, Outcome
from relay.refusals import About
from relay.reply import Reply

PROBE = 900.0
"""Seconds between two mails that try whether it still holds."""
EVERYBODY = None
"""The key of a hold that is about every sender; "" is the null sender, who is one of them."""
MOST = 1000
"""Senders that are held at once; further ones are refused mail by mail again."""


@dataclass(slots=True)
class Hold:
    """Why mail waits: `sender` is whose, None for everybody's; `since` wall-clock seconds since 1970."""

    about: About
    sender: str | None
    reply: Reply
    since: float
    until: float

    def __str__(self) -> str:
        whose = "all its mail" if self.sender is EVERYBODY else f"mail from <{self.sender}>"
        return f"{whose} waits, since it says: {self.reply}"


@dataclass(slots=True)
class Holds:
    """Those of one next hop."""

    _holds: dict[str | None, Hold] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self._holds)

    def __iter__(self) -> Iterator[Hold]:
        return iter(self._holds.values())

    def keeps(self, now: float, sender: str) -> Hold | None:
        """What keeps a mail of that sender here; None for one that may go, if only to try."""
        for key in (EVERYBODY, sender):
            hold = self._holds.get(key)
            if hold is None:
                continue
            if now < hold.until:
                return hold
            hold.until = now + PROBE  # this one tries
        return None

    def begin(self, about: About, sender: str, reply: Reply, now: float, at: float) -> Hold | None:
        """It refuses us at the wall-clock time `at`; the hold where that is news."""
        key = sender if about is About.SENDER else EVERYBODY
        known = self._holds.get(key)
        if known is not None:
            known.until, known.reply = now + PROBE, reply
            return None
        if len(self._holds) >= MOST:
            return None
        self._holds[key] = Hold(about, key, reply, at, now + PROBE)
        return self._holds[key]

    def end(self, sender: str) -> list[Hold]:
        """A mail of that sender was taken: the holds that this ends."""
        return [hold for key in (EVERYBODY, sender) if (hold := self._holds.pop(key, None))]

    def forgive(self) -> None:
        """Somebody says that it is mended: the next mail may try."""
        for hold in self._holds.values():
            hold.until = 0.0


def kept_back(outcome: Outcome) -> Outcome:
    """A refusal that is about us: the recipient is not to blame, his mail waits."""
    return replace(outcome, disposition=Disposition.DEFERRED, cause=Cause.PAUSED)
