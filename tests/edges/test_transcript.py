"""What the listener says, word by word: every reply to every command, as a client reads it."""

import logging

import pytest

from tests.fuzz import session

HELLO = (
    "EHLO t",
    "250-gw.example.com\n250-PIPELINING\n250-SIZE 600\n250-8BITMIME\n250-SMTPUTF8\n250 ENHANCEDSTATUSCODES",
)
NAME = "501 5.5.4 give your host name"
ADDRESS = "501 5.5.4 MAIL FROM:<address>"
FORWARD = "501 5.5.4 RCPT TO:<address>"
SENDER, RECIPIENT = ("MAIL FROM:<a@b>", "250 2.1.0 sender ok"), ("RCPT TO:<c@d>", "250 2.1.5 recipient ok")
DATA = ("DATA", "354 end with <CRLF>.<CRLF>")
OVER = "452 4.5.3 more than 5 recipients"
UTF8 = "553 5.6.7 an address outside ASCII needs SMTPUTF8"
UNSUPPORTED = "502 5.5.1 command not supported"
TALKS = {
    "greetings": [
        ("HELO", NAME),
        ("EHLO ", NAME),
        ("HELO a\u2028b", NAME),
        ("HELO caf\udce9", "250 gw.example.com"),
        (f"HELO {'x' * 256}", NAME),
        (f"HELO {'x' * 255}", "250 gw.example.com"),
        ("helo a b", "250 gw.example.com"),
        ("HELO X", "250 gw.example.com"),
        HELLO,
    ],
    "small talk": [
        ("NOOP", "250 2.0.0 ok"),
        ("NOOP x", "250 2.0.0 ok"),
        HELLO,
        ("VRFY x", "252 2.5.2 send it and see"),
        ("HELP", "214 2.0.0 RFC 5321"),
        ("RSET", "250 2.0.0 flushed"),
        ("EXPN x", UNSUPPORTED),
        ("BDAT 1", UNSUPPORTED),
        ("STARTTLS", UNSUPPORTED),
        ("AUTH PLAIN", UNSUPPORTED),
        ("XYZZY", "500 5.5.1 command not recognized"),
        ("GET / HTTP/1.1", "500 5.5.1 command not recognized"),
        ("*1", "500 5.5.1 command not recognized"),
        ("", "500 5.5.2 empty line"),
        ("NO\0OP", "500 5.5.2 control character in the line"),
        ("x" * 5000, "500 5.5.2 line too long"),
        ("QUIT", "221 2.0.0 bye"),
    ],
    "senders": [
        HELLO,
        ("RCPT TO:<a@b>", "503 5.5.1 MAIL comes first"),
        ("DATA", "503 5.5.1 MAIL and RCPT come first"),
        ("MAIL", ADDRESS),
        ("MAIL TO:<a@b>", ADDRESS),
        ("MAIL FROM:<a b>", "553 5.1.7 bad local part"),
        ("MAIL FROM:<a@b> SIZE=601", "552 5.3.4 mail is larger than 600 octets"),
        ("MAIL FROM:<a@b> SIZE=x", "501 5.5.4 bad value of SIZE"),
        ("MAIL FROM:<a@b> SIZE=1\udcb2", "501 5.5.4 bad value of SIZE"),
        (f"MAIL FROM:<a@b> SIZE={'0' * 21}", "501 5.5.4 bad value of SIZE"),
        ("MAIL FROM:<a@b> BODY=9BIT", "501 5.5.4 bad value of BODY"),
        ("MAIL FROM:<a@b> SMTPUTF8=1", "501 5.5.4 bad value of SMTPUTF8"),
        ("MAIL FROM:<a@b> AUTH=x", "501 5.5.4 bad value of AUTH"),
        ("MAIL FROM:<a@b> FOO=1", "555 5.5.4 parameter not recognized"),
        ("MAIL FROM:<é@b>", UTF8),
    ],
    "a sender and his parameters": [
        HELLO,
        ("mail from: <é@b> size=600 body=8bitmime smtputf8 auth=<>", "250 2.1.0 sender ok"),
        ("MAIL FROM:<a@b>", "503 5.5.1 nested MAIL"),
        ("DATA", "503 5.5.1 MAIL and RCPT come first"),
        ("EHLO t", HELLO[1]),
        SENDER,
        ("RSET", "250 2.0.0 flushed"),
        (f"MAIL FROM:<a@b> SIZE={'0' * 20} BODY=7BIT", "250 2.1.0 sender ok"),
    ],
    "recipients": [
        HELLO,
        SENDER,
        ("RCPT", FORWARD),
        ("RCPT FROM:<a@b>", FORWARD),
        ("RCPT TO:<a b>", "553 5.1.3 bad local part"),
        ("RCPT TO:<>", "553 5.1.3 a recipient is never empty"),
        ("RCPT TO:<a@b> NOTIFY=NEVER", "555 5.5.4 parameter not recognized"),
        ("RCPT TO:<é@b>", UTF8),
        ("DATA x", "501 5.5.4 DATA has no argument"),
        ("DATA", "554 5.5.1 no valid recipients"),
        ("DATA", "503 5.5.1 MAIL and RCPT come first"),
    ],
    "too many recipients": [
        HELLO,
        SENDER,
        ("RCPT TO:<a b>", "553 5.1.3 bad local part"),
        *((f"RCPT TO:<{number}@b>", "250 2.1.5 recipient ok") for number in range(4)),
        ("RCPT TO:<4@b>", OVER),
        ("RCPT TO:<5@b>", OVER),
        ("RCPT TO:<6@b>", OVER),
        ("DATA", OVER),
        ("DATA", "503 5.5.1 MAIL and RCPT come first"),
    ],
    "mails": [
        HELLO,
        SENDER,
        ("RCPT TO: bob ", "250 2.1.5 recipient ok"),
        DATA,
        ("Subject: x\r\n\r\nhi\r\n.", "250 2.0.0 queued as id0"),
        SENDER,
        RECIPIENT,
        RECIPIENT,
        DATA,
        (".", "250 2.0.0 queued as id1"),
        ("RCPT TO:<c@d>", "503 5.5.1 MAIL comes first"),
    ],
    "mails that are refused": [
        HELLO,
        *(SENDER, RECIPIENT, DATA),
        ("a\0b\r\n.", "550 5.5.2 the mail holds a NUL octet"),
        *(SENDER, RECIPIENT, DATA),
        ("a\rb\r\n.", "550 5.5.2 the mail holds a bare CR"),
        *(SENDER, RECIPIENT, DATA),
        (f"{'x' * 599}\r\n.", "552 5.3.4 mail is larger than 600 octets"),
        *(SENDER, RECIPIENT, DATA),
        (f"X: {'x' * 595}\r\n.", "250 2.0.0 queued as id0"),
        *(SENDER, RECIPIENT, DATA),
        ("Received: x\r\n" * 3 + "\r\n.", "554 5.4.6 too many hops: 3 Received fields"),
        *(SENDER, RECIPIENT, DATA),
        ("X-Tracker-Relay: gw.example.com id=1\r\n\r\n.", "554 5.4.6 mail loop: it has passed here before"),
    ],
}  # fmt: skip
TALKS["first an error, then what looks like another protocol"] = [
    ("XYZZY", "500 5.5.1 command not recognized"),
    ("GET / HTTP/1.1", "500 5.5.1 command not recognized"),
    ("NOOP", "250 2.0.0 ok"),
]
TALKS["what looks like another protocol, behind EHLO"] = [HELLO, ("*1", "500 5.5.1 command not recognized")]
TROUBLES = {
    "room": [HELLO, ("MAIL FROM:<a@b>", "452 4.3.1 no space left for mail, try again later")],
    "write": [HELLO, SENDER, RECIPIENT, DATA, ("x\r\n.", "452 4.3.1 no space left for mail, try again later"), SENDER],
    "full": [HELLO, SENDER, RECIPIENT, DATA, ("x\r\n.", "452 4.3.1 no space left for mail, try again later"), SENDER],
    "writes": [HELLO, SENDER, RECIPIENT, DATA, ("x\r\n.", "451 4.3.0 local trouble, try again later"), SENDER],
    "put": [HELLO, SENDER, RECIPIENT, DATA, ("x\r\n.", "451 4.3.0 local trouble, try again later"), SENDER],
}


def heard(talk, **more):
    """What the client hears, reply by reply, each line of its own sent when the last was answered."""
    octets, ends = b"", []
    for line, _ in talk:
        octets += line.encode("utf-8", "surrogateescape") + b"\r\n"
        ends.append(len(octets))
    spoken = session.LOOP.run_until_complete(session.speak(octets, ends, **more))
    return [reply.decode().replace("\r\n", "\n").rstrip("\n") for reply in session.replies(spoken.heard)], spoken.mails


VERBS = {"EHLO": "HELO"} | {verb: verb for verb in ("HELO", "MAIL", "RCPT", "DATA", "STARTTLS", "AUTH")}


def refusals(talk):
    """The log line of each refusal; what more recipients are told than may be stands there once."""
    told, before = [], ""
    for line, reply in talk:
        what = VERBS.get(line.split(" ")[0].upper(), "command")
        if before.startswith("354"):
            what = "DATA"
        if reply[:1] in ("4", "5") and not (what == "RCPT" and reply == before == OVER):
            what = "command" if reply in (UNSUPPORTED, TALKS["small talk"][-4][1]) else what
            told.append(f"NOQUEUE: client=127.0.0.1, {what}: {reply}")
        before = reply
    return told


@pytest.fixture(autouse=True)
def quiet(caplog):
    caplog.set_level(logging.WARNING, "tracker-relay")


@pytest.mark.parametrize("name", TALKS)
def test_every_refusal_is_one_line_in_the_log(name, caplog):
    heard(TALKS[name])
    assert [record.getMessage() for record in caplog.records] == refusals(TALKS[name])


@pytest.mark.parametrize("name", TALKS)
def test_every_reply(name):
    greeting, *replies = heard(TALKS[name])[0]
    assert greeting == "220 gw.example.com ESMTP"
    assert replies == [reply for _, reply in TALKS[name]]


@pytest.mark.parametrize("trouble", TROUBLES)
def test_every_reply_of_a_spool_in_trouble(trouble):
    replies, mails = heard(TROUBLES[trouble], trouble=trouble)
    assert replies[1:] == [reply for _, reply in TROUBLES[trouble]]
    assert mails == []


OFFERS = HELLO[1].replace("250 E", "250-E") + "\n250-STARTTLS\n250 AUTH "


def test_every_reply_about_tls(caplog):
    offered = heard([HELLO], gate=True)[0][1]
    caplog.clear()
    assert offered.startswith(OFFERS)
    secured = offered.replace("250-STARTTLS\n", "")
    talk = [
        HELLO,
        ("STARTTLS now", "501 5.5.4 STARTTLS has no argument"),
        SENDER,
        ("STARTTLS", "503 5.5.1 not within a mail"),
        ("RSET", "250 2.0.0 flushed"),
        ("STARTTLS", "220 2.0.0 go ahead"),
        ("EHLO t", secured),
        ("STARTTLS", "503 5.5.1 TLS protects this connection already"),
    ]
    assert heard(talk, gate=True)[0][2:] == [reply for _, reply in talk[1:]]
    assert [record.getMessage() for record in caplog.records] == refusals(talk)


@pytest.mark.parametrize(("hello", "helo", "protocol"), [([], "", "SMTP"), ([("EHLO t", "")], "t", "ESMTPS")])
def test_nothing_that_was_said_before_tls_is_kept_of_a_client(hello, helo, protocol):
    """But that it is one: a client that does not say EHLO anew may send."""
    mail = [SENDER, RECIPIENT, DATA, ("x\r\n.", "250 2.0.0 queued as id0")]
    _, [(entry, _)] = heard([("HELO before", ""), ("STARTTLS", ""), *hello, *mail], gate=True)
    assert (entry.client.helo, entry.client.protocol, entry.client.user) == (helo, protocol, "")


def test_every_reply_about_a_log_in(caplog):
    talk = [
        HELLO,
        SENDER,
        ("AUTH PLAIN AGRhbmEAcGFzcw==", "503 5.5.1 not within a mail"),
        ("RSET", "250 2.0.0 flushed"),
        ("AUTH PLAIN AGRhbmEAcGFzcw==", "235 2.7.0 logged in"),
        ("AUTH PLAIN AGRhbmEAcGFzcw==", "503 5.5.1 you have logged in"),
        HELLO,
        SENDER,
        RECIPIENT,
        DATA,
        ("x\r\n.", "250 2.0.0 queued as id0"),
    ]
    replies, [(entry, _)] = heard(talk, gate=True)
    assert [r for r in replies[2:] if "PIPELINING" not in r] == [r for t, r in talk[1:] if t != "EHLO t"]
    assert [record.getMessage() for record in caplog.records] == refusals(talk)
    assert (entry.client.user, entry.client.protocol, entry.client.helo) == ("dana", "ESMTPA", "t")


def test_what_is_kept_of_a_mail_and_its_client():
    utf8 = ("MAIL FROM:<é@b> SMTPUTF8 BODY=8BITMIME", "250 2.1.0 sender ok")
    mail = ("Subject: =?utf-8?q?H=C3=A9?=\r\nMessage-ID: <1@x>\r\n\r\n..hi\r\n.", "250 2.0.0 queued as id0")
    talk = [
        HELLO,
        utf8,
        ("RCPT TO:<A@b> ", "250 2.1.5 recipient ok"),
        ("RCPT TO:<a b>\x7f", ""),
        ("RCPT TO:<a c>", ""),
        DATA,
        mail,
    ]
    _, [(entry, octets)] = heard(talk)
    assert octets == b"Subject: =?utf-8?q?H=C3=A9?=\r\nMessage-ID: <1@x>\r\n\r\n.hi\r\n"
    assert (entry.id, entry.received_at, entry.due, entry.size) == ("id0", 1e9, 1e9, len(octets))
    assert (entry.summary, entry.message_id, entry.refused_paths) == ("Hé", "<1@x>", ("<a c>",))
    assert (str(entry.envelope.reverse_path), entry.envelope.body, entry.envelope.smtputf8) == ("é@b", "8BITMIME", True)
    assert [(str(r.address), r.origin) for r in entry.envelope.recipients] == [("A@b", "rcpt:A@b")]
    assert [(e.at, e.kind, e.text) for e in entry.events] == [(1e9, "accepted", "from 127.0.0.1 by 127.0.0.1:25")]
    assert (entry.client.address, entry.client.helo, entry.client.protocol) == ("127.0.0.1", "t", "ESMTP")


def test_what_is_kept_is_bounded():
    summary, name = "y" * 250, "z" * 260
    mail = (f"Subject: {summary}\r\nMessage-ID: {name}\r\n\r\n.", "250 2.0.0 queued as id0")
    _, [(entry, _)] = heard([("HELO t", ""), SENDER, RECIPIENT, DATA, mail])
    assert (entry.summary, entry.message_id) == (summary[:200], name[:250])
    assert (entry.client.protocol, entry.envelope.body, entry.envelope.smtputf8) == ("SMTP", "", False)
