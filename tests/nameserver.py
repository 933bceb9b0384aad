"""A name server on loopback that says what its script says; it speaks the wire format, over UDP and TCP."""

import contextlib
import socketserver
import struct
import threading
import time

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

SERVFAIL, SILENCE, GARBAGE, REFUSED, DRIP = "SERVFAIL", "SILENCE", "GARBAGE", "REFUSED", "DRIP"


class Zone:
    """`records` maps (name, kind) to a list of record texts, or to one of the faults above; all other names do not exist.

    `proven` sets AD; `follows` false leaves a CNAME's target to the asker; `asked` are the questions so far.
    """

    def __init__(self, records=None, *, proven=False, follows=True, ttl=60):
        self.records = dict(records or {})
        self.proven, self.follows, self.ttl = proven, follows, ttl
        self.asked = []
        self.port = 0
        self.over_tcp = 0

    def answer(self, wire, limit):
        query = dns.message.from_wire(wire)
        [question] = query.question
        kind = dns.rdatatype.to_text(question.rdtype)
        name = question.name
        self.asked.append((name.to_text(omit_final_dot=True).lower(), kind))
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.RA | (dns.flags.AD if self.proven else 0)
        for _ in range(20):
            text = name.to_text(omit_final_dot=True).lower()
            found = self.records.get((text, kind))
            if found is None and (alias := self.records.get((text, "CNAME"))):
                answer.answer.append(dns.rrset.from_text(name, self.ttl, "IN", "CNAME", *alias))
                name = dns.name.from_text(alias[0])
                if self.follows:
                    continue
            break
        if found in (SILENCE, DRIP):
            return found
        if found == GARBAGE:
            return wire[:2] + b"\xff" * 40
        if found in (SERVFAIL, REFUSED):
            answer.set_rcode(dns.rcode.from_text(found))
        elif found:
            answer.answer.append(dns.rrset.from_text(name, self.ttl, "IN", kind, *found))
        elif (self.follows or not answer.answer) and not any(known == text for known, _ in self.records):
            answer.set_rcode(dns.rcode.NXDOMAIN)
        octets = answer.to_wire(max_size=65535)
        if limit and len(octets) > limit:
            short = dns.message.make_response(query)
            short.flags |= dns.flags.TC
            octets = short.to_wire()
        return octets


class _Udp(socketserver.BaseRequestHandler):
    def handle(self):
        wire, sock = self.request
        octets = self.server.zone.answer(wire, 512)
        if isinstance(octets, bytes):
            sock.sendto(octets, self.client_address)


class _Tcp(socketserver.StreamRequestHandler):
    def handle(self):
        with contextlib.suppress(OSError, struct.error):
            [length] = struct.unpack("!H", self.rfile.read(2))
            self.server.zone.over_tcp += 1
            octets = self.server.zone.answer(self.rfile.read(length), 0)
            if octets == DRIP:
                self.wfile.write(struct.pack("!H", 500))
                for _ in range(100):
                    self.wfile.write(b"x")
                    time.sleep(0.1)
            elif isinstance(octets, bytes):
                self.wfile.write(struct.pack("!H", len(octets)) + octets)


class _UdpServer(socketserver.ThreadingUDPServer):
    daemon_threads = True
    block_on_close = False


class _TcpServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def handle_error(self, request, client_address):
        pass


@contextlib.contextmanager
def serving(zone, host="127.0.0.1", port=0):
    """The zone, served on a free port, or on that one: `zone.port`."""
    for attempt in range(20):
        udp = _UdpServer((host, port), _Udp)
        try:
            tcp = _TcpServer((host, udp.server_address[1]), _Tcp)
            break
        except OSError:
            udp.server_close()
            if attempt == 19:
                raise
    zone.port = udp.server_address[1]
    servers = [udp, tcp]
    threads = [threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True) for server in servers]
    for server, thread in zip(servers, threads, strict=True):
        server.zone = zone
        thread.start()
    try:
        yield zone
    finally:
        for server, thread in zip(servers, threads, strict=True):
            server.shutdown()
            thread.join(5)
            server.server_close()
