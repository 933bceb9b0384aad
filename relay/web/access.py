"""Access: who may see the page. A token that the relay makes, in constant time; a Host that is ours (DNS rebinding).

The token is given once as `?token=`, which sets a cookie and leads to the same page without it, or with
every request as `Authorization: Bearer`. Who comes over the unix socket has been let in by its mode.
The cookie is no copy of the token: who sees it (cookies know no ports) does not hold the token itself.
"""

import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from relay import secretfile, status
from relay.errors import ConfigError

SHORTEST = 16
"""Characters of a token that somebody else made."""


@dataclass(frozen=True, slots=True)
class Access:
    """The token, and the host names that the page answers to."""

    token: str = field(repr=False)
    hosts: tuple[str, ...]

    @property
    def cookie_name(self) -> str:
        """Its own for each token: two relays on one host do not take each other's cookie away."""
        return f"tracker-relay-{self._derived('name')[:8]}"

    @property
    def cookie(self) -> str:
        """What the cookie holds; a new token makes it worthless."""
        return self._derived("cookie")

    def _derived(self, purpose: str) -> str:
        return hmac.new(self.token.encode(), purpose.encode(), hashlib.sha256).hexdigest()

    def is_token(self, given: str) -> bool:
        """In constant time, whatever its length."""
        return hmac.compare_digest(given.encode("utf-8", "replace"), self.token.encode())

    def admits(self, authorization: str, cookie: str) -> bool:
        """Whether one of both proves the token."""
        scheme, _, given = authorization.partition(" ")
        bearer = scheme.lower() == "bearer" and self.is_token(given.strip())
        held = hmac.compare_digest(cookie.encode("utf-8", "replace"), self.cookie.encode())
        return bearer or held

    def knows_host(self, given: str) -> bool:
        """Whether a Host field names us, with or without a port."""
        try:
            return status.host(given) in self.hosts
        except ValueError:
            return False


def token_path(token_file: str, state_folder: Path) -> Path:
    """Where the token is kept; a credential of the service with that name goes before the file."""
    path = Path(token_file) if token_file else state_folder / "status.token"
    return secretfile.credential(os.environ.get("CREDENTIALS_DIRECTORY", ""), path.name) or path


def token_in(path: Path) -> str:
    """The token in this file; made, with mode 0600, when there is none. Raises ConfigError."""
    try:
        _make(path)
        token = secretfile.read(path).strip()
    except OSError as fault:
        raise ConfigError(f"[status] token_file: {path} can not be made: {os.strerror(fault.errno or 0)}") from fault
    except ValueError as fault:
        raise ConfigError(f"[status] token_file: {fault}") from fault
    if len(token) < SHORTEST or not token.isascii() or not token.isprintable():
        text = f"{path} holds no token of at least {SHORTEST} ASCII characters: remove the file, and a new one is made"
        raise ConfigError(f"[status] token_file: {text}")
    return token


def _make(path: Path) -> None:
    """Write a new token, whole or not at all, unless the file is there."""
    if path.exists():
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(32) + "\n")
            file.flush()
            os.fsync(descriptor)
        draft.rename(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
