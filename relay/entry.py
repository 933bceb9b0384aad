"""Entry: one mail in the spool, what became of it so far, and the versioned form it is stored in."""

import json
from collections.abc import Iterable
from dataclasses import MISSING, field, fields
from enum import StrEnum
from json.encoder import encode_basestring as _quoted
from operator import attrgetter
from typing import Any

from relay import address as addresses
from relay.immutable import immutable
from relay.mail import Envelope, Recipient
from relay.reply import Reply

FORMAT = 3
"""Version of the stored form; `decode` reads this one and all before it, and refuses later ones.

2: with `project` and `ticket`; 3: with `tls_level`."""


class LaterForm(ValueError):
    """a stored entry of a later program"""


class State(StrEnum):
    """Where an entry stands. DONE entries have no body any more: they are the history."""

    QUEUED = "queued"
    HELD = "held"
    DONE = "done"


class Disposition(StrEnum):
    """How one recipient of one attempt ended. All but DEFERRED are final."""

    RELAYED = "relayed"
    DEFERRED = "deferred"
    REFUSED = "refused"
    DROPPED = "dropped"

    @property
    def final(self) -> bool:
        """True when nothing more will be tried for that recipient."""
        return self is not Disposition.DEFERRED


class Cause(StrEnum):
    """Whose word decided: the peer's reply, or what kept us from asking it."""

    PEER = "peer"
    CONNECT = "connect"
    DNS = "dns"
    TLS = "tls"
    AUTH = "auth"
    TOKEN = "token"  # noqa: S105 - a cause, no secret
    PAUSED = "paused"
    RULE = "rule"
    LOCAL = "local"
    TURN = "turn"
    """Its turn has not come; such an attempt is no part of a mail's history, and never stored."""

    @property
    def ours_to_mend(self) -> bool:
        """True when a person at our side can cure it: such mail is HELD, not bounced, at lifetime's end."""
        return self in (Cause.DNS, Cause.TLS, Cause.AUTH, Cause.TOKEN, Cause.PAUSED, Cause.LOCAL, Cause.TURN)


@immutable
class Outcome:
    """What one attempt brought for one recipient.

    `origin` is the Recipient's, `address` the final address tried, `host` the next hop's name and
    address, `ambiguous` that the final dot went out and no reply came back (RFC 1047).
    """

    origin: str
    address: str
    disposition: Disposition
    reply: Reply
    host: str = ""
    cause: Cause = Cause.PEER
    rule: str = ""
    ambiguous: bool = False


@immutable
class Attempt:
    """One try for one entry over one route: `at` wall-clock seconds since 1970, `delays` in seconds.

    `delays` are before the queue manager took it, in the queue, connecting, transmitting (Postfix's a/b/c/d).
    `tls` is what the connection was, in words; `tls_level` the level wanted and had, as `relay.tls.told` writes it.
    """

    at: float
    upstream: str
    outcomes: tuple[Outcome, ...]
    tls: str = ""
    delays: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    tls_level: str = ""


@immutable
class Event:
    """One line of an entry's life besides its attempts: accepted, a rule's note, held, released, reported."""

    at: float
    kind: str
    text: str


@immutable
class Client:
    """Who submitted it: address ("127.0.0.1", "unix"), HELO name, protocol ("ESMTP", "SMTP"), listener."""

    address: str = ""
    helo: str = ""
    protocol: str = "ESMTP"
    listener: str = ""
    uid: int | None = None
    user: str = ""

    @property
    def shown(self) -> str:
        """Address, and behind a unix socket the user's number."""
        return self.address if self.uid is None else f"{self.address}(uid={self.uid})"


@immutable
class Entry:
    """One mail in the spool. Immutable: every change is another Entry that `settle` puts in its place.

    `received_at`, `due` and `expires` are wall-clock seconds since 1970. `refused_paths` are RCPT
    arguments that did not parse (answered 553): they stand in the history and the report.
    `report` marks our own reports: routed only, never rewritten, never bounced (promise 5).
    """

    id: str
    received_at: float
    envelope: Envelope
    size: int = 0
    state: State = State.QUEUED
    profile: str = "notification"
    due: float = 0.0
    client: Client = field(default_factory=Client)
    report: bool = False
    reason: str = ""
    refused_paths: tuple[str, ...] = ()
    answered: tuple[Outcome, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    events: tuple[Event, ...] = ()
    summary: str = ""
    """Subject and such for listings, at most 200 characters; from the mail, so untrusted."""
    message_id: str = ""
    project: str = ""
    ticket: str = ""
    """Project and ticket as the tracker's dialect reads them, known once the mail was prepared; untrusted, too."""
    done_at: float = 0.0

    def outcome(self, origin: str) -> Outcome | None:
        """The final outcome of the recipient with that origin, None while it is not answered for."""
        return next((o for o in self.answered if o.origin == origin), None)

    def with_event(self, at: float, kind: str, text: str) -> "Entry":
        """With one more line in its life."""
        return self.but(events=(*self.events, Event(at, kind, text)))

    def but(self, **changes: Any) -> "Entry":
        """As `dataclasses.replace`, in a third of its time: it happens several times in each mail's life."""
        return Entry(**{**dict(zip(_NAMES, _VALUES(self), strict=True)), **changes})


_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def new_id(now: float, random: int) -> str:
    """An id of 15 characters: 9 of time in milliseconds (so ids sort by age), 6 of `random` (30 bits)."""
    number = int(now * 1000) << 30 | random & (1 << 30) - 1
    digits = []
    for _ in range(15):
        digits.append(_ALPHABET[number & 31])
        number >>= 5
    return "".join(reversed(digits))


def encode(entry: Entry) -> bytes:
    """The stored form: one JSON object, `v` first. Fields at their default are left out."""
    form: dict[str, Any] = {"v": FORMAT, "id": entry.id, "received_at": entry.received_at}
    form["envelope"] = _encode_envelope(entry.envelope)
    for name in _PLAIN:
        value = getattr(entry, name)
        if value != _DEFAULTS[name]:
            form[name] = value
    if entry.client != _NO_CLIENT:
        form["client"] = {name: getattr(entry.client, name) for name in _CLIENT}
    if entry.answered:
        form["answered"] = [_encode_outcome(o) for o in entry.answered]
    if entry.attempts:
        form["attempts"] = [
            {"at": a.at, "upstream": a.upstream, "outcomes": [_encode_outcome(o) for o in a.outcomes], "tls": a.tls}
            | {"delays": a.delays, "tls_level": a.tls_level}
            for a in entry.attempts
        ]
    text = _JSON.encode(form)
    if entry.events:
        text = f'{text[:-1]},"events":[{_encode_events(entry.events)}]}}'
    return text.encode("utf-8", "surrogatepass")


def _encode_events(events: Iterable[Event]) -> str:
    """As `_JSON` has them, each moment made once: one takes as long as a sentence, and most are the same."""
    moments = {at: repr(at) for at in {event.at for event in events}}
    return ",".join([f"[{moments[e.at]},{_quoted(e.kind)},{_quoted(e.text)}]" for e in events])


def _encode_outcome(outcome: Outcome) -> dict[str, Any]:
    reply = outcome.reply
    return {name: getattr(outcome, name) for name in _OUTCOME} | {"reply": [reply.code, reply.status, reply.text]}


def decode(data: bytes) -> Entry:
    """Read a stored form. Raises ValueError with what is wrong (LaterForm when nothing is); never another exception."""
    try:
        form = json.loads(data.decode("utf-8", "surrogatepass"))
        version = form.pop("v")
        if version not in range(1, FORMAT + 1):
            text = f"stored entry of format {version}, this program reads up to {FORMAT}"
            raise (LaterForm if isinstance(version, int) and version > FORMAT else ValueError)(text)
        return _decode(form)
    except (KeyError, TypeError, AttributeError, UnicodeError, RecursionError) as fault:
        raise ValueError(f"damaged entry: {fault!r}") from fault


def _encode_envelope(envelope: Envelope) -> dict[str, Any]:
    reverse = envelope.reverse_path
    return {
        "from": None if reverse is None else str(reverse),
        "to": [[str(r.address), r.origin, r.shown] for r in envelope.recipients],
        "body": envelope.body,
        "smtputf8": envelope.smtputf8,
    }


def _decode(form: dict[str, Any]) -> Entry:
    envelope = form["envelope"]
    reverse = envelope["from"]
    form["envelope"] = Envelope(
        None if reverse is None else addresses.parse(reverse),
        tuple(Recipient(addresses.parse(a), origin, bool(shown)) for a, origin, shown in envelope["to"]),
        envelope["body"],
        bool(envelope["smtputf8"]),
    )
    form["state"] = State(form.get("state", State.QUEUED))
    form["client"] = Client(**form.get("client", {}))
    form["refused_paths"] = tuple(form.get("refused_paths", ()))
    form["answered"] = tuple(map(_decode_outcome, form.get("answered", ())))
    form["attempts"] = tuple(
        Attempt(**{**a, "outcomes": tuple(map(_decode_outcome, a["outcomes"])), "delays": tuple(a["delays"])})
        for a in form.get("attempts", ())
    )
    form["events"] = tuple(Event(at, kind, text) for at, kind, text in form.get("events", ()))
    entry = Entry(**form)
    _check_kinds(entry)
    return entry


def _check_kinds(entry: Entry) -> None:
    """Raises ValueError where a value is of another kind than our own: whoever lists or sorts would fail on it."""
    outcomes = [*entry.answered, *(outcome for attempt in entry.attempts for outcome in attempt.outcomes)]
    texts = [entry.id, entry.profile, entry.reason, entry.summary, entry.message_id, entry.project, entry.ticket]
    texts += [entry.envelope.body, *entry.refused_paths, *(recipient.origin for recipient in entry.envelope.recipients)]
    texts += [getattr(entry.client, name) for name in _CLIENT if name != "uid"]
    numbers: list[Any] = [entry.received_at, entry.due, entry.done_at, entry.size, entry.client.uid or 0]
    for outcome in outcomes:
        texts += [outcome.origin, outcome.address, outcome.host, outcome.rule, outcome.reply.status, outcome.reply.text]
        numbers.append(outcome.reply.code)
    for attempt in entry.attempts:
        texts += [attempt.upstream, attempt.tls]
        numbers += [attempt.at, *attempt.delays]
        if len(attempt.delays) != 4:
            raise ValueError("an attempt without its four delays")
    for event in entry.events:
        texts += [event.kind, event.text]
        numbers.append(event.at)
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("a text of another kind")
    if not all(isinstance(number, int | float) and number - number == 0 for number in numbers):
        raise ValueError("a number of another kind, or without end")


def _decode_outcome(form: dict[str, Any]) -> Outcome:
    code, status, text = form["reply"]
    return Outcome(
        **{
            **form,
            "disposition": Disposition(form["disposition"]),
            "reply": Reply(code, status, text),
            "cause": Cause(form["cause"]),
        }
    )


_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False)
_NAMES = tuple(f.name for f in fields(Entry))
_VALUES = attrgetter(*_NAMES)
_NO_CLIENT = Client()
_CLIENT = tuple(f.name for f in fields(Client))
_OUTCOME = tuple(f.name for f in fields(Outcome) if f.name != "reply")
_DEFAULTS = {f.name: f.default for f in fields(Entry) if f.default is not MISSING}
_PLAIN = tuple(name for name in _DEFAULTS if name not in ("answered", "attempts", "events"))
