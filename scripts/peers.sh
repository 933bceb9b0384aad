# Used by ./test: the real programs that some tests run. They are installed, never started as services.

PEERS="postfix dovecot-core dovecot-submissiond swaks curl msmtp netcat-openbsd perl openssl"
UNPACKED_PEERS="exim4-base exim4-daemon-light opensmtpd"
UNPACKED_NEED="libdb5.3 libevent-2.1-7 libgnutls-dane0 libidn12 libpcre2-8-0 libnsl2"
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

# unpack_peers PACKAGE ...: into .peers/PACKAGE. These conflict with each other, so none is installed.
unpack_peers() {
    for package in "$@"; do
        [ -d ".peers/$package" ] && continue
        if ! command -v apt-get >/dev/null 2>&1; then
            say "left out, since this is no Debian: $package"
            continue
        fi
        say "unpacking $package"
        mkdir -p .peers
        new=$(mktemp -d .peers/new.XXXXXX)
        if (cd "$new" && apt-get download -qq "$package" >/dev/null 2>&1 && dpkg-deb -x "$package"_*.deb tree); then
            mv "$new/tree" ".peers/$package"
        else
            say "could not unpack $package (apt-get update, then again)"
        fi
        rm -rf "$new"
    done
}

# mail_servers: what the tests in e2e run as next hops and clients.
mail_servers() {
    # shellcheck disable=SC2086  # each is a list
    install_peers $PEERS
    install_peers $UNPACKED_NEED
    unpack_peers $UNPACKED_PEERS
}
