"""The stored form of a client's tokens: one JSON object, versioned. Nothing but the token store writes it."""

import json
from dataclasses import dataclass
from typing import Any

from relay.oauth.replies import Tokens
from relay.options import Secret

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Stored:
    """What is kept of a client: its tokens, and the last refusal, for people."""

    tokens: Tokens | None = None
    refused: str = ""
    refused_at: float = 0.0


def encode(stored: Stored) -> bytes:
    """The stored form."""
    form: dict[str, Any] = {"v": FORMAT}
    if stored.tokens:
        form["tokens"] = {
            "access": stored.tokens.access.reveal(),
            "obtained_at": stored.tokens.obtained_at,
            "expires_at": stored.tokens.expires_at,
            "refresh": stored.tokens.refresh.reveal(),
            "scope": stored.tokens.scope,
        }
    form |= {"refused": stored.refused, "refused_at": stored.refused_at}
    return json.dumps(form).encode("ascii")


def decode(data: bytes) -> Stored:
    """Read a stored form. Raises ValueError, which never shows a token."""
    try:
        form = json.loads(data)
        if form["v"] == FORMAT:
            return _read(form)
        version = repr(form["v"])
    except (KeyError, TypeError, AttributeError, RecursionError, ValueError):
        raise ValueError("damaged tokens") from None
    raise ValueError(f"tokens of format {version}, this program reads {FORMAT}")


def _read(form: dict[str, Any]) -> Stored:
    kept, tokens = form.get("tokens"), None
    if kept is not None:
        access, renewing = Secret(str(kept["access"])), Secret(str(kept["refresh"]))
        tokens = Tokens(access, float(kept["obtained_at"]), float(kept["expires_at"]), renewing, str(kept["scope"]))
    return Stored(tokens, str(form.get("refused", "")), float(form.get("refused_at", 0)))
