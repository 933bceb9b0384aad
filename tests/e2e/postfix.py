"""Postfix as the next hop, its log-ins checked by Dovecot."""

import base64
import email
import email.policy
import os
import pwd
import re
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trustme

from tests.e2e.tools import PASSWORD, USER, answers, free_port, missing, needs_root, until

MAILBOXES = [
    "a@example.org",
    "b@example.org",
    "eve@example.org",
    "list@example.org",
    "audit@example.org",
    "dana@example.com",
    "luc@example.net",
    "kim@corp.example.com",
    "admin@example.com",
    "bugs@example.com",
]
"""Who has a mailbox in Postfix; everybody else is unknown there."""


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    authority.issue_cert("localhost", "127.0.0.1").private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    authority.issue_cert("relay@example.com").private_key_and_cert_chain_pem.write_to_path(folder / "client.pem")
    return folder


@dataclass
class Stored:
    """One mail as Postfix stored it."""

    recipient: str
    raw: bytes

    @property
    def message(self):
        return email.message_from_bytes(self.raw, policy=email.policy.default)

    @property
    def text(self):
        part = self.message.get_body(("plain",))
        return "\n".join(part.get_content().splitlines())

    def field(self, name):
        """The raw bytes of the one field of that name, unfolded."""
        header = self.raw.partition(b"\n\n")[0]
        found = re.findall(rb"(?im)^" + name.encode() + rb":[ \t]*((?:.*(?:\n[ \t].*)*))", header)
        assert len(found) <= 1, found
        return re.sub(rb"\n(?=[ \t])", b"", found[0]).decode() if found else None

    @property
    def envelope_from(self):
        return self.field("Return-Path")


@dataclass
class Postfix:
    folder: Path
    starttls: int
    implicit: int
    plain: int
    seven_bit: int
    tokens: int
    """Where Dovecot asks whose an access token is."""
    boxes: Path = field(init=False)

    def __post_init__(self):
        self.boxes = self.folder / "boxes"

    def command(self, *arguments):
        result = subprocess.run(
            ["postfix", "-c", self.folder / "etc", *arguments], capture_output=True, text=True, timeout=60
        )
        assert result.returncode == 0, (result.stdout, result.stderr, self.log())
        return result

    def start(self):
        self.command("start")
        for port in (self.starttls, self.implicit, self.plain, self.seven_bit):
            until(lambda port=port: answers(port), f"Postfix on {port}: {self.log()}")

    def stop(self):
        self.command("stop")

    def log(self):
        path = self.folder / "log" / "mail.log"
        return path.read_text() if path.exists() else ""

    def mails(self):
        found = []
        for path in sorted(self.boxes.glob("*/*/new/*"), key=lambda p: p.stat().st_mtime):
            domain, local = path.parts[-4:-2]
            found.append(Stored(f"{local}@{domain}", path.read_bytes()))
        return found

    def wait(self, number, seconds=40):
        until(lambda: len(self.mails()) >= number, f"{number} mails in Postfix", seconds)
        time.sleep(0.3)
        assert len(self.mails()) == number, [m.recipient for m in self.mails()]
        return {mail.recipient: mail for mail in self.mails()}

    def empty(self):
        shutil.rmtree(self.boxes)
        self._make_boxes()

    def _make_boxes(self):
        self.boxes.mkdir()
        shutil.chown(self.boxes, "nobody", "nogroup")


MAIN = """
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
maillog_file = {folder}/log/mail.log
maillog_file_prefixes = {folder}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mx.example.net
mydestination =
alias_maps =
local_recipient_maps =
mynetworks = 127.0.0.0/8
virtual_mailbox_domains = regexp:{folder}/etc/domains
virtual_mailbox_maps = texthash:{folder}/etc/boxes
virtual_mailbox_base = {folder}/boxes
virtual_minimum_uid = 1
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
virtual_mailbox_limit = 0
message_size_limit = 60000000
smtpd_tls_cert_file = {certificates}/server.pem
smtpd_tls_key_file = {certificates}/server.pem
smtpd_sasl_type = dovecot
smtpd_sasl_path = {folder}/auth.sock
smtpd_client_connection_count_limit = 0
smtputf8_enable = yes
"""


SERVICES = """
127.0.0.1:{starttls} inet n - n - - smtpd -o smtpd_tls_security_level=encrypt -o smtpd_sasl_auth_enable=yes -o smtpd_relay_restrictions=permit_sasl_authenticated,reject
127.0.0.1:{implicit} inet n - n - - smtpd -o smtpd_tls_wrappermode=yes -o smtpd_sasl_auth_enable=yes -o smtpd_relay_restrictions=permit_sasl_authenticated,reject
127.0.0.1:{plain} inet n - n - - smtpd -o smtpd_tls_security_level=none
127.0.0.1:{seven_bit} inet n - n - - smtpd -o smtpd_tls_security_level=none -o smtpd_discard_ehlo_keywords=8bitmime,smtputf8
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


DOVECOT = """
base_dir = {folder}/dovecot
state_dir = {folder}/dovecot-state
log_path = {folder}/log/dovecot.log
protocols =
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain login cram-md5 scram-sha-1 scram-sha-256 xoauth2 oauthbearer
auth_username_chars =
passdb {{
  driver = passwd-file
  args = scheme=PLAIN {folder}/etc/passwd
  mechanisms = plain login cram-md5 scram-sha-1 scram-sha-256
}}
passdb {{
  driver = oauth2
  mechanisms = xoauth2 oauthbearer
  args = {folder}/etc/oauth2.conf
}}
userdb {{
  driver = static
  args = uid=65534 gid=65534 home=/nonexistent
}}
auth_failure_delay = 0
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service auth {{
  unix_listener {folder}/auth.sock {{
    mode = 0666
  }}
}}
"""

OAUTH2 = """
introspection_mode = post
introspection_url = https://localhost:{tokens}/introspect
tls_ca_cert_file = {folder}/etc/ca.pem
username_attribute = username
active_attribute = active
active_value = true
scope = smtp
"""


@pytest.fixture(scope="session")
def postfix_server(tmp_path_factory, certificates):
    needs_root()
    for program in ("postfix", "dovecot"):
        if not shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin"):
            missing(program)
    # Postfix's own users must be able to pass: pytest's folders are closed to them.
    folder = Path("/tmp") / f"tracker-relay-peers-{os.getpid()}"
    folder.mkdir(mode=0o755)
    for name in ("etc", "queue", "data", "log"):
        (folder / name).mkdir()
    shutil.chown(folder / "data", "postfix", "postfix")
    nobody = pwd.getpwnam("nobody")
    server = Postfix(folder, *(free_port() for _ in range(5)))
    server._make_boxes()
    ports = {name: getattr(server, name) for name in ("starttls", "implicit", "plain", "seven_bit")}
    main = MAIN.format(folder=folder, certificates=certificates, uid=nobody.pw_uid, gid=nobody.pw_gid)
    (folder / "etc" / "main.cf").write_text(main)
    (folder / "etc" / "master.cf").write_text(SERVICES.format(**ports))
    (folder / "etc" / "domains").write_text("/example/ ok\n")
    boxes = (address.partition("@")[::2] for address in MAILBOXES)
    (folder / "etc" / "boxes").write_text("".join(f"{local}@{domain} {domain}/{local}/\n" for local, domain in boxes))
    hidden = base64.b64encode(PASSWORD.encode()).decode()
    (folder / "etc" / "passwd").write_text(f"{USER}:{{PLAIN.b64}}{hidden}\n")
    shutil.copy(certificates / "ca.pem", folder / "etc")
    (folder / "etc" / "oauth2.conf").write_text(OAUTH2.format(folder=folder, tokens=server.tokens))
    (folder / "etc" / "dovecot.conf").write_text(DOVECOT.format(folder=folder))
    dovecot = subprocess.Popen(["dovecot", "-F", "-c", folder / "etc" / "dovecot.conf"])
    try:
        until(lambda: (folder / "auth.sock").exists(), "Dovecot's auth socket")
        server.start()
        yield server
    finally:
        subprocess.run(["postfix", "-c", folder / "etc", "stop"], capture_output=True, timeout=60)
        dovecot.terminate()
        dovecot.wait(20)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postfix(postfix_server):
    """Running and empty."""
    if not answers(postfix_server.plain):
        postfix_server.start()
    postfix_server.empty()
    return postfix_server


@pytest.fixture
def upstream_lines(certificates):
    """The lines that point [notification] at a Postfix port with STARTTLS and AUTH, or implicit TLS."""

    def lines(port, *, tls="starttls", user=USER):
        return (
            f"smtp_server = localhost\nsmtp_port = {port}\ntls = {tls}\ntls_ca_file = {certificates}/ca.pem\n"
            f"smtp_user = {user}\nsmtp_password_file = password\n"
        )

    return lines
