"""Attacks on the SMTP session: by name, what a client says and what must come of it.

`codes` are the replies behind the greeting, in order; each is a pattern of its code, `*` repeats the one
before. `mails` is how many arrive at the next hop for this attack's recipient.
"""

from dataclasses import dataclass

TAG = b"@TAG@"
"""Stands for the attack's own recipient."""
BEGIN = b"EHLO x\r\nMAIL FROM:<h@t.example.com>\r\nRCPT TO:<" + TAG + b">\r\n"
DATA = BEGIN + b"DATA\r\n"
GO = "250 250 250 354 "
HIDDEN = b"MAIL FROM:<x@evil.test>\r\nRCPT TO:<y@evil.test>\r\nDATA\r\nSubject: smuggled\r\n\r\nx"


@dataclass(frozen=True)
class Attack:
    """What is said, and what comes of it. `content` stands in the mail that arrives."""

    said: bytes | list[bytes]
    codes: str
    mails: int = 0
    content: bytes = b""
    pause: float = 0.0


ATTACKS: dict[str, Attack] = {}


def attack(name, said, codes, mails=0, **more):
    """Add one to the list."""
    assert name not in ATTACKS, name
    ATTACKS[name] = Attack(said, codes, mails, **more)


# --- the end of a mail -----------------------------------------------------------------------------------

for _end in (
    b"\n.\n",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\n..\n",
    b"\n\n.\n\n",
    b"\n.\n\n",
    b"\r\n\n.\r\n",
    b"\r\n.\n\r\n",
    b"\n.\n.\n",
):
    attack(
        f"smuggling behind {_end!r}",
        DATA + b"Subject: a\r\n\r\nb" + _end + HIDDEN + b"\r\n.\r\nQUIT\r\n",
        GO + "250 221",
        1,
        content=b"RCPT TO:<y@evil.test>",
    )
for _end in (
    b"\r.\r",
    b"\r\n.\r",
    b"\r.\r\n",
    b"\n.\r",
    b"\r.\n",
    b"\r\r.\r\r",
    b"\r\n.\r\r\n",
    b"\n\r.\r\n",
    b"\r\n\0.\r\n",
    b"\r\n.\0\r\n",
    b"\0.\0",
    b"\r\0\n.\r\n",
    b"\r\n.\r\0\n",
):
    attack(
        f"smuggling behind {_end!r}",
        DATA + b"Subject: a\r\n\r\nb" + _end + HIDDEN + b"\r\n.\r\nQUIT\r\n",
        GO + "550 221",
    )
for _end in (
    b"\r\n. \r\n",
    b"\r\n.\t\r\n",
    b"\r\n .\r\n",
    b"\r\n..\r\n",
    b"\r\n.\x0b\r\n",
    b"\r\n.\x85\r\n",
    "\u2028.\u2028".encode(),
    b"\r\n.\xc2\x85\r\n",
    b"\r\n=2E\r\n",
    b"\r\n.\\r\\n",
    b"%0d%0a.%0d%0a",
):
    attack(
        f"smuggling behind {_end!r}",
        DATA + b"Subject: a\r\n\r\nb" + _end + HIDDEN + b"\r\n.\r\nQUIT\r\n",
        GO + "250 221",
        1,
    )
for _cut in range(1, 6):
    _whole = DATA + b"Subject: a\r\n\r\nb\r\n.\r\nNOOP\r\nQUIT\r\n"
    _at = _whole.index(b"\r\n.\r\nNOOP") + _cut
    attack(f"the final dot cut behind {_cut} octets", [_whole[:_at], _whole[_at:]], GO + "250 250 221", 1, pause=0.05)
attack(
    "the final dot octet by octet",
    [DATA + b"Subject: a\r\n\r\nb", *(bytes([o]) for o in b"\r\n.\r\n"), b"QUIT\r\n"],
    GO + "250 221",
    1,
    pause=0.02,
)
attack("a mail of nothing", DATA + b".\r\nQUIT\r\n", GO + "250 221", 1)
attack("a mail of dots", DATA + b"..\r\n...\r\n. .\r\n.\r\nQUIT\r\n", GO + "250 221", 1, content=b".\r\n..\r\n .\r\n")
attack("a mail without its final dot", DATA + b"Subject: a\r\n\r\nb\r\n", GO.strip())
attack(
    "commands behind the final dot",
    DATA + b"Subject: a\r\n\r\nb\r\n.\r\nRSET\r\nNOOP\r\nQUIT\r\n",
    GO + "250 250 250 221",
    1,
)
attack(
    "two mails in one packet",
    (DATA + b"Subject: a\r\n\r\nb\r\n.\r\n") + DATA.partition(b"\r\n")[2] + b"Subject: c\r\n\r\nd\r\n.\r\nQUIT\r\n",
    GO + "250 250 250 354 250 221",
    2,
)

# --- command lines ---------------------------------------------------------------------------------------

for _octet in [*range(10), 11, 12, *range(14, 32), 127]:
    _sign = bytes([_octet])
    attack(f"octet {_octet} in a name", b"EHLO a" + _sign + b"b\r\nQUIT\r\n", "500 221")
for _octet in (0, 7, 9, 11, 13, 27, 127):
    _sign = bytes([_octet])
    attack(f"octet {_octet} in a sender", b"EHLO x\r\nMAIL FROM:<a" + _sign + b"@evil.test>\r\nQUIT\r\n", "250 500 221")
    attack(
        f"octet {_octet} in a recipient",
        BEGIN + b"RCPT TO:<a" + _sign + b"@evil.test>\r\nQUIT\r\n",
        "250 250 250 500 221",
    )
attack("CR in a command", b"EHLO x\rMAIL FROM:<x@evil.test>\r\nQUIT\r\n", "500 221")
attack("CR CR LF behind a command", b"EHLO x\r\r\nQUIT\r\n", "500 221")
attack("LF alone behind commands", b"EHLO x\nQUIT\n", "250 221")
attack("a command of 5 kB", b"EHLO " + b"x" * 5000 + b"\r\nQUIT\r\n", "500 221")
attack("a name of 300 octets", b"EHLO " + b"x" * 300 + b"\r\nQUIT\r\n", "501 221")
attack("a command of 4 MB", b"NOOP " + b"x" * (4 << 20) + b"\r\nQUIT\r\n", "500 221")
attack("a command without end", b"EHLO " + b"x" * (4 << 20), "")
attack("a line of NULs", b"\0" * 1000 + b"\r\nQUIT\r\n", "500 221")
attack("Latin-1 in a command", b"EHLO x\r\nN\xd6OP\r\nQUIT\r\n", "250 500 221")
attack("a command of signs", b"EHLO x\r\n%s%n{}$\r\nQUIT\r\n", "250 500 221")
attack(
    "no EHLO at all",
    BEGIN.partition(b"\r\n")[2] + b"DATA\r\nSubject: a\r\n\r\nb\r\n.\r\nQUIT\r\n",
    GO[4:] + "250 221",
    1,
)
attack("an EHLO of nothing", b"EHLO\r\nQUIT\r\n", "501 221")
attack("DATA with an argument", BEGIN + b"DATA x\r\nQUIT\r\n", "250 250 250 501 221")
attack("DATA first", b"EHLO x\r\nDATA\r\nSubject: a\r\n\r\n.\r\nQUIT\r\n", "250 503 500 500 500 221")
attack("RCPT first", b"EHLO x\r\nRCPT TO:<y@evil.test>\r\nQUIT\r\n", "250 503 221")
attack("MAIL within a mail", BEGIN + b"MAIL FROM:<x@evil.test>\r\nQUIT\r\n", "250 250 250 503 221")
attack("EHLO within a mail forgets it", BEGIN + b"EHLO y\r\nDATA\r\nQUIT\r\n", "250 250 250 250 503 221")
attack("RSET within a mail forgets it", BEGIN + b"RSET\r\nDATA\r\nQUIT\r\n", "250 250 250 250 503 221")
attack("QUIT, and a mail behind it", b"EHLO x\r\nQUIT\r\n" + DATA + b"a\r\n.\r\n", "250 221")
for _verb in (
    "BDAT 10 LAST",
    "BDAT 0",
    "ETRN evil.test",
    "TURN",
    "ATRN",
    "EXPN root",
    "XCLIENT ADDR=192.0.2.1",
    "XFORWARD ADDR=1",
    "DEBUG",
    "WIZ",
    "SEND FROM:<x@evil.test>",
    "SAML FROM:<x@evil.test>",
    "SOML FROM:<x@evil.test>",
    "STARTTLS",
    "AUTH PLAIN AGEAYg==",
    "AUTH LOGIN",
    "BURL imap://evil.test",
    "XEXCH50 1 1",
    "TICK 1",
    "ONEX",
    "VERB",
    "LHLO x",
    "EHLO2 x",
):
    attack(f"{_verb}", b"EHLO x\r\n" + _verb.encode() + b"\r\nQUIT\r\n", "250 50[0234] 221")
attack("BDAT and its octets", BEGIN + b"BDAT 4 LAST\r\nQUIT\r\n", "250 250 250 502 221")
attack("VRFY tells nothing", b"EHLO x\r\nVRFY root\r\nQUIT\r\n", "250 252 221")

# --- parameters ------------------------------------------------------------------------------------------

for _parameter in (
    "SIZE=-1",
    "SIZE=0x10",
    "SIZE=",
    "SIZE=1e9",
    "SIZE=９",
    "BODY=BINARYMIME",
    "BODY=",
    "BODY=9BIT",
    "SMTPUTF8=1",
    "AUTH=x@evil.test",
    "SIZE=" + "9" * 21,
):
    attack(
        f"MAIL with {_parameter}",
        b"EHLO x\r\nMAIL FROM:<h@t.example.com> " + _parameter.encode() + b"\r\nQUIT\r\n",
        "250 501 221",
    )
for _parameter in (
    "RET=FULL",
    "ENVID=x",
    "BY=1;R",
    "HOLDFOR=9",
    "MT-PRIORITY=9",
    "REQUIRETLS",
    "X=y",
    "=",
    "==",
    "NOTIFY=NEVER",
):
    attack(
        f"MAIL with {_parameter}",
        b"EHLO x\r\nMAIL FROM:<h@t.example.com> " + _parameter.encode() + b"\r\nQUIT\r\n",
        "250 555 221",
    )
for _parameter in ("NOTIFY=NEVER", "ORCPT=rfc822;x@evil.test", "X=y", "SIZE=1"):
    attack(
        f"RCPT with {_parameter}",
        BEGIN + b"RCPT TO:<y@evil.test> " + _parameter.encode() + b"\r\nQUIT\r\n",
        "250 250 250 555 221",
    )
attack(
    "MAIL with a size over the limit",
    b"EHLO x\r\nMAIL FROM:<h@t.example.com> SIZE=99999999999\r\nQUIT\r\n",
    "250 552 221",
)
attack(
    "a size that is a lie",
    BEGIN.replace(b".com>", b".com> SIZE=1") + b"DATA\r\nSubject: a\r\n\r\n" + b"b" * 70000 + b"\r\n.\r\nQUIT\r\n",
    GO + "250 221",
    1,
)

# --- other protocols -------------------------------------------------------------------------------------

for _verb in ("GET", "POST", "PUT", "HEAD", "OPTIONS", "CONNECT", "DELETE", "PATCH", "TRACE"):
    attack(f"HTTP {_verb}", f"{_verb} / HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() + DATA + b"a\r\n.\r\n", "421")
for _name, _octets in {
    "HTTP of another verb": b"PROPFIND / HTTP/1.1\r\n\r\n",
    "a TLS handshake": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n",
    "Redis": b"*1\r\n$4\r\nPING\r\n",
}.items():
    attack(_name, _octets + DATA + b"a\r\n.\r\n", "421")
for _name, _octets in {
    "SSH": b"SSH-2.0-OpenSSH_9.2\r\n" * 20,
    "memcached": b"set x 0 0 1\r\n1\r\n" * 10,
    "IRC": b"NICK x\r\nUSER x\r\n" * 10,
    "FTP": b"USER x\r\nPASS y\r\n" * 10,
    "PROXY protocol": b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n" * 20,
    "SIP": b"INVITE sip:a\r\nVia: x\r\n" * 10,
    "SOCKS": b"\x05\x01\x00\r\n" * 20,
    "LDAP": b"0\x0c\x02\x01\x01`\x07\x02\x01\x03\r\n" * 20,
}.items():
    attack(_name, _octets + DATA + b"a\r\n.\r\n", "500 * 421")

# --- floods ----------------------------------------------------------------------------------------------

attack("1,500 NOOPs", b"EHLO x\r\n" + b"NOOP\r\n" * 1500, "250 * 421")
attack("1,500 RSETs", b"EHLO x\r\n" + b"RSET\r\n" * 1500, "250 * 421")
attack("1,500 EHLOs", b"EHLO x\r\n" * 1500, "250 * 421")
attack("1,500 VRFYs", b"EHLO x\r\n" + b"VRFY a\r\n" * 1500, "250 252 * 421")
attack("1,500 HELPs", b"EHLO x\r\n" + b"HELP\r\n" * 1500, "250 214 * 421")
attack("1,500 mixed commands", b"EHLO x\r\n" + b"NOOP\r\nRSET\r\nNOOP x\r\n" * 500, "250 * 421")
attack("1,500 empty lines", b"EHLO x\r\n" + b"\r\n" * 1500, "250 500 * 421")
attack("1,500 wrong commands", b"EHLO x\r\n" + b"FOO\r\n" * 1500, "250 500 * 421")
attack("1,500 wrong log-ins", b"EHLO x\r\n" + b"AUTH PLAIN AGEAYg==\r\n" * 1500, "250 502 * 421")
attack("1,500 senders without recipient", b"EHLO x\r\n" + b"MAIL FROM:<>\r\nRSET\r\n" * 1500, "250 * 421")
attack(
    "1,500 recipients refused", b"EHLO x\r\nMAIL FROM:<>\r\n" + b"RCPT TO:<a b>\r\n" * 1500, "250 250 553 * 452 * 421"
)
attack(
    "1,500 recipients", b"EHLO x\r\nMAIL FROM:<>\r\n" + b"RCPT TO:<y@evil.test>\r\n" * 1500, "250 250 250 * 452 * 421"
)
attack("100,000 commands behind QUIT", b"QUIT\r\n" + b"NOOP\r\n" * 100_000, "221")
