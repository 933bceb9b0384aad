"""Own: the relay's configuration, its spool, and the daemon that should be running."""

import os
import pwd
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from relay import control
from relay.admission import Listen
from relay.commands.asking import Asking
from relay.doctor import confinement
from relay.doctor.finding import Finding, fail, ok, warn
from relay.doctor.knocking import Answer, knock
from relay.errors import RelayError
from relay.loaded import Configuration, Loaded
from relay.spool.room import Room

MANY = 2000
"""Waiting mails that are looked at; the newest ones."""
SHOWN = 5
"""Reasons that are named."""


def configuration(loaded: Loaded) -> Iterator[Finding]:
    """What `check` says, row by row."""
    about = str(loaded.path)
    for fault in sorted(loaded.faults, key=lambda f: f.line):
        text = fault.shown(about).removeprefix(f"{about}:")
        if loaded.path.is_file() and os.access(loaded.path, os.R_OK):
            yield fail("config", about, text, f"editor +{fault.line} {about}")
        else:
            named = about if os.path.lexists(loaded.path) else "FILE"
            yield fail("config", about, text, f"sudo tracker-relay --config {named} doctor")
    for warning in sorted(loaded.warnings, key=lambda f: f.line):
        yield warn("config", about, warning.shown(about).removeprefix(f"{about}:"), f"editor +{warning.line} {about}")
    if not loaded.faults and not loaded.warnings:
        yield ok("config", about, "no faults, no warnings")


# --- the spool -------------------------------------------------------------------------------------


def spool(config: Configuration) -> Iterator[Finding]:
    """Room, ownership, what was set aside as damaged, and what waits and why."""
    folder = Path(config.spool.path)
    if config.spool.engine == "memory":
        yield warn("spool", "memory", "mail is lost when the relay ends", "[spool]\nengine = sqlite")
        return
    try:
        owner = folder.stat().st_uid
        names = sorted(folder.iterdir())
        foreign = [path for path in names if path.lstat().st_uid != owner]
    except FileNotFoundError:
        yield _absent(folder)
        return
    except OSError as fault:
        yield warn("spool", str(folder), f"it can not be looked at: {fault.strerror}", "sudo tracker-relay doctor")
        return
    yield _room(config, folder)
    yield from _ownership(folder, owner, foreign)
    yield from _damaged(folder / "corrupt")
    yield from waiting(config)


def _absent(folder: Path) -> Finding:
    """No spool yet: the first start makes it, if it may."""
    above = next(path for path in folder.parents if path.exists())
    if os.access(above, os.W_OK | os.X_OK, effective_ids=True):
        return ok("spool", str(folder), "not there yet: the first start makes it")
    text = f"not there yet, and this user can not make it: no write access to {above}"
    return warn("spool", str(folder), text, f"mkdir -p -m 700 {folder}; chown USER: {folder}\nUSER is the relay's user")


def _room(config: Configuration, folder: Path) -> Finding:
    refusal, soon = Room(config.spool).outlook()
    if refusal:
        return fail("spool", str(folder), f"new mail is refused (452): {refusal}", f"df -h {folder}; df -i {folder}")
    if soon:
        return warn("spool", str(folder), soon, f"df -h {folder}; df -i {folder}")
    disk = os.statvfs(folder)
    return ok("spool", str(folder), f"{disk.f_bavail * disk.f_frsize >> 20} MB are free")


def _ownership(folder: Path, owner: int, foreign: list[Path]) -> Iterator[Finding]:
    name = user_name(owner)
    if foreign:
        text = f"{foreign[0].name} belongs to {user_name(foreign[0].lstat().st_uid)}, the folder to {name}"
        yield fail("spool", str(folder), f"{text}: the relay can not start", f"chown -R {name}: {folder}")
        return
    if folder.stat().st_mode & 0o077:
        yield fail("spool", str(folder), "others may enter it, and it holds mail", f"chmod 700 {folder}")
        return
    yield ok("spool", str(folder), f"all of it belongs to {name}, and nobody else may enter")


def user_name(uid: int) -> str:
    """The user's name, or his number."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _damaged(corrupt: Path) -> Iterator[Finding]:
    try:
        number = len(list(corrupt.iterdir()))
    except FileNotFoundError:
        number = 0
    except OSError as fault:
        yield warn("spool", str(corrupt), f"it can not be looked at: {fault.strerror}", "sudo tracker-relay doctor")
        return
    if number:
        text = f"{number} files of damaged mail were set aside: the .json says what happened, the .eml is what is left"
        yield warn("spool", str(corrupt), text, f"ls -l {corrupt}\nthen, when you have looked: rm -r {corrupt}")
    else:
        yield ok("spool", str(corrupt), "no damaged mail")


def waiting(config: Configuration) -> Iterator[Finding]:
    """Queued and held mail, by reason."""
    request = {"do": "list", "states": ["queued", "held"], "limit": MANY}
    try:
        with Asking(config) as ask:
            rows = [row for line in ask(request) for row in line["entries"]]
    except RelayError as fault:
        yield warn("spool", "queue", f"it can not be asked: {fault}", "sudo tracker-relay queue list")
        return
    held = Counter(row["reason"] or "no reason given" for row in rows if row["state"] == "held")
    tried = Counter(row["reason"] or "no reason given" for row in rows if row["state"] == "queued" and row["attempts"])
    fresh = len(rows) - held.total() - tried.total()
    more = " (of the newest)" if len(rows) == MANY else ""
    if held:
        remedy = "tracker-relay queue list --state held\ntracker-relay queue release ID"
        yield warn("spool", "queue", f"{held.total()} held{more}: {_reasons(held)}", remedy)
    if tried:
        remedy = "tracker-relay queue list --state queued\nwhen the cause is mended: tracker-relay queue retry --all"
        yield warn("spool", "queue", f"{tried.total()} wait for another try{more}: {_reasons(tried)}", remedy)
    if not held and not tried:
        yield ok("spool", "queue", f"{fresh} mails wait for their first try" if fresh else "no mail waits")


def _reasons(counted: "Counter[str]") -> str:
    named = [f"{number} because of {reason!r}" for reason, number in counted.most_common(SHOWN)]
    return "; ".join(named) + ("; and others" if len(counted) > SHOWN else "")


# --- the daemon ------------------------------------------------------------------------------------


def doors(config: Configuration) -> list[Listen]:
    """Where clients come in, the drop-in's socket last; those that only systemd knows are not among them."""
    found = [listen for listen in config.listener.listen if not listen.name]
    return [*found, Listen(path=config.submission_socket)] if config.submission_socket else found


def daemon(config: Configuration, hostname: str) -> Iterator[Finding]:
    """Its control socket, its listeners, the drop-in's socket."""
    socket = control.socket_path(config)
    runs = control.answers(socket)
    if runs:
        yield from _asked(socket)
    elif runs is None:
        text = "this user may not ask whether it runs: Permission denied"
        yield warn("daemon", str(socket), text, f"sudo tracker-relay --config {config.path} doctor")
    else:
        yield fail("daemon", str(socket), "no daemon answers there: the relay does not run", start(config))
    for listen in config.listener.listen:
        if listen.name:
            text = "systemd holds this socket, at an address that its unit says: not tried"
            yield ok("daemon", str(listen), text)
    for listen in doors(config):
        yield entered(
            config,
            listen,
            knock(listen, has_certificate=bool(config.listener.tls_certificate)),
            hostname,
            runs=bool(runs),
        )


def start(config: Configuration) -> str:
    """The command that starts this relay."""
    if config.path == control.INSTALLED:
        return "systemctl start tracker-relay; journalctl -u tracker-relay -n 20"
    return f"tracker-relay --config {config.path} run"


def _restart(config: Configuration) -> str:
    return "systemctl restart tracker-relay" if config.path == control.INSTALLED else f"end it, then {start(config)}"


def _asked(socket: Path) -> Iterator[Finding]:
    """Whether it answers, and the next hops that an administrator has paused."""
    try:
        hops = list(control.ask(socket, {"do": "upstreams"}))
    except RelayError as fault:
        yield warn("daemon", str(socket), f"it runs, but gives no answer: {fault}", "sudo tracker-relay doctor")
        return
    yield ok("daemon", str(socket), "it runs, and answers")
    for row in hops:
        if row["paused"]:
            text = f"{row['paused']}: its mail waits"
            yield warn("daemon", row["name"], text, f"tracker-relay upstream resume {row['name']}")


def entered(config: Configuration, listen: Listen, answer: Answer, hostname: str, *, runs: bool) -> Finding:
    """What came of knocking at one door."""
    about = str(listen)
    if answer.name == hostname:
        return ok("daemon", about, f"it answers: {answer.greeting}")
    if answer.name:
        text = (
            f"the relay there calls itself {answer.name}, this configuration says {hostname}: it runs with another one"
        )
        return warn("daemon", about, text, "tracker-relay reload")
    if answer.greeting.startswith(("4", "5")):
        text = f"it turns this client away: {answer.greeting}"
        option = "allow_uids = (add this user)" if listen.path else "allow = 127.0.0.0/8, ::1/128"
        return warn("daemon", about, text, f"[listener]\n{option}")
    if answer.greeting:
        text = f"something else answers there: {answer.greeting}"
        where = listen.path or f"sport = :{listen.port}"
        return fail("daemon", about, text, f"ss -ltnp '{where}'\nend that program, or move [listener] listen")
    return _closed(config, listen, answer, runs=runs)


def _closed(config: Configuration, listen: Listen, answer: Answer, *, runs: bool) -> Finding:
    about = str(listen)
    if answer.is_policy and listen.path:
        text = f"this user may not use it: {answer.text}"
        return fail("daemon", about, text, f"namei -l {listen.path}")
    if answer.is_policy:
        text = f"{answer.text} (EACCES): a policy of this host forbids the connection; the relay is not to blame"
        return fail("daemon", about, text, confinement.remedy(listen.port))
    text = f"nothing listens there: {answer.text}"
    if runs:
        return fail("daemon", about, f"{text}, though the relay runs: [listener] has changed since", _restart(config))
    return fail("daemon", about, text, start(config))
