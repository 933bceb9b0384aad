"""Runs in the virtual machine, started by systemd: what the kernel command line names as lab=PART."""

import re
import subprocess
import sys
import time
import traceback

sys.path.insert(0, "/usr/lib/lab")
import bare
import confined
import direct
from host import check, note, tell
from sink import Sink

PARTS = {"confined": confined.run, "bare": bare.run}


def main():
    with open("/proc/cmdline") as file:
        part = re.search(r"\blab=(\w+)", file.read())[1]
    with open("/proc/uptime") as file:
        note(f"booted in {file.read().split()[0]} s")
    with open("/sys/fs/selinux/enforce") as file:
        check("SELinux enforces", file.read().strip() == "1")
    with open("/proc/self/attr/current") as file:
        note(f"the laboratory runs as {file.read()}")
    subprocess.run(["setsebool", "httpd_enable_cgi", "on"], check=False)
    sink = Sink("/usr/lib/lab/sink.pem")
    # 25, 465, 587 are mail servers; the others are what the relay has no business with.
    sink.listen(25, 465, 587, 22, 2526, 3306, 5432, 8080, 11211)
    direct.serve_policies(sink.context)
    begun = time.monotonic()
    PARTS[part](sink)
    note(f"{part} took {time.monotonic() - begun:.0f} s")


try:
    main()
except Exception:
    tell(check="the laboratory ran to its end", ok=False, detail=traceback.format_exc())
else:
    tell(end=True)
subprocess.run(["systemctl", "poweroff", "--force", "--no-wall"], check=False)
