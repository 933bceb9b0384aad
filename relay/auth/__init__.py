"""Log-in to a next hop: SASL mechanisms (RFC 4422) as generators, and the AUTH dialogue (RFC 4954) over them.

One mechanism per connection, the strongest that both sides know: the same password is never sent
down a list of them, which locks accounts. Who may log in over which connection is `tls.py`'s matter.
"""

import base64
import binascii
import re
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from relay.auth.credentials import Broken, Channel, Credentials, Exchange, Unusable
from relay.auth.scram import scram
from relay.auth.simple import cram_md5, external, login, oauthbearer, plain, xoauth2
from relay.reply import Reply

__all__ = ["MECHANISMS", "Channel", "Credentials", "Mechanism", "Verdict", "dialogue", "offered"]

LONGEST_COMMAND = 512
"""Octets of an AUTH command with its CRLF (RFC 5321 4.5.3.1.4); a longer first response waits for the 334."""
CHALLENGE_KEPT = 1000
"""Characters of a token's error that are kept."""


@dataclass(frozen=True, slots=True)
class Mechanism:
    """A row: what it logs in with (password, token or certificate) and how many responses it has.

    A "235" before all `responses` were given is not believed: SCRAM's server would not have proved itself.
    """

    name: str
    start: Callable[[Credentials, Channel], Exchange]
    by: str = "password"
    responses: int = 1


MECHANISMS: tuple[Mechanism, ...] = (
    Mechanism("EXTERNAL", external, by="certificate"),
    Mechanism("OAUTHBEARER", oauthbearer, by="token"),
    Mechanism("XOAUTH2", xoauth2, by="token"),
    Mechanism("SCRAM-SHA-256-PLUS", partial(scram, "sha256", plus=True), responses=3),
    Mechanism("SCRAM-SHA-1-PLUS", partial(scram, "sha1", plus=True), responses=3),
    Mechanism("SCRAM-SHA-256", partial(scram, "sha256", plus=False), responses=3),
    Mechanism("SCRAM-SHA-1", partial(scram, "sha1", plus=False), responses=3),
    Mechanism("CRAM-MD5", cram_md5),
    Mechanism("PLAIN", plain),
    Mechanism("LOGIN", login, responses=2),
)
"""Strongest first. A mechanism that binds to the connection goes before every one that does not; the last two
show the password to the server, PLAIN is the one that is a standard."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a log-in ended: `refusal` is what the mail's recipients are told, None when we are in.

    `refused` says that the server itself, heard to the end, does not take these credentials for good
    (5xx); `challenge` is what it said of a token (RFC 7628 3.2.2), as it said it. `ended`: it hung up (421), which
    says nothing of the credentials.
    """

    mechanism: str = ""
    refusal: Reply | None = None
    refused: bool = False
    challenge: str = ""
    ended: bool = False


def means(who: Credentials) -> str:
    """What these credentials log in with: a token goes before a password, a certificate stands alone."""
    if who.token:
        return "token"
    return "certificate" if who.certificate and not who.password else "password"


def dialogue(
    offers: Iterable[str], who: Credentials, channel: Channel, pinned: str = ""
) -> Generator[bytes, Reply, Verdict]:
    """One log-in: yields command lines without their CRLF, is sent the replies, returns the Verdict.

    `offers` are the names of the server's EHLO; `pinned` allows one mechanism alone. A step may take half
    a second of computing (SCRAM).
    """
    names = {name.upper() for name in offers}
    channel = replace(channel, plus_offered=any(n.startswith("SCRAM-") and n.endswith("-PLUS") for n in names))
    chosen = _choose(names, who, channel, pinned.upper())
    if isinstance(chosen, str):
        return Verdict(refusal=Reply(454, "4.7.0", chosen))
    mechanism, exchange, first = chosen
    verdict = yield from _talk(mechanism, exchange, first, who)
    exchange.close()
    return verdict


def _choose(
    names: set[str], who: Credentials, channel: Channel, pinned: str
) -> tuple[Mechanism, Exchange, bytes | None] | str:
    """The strongest mechanism that the server offers and these credentials can be said in; else why there is none."""
    by = means(who)
    fitting = [m for m in MECHANISMS if m.by == by and pinned in ("", m.name)]
    why: list[str] = []
    for mechanism in fitting:
        if mechanism.name in names:
            exchange = mechanism.start(who, channel)
            try:
                return mechanism, exchange, next(exchange)
            except Unusable as fault:
                why.append(f"{mechanism.name}: {fault}")
    if why:
        return "no log-in: " + "; ".join(why)
    if not fitting:
        return f"no log-in: auth = {pinned.lower()} does not log in with a {by}, and there is nothing else"
    known, offers = ", ".join(m.name for m in fitting), " ".join(sorted(names)) or "none at all"
    return f"the server offers no AUTH that we know ({known}): {offers}"


def _talk(
    mechanism: Mechanism, exchange: Exchange, first: bytes | None, who: Credentials
) -> Generator[bytes, Reply, Verdict]:
    """The chosen mechanism to its end. Whatever the server does becomes a Verdict."""
    said: list[str] = []
    challenge = ""
    waiting = first
    command = b"AUTH " + mechanism.name.encode("ascii")
    if first is not None:
        at_once = command + b" " + (_encoded(first, said) or b"=")  # RFC 4954 4: an empty first response
        if len(at_once) + 2 <= LONGEST_COMMAND:
            command, waiting = at_once, None
    reply = yield command
    while reply.code == 334:
        try:
            heard = _challenge(reply)
            if waiting is None:
                challenge = _readable(heard) if mechanism.by == "token" else ""
                response = exchange.send(heard) or b""
            else:
                response, waiting = waiting, None
        except (StopIteration, Broken) as fault:
            yield b"*"  # RFC 4954 4: cancel
            why = str(fault) or "it asks for more than there is to say"
            text = f"log-in by {mechanism.name} broken off, the server is at fault: {why}"
            return _refusal(mechanism, _hide(text, who, said))
        reply = yield _encoded(response, said)
    if reply.positive and len(said) >= mechanism.responses and waiting is None:
        return Verdict(mechanism.name)
    if reply.positive:
        text = f"log-in by {mechanism.name} not believed: the server said {reply} before it had proved itself"
        return _refusal(mechanism, _hide(text, who, said))
    if reply.code == 421:
        ended = Reply(421, reply.status, f"{_hide(reply.text, who, said)} (within the log-in)")
        return Verdict(mechanism.name, ended, ended=True)
    shown = _hide(challenge, who, said)
    text = f"log-in as {who.user} refused: {_hide(str(reply), who, said)}"
    text += f"; of the token it says {shown}" if shown else ""
    return replace(_refusal(mechanism, text), refused=reply.permanent, challenge=shown)


def _refusal(mechanism: Mechanism, text: str) -> Verdict:
    """What keeps us out, for people: one printable line."""
    return Verdict(mechanism.name, Reply(454, "4.7.8", "".join(c if c.isprintable() else " " for c in text)))


def _encoded(response: bytes, said: list[str]) -> bytes:
    encoded = base64.b64encode(response)
    said.append(encoded.decode("ascii"))
    return encoded


_WORD = re.compile(r"[\w.~+/=-]{8,}")


def _hide(text: str, who: Credentials, said: Sequence[str]) -> str:
    """`text` without our secrets: some servers repeat the command that they refuse, or a part of it."""
    ours = list(filter(None, (who.token.reveal(), who.password.reveal())))
    for secret in ours:
        text = text.replace(secret, "***")
    known = [*ours, *filter(None, said)]

    def shown(found: re.Match[str]) -> str:
        word = found[0].strip(".-~")
        return "***" if any(word in secret or secret in word for secret in known) else found[0]

    return _WORD.sub(shown, text)


def _challenge(reply: Reply) -> bytes:
    try:
        return base64.b64decode(reply.text.strip().encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise Broken("its challenge is no base64") from None


def _readable(challenge: bytes) -> str:
    """What a server says of a token: JSON, kept as it is, on one line."""
    text = challenge.decode("utf-8", "replace").strip()[:CHALLENGE_KEPT]
    return "".join(c if c.isprintable() else " " for c in text)
