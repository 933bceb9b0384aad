"""What the next hop does to those who hand in mail, and what large mail does to memory: this relay against itself.

    sudo bench/bench.sh --alone [--rounds N]

The same load in turns into four daemons, whose next hops are at hand, 100 ms away, refusing connections, and
silent; then four mails of 25 MB at once. Ratios are medians over the rounds, to the daemon with the hop at hand.
"""

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import tempfile
import threading
import time

from ground import PERFMAIL, Upstream, free_port, nxdomain, slow_disk
from peers import Custom

LOADS = {"1 client": ("1", "300"), "10 clients": ("10", "1000")}
LARGE = "25000000"


class Gone:
    """A next hop that nobody can deliver to: `silent` takes connections and says nothing, else they are refused."""

    tls, ca = False, ""

    def __init__(self, silent):
        self.port, self.listening = free_port(), None
        if silent:
            self.listening = socket.create_server(("127.0.0.1", self.port), backlog=512)

    def end(self):
        if self.listening:
            self.listening.close()


def load(relay, clients, mails, size="2500"):
    """What the load generator tells: how long clients were blocked, in milliseconds."""
    command = [PERFMAIL, "load", "-addr", f"127.0.0.1:{relay.port}", "-mode", "new", "-max-seconds", "60"]
    command += ["-n", mails, "-c", clients, "-size", size, "-tag", f"{relay.name}-{time.time_ns()}"]
    told = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    if told["failed"] or told["accepted"] != int(mails):
        raise SystemExit(f"{relay.name}: not all of {mails} mails were taken: {told}")
    return told


def at_rest(relay):
    """Wait until it does nothing any more."""
    used, now = -1.0, relay.group.cpu()
    while now - used > 0.01:
        time.sleep(0.5)
        used, now = now, relay.group.cpu()


def growth(relay):
    """MiB by which the daemon's memory grows at most while four large mails come in and leave."""
    before, highest, ended = relay.group.pss_mib(), [0.0], threading.Event()

    def sample():
        while not ended.wait(0.02):
            highest.append(relay.group.pss_mib())

    sampler = threading.Thread(target=sample)
    sampler.start()
    load(relay, "4", "4", LARGE)
    while relay.up.stats()["unique"] < 4:
        time.sleep(0.05)
    time.sleep(0.5)
    ended.set()
    sampler.join()
    return max(highest) - before


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--relay-cmd", required=True)
    ap.add_argument("--rounds", type=int, default=5)
    ap.add_argument("--fsync-delay-us", type=int, default=0)
    a = ap.parse_args()
    slow_disk(a.fsync_delay_us)
    nxdomain()
    base = tempfile.mkdtemp(prefix="pf", dir=os.environ.get("PERF_TMP"))
    os.chmod(base, 0o755)
    hops, relays = [], []
    try:
        for name, make in {
            "at hand": lambda: Upstream(base, True, 0),
            "100 ms away": lambda: Upstream(os.path.join(base, "far"), True, 100),
            "refusing": lambda: Gone(silent=False),
            "silent": lambda: Gone(silent=True),
        }.items():
            os.makedirs(os.path.join(base, "far"), exist_ok=True)
            hops.append(make())
            relays.append(Custom(base, hops[-1], name.replace(" ", "-"), cmd=a.relay_cmd))
            relays[-1].title = name
            relays[-1].start()
            load(relays[-1], "4", "60")
        print(
            "| next hop | load | blocked p50 | p99 | p50 to that with it at hand |\n|---|---|---|---|---|", flush=True
        )
        for title, (clients, mails) in LOADS.items():
            told = [[load(relay, clients, mails) for relay in relays] for _ in range(a.rounds)]
            for number, relay in enumerate(relays):
                p50, p99 = (statistics.median(each[number][key] for each in told) for key in ("p50_ms", "p99_ms"))
                ratio = statistics.median(each[number]["p50_ms"] / each[0]["p50_ms"] for each in told)
                print(f"| {relay.title} | {title} | {p50:.1f} ms | {p99:.1f} ms | {ratio:.2f} |", flush=True)
        relays[0].up.reset("at-hand")
        while len(relays) > 1:
            relays.pop().stop()
        at_rest(relays[0])
        print(f"\nfour mails of 25 MB at once: memory (PSS) grows by {growth(relays[0]):.1f} MiB")
    finally:
        for relay in relays:
            relay.stop()
        for hop in hops:
            hop.end()
        shutil.rmtree(base, ignore_errors=True)


if __name__ == "__main__":
    main()
