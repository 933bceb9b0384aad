"""SASL mechanisms (RFC 4422, RFC 4954) as generators: they yield responses and are sent challenges.

One mechanism per connection, the strongest that both sides know: the same password is never sent
down a list of them, which locks accounts.
"""

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass

from relay.options import Secret

Exchange = Generator[bytes, bytes, None]
"""Yields a response, is sent the next challenge; the first response goes with AUTH where `initial`."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who logs in."""

    user: str
    password: Secret


class Unusable(ValueError):
    """these credentials can not be said in this mechanism"""


@dataclass(frozen=True, slots=True)
class Mechanism:
    """`initial`: the first response is sent with the AUTH command (RFC 4954 4)."""

    name: str
    start: Callable[[Credentials], Exchange]
    initial: bool


def plain(who: Credentials) -> Exchange:
    """PLAIN (RFC 4616): no authorization identity, user, password, in UTF-8. Raises Unusable."""
    if "\0" in who.user or "\0" in who.password.reveal():
        raise Unusable("user or password holds a NUL, which AUTH PLAIN can not say")
    yield b"\0" + who.user.encode() + b"\0" + who.password.reveal().encode()


def login(who: Credentials) -> Exchange:
    """LOGIN (draft-murchison-sasl-login): user and password, each asked for by a challenge."""
    yield who.user.encode()
    yield who.password.reveal().encode()


MECHANISMS: tuple[Mechanism, ...] = (Mechanism("PLAIN", plain, initial=True), Mechanism("LOGIN", login, initial=False))
"""Strongest first. Both show the password to the server; PLAIN is the one that is a standard."""


def offered(features: Iterable[str]) -> list[str]:
    """The mechanisms of the EHLO lines that speak of AUTH, in the old form `AUTH=` as well."""
    names: list[str] = []
    for line in features:
        words = line.upper().replace("=", " ").split()
        if words[:1] == ["AUTH"]:
            names += words[1:]
    return names


def choose(names: Iterable[str], pinned: str) -> Mechanism | None:
    """The strongest mechanism that the server offers, or the pinned one if it does."""
    known = {name.upper() for name in names}
    wanted = (m for m in MECHANISMS if m.name in known and pinned.upper() in ("", m.name))
    return next(wanted, None)
