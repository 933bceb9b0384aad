"""Authorize: the commands `auth login|status|refresh|revoke`, with which a person gives the relay its tokens."""

import argparse
import asyncio
import concurrent.futures.thread  # noqa: F401 - before we become a user who may not read Python's folder
import contextlib
import encodings.idna  # noqa: F401 - the same
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from relay import control, loaded
from relay.authorize import browser, device
from relay.commands.printing import when
from relay.errors import RelayError
from relay.journal import escaped
from relay.loaded import Configuration
from relay.oauth.client import Client, Grant
from relay.oauth.providers import PROVIDERS
from relay.oauth.replies import Refusal, Tokens
from relay.oauth.requests import revoke
from relay.oauth.stored import Stored
from relay.renewal import LOCK_PATIENCE, Renewal
from relay.tokenstore import TokenStore

EX_OK, EX_FAILED, EX_USAGE, EX_UNAVAILABLE = 0, 1, 64, 69


class Unknown(RelayError):
    """no such upstream"""


def declare(auth: argparse.ArgumentParser) -> None:
    """The verbs of `auth`."""
    verbs = auth.add_subparsers(metavar="VERB", required=True, dest="verb")
    told = "of [upstream:NAME], or notification, or a profile; may be left out when there is one"
    for verb, function, doc in (
        ("login", _login, "sign in, and keep the tokens"),
        ("status", _status, "which tokens there are, and until when"),
        ("refresh", _refresh, "renew the token now"),
        ("revoke", _revoke, "give the tokens back, and forget them"),
    ):
        parser = verbs.add_parser(verb, help=doc)
        parser.add_argument("upstream", metavar="UPSTREAM", nargs="?", default="", help=told)
        parser.set_defaults(function=run, auth=function)
        if verb == "status":
            parser.add_argument("--json", action="store_true")
        if verb == "revoke":
            parser.add_argument(
                "--forget", action="store_true", help="forget them even if the provider does not answer"
            )


def run(arguments: argparse.Namespace, configuration: Configuration) -> int:
    """Run one of these commands; a RelayError is one line and 69, an unknown upstream 64."""
    try:
        chosen = _chosen(configuration, arguments.upstream)
        become_owner(configuration.spool.path)
        verb: Callable[[argparse.Namespace, Configuration, list[tuple[str, Client]], Renewal], int] = arguments.auth
        store = TokenStore(loaded.token_folder(configuration))
        return verb(arguments, configuration, chosen, Renewal(store, time.time))
    except RelayError as fault:
        print(f"tracker-relay: {fault}", file=sys.stderr)
        return EX_USAGE if isinstance(fault, Unknown) else EX_UNAVAILABLE


def become_owner(path: str) -> None:
    """Root works as the user whom the spool belongs to, or its folder while there is none yet. Raises RelayError."""
    place = Path(path)
    try:
        while not place.exists():
            place = place.parent
        status = place.stat()
    except OSError as fault:
        raise RelayError(f"{path}: {os.strerror(fault.errno or 0)}: be root, or the relay's user") from fault
    if os.geteuid() == 0 and status.st_uid != 0:
        with contextlib.suppress(ImportError):
            import jwt  # noqa: F401, PLC0415 - while we may read Python's folder
        os.setgroups([])
        os.setegid(status.st_gid)
        os.seteuid(status.st_uid)


def _chosen(configuration: Configuration, name: str) -> list[tuple[str, Client]]:
    """The upstreams meant: that one, or without a name all. Raises Unknown."""
    known = {up.name: up.oauth for up in loaded.upstreams_of(configuration) if up.oauth}
    if not known:
        raise Unknown("no upstream has oauth: see docs/upstreams.md")
    if not name:
        return list(known.items())
    for full in (name, f"notification:{name}", name.removeprefix("upstream:")):
        if full in known:
            return [(full, known[full])]
    raise Unknown(f"no upstream {name} has oauth: name one of {', '.join(known)}")


def _only(chosen: list[tuple[str, Client]]) -> tuple[str, Client]:
    """The one upstream of a verb that is for one. Raises Unknown."""
    if len({client.mark for _, client in chosen}) > 1:
        raise Unknown(f"name one of {', '.join(name for name, _ in chosen)}")
    return chosen[0]


# --- login and refresh -----------------------------------------------------------------------------


def _login(
    _arguments: argparse.Namespace, configuration: Configuration, chosen: list[tuple[str, Client]], renewal: Renewal
) -> int:
    name, client = _only(chosen)
    tokens = asyncio.run(_signed_in(client, renewal))
    _told(name, tokens)
    if client.grant.needs_person and not tokens.refresh:
        text = "the provider gave no refresh token: mail stops when this token ends (is offline access in oauth_scope?)"
        print(f"tracker-relay: {text}", file=sys.stderr)
    _tell_daemon(configuration, client)
    return EX_OK


async def _signed_in(client: Client, renewal: Renewal) -> Tokens:
    """By the client's grant, and stored. Raises RelayError."""
    if not client.grant.needs_person:
        print("nobody needs to sign in: asking with the credentials of config.ini", flush=True)
        return await _renewed(client, renewal)
    flow = device.sign_in if client.grant is Grant.DEVICE_CODE else browser.sign_in
    tokens = await flow(client, renewal)
    async with renewal.store.locked(client.mark, LOCK_PATIENCE):
        await renewal.keep(client, Stored(tokens))
    return tokens


async def _renewed(client: Client, renewal: Renewal) -> Tokens:
    answer, _ = await renewal.renew(client, force=True)
    if isinstance(answer, Refusal):
        raise RelayError(answer.text)
    return answer


def _refresh(
    _arguments: argparse.Namespace, configuration: Configuration, chosen: list[tuple[str, Client]], renewal: Renewal
) -> int:
    name, client = _only(chosen)
    _told(name, asyncio.run(_renewed(client, renewal)))
    _tell_daemon(configuration, client)
    return EX_OK


def _told(name: str, tokens: Tokens) -> None:
    print(f"{name}: token stored, good until {when(tokens.expires_at)}, renewed from {when(tokens.due_at)} on")


def _tell_daemon(configuration: Configuration, client: Client) -> None:
    """A running daemon looks again at once, and tries the mail that waited for this token."""
    with contextlib.suppress(control.NoDaemon):
        [answer] = control.ask(control.socket_path(configuration), {"do": "signed-in", "mark": client.mark})
        if due := answer["due"]:
            print(f"{due} {'mail' if due == 1 else 'mails'} that waited for it: tried now")


# --- status ----------------------------------------------------------------------------------------


def _status(
    arguments: argparse.Namespace, _configuration: Configuration, chosen: list[tuple[str, Client]], renewal: Renewal
) -> int:
    rows = [asyncio.run(_row(name, client, renewal)) for name, client in chosen]
    if arguments.json:
        print(json.dumps(rows, indent=1, ensure_ascii=False))
    else:
        for row in rows:
            print("\n".join(_lines(row)))
    return EX_OK if all(row["usable"] for row in rows) else EX_FAILED


async def _row(name: str, client: Client, renewal: Renewal) -> dict[str, Any]:
    """Times in seconds since 1970. `usable`: mail can leave, as far as can be told without asking anybody."""
    fault, held = "", Stored()
    try:
        held = await renewal.stored(client)
    except RelayError as broken:
        fault = str(broken)
    tokens, now = held.tokens, time.time()
    alive = tokens is not None and tokens.alive(now)
    renewable = not held.refused and (not client.grant.needs_person or bool(tokens and tokens.refresh))
    return {
        "upstream": name,
        "provider": client.provider,
        "grant": str(client.grant),
        "user": client.user,
        "client_id": client.client_id,
        "scope": tokens.scope if tokens and tokens.scope else client.scope,
        "file": str(renewal.store.path(client.mark)),
        "usable": not fault and (alive or renewable),
        "alive": alive,
        "expires_at": tokens.expires_at if tokens else None,
        "renewed_at": tokens.due_at if tokens else None,
        "refresh_token": bool(tokens and tokens.refresh),
        "refused": fault or held.refused,
        "refused_at": held.refused_at or None,
    }


def _lines(row: dict[str, Any]) -> list[str]:
    lines = [f"{row['upstream']}: {row['provider']}, {row['grant']}, as {escaped(row['user'])}"]
    if row["expires_at"] is None:
        lines.append("  no token yet")
    elif row["alive"]:
        lines.append(f"  token good until {when(row['expires_at'])}, renewed from {when(row['renewed_at'])} on")
    else:
        lines.append(f"  token ended at {when(row['expires_at'])}")
    if row["expires_at"] is not None:
        lines.append("  with a refresh token" if row["refresh_token"] else "  without a refresh token")
    if row["refused"]:
        at = f" at {when(row['refused_at'])}" if row["refused_at"] else ""
        lines.append(f"  refused{at}: {escaped(row['refused'])}")
    if not row["usable"] or (
        row["expires_at"] is None and row["grant"] in (Grant.DEVICE_CODE, Grant.AUTHORIZATION_CODE)
    ):
        lines.append(f"  type: tracker-relay auth login {row['upstream']}")
    return lines


# --- revoke ----------------------------------------------------------------------------------------


def _revoke(
    arguments: argparse.Namespace, configuration: Configuration, chosen: list[tuple[str, Client]], renewal: Renewal
) -> int:
    name, client = _only(chosen)
    asyncio.run(_given_back(name, client, renewal, forget=arguments.forget))
    _tell_daemon(configuration, client)
    return EX_OK


async def _given_back(name: str, client: Client, renewal: Renewal, *, forget: bool) -> None:
    async with renewal.store.locked(client.mark, LOCK_PATIENCE):
        try:
            held = await renewal.stored(client)
        except RelayError:
            if not forget:
                raise
            held = Stored()
        if held.tokens and client.revoke_url:
            text = await _revoked(client, held.tokens, renewal)
            if text and not forget:
                raise RelayError(
                    f"the provider did not take the tokens back: {text}; --forget forgets them all the same"
                )
            print(f"{name}: the provider did not take the tokens back: {text}" if text else f"{name}: tokens revoked")
        renewal.store.remove(client.mark)
    print(f"{name}: nothing is kept here any more")
    if not client.revoke_url:
        print(f"the provider still knows them: revoke them at {PROVIDERS[client.provider].where_to_revoke}")


async def _revoked(client: Client, tokens: Tokens, renewal: Renewal) -> str:
    """Why it failed; "" when the provider took them back (RFC 7009 2.2: 200, for unknown tokens too)."""
    request = revoke(client, tokens.refresh or tokens.access, await renewal.assertion(client))
    answer = await renewal.send(client, request)
    if isinstance(answer, Refusal):
        return answer.text
    return "" if answer.status // 100 == 2 else f"it answered {answer.status}"
