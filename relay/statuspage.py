"""Status page: opened, opened anew and closed beside the mail road, never in its way.

`relay.web` is imported, in a thread, only when the page is wanted: it needs the extra `web` and a third
of a second. Whatever hinders the page is one loud warning, and mail goes on.
"""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relay import journal
from relay.errors import RelayError
from relay.journal import LogOptions
from relay.prepare import Setting
from relay.routing import Upstream
from relay.spool import Clock, Spool
from relay.status import StatusOptions

if TYPE_CHECKING:
    from types import ModuleType

    from relay.web.door import Page

_EXTRA = ("starlette", "uvicorn", "jinja2", "markupsafe", "h11", "anyio", "click", "typing_extensions")


@dataclass(frozen=True, slots=True)
class Sources:
    """What the page reads. Nothing in it changes anything.

    `refusing` says in one word why no mail is taken at this moment, "" when it is; `hops` are the next
    hops of the configuration, each with its row of `upstream list --json`; `outboxes` the folders of
    captured mail; `first_of_event` tells whether what a policy adds to an event goes out with this entry.
    """

    spool: Spool
    clock: Clock
    setting: Callable[[], Setting]
    refusing: Callable[[], str]
    hops: Callable[[], Sequence[tuple[Upstream, dict[str, Any]]]]
    outboxes: Callable[[], Sequence[Path]]
    first_of_event: Callable[[str, str], Awaitable[bool]]


class StatusPage:
    """The page, or its absence."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._page: Page | None = None
        self._opening: asyncio.Task[None] | None = None

    @property
    def is_current(self) -> bool:
        """True while it is served with the token of its file, or about to be."""
        opening = self._opening is not None and not self._opening.done()
        return opening or (self._page is not None and self._page.is_current)

    def open(self, options: StatusOptions, state_folder: Path, log: LogOptions) -> None:
        """Serve it as `options` say, instead of as before; returns at once."""
        before = self._opening
        self._opening = asyncio.create_task(self._open(before, options, state_folder, log))

    async def close(self) -> None:
        """Serve it no more."""
        if self._opening:
            self._opening.cancel()
            await asyncio.wait((self._opening,))
        self._close()

    def _close(self) -> None:
        if self._page:
            self._page.close()
            self._page = None

    async def _open(
        self, before: asyncio.Task[None] | None, options: StatusOptions, state_folder: Path, log: LogOptions
    ) -> None:
        if before:
            await asyncio.wait((before,))
        self._close()
        if not options.listen:
            return
        try:
            door = await asyncio.to_thread(_import)
            self._page = await door.open_door(options, state_folder, self._sources)
            _tell(self._page, log)
        except ModuleNotFoundError as fault:
            missing = (fault.name or "").partition(".")[0]
            if missing in _EXTRA:
                _without(f"{missing} is not installed: pip install 'tracker-relay[web]', or set [status] listen =")
            else:
                journal.fault("status page", fault)
        except RelayError as fault:
            _without(str(fault))
        except Exception as fault:
            journal.fault("status page", fault)


def _import() -> "ModuleType":
    from relay.web import door  # noqa: PLC0415 - see above

    return door


def _without(why: str) -> None:
    journal.warning("", f"NO STATUS PAGE: {why}")


def _tell(page: "Page", log: LogOptions) -> None:
    """Where it is: for the log without the token, for a person as a link to open."""
    journal.info("", f"status page on {', '.join(page.addresses)}; its token is in {page.token_path}")
    if page.link and _for_eyes(log):
        print(f"tracker-relay: status page: {page.link}", file=sys.stderr, flush=True)


def _for_eyes(log: LogOptions) -> bool:
    """Whether a secret may be said on stderr: neither systemd's journal nor a program reads it."""
    if not log.file and log.format != "text":
        return False
    stream = os.environ.get("JOURNAL_STREAM", "")
    try:
        status = os.fstat(2)
    except OSError:
        return False
    return stream != f"{status.st_dev}:{status.st_ino}"
