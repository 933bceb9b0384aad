"""Interleaved benchmark: a relay against Debian's Postfix in the same run. `bench.sh` sets it up; see README.md."""

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import chart
from ground import PERFMAIL, Upstream, nxdomain, slow_disk
from peers import PEERS, Custom

# name: (mode, concurrency, rcpts, bytes, messages at scale 1)
SCEN = {
    "new-c1": ("new", 1, 1, 2500, 600),
    "new-c10": ("new", 10, 1, 2500, 1500),
    "persist-c1": ("persist", 1, 1, 2500, 1000),
    "persist-c10": ("persist", 10, 1, 2500, 2000),
    "new-c10-r5": ("new", 10, 5, 2500, 1000),
    "new-c1-25M": ("new", 1, 1, 25_000_000, 4),
    "new-c4-25M": ("new", 4, 1, 25_000_000, 12),
    "persist-c10-long": ("persist", 10, 1, 2500, 8000),
    "new-c10-long": ("new", 10, 1, 2500, 6000),
}


def measure(relay, up, scen, scale, drain_s):
    mode, c, rc, size, n = SCEN[scen]
    n = max(2, int(n * scale))
    tag = f"{relay.name}-{time.time_ns()}"
    up.reset(tag)
    cpu0, peak, run = relay.group.cpu(), [relay.group.pss_mib()], threading.Event()

    def sample():
        while not run.wait(0.4):
            peak.append(relay.group.pss_mib())

    th = threading.Thread(target=sample)
    th.start()
    out = subprocess.run(
        [
            PERFMAIL,
            "load",
            "-addr",
            f"127.0.0.1:{relay.port}",
            "-n",
            str(n),
            "-c",
            str(c),
            "-mode",
            mode,
            "-rcpts",
            str(rc),
            "-size",
            str(size),
            "-max-seconds",
            "30",
            "-tag",
            tag,
        ],
        capture_output=True,
        text=True,
    )
    r = json.loads(out.stdout)
    end = time.time() + drain_s
    while True:
        s = up.stats()
        if s["unique"] >= r["accepted"] or time.time() > end:
            break
        time.sleep(0.03)
    time.sleep(0.15)
    run.set()
    th.join()
    cpu = relay.group.cpu() - cpu0
    span = max(s["last_ns"] - r["start_ns"], 1) / 1e9
    return {
        "scen": scen,
        "relay": relay.name,
        "tls": up.tls,
        "rtt": up.rtt,
        "n": n,
        "accept_s": r["accept_per_s"],
        "p50": r["p50_ms"],
        "p99": r["p99_ms"],
        "max": r["max_ms"],
        "drained_s": s["unique"] / span,
        "lost": r["accepted"] - s["unique"],
        "dups": s["dups"],
        "failed": r["failed"],
        "errors": r["errors"],
        "cpu_per_1k": cpu / max(r["accepted"], 1) * 1000,
        "pss": max(peak),
        "sessions": s["sessions"],
        "handshakes": s["tls"],
        "resumed": s["resumed"],
        "max_open": s["max_open"],
        "sink_msgs": s["msgs"],
        "unfinished": s["unique"] < r["accepted"],
    }


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--relay", help="host:port of a relay already running (loopback) that sends to --sink-port")
    ap.add_argument(
        "--relay-cmd",
        action="append",
        default=[],
        help="NAME=command; {port} {up} {dir} {ca} {tls} are filled in; repeatable",
    )
    ap.add_argument("--peers", default="postfix,opensmtpd")
    ap.add_argument("--scen", default="new-c1,new-c10,persist-c10,new-c10-r5")
    ap.add_argument("--tls", default="0", help="0, 1 or 0,1")
    ap.add_argument("--rtt", default="0", help="ms, e.g. 0,100")
    ap.add_argument("--rounds", type=int, default=3)
    ap.add_argument("--scale", type=float, default=1)
    ap.add_argument("--drain", type=float, default=60)
    ap.add_argument("--json", help="append raw rows here")
    ap.add_argument("--keep", action="store_true")
    ap.add_argument("--base", default="postfix", help="denominator of the ratios")
    ap.add_argument(
        "--fsync-delay-us", type=int, default=0, help="LD_PRELOAD shim adds this to every f(data)sync of every relay"
    )
    ap.add_argument("--plot", default="bench.svg", help="the plot")
    a = ap.parse_args()
    slow_disk(a.fsync_delay_us)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the finally blocks run
    nxdomain()
    base = tempfile.mkdtemp(prefix="pf", dir=os.environ.get("PERF_TMP"))
    os.chmod(base, 0o755)
    rows = []
    try:
        for tls in [x == "1" for x in a.tls.split(",")]:
            for rtt in [float(x) for x in a.rtt.split(",")]:
                up = Upstream(base, tls, rtt)
                relays = []
                sub = os.path.join(base, f"t{int(tls)}r{int(rtt)}")
                os.makedirs(sub)
                os.chmod(sub, 0o755)
                try:
                    for nm in filter(None, a.peers.split(",")):
                        relays.append(PEERS[nm](sub, up))
                    for rc in a.relay_cmd:
                        nm, cmd = rc.split("=", 1)
                        relays.append(Custom(sub, up, nm, cmd=cmd))
                    if a.relay:
                        print(f"point {a.relay} at 127.0.0.1:{up.port} (control {up.ctl})", file=sys.stderr)
                        relays.append(Custom(sub, up, "relay", addr=a.relay))
                    for r in list(relays):
                        try:
                            r.start()
                        except Exception as e:
                            print(
                                f"!! {r.name} did not start: {e}; log: {open(r.dir + '/stdio.log').read()[-600:]}",
                                file=sys.stderr,
                            )
                            r.stop()
                            relays.remove(r)
                    for r in relays:  # warm up
                        subprocess.run(
                            [PERFMAIL, "load", "-addr", f"127.0.0.1:{r.port}", "-n", "60", "-c", "4"],
                            capture_output=True,
                        )
                        time.sleep(1.0)
                    for sc in a.scen.split(","):
                        for i in range(a.rounds):
                            order = relays[i % len(relays) :] + relays[: i % len(relays)]
                            for r in order:
                                m = measure(r, up, sc, a.scale, a.drain)
                                m["round"] = i
                                rows.append(m)
                                if m["errors"] or m["lost"]:
                                    print(
                                        f"  note {r.name} {sc}: lost {m['lost']} failed {m['failed']} {m['errors']}",
                                        file=sys.stderr,
                                    )
                                if a.json:
                                    open(a.json, "a").write(json.dumps(m) + "\n")
                                time.sleep(0.3)
                        table([x for x in rows if x["scen"] == sc and x["tls"] == tls and x["rtt"] == rtt], a.base)
                finally:
                    for r in relays:
                        r.stop()
                    up.end()
    finally:
        if rows:
            chart.draw(
                a.plot,
                rows,
                lambda rows, scen, name, key: statistics.median(
                    [x[key] for x in rows if x["scen"] == scen and x["relay"] == name] or [0]
                ),
            )
        if not a.keep:
            shutil.rmtree(base, ignore_errors=True)
        else:
            print("kept", base, file=sys.stderr)


def table(rows, base):
    def med(nm, k):
        return statistics.median(x[k] for x in rows if x["relay"] == nm)

    def ratio(nm, k):
        v = []
        for x in rows:
            if x["relay"] == nm:
                b = [y for y in rows if y["relay"] == base and y["round"] == x["round"]]
                if b and b[0][k]:
                    v.append(x[k] / b[0][k])
        return f"{statistics.median(v):.2f}" if v else "-"

    names = list(dict.fromkeys(x["relay"] for x in rows))
    r0 = rows[0]
    print(
        f"\n## {r0['scen']}  upstream {'STARTTLS+AUTH' if r0['tls'] else 'plain'} +{r0['rtt']:.0f} ms  n={r0['n']} x {max(x['round'] for x in rows) + 1} rounds (medians; ratio = median of per-round ratios to {base})"
    )
    print(
        f"{'relay':15s} {'accept/s':>9s} {'drained/s':>9s} {'p50ms':>8s} {'p99ms':>8s} {'CPUs/1k':>8s} {'PSS MiB':>8s} {'conns':>6s} {'TLShs':>6s} {'open':>5s} | {'accept':>7s} {'drain':>7s} {'p50':>6s} {'p99':>6s} {'CPU':>6s}"
    )
    for nm in names:
        flag = "  UNFINISHED" if any(x["unfinished"] for x in rows if x["relay"] == nm) else ""
        print(
            f"{nm:15s} {med(nm, 'accept_s'):9.0f} {med(nm, 'drained_s'):9.0f} {med(nm, 'p50'):8.2f} {med(nm, 'p99'):8.2f} {med(nm, 'cpu_per_1k'):8.3f} {med(nm, 'pss'):8.1f} {med(nm, 'sessions'):6.0f} {med(nm, 'handshakes'):6.0f} {med(nm, 'max_open'):5.0f} | {ratio(nm, 'accept_s'):>7s} {ratio(nm, 'drained_s'):>7s} {ratio(nm, 'p50'):>6s} {ratio(nm, 'p99'):>6s} {ratio(nm, 'cpu_per_1k'):>6s}{flag}",
            flush=True,
        )


if __name__ == "__main__":
    main()
