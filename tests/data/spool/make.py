"""Made format-1.tar.gz: run with the program of that format (spool format 1: commit 6fef64c and before).

    python tests/data/spool/make.py FILE.tar.gz

For a new format: run it with the last program of the old one, and keep both archives from then on.
What is inside: a queued mail, a held one, a deferred one with two recipients of which one is answered,
a large one in a file of its own, one that is done, and a remembered fact; as a killed daemon leaves it.
"""

import asyncio
import sys
import tarfile
import tempfile
from dataclasses import replace
from pathlib import Path

from relay.address import parse
from relay.entry import Attempt, Disposition, Entry, Outcome, State
from relay.mail import Envelope, Recipient
from relay.reply import Reply
from relay.spool import SpoolOptions, Wanted, create

NOW = 1_700_000_000.0
LARGE = b"Subject: large\r\n\r\n" + b"0123456789abcdef" * 20_000 + b"\r\n"


def entry(name, *rcpt, octets):
    envelope = Envelope(parse("bot@example.com"), tuple(Recipient.accepted(parse(r)) for r in rcpt))
    return Entry(name, NOW, envelope, size=len(octets), due=NOW, summary=name, message_id=f"<{name}@example.com>")


async def put(spool, name, *rcpt, octets=None):
    octets = octets or f"Subject: {name}\r\n\r\nbody of {name}\r\n".encode()
    draft = spool.draft()
    draft.write(octets)
    await spool.put(entry(name, *rcpt, octets=octets), draft)


async def settle(spool, name, **change):
    [claim] = await spool.claim(Wanted(id=name), 0)
    await spool.settle([claim], (replace(claim.entry, **change).with_event(NOW, "tried", "once"), None))


async def make(folder, archive):
    spool = create(SpoolOptions(path=str(folder)), lambda: NOW)
    await spool.open()
    for name in ("queued", "held", "done"):
        await put(spool, name, "eve@example.org")
    await put(spool, "deferred", "eve@example.org", "bob@example.org")
    await put(spool, "large", "eve@example.org", octets=LARGE)
    sent = Outcome("rcpt:eve@example.org", "eve@example.org", Disposition.RELAYED, Reply(250, "2.0.0", "ok"), "mx")
    later = Outcome("rcpt:bob@example.org", "bob@example.org", Disposition.DEFERRED, Reply(450, "4.2.0", "later"), "mx")
    await settle(spool, "held", state=State.HELD, reason="by an administrator")
    await settle(spool, "deferred", due=NOW + 60, answered=(sent,), attempts=(Attempt(NOW, "mx", (sent, later)),))
    await settle(spool, "done", state=State.DONE, done_at=NOW, answered=(sent,))
    await spool.remember("event:x", "queued", NOW + 1e9)
    with tarfile.open(archive, "w:gz") as tar:  # open still: the log is not yet in the database
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.suffix != ".sqlite-shm" and path.name != "lock":
                tar.add(path, path.relative_to(folder))
    await spool.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        asyncio.run(make(Path(scratch) / "spool", sys.argv[1]))
