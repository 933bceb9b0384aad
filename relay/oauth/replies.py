"""What a token server answered: tokens, or why there are none and who can mend it. Judged, never trusted."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from relay.oauth.requests import printable
from relay.options import Secret

USUAL_LIFETIME = 3600.0
"""Seconds that a token is taken to live where the server does not say (RFC 6749 5.1 only recommends it)."""
LONGEST_LIFETIME = 366 * 86400.0
LONGEST_TOKEN = 8192
"""Octets of a token: a line of AUTH has 12288 in base64 (RFC 4954 4)."""
REFRESH_AT = 0.8
"""The part of its lifetime after which a token is replaced."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """An access token with its life (wall-clock seconds since 1970), and what renews it."""

    access: Secret
    obtained_at: float
    expires_at: float
    refresh: Secret = Secret("")
    scope: str = ""

    @property
    def due_at(self) -> float:
        """When to replace it."""
        return self.obtained_at + REFRESH_AT * (self.expires_at - self.obtained_at)

    def alive(self, now: float) -> bool:
        """True while the server should take it. One from the future is not believed: a clock was set back."""
        return self.obtained_at - CLOCK_BACK <= now < self.expires_at

    def fresh(self, now: float) -> bool:
        """True while it lives and need not be replaced yet."""
        return self.alive(now) and now < self.due_at


CLOCK_BACK = 300.0
"""Seconds that a clock may go back without making the tokens' times worthless."""


class Kind(StrEnum):
    """What a refusal means."""

    PENDING = "pending"
    SLOW_DOWN = "slow_down"
    PERSON = "person"
    """The same request will be refused until somebody does something."""
    LATER = "later"
    """The network or the server is at fault; the same request may succeed."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why there are no tokens: the server's own `code`, where it gave one, and a sentence for people."""

    kind: Kind
    text: str
    code: str = ""


@dataclass(frozen=True, slots=True)
class Device:
    """RFC 8628 3.2: the code to type in at `address`, and how long and how often to ask."""

    device_code: Secret
    user_code: str
    address: str
    lives: float
    interval: float


_WAITING = {"authorization_pending": Kind.PENDING, "slow_down": Kind.SLOW_DOWN}
_PASSING = ("temporarily_unavailable", "server_error")


def tokens(
    status: int, body: bytes, asked_at: float, *, before: Tokens | None = None, secrets: Iterable[Secret] = ()
) -> Tokens | Refusal:
    """Read an answer to a token request made at `asked_at`. A refresh token that is not replaced stays (RFC 6749 6).

    `secrets` are what the request held: a server that says them back is not quoted with them.
    """
    form = _form(body)
    if status // 100 != 2 or "error" in form:
        return _refusal(status, form, secrets)
    access = form.get("access_token")
    if not isinstance(access, str) or not access or len(access) > LONGEST_TOKEN or not _visible(access):
        return Refusal(Kind.LATER, f"the token server answered {status} without a token")
    if str(form.get("token_type", "bearer")).lower() != "bearer":
        return Refusal(Kind.PERSON, f"the token is no bearer token but {printable(str(form['token_type']), 40)}")
    renewed, scope = form.get("refresh_token"), form.get("scope")
    if not isinstance(renewed, str) or not renewed or len(renewed) > LONGEST_TOKEN or not _visible(renewed):
        renewed = before.refresh.reveal() if before else ""
    lives = _seconds(form.get("expires_in"), USUAL_LIFETIME)
    granted = scope if isinstance(scope, str) else before.scope if before else ""
    return Tokens(Secret(access), asked_at, asked_at + lives, Secret(renewed), printable(granted))


def device(status: int, body: bytes, *, secrets: Iterable[Secret] = ()) -> Device | Refusal:
    """Read the answer to a device code request."""
    form = _form(body)
    if status // 100 != 2 or "error" in form:
        return _refusal(status, form, secrets)
    code, shown = form.get("device_code"), form.get("user_code")
    address = form.get("verification_uri", form.get("verification_url"))  # Google's older name
    if not all(isinstance(value, str) and value and value.isprintable() for value in (code, shown, address)):
        return Refusal(Kind.LATER, "the token server gave no device code")
    try:
        safe = urlsplit(str(address)).scheme == "https"
    except ValueError:
        safe = False
    if not safe:
        return Refusal(Kind.PERSON, "the token server names a page that is not https")
    lives = _seconds(form.get("expires_in"), 900.0)
    interval = min(max(_seconds(form.get("interval"), 5.0), 1.0), 60.0)
    return Device(Secret(str(code)), printable(str(shown), 60), printable(str(address)), lives, interval)


def _form(body: bytes) -> dict[str, Any]:
    try:
        form = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return form if isinstance(form, dict) else {}


def _refusal(status: int, form: dict[str, Any], secrets: Iterable[Secret]) -> Refusal:
    code = form.get("error")
    if not isinstance(code, str) or not code:
        if 300 <= status < 400:
            return Refusal(Kind.LATER, f"the token server answered {status}: it redirects, which is not followed")
        return Refusal(Kind.LATER, f"the token server answered {status} without a reason")
    described = form.get("error_description")
    text = f"{code}: {described}" if isinstance(described, str) and described else code
    for secret in secrets:
        text = text.replace(secret.reveal(), "***")
    text, code = printable(text), printable(code, 60)
    if code in _WAITING:
        return Refusal(_WAITING[code], text, code=code)
    passing = code in _PASSING or status >= 500 or status == 429
    return Refusal(Kind.LATER if passing else Kind.PERSON, text, code=code)


def _visible(token: str) -> bool:
    """RFC 6750 2.1 and RFC 6749 A.17: visible ASCII."""
    return all("\x21" <= c <= "\x7e" for c in token)


def _seconds(value: object, usual: float) -> float:
    """A number of seconds, also one that was sent as text; the usual one for anything else."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 12:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        return usual
    return min(float(value), LONGEST_LIFETIME)
