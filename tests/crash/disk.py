"""Small file systems in a mount namespace of their own: nobody else sees them, and they go with their holder process."""

import contextlib
import fcntl
import os
import shutil
import struct
import subprocess
import time
from pathlib import Path

from tests.e2e.tools import missing

MAKE = {"ext4": ("mkfs.ext4", "-q", "-F"), "xfs": ("mkfs.xfs", "-q", "-f")}
SMALLEST = {"ext4": 64 << 20, "xfs": 320 << 20}
_GOING_DOWN = 2 << 30 | 4 << 16 | ord("X") << 8 | 125
"""EXT4_IOC_SHUTDOWN and XFS_IOC_GOINGDOWN are one number."""
_NO_LOG_FLUSH = 2


class Disk:
    """A file system on tmpfs, or of `kind` in an image; `path` is where its processes and we find it."""

    def __init__(self, folder, kind="tmpfs", *options):
        if os.geteuid() != 0 or not shutil.which("unshare"):
            missing("root, to mount a file system")
        self.kind, self.options = kind, options
        self.inside = folder / "disk"
        self.inside.mkdir()
        self.image = folder / "disk.img"
        if kind != "tmpfs":
            if not shutil.which(MAKE[kind][0], path=f"{os.environ['PATH']}:/usr/sbin"):
                missing(MAKE[kind][0])
            with self.image.open("wb") as file:
                file.truncate(SMALLEST[kind])
            environment = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin"}
            subprocess.run([*MAKE[kind], *options, self.image], check=True, capture_output=True, env=environment)
        self.holder = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", "echo ready; exec cat"],
            stdin=subprocess.PIPE,  # it ends when we do, however that comes
            stdout=subprocess.PIPE,
        )
        assert self.holder.stdout.readline() == b"ready\n"
        self.prefix = ("nsenter", f"--mount=/proc/{self.holder.pid}/ns/mnt")
        self.path = Path(f"/proc/{self.holder.pid}/root{self.inside}")
        if why := self._mounted():
            self.close()
            missing(f"a mount of {self.kind} ({why})")

    def _run(self, *command):
        done = subprocess.run([*self.prefix, *command], capture_output=True, text=True)
        return done.stderr.strip() if done.returncode else ""

    def mount(self):
        """Again, once it has been unmounted: what fails now is a fault that the test has found."""
        assert not (why := self._mounted()), f"{self.kind} can not be mounted any more: {why}"

    def _mounted(self):
        """Mount it; why that can not be, or nothing."""
        if self.kind == "tmpfs":
            return self._run("mount", "-t", "tmpfs", "-o", ",".join(self.options), "tmpfs", self.inside)
        return self._run("mount", "-t", self.kind, "-o", "loop", self.image, self.inside)

    def unmount(self):
        assert not (why := self._run("umount", self.inside)), why

    def cut_power(self):
        """Nothing that is not on the disk yet gets there: no data, no log of the file system."""
        descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(descriptor, _GOING_DOWN, struct.pack("I", _NO_LOG_FLUSH))
        finally:
            os.close(descriptor)

    def fill(self, leave=0):
        """Take all of its room, but `leave` octets; `free` gives it back."""
        with (self.path / "ballast").open("ab", buffering=0) as file:
            for size in (1 << 20, 1 << 16, 1 << 12, 1):
                with contextlib.suppress(OSError):
                    while self.room() > leave + size or leave == 0:
                        file.write(bytes(size))
        time.sleep(0.1)

    def room(self):
        state = os.statvfs(self.path)
        return state.f_bavail * state.f_frsize

    def free(self):
        (self.path / "ballast").unlink(missing_ok=True)

    def use_up_inodes(self, leave=0):
        folder = self.path / "files"
        folder.mkdir(exist_ok=True)
        while os.statvfs(self.path).f_favail > leave:
            (folder / str(os.statvfs(self.path).f_favail)).touch()
        time.sleep(0.1)

    def free_inodes(self):
        shutil.rmtree(self.path / "files", ignore_errors=True)

    def close(self):
        """The namespace, and all that is mounted in it, ends with its last process."""
        self.holder.kill()
        self.holder.wait()
        self.holder.stdin.close()
        self.holder.stdout.close()
