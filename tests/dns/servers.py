"""Real DNS on loopback: Knot DNS serves a signed and a plain zone, Unbound validates; both on free ports, ended by their pid.

`secure.test` is signed, but for one record whose signature is broken; `plain.test` is not. Mail servers are hosts
127.0.0.N, all at one port, so that their TLSA records can be written before they are started.
"""

import shutil
import subprocess

import dns.dnssec
import dns.message
import dns.name
import dns.query
import dns.rdataclass
import dns.rdatatype
import dns.zone
import pytest
import trustme
from cryptography.hazmat.primitives.asymmetric import ec

from relay import proving
from tests.e2e.tools import free_port, missing, until
from tests.upstream.test_dane import der

USELESS, NOBODY = "1 1 1 " + "00" * 32, "3 1 1 " + "00" * 32


class Names:
    """The zones, and the certificates that they speak of."""

    def __init__(self, folder):
        self.folder, self.port = folder, free_port()
        self.authority = trustme.CA()
        self.own = self.certificate("own", "elsewhere.test")
        self.issued = self.certificate("issued", "ta.secure.test", presents=(self.authority,))
        right = proving.tlsa_of(der(self.own.cert_chain_pems[0]))
        self.right = f"3 1 1 {right.data.hex()}"
        authority = proving.tlsa_of(der(self.authority.cert_pem))
        self.by_authority = f"2 1 1 {authority.data.hex()}"

    def certificate(self, name, host, presents=()):
        made = self.authority.issue_cert(host)
        pems = [made.private_key_pem, made.cert_chain_pems[0], *(ca.cert_pem for ca in presents)]
        (self.folder / f"{name}.pem").write_bytes(b"".join(pem.bytes() for pem in pems))
        return made

    def zone(self, origin):
        hosts = {
            "right": [self.right],
            "wrong": [NOBODY],
            "ta": [self.by_authority],
            "useless": [USELESS],
            "bogus": [self.right],
            "none": [],
        }
        lines = ["@ 60 IN SOA ns hostmaster 1 3600 600 86400 60", "@ 60 IN NS ns", "ns 60 IN A 127.0.0.1"]
        for host, records in hosts.items():
            lines += [f"{host} 60 IN A 127.0.0.2", f"for-{host} 60 IN MX 10 {host}"]
            lines += [f"_{self.port}._tcp.{host} 60 IN TLSA {record}" for record in records]
        lines += ["cross 60 IN MX 10 wrong.secure.test."]
        lines += ["alias 60 IN CNAME right", "for-two 60 IN MX 10 bogus", "for-two 60 IN MX 20 second"]
        lines += ["second 60 IN A 127.0.0.3", f"_{self.port}._tcp.second 60 IN TLSA {self.right}"]
        return dns.zone.from_text("\n".join(lines), origin, relativize=False)

    def write(self):
        """Both zone files; the DS record of the signed one."""
        self.zone("plain.test.").to_file(str(self.folder / "plain.test.zone"), relativize=False)
        signed = self.zone("secure.test.")
        key = ec.generate_private_key(ec.SECP256R1())
        dnskey = dns.dnssec.make_dnskey(key.public_key(), dns.dnssec.Algorithm.ECDSAP256SHA256)
        dns.dnssec.sign_zone(signed, keys=[(key, dnskey)], lifetime=86400, dnskey_ttl=60, add_dnskey=True)
        bogus = dns.name.from_text(f"_{self.port}._tcp.bogus.secure.test.")
        with signed.writer() as changes:
            rrset = changes.get(bogus, dns.rdatatype.RRSIG, dns.rdatatype.TLSA)
            [signature] = rrset
            octets = bytes([signature.signature[0] ^ 1]) + signature.signature[1:]
            changes.replace(bogus, dns.rdataset.from_rdata(60, signature.replace(signature=octets)))
        signed.to_file(str(self.folder / "secure.test.zone"), relativize=False)
        ds = dns.dnssec.make_ds("secure.test.", dnskey, "SHA256")
        return f"secure.test. IN DS {ds.to_text()}"


KNOT = """
server:
    listen: 127.0.0.1@{knot}
    rundir: "{folder}"
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
database:
    storage: "{folder}"
template:
  - id: default
    storage: "{folder}"
    file: "%s.zone"
    semantic-checks: off
    zonefile-load: whole
    journal-content: none
zone:
  - domain: secure.test
  - domain: plain.test
log:
  - target: stderr
    any: warning
"""
UNBOUND = """
server:
    interface: 127.0.0.1@{port}
    do-daemonize: no
    chroot: ""
    username: ""
    directory: "{folder}"
    pidfile: "{folder}/unbound.pid"
    use-syslog: no
    num-threads: 1
    do-not-query-localhost: no
    access-control: 127.0.0.0/8 allow
    module-config: "validator iterator"
    trust-anchor: "{anchor}"
    local-zone: "test." nodefault
    outgoing-range: 64
forward-zone:
    name: "."
    forward-addr: 127.0.0.1@{knot}
remote-control:
    control-enable: no
"""


class Servers:
    """Both programs, running; `port` is that of the resolver."""

    def __init__(self, folder):
        self.folder, self.names, self.running = folder, Names(folder), []
        self.port = free_port()

    def start(self):
        known = {"folder": self.folder, "knot": free_port(), "port": self.port, "anchor": self.names.write()}
        for program, form in (("knotd", KNOT), ("unbound", UNBOUND)):
            path = shutil.which(program, path="/usr/sbin:/usr/bin")
            if path is None:
                missing(program)
            file = self.folder / f"{program}.conf"
            file.write_text(form.format(**known))
            arguments = [path, "-c", file] + (["-d"] if program == "unbound" else [])
            with (self.folder / f"{program}.log").open("wb") as output:
                self.running.append(subprocess.Popen(arguments, stdout=output, stderr=output, cwd=self.folder))
        until(self._answers, f"DNS:\n{self._logs()}", 20)

    def _answers(self):
        assert all(program.poll() is None for program in self.running), self._logs()
        query = dns.message.make_query("right.secure.test.", "A", want_dnssec=False)
        try:
            return dns.query.udp(query, "127.0.0.1", port=self.port, timeout=0.5).answer
        except (dns.exception.DNSException, OSError):
            return False

    def _logs(self):
        return "\n".join((self.folder / f"{name}.log").read_text() for name in ("knotd", "unbound"))

    def stop(self):
        for program in self.running:
            program.terminate()
        for program in self.running:
            program.wait(10)


@pytest.fixture(scope="session")
def servers(tmp_path_factory):
    made = Servers(tmp_path_factory.mktemp("dns"))
    try:
        made.start()
        yield made
    finally:
        made.stop()
