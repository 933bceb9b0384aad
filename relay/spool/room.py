"""Room: whether one more mail fits, asked before the disk itself has to refuse.

1. Some of the disk stays free of new mail (`min_free`, `min_free_inodes`): what is queued is settled there.
2. What waits may not exceed `quota`, nor that of one profile `profile_quota`.
3. On a disk that others have filled, `reserve` octets and a few files of ours are given back, so that
   queued mail can still be settled; they are taken again when there is room.
4. One line warns early, one alarm tells when mail is refused, one line when it is taken again.
"""

import contextlib
import errno
import os
import stat
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from relay import journal
from relay.errors import SpoolFull
from relay.spool.protocol import SpoolOptions

MIN_FREE, MIN_INODES, RESERVE = 32 << 20, 1000, 8 << 20
"""What is kept free unless the options say otherwise; on a small disk a twentieth of it."""
SHARE = 20
EARLY = 4
"""A warning comes when this many times `min_free` are left, or when four fifths of a quota are used."""
SCARCE = 256 << 20
"""Octets free on the disk below which the spool itself is sparing."""
USUAL = 65536
"""Octets of a mail up to which its refusal is an alarm; that a larger one does not fit is no trouble of the relay's."""
FRESH = 0.05
"""Seconds for which one look at the disk is good."""
QUIET = 60.0
"""Seconds in which the same line is not said again."""
_FILES = 4
_UNKNOWN = 1 << 62
"""What is free on a disk that does not say: it refuses nothing, and the writing shows."""


class Room:
    """The room of one spool. Asked from the event loop and from the writer's thread."""

    def __init__(self, options: SpoolOptions, clock: Callable[[], float] = time.monotonic) -> None:
        self._options, self._clock = options, clock
        self._folder = Path(options.path)
        self._reserve = self._folder / "reserve"
        self._looked = float("-inf")
        self._free = self._inodes = _UNKNOWN
        self._keep, self._keep_inodes, self._spare, self._taken = 0, 0, 0, False
        self._used: Mapping[str, int] = {}
        self._state = "open"
        self._said: dict[str, float] = {}
        self._warned = False
        self._gone = ""
        self.moved: Callable[[], str] = lambda: ""
        """Told by the spool: what of it is not in its place, "" for nothing."""

    # -- may it come in ------------------------------------------------------------------------------

    def check(self, octets: int = 0, *, waiting: int = 0, profile: str = "") -> None:
        """Raises SpoolFull when `octets` more do not fit on the disk, or `waiting` ones into a quota."""
        self._refresh()
        text = self._refusal(octets) or self._over_quota(waiting, profile)
        if text:
            if max(octets, waiting) <= USUAL:
                until = "that is done" if self._gone else "there is room"
                self._tell("closed", f"{text}: new mail is refused (452) until {until}")
            raise SpoolFull(f"spool: {text}")
        self._free -= octets
        if self._state == "closed" and not self._roomy():
            return  # a little room comes and goes: no line for each time
        if warning := self._early():
            self._tell("tight", warning)
        else:
            self._tell("open", "")

    def note(self, used: Mapping[str, int]) -> None:
        """The octets that wait, by profile."""
        self._used = used

    def full(self, fault: BaseException) -> None:
        """The disk itself has refused."""
        self._looked = float("-inf")
        self._tell("closed", f"{fault}: new mail is refused (452) until there is room")

    def outlook(self) -> tuple[str, str]:
        """Why no mail fits, and what will soon be the matter, "" for nothing: for who looks on, without a line."""
        self._refresh()
        with contextlib.suppress(OSError):
            self._taken = self._taken or bool(os.listdir(self._reserve))
        return self._refusal(0), self._early()

    @property
    def limited(self) -> bool:
        """True when there is a quota, so that `note` is wanted."""
        return bool(self._options.quota or self._options.profile_quota)

    @property
    def is_scarce(self) -> bool:
        """Whether less than SCARCE is free, by the last look."""
        return self._free < SCARCE

    def _refresh(self) -> None:
        now = self._clock()
        if now - self._looked < FRESH:
            return
        self._looked = now
        self._gone = self.moved()
        try:
            disk = os.statvfs(str(self._folder))
        except OSError:
            self._free, self._inodes = _UNKNOWN, _UNKNOWN  # what is wrong there shows itself when something is written
            return
        options, whole = self._options, disk.f_blocks * disk.f_frsize
        self._free = disk.f_bavail * disk.f_frsize
        self._keep = min(MIN_FREE, whole // SHARE) if options.min_free is None else options.min_free
        self._spare = min(RESERVE, whole // SHARE) if options.reserve is None else options.reserve
        inodes = min(MIN_INODES, disk.f_files // SHARE) if options.min_free_inodes is None else options.min_free_inodes
        # A file system that makes them as needed counts none.
        self._inodes, self._keep_inodes = (disk.f_favail, inodes) if disk.f_files else (1, 0)

    @property
    def _needed(self) -> int:
        """Octets that new mail must leave: what the reserve has given back is taken for it first."""
        return self._keep if self._taken else self._keep + self._spare

    def _refusal(self, octets: int) -> str:
        if self._gone:
            return self._gone
        if self._free - octets < self._needed:
            text = "" if self._taken else f", and {_size(self._spare)} are missing in the reserve"
            return f"{_size(self._free)} are free on its disk, min_free is {_size(self._keep)}{text}"
        if self._inodes < self._keep_inodes or not self._inodes:
            return f"{self._inodes} files can still be made on its disk, min_free_inodes is {self._keep_inodes}"
        return ""

    def _over_quota(self, waiting: int, profile: str) -> str:
        used, quota = sum(self._used.values()), self._options.quota
        if quota and used + waiting > quota:
            return f"{_size(used)} of mail wait, quota is {_size(quota)}"
        used, quota = self._used.get(profile, 0), self._options.profile_quota
        if quota and profile and used + waiting > quota:
            return f"{_size(used)} of mail of profile {profile} wait, profile_quota is {_size(quota)}"
        return ""

    def _early(self) -> str:
        if self._free < EARLY * self._keep:
            return f"{_size(self._free)} are left on its disk; below {_size(self._keep)} (min_free) mail is refused"
        if self._inodes < EARLY * self._keep_inodes:
            text = f"below {self._keep_inodes} (min_free_inodes) mail is refused"
            return f"{self._inodes} files can still be made on its disk; {text}"
        quota = self._options.quota
        if quota and sum(self._used.values()) > quota * 4 // 5:
            return f"{_size(sum(self._used.values()))} of mail wait; above {_size(quota)} (quota) more is refused"
        return ""

    def _roomy(self) -> bool:
        """A tenth more room than is needed."""
        quota, need = self._options.quota, self._needed
        return self._free >= need + need // 10 and (not quota or sum(self._used.values()) <= quota * 9 // 10)

    def _tell(self, state: str, text: str) -> None:
        """Say it when it is new, but not the same within QUIET seconds: then it is said later, if it is still so."""
        now, before = self._clock(), self._state
        if state == before or now - self._said.get(state, float("-inf")) < QUIET:
            return
        self._state = state
        if state == "closed":
            journal.alarm(f"spool {self._folder}: {text}")
        elif before == "closed":
            journal.info("", f"spool {self._folder}: there is room for mail again")
        elif state == "tight":
            journal.warning("", f"spool {self._folder}: {text}")
        else:
            return  # from tight to open: that needs no line
        self._said[state] = now

    # -- the reserve ---------------------------------------------------------------------------------

    def release(self) -> bool:
        """Give the reserve back to the disk; False when there is none."""
        if self._foreign():
            return False
        released = False
        with contextlib.suppress(OSError):
            for name in os.listdir(self._reserve):
                os.unlink(self._reserve / name)
                released, self._taken = True, False
        if released:
            journal.alarm(f"spool {self._folder}: the disk is full: the reserve is used to settle what is queued")
        self._looked = float("-inf")
        return released

    def fill(self) -> None:
        """Take the reserve where there is room for it beyond what stays free."""
        self._refresh()
        if self._taken or self._free < self._needed or self._inodes < self._keep_inodes + _FILES:
            return
        if self._foreign():
            return
        with contextlib.suppress(OSError):
            self._reserve.mkdir(0o700, exist_ok=True)
            for number in range(_FILES):
                self._fill_file(self._reserve / str(number), self._spare // _FILES)
            self._taken = True
            self._looked = float("-inf")

    def _foreign(self) -> bool:
        """What lies there was put there by somebody else: a link could lead out of the spool."""
        try:
            status = os.lstat(self._reserve)
        except OSError:
            return False
        if stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid():
            return False
        if not self._warned:
            journal.warning("", f"{self._reserve} is no folder of ours: there is no reserve until it is moved away")
            self._warned = True
        return True

    def _fill_file(self, path: Path, octets: int) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o600)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:  # it is another's file as well: unlinked below
                raise FileExistsError(errno.EEXIST, "a second name")
            if octets and status.st_size < octets:
                os.posix_fallocate(descriptor, 0, octets)
        except OSError:
            os.unlink(path)
            raise
        finally:
            os.close(descriptor)

    def prepare(self) -> None:
        """Before the spool is opened: on a full disk give the reserve back first, SQLite needs two files and a page."""
        self._refresh()
        with contextlib.suppress(OSError):
            sizes = [(self._reserve / str(number)).stat().st_size for number in range(_FILES)]
            self._taken = min(sizes) >= self._spare // _FILES
        with contextlib.suppress(OSError):
            disk = os.statvfs(str(self._folder))
            if disk.f_bavail * disk.f_frsize < 1 << 20 or (disk.f_files and disk.f_favail < _FILES):
                self.release()
        self._looked = float("-inf")

    def tend(self) -> None:
        """Now and then, also when no mail comes: look at the disk, say what has changed, take the reserve again."""
        if self._clock() - self._looked >= FRESH:
            self.fill()
            with contextlib.suppress(SpoolFull):
                self.check()


def _size(octets: int) -> str:
    for unit, name in ((1 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "kB")):
        if octets >= 10 * unit:
            return f"{octets // unit} {name}"
    return f"{octets} octets"
