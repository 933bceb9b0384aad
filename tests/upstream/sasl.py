"""The server's side of SASL, written for the tests from the RFCs alone: it shares no line with the relay."""

import base64
import hashlib
import hmac


class Scram:
    """A SCRAM server that knows one user. `twist` makes it misbehave: message name -> text or function of the text."""

    def __init__(
        self, password, *, digest="sha256", binding=b"", count=4096, salt=b"0123456789abcdef", plus=False, **twist
    ):
        self.password, self.digest, self.binding, self.count, self.salt = password, digest, binding, count, salt
        self.plus, self.twist = plus, twist
        self.header = self.user = None

    def talk(self, initial):
        """A generator: yields challenges (octets), is sent responses, returns the SMTP reply."""
        first = (initial if initial is not None else (yield b"")).decode()
        flag, _, bare = first.split(",", 2)
        self.header = f"{flag},,"
        self.user = bare.split(",")[0][2:].replace("=2C", ",").replace("=3D", "=")
        nonce = bare.split(",")[1][2:]
        if flag == "y" and self.plus:
            return "535 5.7.8 channel binding was stripped"
        answer = self._twisted("first", f"r={nonce}SERVER,s={base64.b64encode(self.salt).decode()},i={self.count}")
        final = (yield answer.encode()).decode()
        without_proof, _, proof = final.rpartition(",p=")
        bound = base64.b64decode(without_proof.split(",")[0][2:])
        expected = self.header.encode() + (self.binding if flag.startswith("p=") else b"")
        if bound != expected:
            return "535 5.7.8 bound to another connection"
        said = f"{bare},{answer},{without_proof}".encode()
        salted = hashlib.pbkdf2_hmac(self.digest, self.password.encode(), self.salt, self.count)
        key = hmac.new(salted, b"Client Key", self.digest).digest()
        signature = hmac.new(hashlib.new(self.digest, key).digest(), said, self.digest).digest()
        if base64.b64decode(proof) != bytes(a ^ b for a, b in zip(key, signature, strict=True)):
            return "535 5.7.8 wrong password"
        server = hmac.new(hmac.new(salted, b"Server Key", self.digest).digest(), said, self.digest).digest()
        last = self._twisted("final", f"v={base64.b64encode(server).decode()}")
        if last is not None:
            assert (yield last.encode()) == b""
        return "235 2.7.0 in"

    def _twisted(self, name, text):
        twist = self.twist.get(name, text)
        return twist(text) if callable(twist) else twist

    def log_in(self, _mechanism, initial):
        """The same over base64, as the scripted peer wants it."""
        dialogue = self.talk(None if initial is None else base64.b64decode(initial))
        try:
            challenge = next(dialogue)
            while True:
                challenge = dialogue.send(base64.b64decode((yield base64.b64encode(challenge))))
        except StopIteration as over:
            return over.value
