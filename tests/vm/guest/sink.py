"""A mail server for the laboratory: STARTTLS on 587, TLS on 465, AUTH; it keeps what it is sent, or says 451."""

import base64
import socketserver
import ssl
import threading
import time
from dataclasses import dataclass

PASSWORD = "pass word #1"


@dataclass
class Mail:
    octets: bytes
    port: int
    tls: bool
    user: str


class Sink:
    """All ports of the laboratory's mail server."""

    def __init__(self, certificate):
        self.mails, self.lock, self.busy = [], threading.Lock(), False
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate)

    def listen(self, *ports):
        for port in ports:
            server = _Server(("127.0.0.1", port), _Session)
            server.sink = self
            threading.Thread(target=server.serve_forever, daemon=True).start()

    def find(self, tag):
        with self.lock:
            return next((mail for mail in self.mails if tag.encode() in mail.octets), None)

    def wait(self, tag, seconds=90):
        """The mail with that word in it; None when it does not come."""
        end = time.monotonic() + seconds
        while not (mail := self.find(tag)) and time.monotonic() < end:
            time.sleep(0.2)
        return mail


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True

    def handle_error(self, *_):
        pass


class _Session(socketserver.BaseRequestHandler):
    def handle(self):
        self.sink, self.port = self.server.sink, self.server.server_address[1]
        self.tls, self.user, self.connection = False, "", self.request
        if self.port == 465:
            self.secure()
        self.lines = self.connection.makefile("rb")
        self.say("220 sink")
        while raw := self.lines.readline():  # of the connection as it is then: STARTTLS makes a new one
            if not self.command(raw.strip()):
                return

    def secure(self):
        self.connection = self.sink.context.wrap_socket(self.request, server_side=True)
        self.tls = True

    def say(self, text):
        self.connection.sendall(text.encode() + b"\r\n")

    def command(self, line):
        verb = line.upper().partition(b" ")[0]
        if verb == b"EHLO":
            self.say("250-sink\r\n250-PIPELINING\r\n" + ("250 AUTH PLAIN" if self.tls else "250 STARTTLS"))
        elif verb == b"STARTTLS":
            self.say("220 go")
            self.secure()
            self.lines = self.connection.makefile("rb")
        elif verb == b"AUTH":
            _, user, password = base64.b64decode(line.split()[2]).decode().split("\0")
            self.user = user if password == PASSWORD else ""
            self.say("235 welcome" if self.user else "535 5.7.8 no")
        elif verb == b"DATA":
            self.data()
        elif verb == b"QUIT":
            self.say("221 bye")
            return False
        else:
            self.say("250 ok")
        return True

    def data(self):
        self.say("354 go")
        octets = b"".join(iter(self.lines.readline, b".\r\n"))
        if self.sink.busy:
            self.say("451 4.3.0 busy")
            return
        with self.sink.lock:
            self.sink.mails.append(Mail(octets, self.port, self.tls, self.user))
        self.say("250 taken")
