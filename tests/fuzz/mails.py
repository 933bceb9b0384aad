"""Any mail that the listener takes leaves as one sound mail, refused by a named rule, or not at all; twice through is once, and nothing fails or stalls.

The whole road without I/O: profile, facts, rules, route (`tests/properties/test_corpus.py` has what must hold
of what leaves). Also: a mail from the wire is taken or refused by admission, and stored and relayed octets are
bounded by what came.
"""

from relay import mime
from relay.message import parse_bytes
from tests.fuzz.engine import dice
from tests.properties.test_corpus import RELAYS, SAMPLES, admitted, goes_through

NAME = "mails"
SHARE = 6
CASES = 350
TOKENS = (
    b"Subject: ", b"From: ", b"To: ", b"Cc: ", b"Bcc: ", b"Reply-To: ", b"Sender: ", b"Message-ID: <1@x>\r\n", b"Date: Mon, 1 Jan 2026 00:00:00 +0000\r\n", b"Resent-To: a@b\r\n",
    b"X-Trac-Project: Harbour\r\n", b"X-Trac-Ticket-ID: 12\r\n", b"X-Redmine-Project: x\r\n", b"X-Bugzilla-URL: x\r\n", b"X-GitLab-Project: x\r\n", b"X-Roundup-Name: x\r\n",
    b"Content-Type: text/plain; charset=utf-8\r\n", b"Content-Type: multipart/mixed; boundary=x\r\n", b"Content-Type: multipart/signed; boundary=x\r\n", b"Content-Type: message/rfc822\r\n",
    b"Content-Transfer-Encoding: base64\r\n", b"Content-Transfer-Encoding: quoted-printable\r\n", b"Content-Transfer-Encoding: 8bit\r\n", b"Content-Transfer-Encoding: x\r\n",
    b"--x\r\n", b"--x--\r\n", b"\r\n\r\n", b"\r\n ", b"\r\n\t", b"=?utf-8?q?=0D=0AX-Injected: 1?=", b"=?utf-8?b?w6k=?=", b"=?x?q?y?=", b"<a@b.example>", b"a@b.example, c@d.example",
    b"undisclosed-recipients: ;", b'"a\\"b" <c@d>', b"(" * 50, b"charset=utf-7", b"charset=utf-16", b"charset=idna", b"boundary*0=a; boundary*1=b", b"boundary=", b"name*=utf-8''%0d%0a",
    b"Reporter:  dana\r\n", b"Owner:  luc\r\n", b"Changes (by dana):\r\n", b"=\r\n", b"=3D", b"=ZZ", b"aGVsbG8=\r\n", b"filename=x", b"Received: x\r\n", b"X-Tracker-Relay: other\r\n",
)  # fmt: skip


def seeds():
    """The kept mails of ten trackers, and the standard library's."""
    return SAMPLES


def check(data):
    """One mail; 0 where the listener refuses it."""
    octets = admitted(data)
    if octets is None:
        return 0
    relay = dice(data).choice(RELAYS)
    message = goes_through(octets, relay)
    if message is not None:
        assert message.body.size <= 8 * len(octets) + 4096, "it has swollen"
        assert isinstance(mime.text_of(parse_bytes(octets)), str)
    return 1
