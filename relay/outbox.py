"""Outbox: the upstream that keeps mail in a local Maildir instead of sending it.

How a mail gets in, so that a reader of the Maildir never sees half of one and none is lost:
1. the mail into `tmp/`, fsync;
2. its envelope into `envelope/NAME.json`, fsync, that folder's fsync: it stands beside the mail, not
   in it, since a field with the recipients would name hidden ones (promise 4);
3. rename into `new/`, fsync of `new/`.
NAME follows from mail and envelope alone: when a crash makes us deliver again, the copy takes the
place of the first instead of standing beside it.
"""

import asyncio
import errno
import hashlib
import json
import os
import re
import secrets
import stat
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from relay.dkim import sign
from relay.entry import Attempt, Cause, Disposition, Outcome
from relay.mail import Mail
from relay.patch import apart
from relay.reply import Reply
from relay.routing import OUTBOX, Route

FOLDERS = ("tmp", "new", "cur", "envelope")
_FULL = (errno.ENOSPC, errno.EDQUOT)
_OUR_ID = re.compile(rb"[ \t]id[ \t]+([0-9a-hjkmnp-tv-z]{15})(?![0-9A-Za-z])")


async def deliver(route: Route, mail: Mail, clock: Callable[[], float] = time.time) -> Attempt:
    """Put the mail into the Maildir at `route.upstream.path`; durable when it says RELAYED.

    A disk that is full or can not be written defers the recipients; the cause is ours to mend.
    """
    started = clock()
    mail = mail.with_message(apart(mail.message))
    try:
        if route.signer:
            mail = mail.with_message(await asyncio.to_thread(sign, route.signer, mail.message))
        name = await asyncio.to_thread(store, Path(route.upstream.path), mail)
        reply, disposition, cause = (
            Reply(250, "2.0.0", f"kept in the outbox as {name}"),
            Disposition.RELAYED,
            Cause.PEER,
        )
    except OSError as fault:
        code, status = (452, "4.3.1") if fault.errno in _FULL else (451, "4.3.0")
        reply = Reply(code, status, f"the outbox can not be written: {fault.strerror or type(fault).__name__}")
        disposition, cause = Disposition.DEFERRED, Cause.LOCAL
    outcomes = (
        Outcome(recipient.origin, str(recipient.address), disposition, reply, OUTBOX, cause)
        for recipient in mail.envelope.recipients
    )
    return Attempt(started, route.upstream.name, tuple(outcomes), delays=(0.0, 0.0, 0.0, max(clock() - started, 0.0)))


def store(path: Path, mail: Mail) -> str:
    """Keep the mail in the Maildir at `path` (made when missing) and give its name there. Raises OSError."""
    _make_folders(path)
    envelope = _envelope(mail)
    digest = hashlib.sha256(envelope)
    draft = path / "tmp" / secrets.token_hex(16)
    try:
        _write(draft, mail.message.pieces(), digest)
        name = _name(mail, digest.hexdigest())
        _write_envelope(path, name, envelope)
        draft.rename(path / "new" / name)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    _sync_folder(path / "new")
    return name


def _name(mail: Mail, digest: str) -> str:
    """Our id, as the trace field in front says it (so that log and file name match), and a digest."""
    front = mail.message.fields[0] if mail.message.fields else None
    found = _OUR_ID.search(front.value) if front is not None and front.name == "received" else None
    return f"{found[1].decode('ascii')}.{digest[:16]}" if found else digest[:32]


def _envelope(mail: Mail) -> bytes:
    """The envelope as JSON, for the administrator and the status page; a null reverse-path is null."""
    envelope = mail.envelope
    form = {
        "from": None if envelope.reverse_path is None else str(envelope.reverse_path),
        "to": [
            {"address": str(recipient.address), "origin": recipient.origin, "shown": recipient.shown}
            for recipient in envelope.recipients
        ],
        "body": envelope.body,
        "smtputf8": envelope.smtputf8,
    }
    return json.dumps(form, ensure_ascii=True, indent=1).encode("ascii") + b"\n"


def _write_envelope(path: Path, name: str, envelope: bytes) -> None:
    draft = path / "tmp" / secrets.token_hex(16)
    try:
        _write(draft, (envelope,))
        draft.rename(path / "envelope" / f"{name}.json")
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    _sync_folder(path / "envelope")


def _write(path: Path, pieces: Iterable[bytes], digest: "hashlib._Hash | None" = None) -> None:
    """A new file of mode 0600 with these octets, on the disk when this returns."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        for piece in pieces:
            file.write(piece)
            if digest is not None:
                digest.update(piece)
        file.flush()
        os.fsync(descriptor)


def _make_folders(path: Path) -> None:
    """The Maildir and its folders, mode 0700, durable before any mail stands in them. Raises OSError."""
    missing = [folder for folder in (path / name for name in FOLDERS) if not os.path.lexists(folder)]
    if missing:
        _make_missing(path, missing)
    _refuse_foreign(path, path.stat())
    for folder in (path / name for name in FOLDERS):
        _refuse_foreign(folder, folder.lstat())


def _refuse_foreign(folder: Path, status: os.stat_result) -> None:
    """Mail goes into no folder that another user gave us or may change. Raises PermissionError."""
    text = ""
    if stat.S_ISLNK(status.st_mode):
        text = "is a symbolic link: put the folder itself there"
    elif not stat.S_ISDIR(status.st_mode):
        text = "is no folder: move it away"
    elif status.st_uid not in (0, os.geteuid()):
        text = f"belongs to user {status.st_uid}: chown it to {os.geteuid()}"
    elif status.st_mode & stat.S_IWOTH:
        text = "may be written by others: chmod o-w it"
    if text:
        raise PermissionError(errno.EPERM, f"{folder} {text}")


def _make_missing(path: Path, missing: Sequence[Path]) -> None:
    for parent in (*reversed(path.parents), path):
        if not parent.is_dir():
            parent.mkdir(mode=0o700, exist_ok=True)
            _sync_folder(parent.parent)
    for folder in missing:
        folder.mkdir(mode=0o700, exist_ok=True)
    _sync_folder(path)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
