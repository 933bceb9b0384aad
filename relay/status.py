"""Status: what the status page is asked under, and the state of the whole in one sentence. Pure."""

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from relay.admission import Listen, listen_list
from relay.entry import Cause, Disposition, Entry, Outcome
from relay.options import listed, option, path

_HOST = re.compile(r"[a-z0-9_](?:[a-z0-9._-]{0,252}[a-z0-9_])?")
_PORT = re.compile(r":\d{1,5}")
_ADDRESS_OF_NAME = re.compile(r"\[[^\]]*\](?=:\d+$)")


def listens(value: str) -> tuple[Listen, ...]:
    """host:port, [v6]:port or unix:PATH, separated by commas or blanks, or nothing. Raises ValueError."""
    found = listen_list(value) if value.strip() else ()
    for listen in found:
        if listen.name:
            raise ValueError(f"{str(listen)!r}: the page takes no socket from systemd: use host:port or unix:PATH")
    return found


def host(value: str) -> str:
    """A host name or address, lower case, without port and brackets. Raises ValueError."""
    word = value.strip().lower()
    if word.startswith("["):
        inner, bracket, rest = word[1:].partition("]")
        if not bracket or (rest and not _PORT.fullmatch(rest)):
            raise ValueError(f"{value!r} is not a host name")
        return str(ipaddress.IPv6Address(inner))
    if word.count(":") > 1:
        return str(ipaddress.IPv6Address(word))
    name, colon, port = word.partition(":")
    name = name.removesuffix(".")
    if not _HOST.fullmatch(name) or (colon and not _PORT.fullmatch(f":{port}")):
        raise ValueError(f"{value!r} is not a host name")
    return name


def hosts(value: str) -> tuple[str, ...]:
    """Host names, separated by commas or blanks; at least one. Raises ValueError."""
    found: tuple[str, ...] = listed(host)(value)
    if not found:
        raise ValueError("name at least one host, such as localhost; without this option it is the loopback names")
    return found


@dataclass(frozen=True, slots=True)
class StatusOptions:
    """[status]: the page in the browser. A reload takes up every change of it."""

    listen: tuple[Listen, ...] = option(
        (Listen("127.0.0.1", 8025),),
        "Where the status page listens: host:port, [v6]:port, unix:PATH; empty: no page",
        listens,
        shown="127.0.0.1:8025",
    )
    token_file: str = option(
        "", "The file of the page's token, made at the first start; empty: status.token in the spool's folder", path
    )
    hosts: tuple[str, ...] = option(
        ("localhost", "127.0.0.1", "::1"),
        "Host names under which the page may be asked for; any port will do",
        hosts,
    )


def unready(ways: Mapping[str, Sequence[str]], down: Mapping[str, str]) -> list[str]:
    """Why mail can not leave: a sentence for each profile whose next hops (`ways`) are all `down`, which says why."""
    return [
        f"{profile}: {'; '.join(f'{name}: {down[name]}' for name in names)}"
        for profile, names in ways.items()
        if names and all(name in down for name in names)
    ]


class Level(StrEnum):
    """How much a person is wanted."""

    GOOD = "good"
    BUSY = "busy"
    TROUBLE = "trouble"
    ALARM = "alarm"


@dataclass(frozen=True, slots=True)
class Picture:
    """What the sentence is made from. `oldest` is the oldest queued mail, `held` the oldest held one, `last` the
    last finished ones; `dropping` names the profiles whose smtp_enabled is false.
    """

    now: float
    queued: int
    held_number: int
    oldest: Entry | None = None
    held: Entry | None = None
    last: Sequence[Entry] = ()
    dropping: Sequence[str] = ()
    into_outbox: bool = False
    full: str = ""
    """Why the spool takes no mail, "" when it does."""


@dataclass(frozen=True, slots=True)
class Standing:
    """The state of the whole: one sentence, and what else a person should know."""

    level: Level
    sentence: str
    more: tuple[str, ...] = ()


def standing(picture: Picture) -> Standing:
    """The worst first: mail that is dropped, that is not taken, that waits for a next hop, that waits for a person."""
    found = [s for s in (_dropping(picture), _full(picture), _waiting(picture), _held(picture)) if s]
    if not found:
        return _well(picture)
    level = max((level for level, _ in found), key=list(Level).index)
    sentences = [sentence for _, sentence in found]
    return Standing(level, sentences[0], tuple(sentences[1:]))


def _dropping(picture: Picture) -> tuple[Level, str] | None:
    if not picture.dropping:
        return None
    if "notification" in picture.dropping:
        return Level.ALARM, "smtp_enabled is false: EVERY notification is accepted and dropped."
    names = ", ".join(picture.dropping)
    return Level.ALARM, f"smtp_enabled is false for {names}: EVERY notification of theirs is accepted and dropped."


def _full(picture: Picture) -> tuple[Level, str] | None:
    return (Level.ALARM, f"No new mail is taken: {picture.full.rstrip('.')}.") if picture.full else None


def _waiting(picture: Picture) -> tuple[Level, str] | None:
    oldest = picture.oldest
    if not picture.queued or oldest is None:
        return None
    several = picture.queued != 1
    number = f"{picture.queued:,} mails" if several else "1 mail"
    if not oldest.attempts:
        return Level.BUSY, f"{number} {'are' if several else 'is'} on the way."
    age = since(picture.now - oldest.received_at)
    how_long = f"wait, the oldest for {age}" if several else f"waits, for {age}"
    because = why(oldest)
    return Level.TROUBLE, f"{number} {how_long}{', because ' if because else ''}{because}."


def _held(picture: Picture) -> tuple[Level, str] | None:
    if not picture.held_number:
        return None
    reason = picture.held.reason if picture.held else ""
    told = f": {reason.rstrip('.')}" if reason else ""
    if picture.held_number == 1:
        return Level.TROUBLE, f"1 mail is held until you decide{told}."
    oldest = f"; the oldest{told}" if told else ""
    return Level.TROUBLE, f"{picture.held_number:,} mails are held until you decide{oldest}."


def _well(picture: Picture) -> Standing:
    if not picture.last:
        return Standing(Level.GOOD, "No mail waits, and none has come lately.")
    where = "kept in the outbox, since smtp_server names no mail server" if picture.into_outbox else "delivered"
    refused = sum(any(o.disposition is Disposition.REFUSED for o in e.answered) for e in picture.last)
    if not refused:
        return Standing(Level.GOOD, f"All mail is {where}.")
    number, last = f"{refused} of the last {len(picture.last)} mails", "a recipient who was refused"
    if len(picture.last) == 1:
        number = "the last mail"
    return Standing(Level.BUSY, f"No mail waits, but {number} had {last}.")


def last_deferral(entry: Entry) -> Outcome | None:
    """What kept the mail at its last try."""
    outcomes = (o for attempt in reversed(entry.attempts) for o in reversed(attempt.outcomes))
    return next((o for o in outcomes if o.disposition is Disposition.DEFERRED), None)


_BECAUSE = {
    Cause.AUTH: "{hop} refuses the user or the password ({said})",
    Cause.TOKEN: "no token can be had for {hop} ({said})",
    Cause.TLS: "the connection to {hop} is not secure ({said})",
    Cause.CONNECT: "{hop} can not be reached ({said})",
    Cause.DNS: "the name of {hop} is not found ({said})",
    Cause.LOCAL: "there is trouble on this host ({said})",
}


_OUR_WORDS = (Cause.TLS, Cause.CONNECT, Cause.DNS, Cause.LOCAL, Cause.TOKEN)
"""Causes whose reply we made up ourselves: its codes say nothing to a person."""
_CODES = re.compile(r"\d{3} (?:\d\.\d{1,3}\.\d{1,3} )?(?:connect to \S+: )?")


def why(entry: Entry) -> str:
    """Why a mail waits, as the end of a sentence; "" when nothing is known."""
    outcome = last_deferral(entry)
    if outcome is None:
        return ""
    hop = _ADDRESS_OF_NAME.sub("", outcome.host) or "the next hop"
    said = str(outcome.reply)
    if outcome.cause in _OUR_WORDS:
        said = _CODES.sub("", said)
    return _BECAUSE.get(outcome.cause, "{hop} says {said}").format(hop=hop, said=said)


def since(seconds: float) -> str:
    """A duration as one says it: 40 s, 5 min, 2 h, 3 days."""
    seconds = max(seconds, 0.0)
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds // 60:.0f} min"
    if seconds < 2 * 86400:
        return f"{seconds // 3600:.0f} h"
    return f"{seconds // 86400:.0f} days"
