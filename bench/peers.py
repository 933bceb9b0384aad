"""The relays that are measured: Postfix and OpenSMTPD from Debian, and any command.

Postfix and OpenSMTPD run from unpacked packages in private mount namespaces: nothing is installed, nothing starts by itself.
"""

import os
import pwd

from ground import TOOLS, Group, free_port, wait_smtp


class Relay:
    name = "?"

    def __init__(self, base, up):
        self.up, self.port = up, free_port()
        self.dir = os.path.join(base, self.name)
        os.makedirs(self.dir, exist_ok=True)
        os.chmod(self.dir, 0o755)
        self.group = Group(self.name)
        self.log = open(self.dir + "/stdio.log", "ab")

    def write(self, rel, text, mode=0o644):
        p = os.path.join(self.dir, rel)
        os.makedirs(os.path.dirname(p), exist_ok=True)
        with open(p, "w") as f:
            f.write(text)
        os.chmod(p, mode)
        return p

    def ns(self, setup, argv):
        """argv inside a private mount namespace after the shell lines `setup`."""
        pre, pl, ex = os.environ.get("PERF_PRELOAD", ""), "", 'exec "$@"'
        if pre:
            if "upperdir=" not in setup:
                pl = f"mkdir -p {self.dir}/pl {self.dir}/plw; mount -t overlay overlay -o lowerdir=/etc,upperdir={self.dir}/pl,workdir={self.dir}/plw /etc\n"
            pl += f"echo {pre} > /etc/ld.so.preload\n"
        net = f"""
echo 'nameserver 127.0.0.1' > {self.dir}/resolv.conf; printf '127.0.0.1 localhost relay.example.net sink.example.net tracker.example.org %s\\n' "$(hostname)" > {self.dir}/hosts
mount --bind {self.dir}/resolv.conf /etc/resolv.conf; mount --bind {self.dir}/hosts /etc/hosts
"""  # names resolve at once: nxdomain() below answers the rest
        return ["unshare", "-m", "sh", "-ec", "mount --make-rprivate /\n" + setup + pl + net + ex, "sh", *argv]

    def start(self):
        self.launch()
        wait_smtp(self.port)

    def stop(self):
        self.group.end()


PASSWD_NS = """
cp /etc/passwd {d}/passwd; cp /etc/group {d}/group
{extra}
mount --bind {d}/passwd /etc/passwd; mount --bind {d}/group /etc/group
"""


def overlay(d, pkgs):
    low = ":".join(f"{TOOLS}/unpacked/{p}/usr" for p in pkgs)
    etc = "".join(f"{TOOLS}/unpacked/{p}/etc:" for p in pkgs if os.path.isdir(f"{TOOLS}/unpacked/{p}/etc"))
    return f"""
mount -t overlay overlay -o lowerdir={low}:/usr /usr
mkdir -p {d}/ov-etc {d}/ov-etcw {d}/ov-var {d}/ov-varw
mount -t overlay overlay -o lowerdir={etc}/etc,upperdir={d}/ov-etc,workdir={d}/ov-etcw /etc
mount -t overlay overlay -o lowerdir=/var,upperdir={d}/ov-var,workdir={d}/ov-varw /var
mount -t tmpfs tmpfs /run
"""


class Postfix(Relay):
    """Debian defaults (incl. in_flow_delay, destination concurrency 20), relayhost, TLS connection reuse on."""

    name = "postfix"  # 1 fsync per message
    extra = ""
    pkgs = ("postfix",)

    def launch(self):
        d, up = self.dir, self.up
        for s in ("queue", "data", "etc"):
            os.makedirs(f"{d}/{s}", exist_ok=True)
        have = os.path.exists("/usr/lib/postfix/sbin/master") and not os.environ.get("PERF_UNPACKED")
        try:
            uid, extra = pwd.getpwnam("postfix").pw_uid, ":"
        except KeyError:
            uid, extra = (
                61104,
                f"echo 'postfix:x:61104:61108::/var/spool/postfix:/usr/sbin/nologin' >> {d}/passwd; echo 'postfix:x:61108:' >> {d}/group; echo 'postdrop:x:61109:' >> {d}/group",
            )
        os.chown(f"{d}/data", uid, -1)
        if up.tls:
            auth = f"""smtp_tls_security_level = encrypt
smtp_sasl_auth_enable = yes
smtp_sasl_password_maps = static:user:secret
smtp_sasl_security_options = noanonymous
smtp_tls_connection_reuse = yes
smtp_tls_session_cache_database = btree:{d}/data/smtp_scache
"""
        else:
            auth = ""
        self.write(
            "etc/main.cf",
            f"""compatibility_level = 3.6
queue_directory = {d}/queue
data_directory = {d}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
inet_interfaces = loopback-only
inet_protocols = ipv4
myhostname = relay.example.net
mydestination =
mynetworks = 127.0.0.0/8
alias_maps =
smtpd_relay_restrictions = permit_mynetworks, reject
relayhost = [127.0.0.1]:{up.port}
maillog_file = {d}/maillog
maillog_file_prefixes = {d}
smtputf8_enable = no
message_size_limit = 60000000
notify_classes =
{auth}{self.extra}""",
        )
        mc = [
            f"127.0.0.1:{self.port} inet n - n - - smtpd",
            "postlog unix-dgram n - n - 1 postlogd",
            "pickup unix n - n 60 1 pickup",
            "cleanup unix n - n - 0 cleanup",
            "qmgr unix n - n 300 1 qmgr",
            "tlsmgr unix - - n 1000? 1 tlsmgr",
            "tlsproxy unix - - n - 0 tlsproxy",
            "scache unix - - n - 1 scache",
        ]
        mc += [f"{s} unix - - n - - trivial-rewrite" for s in ("rewrite",)]
        mc += [f"{s} unix - - n - 0 bounce" for s in ("bounce", "defer", "trace")]
        mc += [
            "verify unix - - n - 1 verify",
            "flush unix n - n 1000? 0 flush",
            "proxymap unix - - n - - proxymap",
            "proxywrite unix - - n - 1 proxymap",
            "smtp unix - - n - - smtp",
            "relay unix - - n - - smtp",
            "showq unix n - n - - showq",
            "error unix - - n - - error",
            "retry unix - - n - - error",
            "discard unix - - n - - discard",
            "local unix - n n - - local",
            "virtual unix - n n - - virtual",
            "lmtp unix - - n - - lmtp",
            "anvil unix - - n - 1 anvil",
        ]
        self.write("etc/master.cf", "\n".join(mc) + "\n")
        self.write("etc/dynamicmaps.cf", "")
        setup = "" if have else overlay(d, self.pkgs) + PASSWD_NS.format(d=d, extra=extra)
        setup += f"\npostfix -c {d}/etc check\n"
        self.group.popen(self.ns(setup, ["postfix", "-c", d + "/etc", "start-fg"]), self.log)


class PostfixAgain(Postfix):
    """A second stock Postfix: its ratio to the first shows the noise floor."""

    name = "postfix-again"


class PostfixTuned(Postfix):
    """Anchor for extreme goals: flow delay off, more parallel deliveries, connection cache for the relay host always on."""

    name = "postfix-tuned"

    @property
    def extra(self):
        return (
            f"in_flow_delay = 0\nsmtp_destination_concurrency_limit = 50\nsmtp_initial_destination_concurrency = 20\ndefault_process_limit = 200\n"
            f"initial_destination_concurrency = 20\nsmtp_connection_cache_destinations = [127.0.0.1]:{self.up.port}\nsmtp_connection_reuse_time_limit = 300s\nsmtpd_client_connection_count_limit = 0\n"
        )


class OpenSMTPD(Relay):
    """Stock: at most 100 messages per session, then 3 s before the next connection."""

    name = "opensmtpd"  # no fsync on accept (strace)
    extra = ""

    def launch(self):
        d, up = self.dir, self.up
        relay = (
            f'relay host "smtp+tls://up@127.0.0.1:{up.port}" auth <creds> tls no-verify'
            if up.tls
            else f'relay host "smtp://127.0.0.1:{up.port}"'
        )
        conf = f"""table creds {{ up = "user:secret" }}
smtp max-message-size 50M
queue ttl 1h
{self.extra}listen on 127.0.0.1 port {self.port} hostname relay.example.net
action "up" {relay}
match from any for any action "up"
"""
        self.write("smtpd.conf", conf)
        ex = (
            f"echo 'opensmtpd:x:61001:61001::/var/lib/opensmtpd/empty:/usr/sbin/nologin' >> {d}/passwd; echo 'opensmtpq:x:61002:61002::/var/lib/opensmtpd/empty:/usr/sbin/nologin' >> {d}/passwd;"
            f"echo 'opensmtpd:x:61001:' >> {d}/group; echo 'opensmtpq:x:61002:' >> {d}/group"
        )
        setup = PASSWD_NS.format(d=d, extra=ex)
        setup = overlay(d, ["opensmtpd"]) + setup.replace(
            "mount --bind " + d + "/passwd /etc/passwd; mount --bind " + d + "/group /etc/group",
            f"cp {d}/passwd /etc/passwd; cp {d}/group /etc/group",
        )
        setup += f"""
mkdir -p {d}/spool /var/spool/smtpd /var/lib/opensmtpd/empty
chmod 711 {d}/spool
mount --bind {d}/spool /var/spool/smtpd
chown root:root /var/lib/opensmtpd/empty; chmod 755 /var/lib/opensmtpd /var/lib/opensmtpd/empty
echo relay.example.net > /etc/mailname
"""
        self.group.popen(self.ns(setup, ["smtpd", "-d", "-f", d + "/smtpd.conf"]), self.log)


class Exim(Relay):
    """Debian exim4-daemon-light: one delivery process per message, started at once."""

    name = "exim"  # 4 fsync per message

    def launch(self):
        d, up = self.dir, self.up
        t = (
            "hosts_require_tls = *\n  hosts_require_auth = *\n  tls_verify_certificates = /dev/null\n  tls_try_verify_hosts =\n"
            if up.tls
            else "hosts_avoid_tls = *\n"
        )
        conf = f"""primary_hostname = relay.example.net
spool_directory = /var/spool/exim4
log_file_path = {d}/log/%slog
daemon_smtp_ports = {self.port}
local_interfaces = 127.0.0.1
disable_ipv6
tls_advertise_hosts =
smtp_accept_max = 100
smtp_accept_queue_per_connection = 0
acl_smtp_rcpt = ok
acl_smtp_data = ok
host_lookup =
rfc1413_hosts =
chunking_advertise_hosts =
begin acl
ok:
  accept
begin routers
up:
  driver = manualroute
  transport = up
  route_list = * 127.0.0.1::{up.port}
  self = send
begin transports
up:
  driver = smtp
  allow_localhost
  {t}
begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  client_send = ^user^secret
"""
        self.write("exim4.conf", conf)
        setup = (
            overlay(d, ["exim4-base", "exim4-daemon-light"])
            + f"""
echo 'Debian-exim:x:61003:61003::/var/spool/exim4:/usr/sbin/nologin' >> /etc/passwd; echo 'Debian-exim:x:61003:' >> /etc/group
mkdir -p /etc/exim4 /var/spool/exim4 {d}/spool {d}/log; mount --bind {d}/spool /var/spool/exim4
chown 61003:61003 {d}/spool {d}/log; cp {d}/exim4.conf /etc/exim4/exim4.conf
mkdir -p {d}/bin; cp {TOOLS}/unpacked/exim4-daemon-light/usr/sbin/exim4 {d}/bin/exim4; chmod 4755 {d}/bin/exim4
mount --bind {d}/bin/exim4 /usr/sbin/exim4
"""
        )
        self.group.popen(self.ns(setup, ["/usr/sbin/exim4", "-bdf", "-q5s"]), self.log)


class Custom(Relay):
    """--relay-cmd 'prog --port {port} --upstream-port {up} --spool {dir} --ca {ca} --tls {tls}' or --relay host:port."""

    def __init__(self, base, up, name, cmd=None, addr=None):
        self.name, self.cmd, self.addr = name, cmd, addr
        super().__init__(base, up)
        if addr:
            self.port = int(addr.rsplit(":", 1)[1])

    def launch(self):
        if self.cmd:
            env = {
                **os.environ,
                "RELAY_PORT": str(self.port),
                "UPSTREAM_PORT": str(self.up.port),
                "UPSTREAM_TLS": str(int(self.up.tls)),
                "UPSTREAM_CA": self.up.ca,
                "SPOOL_DIR": self.dir + "/spool",
            }
            os.makedirs(self.dir + "/spool", exist_ok=True)
            self.group.popen(
                self.ns(
                    "",
                    [
                        "sh",
                        "-c",
                        "exec "
                        + self.cmd.format(
                            port=self.port,
                            up=self.up.port,
                            dir=self.dir + "/spool",
                            ca=self.up.ca,
                            tls=int(self.up.tls),
                        ),
                    ],
                ),
                self.log,
                env=env,
            )


PEERS = {kind.name: kind for kind in (Postfix, PostfixAgain, PostfixTuned, OpenSMTPD, Exim)}
