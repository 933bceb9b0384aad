"""Exim, OpenSMTPD and Dovecot's submission service as next hops, each on a free port of loopback.

The packages of the first two conflict with Postfix's: they are unpacked (scripts/peers.sh), and run in a mount namespace
of their own, in which they find their files, their users and their spool where they look for them.
"""

import base64
import os
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.e2e.tools import PASSWORD, ROOT, USER, answers, free_port, missing, until

UNPACKED = Path(os.environ.get("UNPACKED_PEERS") or ROOT / ".peers")
LIMIT = 400_000
"""Octets of a mail that each of them takes."""


@dataclass
class Peer:
    """A mail server; `user` may log in with `password` over STARTTLS, where there is one; `boxes` are its Maildirs."""

    name: str
    folder: Path
    port: int
    user: str
    password: str
    utf8: bool
    """Whether it knows SMTPUTF8."""
    process: object = None
    boxes: Path = field(init=False)

    def __post_init__(self):
        self.boxes = self.folder / "boxes"

    def write(self, name, text, mode=0o600):
        path = self.folder / name
        path.write_text(text)
        path.chmod(mode)
        return path

    def launch(self, *command):
        with (self.folder / "output").open("ab") as output:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        until(lambda: answers(self.port) or self.process.poll() is not None, f"{self.name}: {self.said()}")
        assert self.process.poll() is None, self.said()

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(20)

    def said(self):
        logs = [self.folder / "output", *sorted((self.folder / "log").glob("*"))]
        return "\n".join(path.read_text(errors="replace") for path in logs if path.exists())[-5000:]

    def stored(self):
        """Every mail in a box, as the octets that stand there."""
        return [path.read_bytes() for path in self.boxes.glob("**/new/*")]


def _in_a_namespace(peer, packages, lines, *command):
    """The command line that runs there: overlays of /usr, /etc and /var, then `lines` of shell."""
    folder = peer.folder
    for name in ("etc", "etc.work", "var", "var.work", "usr"):
        (folder / name).mkdir()
    lower = ":".join(f"{UNPACKED}/{package}/usr" for package in packages)
    setup = f"""
mount --make-rprivate /
mount -t overlay overlay -o lowerdir={lower}:/usr /usr
mount -t overlay overlay -o lowerdir=/etc,upperdir={folder}/etc,workdir={folder}/etc.work /etc
mount -t overlay overlay -o lowerdir=/var,upperdir={folder}/var,workdir={folder}/var.work /var
mount -t tmpfs tmpfs /run
{lines}
exec "$@"
"""
    return ("unshare", "-m", "sh", "-ec", setup, "sh", *command)


def _users(*names):
    """Lines of shell that make these users, in the namespace's own files."""
    rows = [
        f"echo '{name}:x:{61000 + n}:{61000 + n}::/nonexistent:/usr/sbin/nologin' >> /etc/passwd;"
        f" echo '{name}:x:{61000 + n}:' >> /etc/group"
        for n, name in enumerate(names)
    ]
    return "\n".join(rows)


EXIM = """
primary_hostname = mx.example.net
spool_directory = /var/spool/exim4
log_file_path = {folder}/log/%slog
daemon_smtp_ports = {port}
local_interfaces = 127.0.0.1
disable_ipv6
keep_environment =
host_lookup =
rfc1413_hosts =
tls_advertise_hosts = *
tls_certificate = {folder}/server.pem
tls_privatekey = {folder}/server.key
tls_verify_certificates = {folder}/ca.pem
tls_try_verify_hosts = *
auth_advertise_hosts = ${{if def:tls_in_cipher {{*}}{{}}}}
smtputf8_advertise_hosts = *
message_size_limit = {limit}
acl_smtp_rcpt = rcpt
acl_smtp_data = data
begin acl
rcpt:
  deny !authenticated = *
       message = log in
  accept domains = example.org
         local_parts = a : b : j\\xc3\\xb6rg
  deny message = nobody of that name
data:
  accept
begin routers
box:
  driver = accept
  transport = box
begin transports
box:
  driver = appendfile
  directory = {folder}/boxes
  maildir_format
  create_directory
  envelope_to_add
  user = Debian-exim
begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = ${{if and{{{{eq{{$auth2}}{{{user}}}}}{{eq{{$auth3}}{{{password}}}}}}}}}
  server_set_id = $auth2
login:
  driver = plaintext
  public_name = LOGIN
  server_prompts = Username:: : Password::
  server_condition = ${{if and{{{{eq{{$auth1}}{{{user}}}}}{{eq{{$auth2}}{{{password}}}}}}}}}
  server_set_id = $auth1
cram:
  driver = cram_md5
  public_name = CRAM-MD5
  server_secret = ${{if eq{{$auth1}}{{{user}}}{{{password}}}fail}}
  server_set_id = $auth1
external:
  driver = external
  public_name = EXTERNAL
  server_advertise_condition = ${{if eq{{$tls_in_certificate_verified}}{{1}}}}
  server_condition = ${{if eq{{$tls_in_certificate_verified}}{{1}}}}
  server_set_id = ${{certextract{{subj_altname,mail}}{{$tls_in_peercert}}}}
"""


def exim(folder, certificates):
    peer = Peer("Exim", folder, free_port(), "relay", PASSWORD, utf8=True)  # its CRAM-MD5 cuts a name at a blank
    _certificate(peer, certificates)
    shutil.copy(certificates / "ca.pem", folder)
    text = EXIM.format(folder=folder, port=peer.port, limit=LIMIT, user=peer.user, password=PASSWORD)
    peer.write("exim4.conf", text)
    peer.boxes.mkdir()
    lines = f"""
{_users("Debian-exim")}
mkdir -p /etc/exim4 /var/spool/exim4
cp {folder}/exim4.conf /etc/exim4/exim4.conf
cp /usr/sbin/exim4 {folder}/exim4 && chmod 4755 {folder}/exim4 && mount --bind {folder}/exim4 /usr/sbin/exim4
chown -R Debian-exim:Debian-exim /var/spool/exim4 {folder}/log {folder}/boxes {folder}/server.key
"""
    packages = ("exim4-base", "exim4-daemon-light")
    peer.launch(*_in_a_namespace(peer, packages, lines, "/usr/sbin/exim4", "-bdf", "-q5s"))
    return peer


OPENSMTPD = """
table known {{ "a@example.org", "b@example.org" }}
table people {{ "@example.org" = "nobody" }}
smtp max-message-size "{limit}"
listen on 127.0.0.1 port {port} hostname mx.example.net
action "box" maildir "{folder}/boxes" user nobody virtual <people>
match from any for rcpt-to <known> action "box"
"""


def opensmtpd(folder, _certificates):
    """Without TLS, and so without AUTH: Debian 12's fails every handshake (rsa routines::missing private key)."""
    peer = Peer("OpenSMTPD", folder, free_port(), "", "", utf8=False)
    peer.write("smtpd.conf", OPENSMTPD.format(limit=LIMIT, port=peer.port, folder=folder))
    (folder / "log").mkdir()
    peer.boxes.mkdir()
    shutil.chown(peer.boxes, "nobody", "nogroup")
    lines = f"""
{_users("opensmtpd", "opensmtpq")}
mkdir -p /var/spool/smtpd /var/lib/opensmtpd/empty
chmod 711 /var/spool/smtpd
chown root:root /var/lib/opensmtpd/empty; chmod 755 /var/lib/opensmtpd /var/lib/opensmtpd/empty
echo mx.example.net > /etc/mailname
"""
    peer.launch(*_in_a_namespace(peer, ("opensmtpd",), lines, "smtpd", "-d", "-f", f"{folder}/smtpd.conf"))
    return peer


DOVECOT = """
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/log/dovecot.log
listen = 127.0.0.1
protocols = submission
hostname = mx.example.net
mail_location = maildir:{folder}/mail
ssl = required
ssl_cert = <{folder}/server.pem
ssl_key = <{folder}/server.key
auth_mechanisms = plain login cram-md5 scram-sha-1 scram-sha-256 xoauth2 oauthbearer
auth_username_chars =
auth_failure_delay = 0
submission_relay_host = 127.0.0.1
submission_relay_port = {postfix}
submission_max_mail_size = {limit}
passdb {{
  driver = passwd-file
  args = scheme=PLAIN {folder}/passwd
  mechanisms = plain login cram-md5 scram-sha-1 scram-sha-256
}}
passdb {{
  driver = oauth2
  mechanisms = xoauth2 oauthbearer
  args = {folder}/oauth2.conf
}}
userdb {{
  driver = static
  args = uid=65534 gid=65534 home=/nonexistent
}}
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service submission-login {{
  inet_listener submission {{
    port = {port}
  }}
  inet_listener submissions {{
    port = 0
  }}
}}
"""
INTROSPECTION = """
introspection_mode = post
introspection_url = https://localhost:{tokens}/introspect
tls_ca_cert_file = {folder}/ca.pem
username_attribute = username
active_attribute = active
active_value = true
scope = smtp
"""


def dovecot(folder, certificates, postfix):
    """It hands on to Postfix, which delivers."""
    peer = Peer("Dovecot", folder, free_port(), USER, PASSWORD, utf8=False)
    _certificate(peer, certificates)
    values = {"folder": folder, "port": peer.port, "postfix": postfix.plain, "limit": LIMIT, "tokens": postfix.tokens}
    peer.write("dovecot.conf", DOVECOT.format(**values), 0o644)
    peer.write("oauth2.conf", INTROSPECTION.format(**values), 0o644)
    hidden = base64.b64encode(PASSWORD.encode()).decode()
    peer.write("passwd", f"{USER}:{{PLAIN.b64}}{hidden}\n", 0o644)
    shutil.copy(certificates / "ca.pem", folder)
    (folder / "mail").mkdir()
    shutil.chown(folder / "mail", "nobody", "nogroup")
    peer.boxes = postfix.boxes
    peer.launch("dovecot", "-F", "-c", folder / "dovecot.conf")
    return peer


def _certificate(peer, certificates):
    """Its chain and its key, apart."""
    key, chain = re.fullmatch(
        r"(-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----\n)(.*)",
        (certificates / "server.pem").read_text(),
        re.DOTALL,
    ).groups()
    peer.write("server.key", key)
    peer.write("server.pem", chain, 0o644)
    (peer.folder / "log").mkdir(mode=0o755)


PEERS = {"exim": exim, "opensmtpd": opensmtpd, "dovecot": dovecot}
NEEDED = {"exim": "exim4-daemon-light", "opensmtpd": "opensmtpd"}


@pytest.fixture(scope="session", params=PEERS)
def peer_server(request, certificates, postfix_server):
    """One of them, running."""
    name = request.param
    if name in NEEDED and not (UNPACKED / NEEDED[name]).is_dir():
        missing(f"{NEEDED[name]} (unpacked)")
    if name == "dovecot" and not Path("/usr/lib/dovecot/submission-login").exists():
        missing("dovecot-submissiond")
    folder = Path("/tmp") / f"tracker-relay-{name}-{os.getpid()}"
    folder.mkdir(mode=0o755)
    made = None
    try:
        more = (postfix_server,) if name == "dovecot" else ()
        made = PEERS[name](folder, certificates, *more)
        yield made
    finally:
        if made:
            made.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def peer(peer_server, postfix):
    """It, with empty boxes."""
    for path in peer_server.boxes.glob("**/new/*"):
        path.unlink()
    return peer_server
