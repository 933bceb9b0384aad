# Shared by ./run and ./test: find a Python, and make virtual environments from the lock files.

say() { echo "tracker-relay: $*" >&2; }

# A Python of 3.11 to 3.13: $PYTHON, else the first one that fits and has venv, else the first one that fits. The system's
# own comes first: distributions build theirs with profile-guided optimization, and mend it; one that was built by hand
# mostly is not, and takes a third more processor time for each mail.
find_python() {
    first=
    for candidate in "${PYTHON:-}" /usr/bin/python3 python3 python3.13 python3.12 python3.11; do
        [ -n "$candidate" ] && command -v "$candidate" >/dev/null 2>&1 || continue
        if "$candidate" -c 'import sys; raise SystemExit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
            [ -n "$first" ] || first=$(command -v "$candidate")
            if [ "$candidate" = "${PYTHON:-}" ] || "$candidate" -c 'import ensurepip, venv' 2>/dev/null; then
                command -v "$candidate"
                return 0
            fi
        fi
    done
    [ -n "$first" ] && echo "$first" && return 0
    say "no Python of 3.11 to 3.13 found: install one, or name it: PYTHON=/path/to/python3 $0"
    return 1
}

# The standard library's venv, which Debian keeps in a package of its own.
need_venv() {
    "$1" -c 'import ensurepip, venv' 2>/dev/null && return 0
    package=$("$1" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        say "installing $package"
        apt-get update -qq >/dev/null && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$package" >/dev/null && return 0
    fi
    say "this Python has no venv; type: sudo apt-get install $package"
    return 1
}

# make_venv FOLDER LOCKFILE [project]: an environment with what LOCKFILE pins, and this project where asked for.
# A stamp of all that decides about it makes the second call cost nothing.
make_venv() {
    python=$(find_python) || return 1
    wanted=$({ "$python" -c 'import sys; print(sys.version, sys.executable)'; cat "$2" pyproject.toml; pwd; } | cksum)
    if [ -f "$1/stamp" ] && [ "$(cat "$1/stamp")" = "$wanted" ]; then
        return 0
    fi
    need_venv "$python" || return 1
    say "installing into $1"
    rm -rf "$1"
    "$python" -m venv "$1" || return 1
    "$1/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r "$2" || return 1
    if [ "${3:-}" = project ]; then
        "$1/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e . || return 1
    fi
    echo "$wanted" > "$1/stamp"
}
