#!/bin/bash
# Build a disk image: Debian with SELinux enforcing, Apache with mod_wsgi and CGI, and this checkout installed as its
# README says. Labels are set from outside, so that the first boot needs no relabelling. Root is needed.
#
#   image.sh CACHE OUT SUITE POLICY WHEELS
#
# CACHE  where the base system is kept between runs (600 MB)
# OUT    folder for disk.img, vmlinuz, initrd
# SUITE  bookworm, trixie
# POLICY module: contrib/selinux is installed in the image; none: it is not
# WHEELS folder of wheels for the suite's Python
set -euo pipefail
cache=$1 out=$2 suite=$3 policy=$4 wheels=$5
here=$(cd "$(dirname "$0")" && pwd)
checkout=$(cd "$here/../.." && pwd)
PATH=$PATH:/usr/sbin:/sbin
start=$SECONDS
step() { echo "$((SECONDS - start)) s: $*"; }

packages=systemd-sysv,linux-image-cloud-amd64,selinux-policy-default,selinux-policy-dev,auditd,python3,python3-venv,policycoreutils
packages+=,policycoreutils-python-utils,python3-selinux,apache2,libapache2-mod-wsgi-py3,iproute2,procps,kmod,dbus,udev,passwd,openssl,make
base=$cache/base-$suite-$(echo "$packages" | sha256sum | cut -c1-8).tar
mkdir -p "$cache" "$out"
if [ ! -s "$base" ]; then
    step "base system ($suite)"
    mmdebstrap --quiet --format=tar --variant=apt --include=$packages "$suite" "$base.new"
    mv "$base.new" "$base"
fi

step "unpack"
root=$out/root
rm -rf "$root"
mkdir "$root"
tar --numeric-owner --xattrs -xf "$base" -C "$root"
in_image() { chroot "$root" env PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"; }

step "the checkout, installed"
mkdir -p "$root/usr/src/tracker-relay" "$root/tmp/wheels"
git -C "$checkout" ls-files -co --exclude-standard -z | tar -C "$checkout" --null -T - -cf - | tar -C "$root/usr/src/tracker-relay" -xf -
cp "$wheels"/*.whl "$root/tmp/wheels/"
in_image env PIP_NO_INDEX=1 PIP_FIND_LINKS=/tmp/wheels /usr/src/tracker-relay/contrib/systemd/install
in_image systemctl --quiet enable tracker-relay

step "configuration"
etc=$root/etc/tracker-relay
in_image openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=localhost \
    -addext subjectAltName=DNS:localhost,DNS:mx.direct.test,DNS:mta-sts.direct.test \
    -keyout /tmp/sink.key -out /etc/tracker-relay/ca.pem 2>/dev/null
# An authority of the whole system as well: for the web server of MTA-STS policies, and for strangers' mail servers.
install -D -m 644 "$etc/ca.pem" "$root/etc/ssl/certs/lab.pem"
in_image openssl rehash /etc/ssl/certs
install -m 640 "$here/guest/config.ini" "$etc/config.ini"
in_image chgrp tracker-relay /etc/tracker-relay/config.ini
(umask 077 && echo "pass word #1" > "$etc/smtp_password")
chmod 644 "$etc/ca.pem"
install -D -m 644 "$here/guest/credential.conf" "$root/etc/systemd/system/tracker-relay.service.d/credential.conf"

if [ "$policy" = module ]; then
    step "the policy module"
    # The image is no running system: labels and services are left to what follows.
    in_image make -s -C /usr/src/tracker-relay/contrib/selinux install STORE=default "SEMODULE=semodule -n -s default" 2>&1 |
        { grep -v 'not in password file' || true; }
    in_image semodule -s default -l | grep -qx tracker_relay
fi

step "the laboratory"
lab=$root/usr/lib/lab
install -d "$lab" "$root/var/www/lab"
cp "$here"/guest/*.py "$checkout/tests/nameserver.py" "$lab/"
cat "$root/tmp/sink.key" "$etc/ca.pem" > "$lab/sink.pem"
cp "$here/guest/lab.wsgi" "$root/var/www/lab/"
install -m 755 "$here/guest/lab.cgi" "$root/usr/lib/cgi-bin/lab.cgi"
install -m 755 "$here/guest/as-relay" "$here/guest/as-client" "$lab/"
cp "$here/guest/lab.conf" "$root/etc/apache2/conf-enabled/lab.conf"
cp "$here/guest/lab.service" "$root/etc/systemd/system/lab.service"
in_image a2enmod --quiet cgid wsgi >/dev/null
in_image systemctl --quiet enable lab.service
in_image systemctl --quiet mask apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer fstrim.timer dpkg-db-backup.timer \
    systemd-timesyncd.service serial-getty@ttyS0.service getty@tty1.service systemd-networkd-wait-online.service
sed -i "s/^SELINUX=.*/SELINUX=enforcing/" "$root/etc/selinux/config"
echo "/dev/vda / ext4 rw 0 1" > "$root/etc/fstab"
printf '127.0.0.1 localhost\n::1 localhost\n' > "$root/etc/hosts"
rm -rf "$root"/tmp/*

step "labels and image"
setfiles -F -r "$root" "$root/etc/selinux/default/contexts/files/file_contexts" "$root"
if [ "$policy" = module ]; then
    # Probes enter the relay's and the sendmail program's domains by these labels.
    python3 - "$lab" <<'PYTHON'
import os, sys
for name, kind in (("as-relay", "exec"), ("as-client", "client_exec")):
    os.setxattr(f"{sys.argv[1]}/{name}", "security.selinux", f"system_u:object_r:tracker_relay_{kind}_t:s0\0".encode())
PYTHON
fi
cp "$root"/boot/vmlinuz-* "$out/vmlinuz"
cp "$root"/boot/initrd.img-* "$out/initrd"
mkfs.ext4 -q -F -L root -d "$root" "$out/disk.img" 3000M
rm -rf "$root"
step "done"
