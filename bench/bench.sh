#!/bin/sh
# One command, as root on Debian: this checkout against Debian's Postfix, in turns, with a table and a plot.
#   bench/bench.sh                              every rule on, STARTTLS and AUTH upstream, 3 rounds
#   bench/bench.sh --scen new-c10 --rounds 5    further arguments go to bench.py
#   bench/bench.sh --alone                      the relay against itself: next hop far, refusing, silent; large mail
set -eu
here=$(cd "$(dirname "$0")" && pwd)
export PERF_TOOLS="${PERF_TOOLS:-${TMPDIR:-/tmp}/perf-tools}"
mkdir -p "$PERF_TOOLS/debs" "$PERF_TOOLS/unpacked"
chmod 755 "$PERF_TOOLS"
command -v go >/dev/null || { apt-get update -qq; apt-get install -y -qq --no-install-recommends golang-go >/dev/null; }
if [ ! -e "$PERF_TOOLS/perfmail" ] || [ -n "$(find "$here/perfmail" -name '*.go' -newer "$PERF_TOOLS/perfmail")" ]; then
    (cd "$here/perfmail" && CGO_ENABLED=0 go build -o "$PERF_TOOLS/perfmail" .)
fi
if [ ! -e "$PERF_TOOLS/unpacked/.done" ]; then
    # The packages conflict with each other, so none is installed: they are unpacked, and run in mount namespaces of their own.
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends libdb5.3 libicu72 libnsl2 libsasl2-2 \
        libsasl2-modules libevent-2.1-7 libpcre2-8-0 >/dev/null
    for package in postfix opensmtpd exim4-daemon-light exim4-base; do
        (cd "$PERF_TOOLS/debs" && apt-get download -qq "$package" 2>/dev/null)
        mkdir -p "$PERF_TOOLS/unpacked/$package"
        dpkg-deb -x "$PERF_TOOLS/debs/${package}"_*.deb "$PERF_TOOLS/unpacked/$package"
    done
    touch "$PERF_TOOLS/unpacked/.done"
fi
(cd "$here/.." && . scripts/venv.sh && make_venv .venv requirements/run.txt project)
export PERF_TMP="${PERF_TMP:-/dev/shm/tracker-relay-bench}"
mkdir -p "$PERF_TMP"
if [ "${1:-}" = --alone ]; then
    shift
    exec python3 "$here/alone.py" --fsync-delay-us 1000 --relay-cmd "$here/relay.sh" "$@"
fi
exec python3 "$here/bench.py" --peers postfix --tls 1 --fsync-delay-us 1000 --relay-cmd "relay=$here/relay.sh" "$@"
