"""Everything that a busy run wrote and showed is searched for the secrets that it used (promise 6)."""

import base64
import json
import re
import urllib.parse
import urllib.request
from pathlib import Path

from tests.e2e.hop import Hop
from tests.e2e.tools import free_port, until

SECRET = "Grue-xyzzy-7319-plugh"
USER = "relay"
MAIL = "Message-ID: <{0}@t>\r\nSubject: [Harbour] #{0}: Crane\r\nX-Trac-Project: Harbour\r\n\r\nhello\r\n"
OURS = {"config.ini", "password", "status-token"}
"""Where secrets live."""


def forms(secret):
    """The secret, and whatever it could be written as."""
    octets = secret.encode()
    plain = base64.b64encode(f"\0{USER}\0{secret}".encode())
    inside = [base64.b64encode(b"x" * skip + octets)[4 : -len(octets) // 3] for skip in range(3)]
    return [octets, octets.hex().encode(), octets[::-1], plain, base64.b64encode(octets).rstrip(b"="), *inside]


def configure(relay, good, bad):
    relay.configure(
        f"""
        [status]
        listen = 127.0.0.1:{free_port()}
        [log]
        level = debug
        [retry]
        first = 1s
        longest = 1s
        report_to = admin@example.com
        [notification]
        smtp_enabled = true
        smtp_from = bugs@example.com
        smtp_server = 127.0.0.1
        smtp_port = {good.port}
        smtp_user = {USER}
        smtp_password_file = password
        use_tls = false
        [notification:refused]
        match = from: bad@t.example.com
        smtp_port = {bad.port}
        [notification:kept]
        match = from: kept@t.example.com
        smtp_server =
        smtp_user =
        smtp_password_file =
        """
    )
    (relay.folder / "password").write_text(SECRET)


def shown_by_commands(relay, ids):
    """All that an administrator can ask for."""
    (relay.folder / "mail.eml").write_text(MAIL.format(1))
    yield relay.run("check").stdout
    yield relay.run("reference").stdout
    yield relay.run(
        "explain", str(relay.folder / "mail.eml"), "--from", "h@t.example.com", "--to", "eve@example.org"
    ).stdout
    yield relay.run_json("queue", "list")
    yield relay.run_json("upstream", "list")
    for hop in ("notification", "refused"):
        answer = relay.run("upstream", "probe", hop)
        yield answer.stdout + answer.stderr
    for one in ids:
        for line in (("queue", "show", one), ("queue", "cat", one), ("trace", one)):
            answer = relay.run(*line)
            yield answer.stdout + answer.stderr


def shown_by_the_page(relay, ids):
    link = relay.wait_log(r"status page: (http://\S+?)/\?token=(\S+)")
    paths = ["/", "/queue", "/history", "/outbox", "/api/status", "/metrics", *(f"/mail/{one}" for one in ids)]
    for path in paths:
        request = urllib.request.Request(link[1] + path, headers={"Authorization": f"Bearer {link[2]}"})
        with urllib.request.urlopen(request, timeout=20) as answer:
            body = answer.read()
        assert link[2].encode() not in body, path
        yield body


def test_promise_6_nothing_that_a_busy_run_wrote_shows_a_secret(relay, hop):
    said, bad = [], Hop()
    hop.log_in = lambda line: said.append(line) or b"235 2.7.0 ok"
    bad.log_in = lambda line: said.append(line) or b"535 5.7.8 not with " + line + b" nor " + SECRET.encode()
    configure(relay, hop, bad)
    relay.start()
    for number in range(20):
        relay.send(MAIL.format(number).encode())
    relay.send(MAIL.format(90).encode(), mail_from="bad@t.example.com")
    relay.send(MAIL.format(91).encode(), mail_from="kept@t.example.com")
    until(lambda: len(hop.subjects) == 20, "twenty mails at the hop")
    relay.wait_log(r"535")
    until(relay.outbox, "a mail in the outbox")
    ids = [row["id"] for row in json.loads(relay.run_json("queue", "list"))]
    assert ids
    ids += re.findall(r"(\S+): from=<kept@", relay.log())
    shown = [*shown_by_commands(relay, ids), *shown_by_the_page(relay, ids)]
    shown += [Path(f"/proc/{relay.process.pid}/{what}").read_bytes() for what in ("cmdline", "environ")]
    limits = Path(f"/proc/{relay.process.pid}/limits").read_text()
    assert re.search(r"^Max core file size +0 +0 ", limits, re.MULTILINE), "a core file would hold them all"
    relay.stop()
    bad.sock.close()
    written = {path: path.read_bytes() for path in relay.folder.rglob("*") if path.is_file() and path.name not in OURS}
    names = {path.name for path in written}
    assert {"relay.log", "mail.eml"} < names and len(names) >= 4, "log, spool, outbox and its envelope"
    assert any(forms(SECRET)[3] in line for line in said), "it was used, and this search finds it"
    for secret in forms(SECRET):
        for path, octets in written.items():
            assert secret not in octets, (path, secret)
        for octets in shown:
            assert secret not in octets, (octets[:200], secret)
            assert urllib.parse.quote(secret).encode() not in octets
