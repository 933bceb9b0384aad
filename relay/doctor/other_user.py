"""As another user: a child becomes the web server's user and connects to the relay, as a tracker does.

The child is made before this command has any thread. It says what it found as JSON through a pipe.
"""

import contextlib
import encodings.idna  # noqa: F401 - while we may read Python's folder
import errno
import json
import os
import pwd
import select
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from relay.admission import Listen
from relay.doctor import confinement
from relay.doctor.finding import Finding, fail, ok, warn
from relay.doctor.knocking import PATIENCE, Answer, knock

_LONGEST = 65536


@dataclass(frozen=True, slots=True)
class Tried:
    """What that user got at each door; `trouble` is why he could not be tried."""

    user: str
    uid: int = -1
    answers: tuple[tuple[Listen, Answer], ...] = ()
    trouble: str = ""
    remedy: str = ""


def attempt(user: str, doors: Sequence[Listen], *, has_certificate: bool = False) -> Tried:
    """Become `user` (a name or a number) in a child, and knock at each door."""
    try:
        who = pwd.getpwuid(int(user)) if user.isascii() and user.isdigit() else pwd.getpwnam(user)
    except (KeyError, ValueError, OverflowError):
        return Tried(user, trouble="this host has no such user", remedy="getent passwd | cut -d: -f1")
    if os.geteuid() not in (0, who.pw_uid):
        text = f"only root can become {who.pw_name} (uid {who.pw_uid})"
        return Tried(user, who.pw_uid, trouble=text, remedy=f"sudo tracker-relay doctor --as {who.pw_name}")
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _in_child(who, doors, writing, has_certificate=has_certificate)
    os.close(writing)
    try:
        said = _heard(reading, 2 * PATIENCE * len(doors) + PATIENCE)
    finally:
        os.close(reading)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)  # it has said all, or it says nothing any more
        os.waitpid(child, 0)
    try:
        rows = json.loads(said)
    except ValueError:
        return Tried(user, who.pw_uid, trouble="the trial gave no answer in time", remedy="try it again")
    if isinstance(rows, str):
        return Tried(user, who.pw_uid, trouble=rows, remedy=f"id {who.pw_name}")
    return Tried(user, who.pw_uid, tuple((door, Answer(**row)) for door, row in zip(doors, rows, strict=True)))


def _in_child(who: pwd.struct_passwd, doors: Sequence[Listen], writing: int, *, has_certificate: bool) -> None:
    """Never returns: whatever happens, the child ends here."""
    try:
        try:
            if os.geteuid() == 0:
                os.initgroups(who.pw_name, who.pw_gid)
                os.setgid(who.pw_gid)
                os.setuid(who.pw_uid)
            said = json.dumps([asdict(knock(door, has_certificate=has_certificate)) for door in doors])
        except OSError as fault:
            said = json.dumps(f"this process could not become {who.pw_name}: {fault.strerror}")
        os.write(writing, said.encode()[:_LONGEST])
    finally:
        os._exit(0)


def _heard(reading: int, patience: float) -> bytes:
    end, said = time.monotonic() + patience, b""
    while (left := end - time.monotonic()) > 0:
        if not select.select([reading], (), (), left)[0]:
            break
        piece = os.read(reading, _LONGEST)
        if not piece:
            break
        said += piece
    return said


def findings(tried: Tried, start: str) -> Iterator[Finding]:
    """A row for each door; `start` is what starts the relay."""
    if tried.trouble:
        yield fail("user", tried.user, tried.trouble, tried.remedy)
    for door, answer in tried.answers:
        yield _row(f"{tried.user} (uid {tried.uid}) at {door}", door, answer, start)
    if tried.answers and confinement.enforcing():
        text = "SELinux judges a web server by its domain, which a change of the user does not bring: its log tells"
        yield warn("user", tried.user, text, "ausearch -m AVC -ts recent")


def _row(about: str, door: Listen, answer: Answer, start: str) -> Finding:
    if answer.greeting.startswith("2"):
        return ok("user", about, f"connected: {answer.greeting}")
    if answer.greeting:
        option = "allow_uids" if door.path else "allow"
        text = f"the relay turns him away: {answer.greeting}"
        return fail("user", about, text, f"[listener]\n{option} = (what is there, and him)")
    if answer.is_policy and door.path:
        text = f"{answer.text} (EACCES): a folder above the socket, or the socket itself, is closed to him"
        return fail("user", about, text, f"namei -l {door.path}")
    if answer.is_policy:
        text = f"{answer.text} (EACCES): a policy of this host forbids it; the relay may well be running"
        return fail("user", about, text, confinement.remedy(door.port))
    if answer.error in (errno.ECONNREFUSED, errno.ENOENT):
        return fail("user", about, f"{answer.text}: nothing listens there, and nothing forbids it", start)
    return fail("user", about, answer.text, start)
