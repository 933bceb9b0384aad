"""The relay, killed with SIGKILL at a named step: `stepped.py STEP NUMBER --config ... run`.

The program itself knows nothing of this: what it calls is watched from outside (SQLite's statements,
calls of the operating system on the spool's files, the verbs of the spool), and at the NUMBER-th time
that STEP is reached the process kills itself. `stepped.py --no-sync 0 ...` kills nobody, but syncs
nothing to the disk either: what the tests of a power cut must go red for.
"""

import os
import re
import signal
import sqlite3
import sys

BODIES = r"/bodies(/|$)|^[0-9a-f]{24}\.eml$"
OUTBOX = "/outbox/"

SQL = {
    "accept: before the row": ("before", "^INSERT INTO entries"),
    "accept: row without octets": ("after", "^INSERT INTO entries"),
    "accept: before the commit": ("before", "^COMMIT after INSERT INTO entries"),
    "accept: committed, not answered": ("after", "^COMMIT after INSERT INTO entries"),
    "settle: begun": ("before", "^INSERT OR REPLACE INTO history"),
    "settle: row gone": ("after", "^DELETE FROM entries WHERE seq"),
    "settle: before the commit": ("before", "^COMMIT .*DELETE FROM entries"),
    "settle: committed": ("after", "^COMMIT .*DELETE FROM entries"),
    "defer: before the commit": ("before", r"^COMMIT .*UPDATE entries SET state = \?"),
    "defer: committed": ("after", r"^COMMIT .*UPDATE entries SET state = \?"),
    # A settled mail's row goes last: what is inserted before that is its report, and no other mail's row.
    "report: before the commit": ("before", r"^COMMIT .*INTO history((?!DELETE FROM entries WHERE seq).)*INSERT INTO entries"),
    "checkpoint: before": ("before", "^PRAGMA wal_checkpoint"),
    "checkpoint: after": ("after", "^PRAGMA wal_checkpoint"),
    "start: before the layout": ("after", "^PRAGMA journal_mode"),
    "start: opened": ("after", "^COMMIT .*state = 'later'"),
}  # fmt: skip
CALLS = {
    "large: file made": ("after", "open", BODIES),
    "large: part written": ("after", "write", BODIES),
    "large: before its sync": ("before", "fsync", BODIES),
    "large: synced": ("after", "fsync", r"\.eml$"),
    "large: its folder synced": ("after", "fsync", "/bodies$"),
    "settle: before the file goes": ("before", "unlink", BODIES),
    "settle: file gone": ("after", "unlink", BODIES),
    "outbox: written": ("after", "fsync", OUTBOX + "tmp"),
    "outbox: before the name": ("before", "rename", OUTBOX),
    "outbox: named": ("after", "rename", OUTBOX),
    "outbox: folder synced": ("after", "fsync", OUTBOX + "new$"),
}
VERBS = {"engine: claimed": ("after", "claim"), "engine: attempted": ("before", "settle")}
STEPS = (*SQL, *CALLS, *VERBS)


class Countdown:
    def __init__(self, number):
        self.left = number

    def __call__(self):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def watch_statements(when, pattern, reached):
    """Every statement of the connection that writes; a COMMIT is named with what its transaction did."""

    class Watched(sqlite3.Connection):
        done = ()

        def execute(self, sql, *values):
            name = f"COMMIT after {' '.join(self.done)}" if sql == "COMMIT" else sql
            hit = re.search(pattern, name) is not None
            if hit and when == "before":
                reached()
            result = super().execute(sql, *values)
            self.done = () if sql.startswith(("BEGIN", "COMMIT", "ROLLBACK")) else (*self.done, sql)
            if hit and when == "after":
                reached()
            return result

        def commit(self):
            self.execute("COMMIT")

    real = sqlite3.connect

    def connect(database, *rest, **more):
        if "mode=ro" not in str(database):
            more.setdefault("factory", Watched)
        return real(database, *rest, **more)

    sqlite3.connect = connect


def place(argument, more):
    """The path that a call is about."""
    if isinstance(argument, int):
        return os.readlink(f"/proc/self/fd/{argument}")
    return os.fspath(argument) if not isinstance(argument, bytes) else os.fsdecode(argument)


def watch_calls(when, name, pattern, reached):
    real = getattr(os, name)

    def call(first, *rest, **more):
        hit = re.search(pattern, place(first, more)) is not None
        if name == "open":
            hit = hit and bool(rest) and bool(rest[0] & os.O_CREAT)
        if hit and when == "before":
            reached()
        result = real(first, *rest, **more)
        if hit and when == "after":
            reached()
        return result

    setattr(os, name, call)


def watch_verb(when, name, reached):
    from relay.spool.sqlite import SqliteSpool

    real = getattr(SqliteSpool, name)

    async def verb(self, *rest):
        if when == "before":
            reached()
        result = await real(self, *rest)
        if when == "after" and result:
            reached()
        return result

    setattr(SqliteSpool, name, verb)


def sync_nothing():
    os.fsync = os.fdatasync = lambda fd: None
    real = sqlite3.Connection

    class Careless(real):
        def execute(self, sql, *values):
            return super().execute(sql.replace("synchronous = FULL", "synchronous = OFF"), *values)

    connect = sqlite3.connect
    sqlite3.connect = lambda *rest, **more: connect(*rest, **{"factory": Careless, **more})


def main():
    step, number = sys.argv[1], int(sys.argv[2])
    reached = Countdown(number)
    if step == "--no-sync":
        sync_nothing()
    elif step in SQL:
        watch_statements(*SQL[step], reached)
    elif step in CALLS:
        watch_calls(*CALLS[step], reached)
    else:
        watch_verb(*VERBS[step], reached)
    from relay.cli import main as run

    raise SystemExit(run(sys.argv[3:]))


if __name__ == "__main__":
    main()
