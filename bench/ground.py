"""The ground a measurement stands on: free ports, CPU and memory by cgroup, a next hop that counts.

Everything listens on 127.0.0.1; nothing here outlives the run.
"""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.request

TOOLS = os.environ.get("PERF_TOOLS", os.path.join(tempfile.gettempdir(), "perf-tools"))
PERFMAIL = os.path.join(TOOLS, "perfmail")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_smtp(port, secs=20):
    end = time.time() + secs
    while time.time() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as s:
            s.settimeout(5)
            if s.recv(200)[:3] == b"220":
                s.sendall(b"QUIT\r\n")
                s.recv(200)
                return
        time.sleep(0.05)
    raise RuntimeError(f"nothing answers 220 on {port}")


def slow_disk(microseconds):
    """From now on every f(data)sync of every relay that is started takes so much longer."""
    if microseconds:
        shim = f"{TOOLS}/slowsync-{microseconds}.so"
        source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "slowsync.c")
        command = ["cc", "-O2", "-shared", "-fPIC", f"-DUS={microseconds}", "-o", shim, source, "-ldl"]
        subprocess.run(command, check=True)
        os.environ["PERF_PRELOAD"] = shim


def cg_root():
    for p in ("/sys/fs/cgroup/unified", "/sys/fs/cgroup"):
        if os.path.exists(p + "/cgroup.procs") and os.path.exists(p + "/cgroup.subtree_control"):
            return p
    return None


class Group:
    """A process group whose CPU time is complete even for short-lived children (cgroup v2)."""

    def __init__(self, name):
        root = cg_root()
        if not root:
            raise SystemExit("needs a cgroup v2 hierarchy (CPU accounting of short-lived children)")
        self.path = f"{root}/perf-{os.getpid()}-{name}"
        os.mkdir(self.path)

    def popen(self, argv, log, **kw):
        return subprocess.Popen(
            ["sh", "-c", f'echo $$ > {self.path}/cgroup.procs; exec "$@"', "sh", *argv],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            **kw,
        )

    def pids(self):
        return [int(x) for x in open(self.path + "/cgroup.procs").read().split()]

    def cpu(self):
        return int(re.search(r"usage_usec (\d+)", open(self.path + "/cpu.stat").read())[1]) / 1e6

    def pss_mib(self):
        t = 0
        for p in self.pids():
            with contextlib.suppress(OSError, AttributeError):
                t += int(re.search(r"^Pss:\s+(\d+)", open(f"/proc/{p}/smaps_rollup").read(), re.M)[1])
        return t / 1024

    def end(self):
        """TERM then KILL exactly the processes in this group."""
        for sig, rounds in ((signal.SIGTERM, 30), (signal.SIGKILL, 50)):
            for _ in range(rounds):
                ps = self.pids()
                if not ps:
                    break
                for p in ps:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(p, sig)
                time.sleep(0.1)
        with contextlib.suppress(OSError):
            os.rmdir(self.path)


def nxdomain():
    """Answers every DNS question on 127.0.0.1:53 with NXDOMAIN, so no relay waits for a resolver."""
    try:
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.bind(("127.0.0.1", 53))
    except OSError:
        return

    def loop():
        while True:
            q, a = s.recvfrom(2048)
            if len(q) >= 12:
                end = 12
                while end < len(q) and q[end]:
                    end += q[end] + 1
                s.sendto(q[:2] + b"\x81\x83" + b"\0\1" + b"\0" * 6 + q[12 : end + 5], a)

    threading.Thread(target=loop, daemon=True).start()


class Upstream:
    def __init__(self, base, tls, rtt_ms):
        self.tls, self.rtt = tls, rtt_ms
        self.sink, self.ctl = free_port(), free_port()
        self.ca = os.path.join(base, "sink-ca.pem")
        log = open(os.path.join(base, "sink.log"), "ab")
        self.procs = [
            subprocess.Popen(
                [
                    PERFMAIL,
                    "sink",
                    "-addr",
                    f"127.0.0.1:{self.sink}",
                    "-ctl",
                    f"127.0.0.1:{self.ctl}",
                    f"-tls={str(tls).lower()}",
                    "-ca-out",
                    self.ca,
                ],
                stdout=log,
                stderr=log,
            )
        ]
        self.port = self.sink
        if rtt_ms:
            self.port = free_port()
            self.procs.append(
                subprocess.Popen(
                    [
                        PERFMAIL,
                        "delay",
                        "-addr",
                        f"127.0.0.1:{self.port}",
                        "-to",
                        f"127.0.0.1:{self.sink}",
                        "-rtt-ms",
                        str(rtt_ms),
                    ],
                    stdout=log,
                    stderr=log,
                )
            )
        wait_smtp(self.port)

    def _get(self, what):
        return urllib.request.urlopen(f"http://127.0.0.1:{self.ctl}/{what}", timeout=10).read()

    def stats(self):
        return json.loads(self._get("stats"))

    def reset(self, tag):
        self._get("reset?tag=" + tag)

    def end(self):
        for p in self.procs:
            p.terminate()
            p.wait()
