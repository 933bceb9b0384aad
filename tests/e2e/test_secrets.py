"""Everything that a busy run wrote and showed is searched for all the secrets that it used (promise 6).

One run: clients log in, next hops by password and by token, mail is signed, refused, reported on and kept, and
servers throw our secrets back at us.
"""

import base64
import email
import json
import re
import smtplib
import ssl
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from relay import cli, passwords
from relay.auth.credentials import Channel, Credentials
from relay.auth.scram import scram
from relay.options import Secret
from tests.e2e.hop import Hop
from tests.e2e.tools import free_port, until
from tests.oauth.commands import Command, fetch
from tests.oauth.server import TokenServer
from tests.upstream.conftest import Peer, in_a_thread

PASSWORD, LOGIN, TYPO = "Grue-xyzzy-7319-plugh", "Zork-3141-brass-lantern", "Zork-3141-brass-lanterm"
CLIENT = "Frotz-2718-client-secret"
TOKEN = "notification:token"
USERS = {PASSWORD: "relay", LOGIN: "dana", TYPO: "dana"}
MAIL = "Message-ID: <{0}@t>\r\nSubject: [Harbour] #{0}: Crane\r\nX-Trac-Project: Harbour\r\n\r\nhello\r\n"
HOPS = ("notification", "notification:refused", TOKEN)
CONFIG = """
passwd_file = passwd
[status]
listen = 127.0.0.1:{page}
[log]
level = debug
file = log
[retry]
first = 1s
longest = 1s
report_to = admin@example.com
[notification]
smtp_enabled = true
smtp_from = bugs@example.com
smtp_server = 127.0.0.1
smtp_port = {good}
smtp_user = relay
smtp_password_file = password
use_tls = false
dkim_selector = s1
dkim_domain = example.com
dkim_key_file = dkim.pem
[notification:refused]
match = from: bad@t.example.com
smtp_port = {bad}
[notification:kept]
match = from: kept@t.example.com
smtp_server =
smtp_user =
smtp_password_file =
[notification:token]
match = from: token@t.example.com
smtp_server = localhost
smtp_port = {peer}
smtp_user = me@example.com
smtp_password_file =
use_tls = true
tls_ca_file = {ca}
oauth = custom
oauth_grant = authorization_code
oauth_client_id = app
oauth_client_secret_file = client.secret
oauth_scope = smtp
oauth_ca_file = {ca}
oauth_token_url = {token}
oauth_auth_url = {auth}
"""


@dataclass
class Tokens(TokenServer):
    """A token server whose tokens nothing else looks like. It can be made to throw back what it is asked with."""

    made: list = field(default_factory=list)

    def issue(self, *, refresh=True):
        status, answer = super().issue(refresh=refresh)
        self.current = answer["access_token"] = f"Access-grue-{self.issued}-4669201609"
        self.refresh = answer["refresh_token"] = f"Refresh-grue-{self.issued}-2502907875"
        self.made += [self.current, self.refresh]
        return status, answer


def mirror(form):
    """What a token server might say in its anger."""
    return 400, {"error": "invalid_grant", "error_description": f"not with {' nor '.join(form.values())}"}


def forms(secret):
    """The secret, and whatever it could be written as."""
    octets = secret if isinstance(secret, bytes) else secret.encode()
    inside = [base64.b64encode(b"x" * skip + octets)[4 : -len(octets) // 3] for skip in range(3)]
    made = [octets, octets.hex().encode(), octets[::-1], base64.b64encode(octets).rstrip(b"="), *inside]
    if isinstance(secret, str):
        made += [said(secret), urllib.parse.quote(secret, safe="").encode()]
    return made


def said(secret):
    """How it is said in AUTH PLAIN."""
    return base64.b64encode(f"\0{USERS.get(secret, '')}\0{secret}".encode())


@dataclass
class World:
    """The relay, and all that it talks to."""

    relay: object
    hop: Hop
    bad: Hop
    peer: Peer
    tokens: Tokens
    secrets: dict
    heard: list

    def submit(self, number, sender="trac", to="eve", plain=False, words=(LOGIN,)):
        """A mail from a client that logs in, with the last of these words."""
        with smtplib.SMTP("127.0.0.1", self.relay.port, timeout=30) as client:
            client.ehlo()
            for word in words:
                code = 235 if word == LOGIN else 535
                if plain:
                    assert client.docmd("AUTH", f"PLAIN {said(word).decode()}")[0] == code
                else:
                    assert scrammed(client, word) == code
            client.sendmail(f"{sender}@t.example.com", [f"{to}@example.org"], MAIL.format(number).encode())

    def sign_in(self):
        """As a person does it: the page is read off the command's output."""
        login = Command(self.relay.folder / "config.ini", "login", TOKEN)
        fetch(self.tokens.consent(login.read_until(r"^(https://\S+)")[1]))
        status, err = login.end()
        assert status == 0, err
        return login.out.encode() + err.encode()


def scrammed(client, word):
    """AUTH SCRAM-SHA-256; the last code."""
    dialogue = scram("sha256", Credentials("dana", Secret(word)), Channel("localhost", 25, "abc"), plus=False)
    code, text = client.docmd("AUTH", "SCRAM-SHA-256 " + base64.b64encode(next(dialogue)).decode())
    while code == 334:
        code, text = client.docmd(base64.b64encode(dialogue.send(base64.b64decode(text))).decode())
    return code


@pytest.fixture
def world(relay, hop, certificates):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem")
    tokens, bad, heard, refused = Tokens(context), Hop(), [], []
    tokens.start()

    def by_token(_mechanism, initial):
        heard.append(base64.b64decode(initial or (yield b"")))
        token = heard[-1].decode().partition("auth=Bearer ")[2].rstrip("\1")
        if refused:
            return "235 2.7.0 in"
        refused.append(token)
        yield base64.b64encode(json.dumps({"status": "400", "schemes": f"not {token}"}).encode())
        return f"535 5.7.8 not with {token}"

    hop.log_in = lambda line: heard.append(line) or b"235 2.7.0 ok"
    bad.log_in = lambda line: heard.append(line) or b"535 5.7.8 not with " + line + b" nor " + PASSWORD.encode()
    hop.refuse["gone"] = f"550 5.1.1 no such user for {PASSWORD}"
    script = {"RCPT:lost@example.org": lambda _peer: f"550 5.1.1 no such user for {tokens.current}"}
    with in_a_thread(Peer(certificate=context, auth="XOAUTH2", log_in=by_token, script=script)) as peer:
        urls = {name: tokens.url(name) for name in ("token", "auth")}
        ports = {"good": hop.port, "bad": bad.port, "peer": peer.port, "page": free_port()}
        relay.configure(CONFIG.format(ca=certificates / "ca.pem", **ports, **urls))
        yield World(relay, hop, bad, peer, tokens, written_secrets(relay.folder), heard)
    bad.sock.close()
    tokens.stop()


def written_secrets(folder):
    """The files with secrets; each secret with the names of the files that may hold it."""
    key = Ed25519PrivateKey.generate()
    seed = key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    line = f"dana:{passwords.hashed(LOGIN, b'salt' * 4)}"
    files = {
        "password": PASSWORD.encode(),
        "client.secret": CLIENT.encode(),
        "passwd": line.encode() + b"\n",
        "dkim.pem": key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    }
    for name, octets in files.items():
        (folder / name).write_bytes(octets)
        (folder / name).chmod(0o600)
    stored = [base64.b64decode(part) for part in line.split(":")[-2:]]
    return {PASSWORD: "password", CLIENT: "client.secret", LOGIN: "", TYPO: ""} | {
        **dict.fromkeys(stored, "passwd"),
        seed: "dkim.pem",
    }


def shown_by_commands(relay, ids, capture):
    """All that an administrator can ask for: in this process, since each of its own would take as long as all of them."""
    config, mail = str(relay.folder / "config.ini"), str(relay.folder / "mail.eml")
    Path(mail).write_text(MAIL.format(1))
    lines = [
        ("check",),
        ("reference",),
        ("doctor",),
        ("auth", "status"),
        ("auth", "refresh", TOKEN),
        ("explain", mail, "--from", "token@t.example.com", "--to", "eve@example.org"),
        ("queue", "list", "--json"),
        ("upstream", "list", "--json"),
        *(("upstream", what, hop) for hop in HOPS for what in ("show", "probe")),
        *(line for one in ids for line in (("queue", "show", one), ("trace", one), ("trace", one, "--json"))),
        ("queue", "cat", ids[0]),
    ]
    for line in lines:
        capture.readouterr()
        status = cli.main(["--config", config, *line])
        out, err = capture.readouterr()
        assert status == 0 or line[0] == "doctor" or line[1] in ("refresh", "probe"), (line, status, err)
        yield " ".join(line), out + err


def shown_by_the_page(relay, ids, token):
    link = f"http://127.0.0.1:{re.search(r'status page on .*?:([0-9]+);', log(relay))[1]}"
    paths = ["/", "/queue", "/history", "/outbox", "/metrics", "/healthz", "/readyz"]
    paths += [f"/api/{what}" for what in ("status", "queue", "history", "outbox", "search?q=eve")]
    paths += [path for one in ids for path in (f"/mail/{one}", f"/api/mail/{one}", f"/mail/{one}/source")]
    for path in paths:
        request = urllib.request.Request(link + path, headers={"Authorization": f"Bearer {token}"})
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                yield path, str(answer.headers).encode() + answer.read()
        except urllib.error.HTTPError as refused:
            with refused:
                yield path, refused.read()


def log(relay):
    return (relay.folder / "log").read_text()


def busy(world):
    """A run in which every secret is used, and thrown back; what was said to the person who signed in."""
    relay = world.relay.start()
    signed = world.sign_in()
    for number, plain in enumerate((True, False)):
        world.submit(number, plain=plain, words=(TYPO, LOGIN))
    for number, sender in ((90, "bad"), (91, "kept"), (92, "token")):
        world.submit(number, sender=sender)
    world.submit(93, to="gone")
    world.submit(94, sender="token", to="lost")
    until(lambda: len(world.hop.subjects) + len(world.peer.mails) == 5, "three mails and two reports at the hops")
    until(relay.outbox, "a mail in the outbox")
    until(lambda: "535" in log(relay), "a refused log-in")
    world.tokens.script["token"] = [mirror, mirror]
    return signed


def leaks(secrets, places):
    """Which secret stands where it must not, in which form: `secrets` has with each the name of the file it lives in."""
    return [
        (secret, place, form)
        for secret, home in secrets.items()
        for form in forms(secret)
        for place, octets in places.items()
        if form in octets and Path(place).name != home
    ]


def files(folder):
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_promise_6_nothing_that_a_busy_run_wrote_shows_a_secret(world, capsysbinary):
    relay, secrets = world.relay, world.secrets
    shown = {"auth login": busy(world)}
    ids = re.findall(r"(\S+): from=<(?:bad|kept|token)@", log(relay))
    ids += re.findall(r"(\S+): to=<gone@", log(relay))[:1]
    assert len(set(ids)) == 5
    secrets[token := (relay.folder / "var/spool/status.token").read_text().strip()] = "status.token"
    shown |= shown_by_commands(relay, ids, capsysbinary)
    shown |= shown_by_the_page(relay, ids, token)
    shown |= {what: Path(f"/proc/{relay.process.pid}/{what}").read_bytes() for what in ("cmdline", "environ")}
    limits = Path(f"/proc/{relay.process.pid}/limits").read_text()
    assert re.search(r"^Max core file size +0 +0 ", limits, re.MULTILINE), "a core file would hold them all"
    relay.stop()

    written = files(relay.folder)
    [tokens] = [path.name for path in (relay.folder / "var/spool/tokens").glob("*.json")]
    secrets |= dict.fromkeys(world.tokens.made, tokens)
    said_aloud = written[str(relay.output)]
    assert len(re.findall(rb"^tracker-relay: status page: http://\S+\n$", said_aloud)) == 1, "for a person's eyes"
    written[str(relay.output)] = said_aloud.replace(token.encode(), b"", 1)
    left = {
        f"mail {number}": octets for number, octets in enumerate([*world.hop.mails, *dict(world.peer.mails).values()])
    }

    left |= {f"{path}, read": text_of(octets) for path, octets in written.items() if "outbox" in path}
    assert len(written) >= 10
    assert leaks(secrets, shown | written | left) == []
    were_used(world, shown, b"".join(left.values()))


def text_of(octets):
    """All parts of a mail as they read."""
    parts = email.message_from_bytes(octets).walk()
    return b"\n".join(part.get_payload(decode=True) or b"" for part in parts)


def were_used(world, shown, mails):
    """Each secret was: a search for what nobody has said would find nothing."""
    heard = b"".join(world.heard)
    assert said(PASSWORD) in heard
    assert world.tokens.made[0].encode() in heard
    assert {CLIENT} == {form["client_secret"] for form in world.tokens.forms()}
    assert b"DKIM-Signature: " in mails
    assert b"Content-Type: multipart/report" in mails
    assert shown["upstream show notification:refused"].count(b"***") >= 2, "what the server threw back"
    assert b"no such user for ***" in shown[f"upstream show {TOKEN}"]
    assert b"no such user for ***" in mails, "in the report"
    assert b"***" in shown[f"auth refresh {TOKEN}"]
    assert b"tracker_relay_" in shown["/metrics"]


def test_the_search_finds_each_form_of_each_secret(tmp_path):
    secrets = written_secrets(tmp_path)
    homes = {home for home in secrets.values() if home}
    found = leaks(dict.fromkeys(secrets, ""), files(tmp_path))
    assert {Path(place).name for _, place, _ in found} == homes
    assert leaks(secrets, files(tmp_path)) == []
    for secret in secrets:
        for form in forms(secret):
            assert (secret, "log", form) in leaks(secrets, {"log": b"x " + form + b" y"})
    bearer = base64.b64encode(f"user=me@example.com\1auth=Bearer {CLIENT}\1\1".encode())
    assert leaks({CLIENT: ""}, {"log": bearer})
