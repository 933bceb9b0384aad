# Used by ./test: the real programs that some tests run. They are installed, never started as services.

PEERS="postfix dovecot-core swaks curl msmtp netcat-openbsd perl"
DNS_PEERS="unbound knot"
SYSTEMD_PEERS="systemd"
DISK_PEERS="strace e2fsprogs xfsprogs"
SELINUX_PEERS="selinux-policy-dev selinux-policy-default secilc semodule-utils policycoreutils setools python3-setools make"
VM_PEERS="mmdebstrap qemu-system-x86 policycoreutils e2fsprogs"

# install_peers PACKAGE ...: what of it is missing, where this user may install it.
install_peers() {
    missing=
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
    done
    [ -z "$missing" ] && return 0
    if ! command -v apt-get >/dev/null 2>&1; then
        say "left out, since this is no Debian:$missing"
        return 0
    fi
    if [ "$(id -u)" = 0 ]; then
        as_root=
    elif sudo -n true 2>/dev/null; then
        as_root=sudo
    else
        say "left out, since they need root to install:$missing"
        return 0
    fi
    say "installing$missing"
    # A policy of 101 keeps their packages from starting services.
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        printf '#!/bin/sh\nexit 101\n' | $as_root tee /usr/sbin/policy-rc.d >/dev/null
        $as_root chmod +x /usr/sbin/policy-rc.d
        made_policy=yes
    fi
    echo "postfix postfix/main_mailer_type select No configuration" | $as_root debconf-set-selections || true
    $as_root apt-get update -qq >/dev/null || say "apt-get update failed"
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null ||
        say "could not install:$missing"
    if [ -n "${made_policy:-}" ]; then
        $as_root rm -f /usr/sbin/policy-rc.d
    fi
}
