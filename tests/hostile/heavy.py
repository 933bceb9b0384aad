"""Mails that are heavy for who reads them, and that the listener accepts: by name, how each is made.

They are made one at a time: some have 25 MB.
"""

from tests.hostile.mails import FIELDS, MIME

BIG, MUCH = 25 << 20, 2 << 20
PLAIN = MIME + b"Content-Type: text/plain; charset=utf-8\r\n"
MIXED = MIME + b"Content-Type: multipart/mixed; boundary=o\r\n\r\n"
SUBJECTLESS = FIELDS.replace(b"Subject: crane\r\n", b"")


def field(name, value, body=b"The crane jams.\r\n"):
    """A mail with this field of 60 kB or so, folded where it has blanks."""
    rest = b"".join(line for line in FIELDS.splitlines(keepends=True) if not line.startswith(name + b":"))
    lines, line = [], b""
    for word in value.split(b" "):
        if len(line) + len(word) > 900:
            lines.append(line)
            line = b""
        line += b" " + word
    return rest + name + b":" + b"\r\n".join([*lines, line]) + b"\r\n\r\n" + body


def encoded(scheme, text, octets):
    return PLAIN + b"Content-Transfer-Encoding: " + scheme + b"\r\n\r\n" + text * (octets // len(text))


def nested(levels, leaf):
    inner = leaf
    for level in range(levels):
        mark = b"b%d" % level
        inner = b"Content-Type: multipart/mixed; boundary=%b\r\n\r\n--%b\r\n%b\r\n--%b--\r\n" % (
            mark,
            mark,
            inner,
            mark,
        )
    return MIME + inner


_LETTERS = "".join(chr(0x4E00 + n) for n in range(20_000)).encode()
_PART = b"--o\r\nContent-Type: text/plain; charset=utf-8; name*0*=utf-8''%C3%A9\r\n\r\nh\xc3\xa9las\r\n"

HEAVY = {
    "25 MB in one line": lambda: FIELDS + b"\r\n" + b"x" * BIG + b"\r\n",
    "2 MB in one line outside ASCII": lambda: PLAIN + b"\r\n" + b"\xc3\xa9" * (MUCH // 2) + b"\r\n",
    "2 MB of bare LF": lambda: FIELDS + b"\r\n" + b"\n" * MUCH + b"\r\n",
    "25 MB of base64": lambda: encoded(b"base64", b"eHh4" * 19 + b"\r\n", BIG),
    "2 MB of base64 in one line": lambda: encoded(b"base64", b"eHh4", MUCH) + b"\r\n",
    "2 MB of quoted-printable": lambda: encoded(b"quoted-printable", b"=C3=A9" * 12 + b"=\r\n", MUCH) + b"x\r\n",
    "2 MB of quoted-printable in one line": lambda: encoded(b"quoted-printable", b"=C3=A9", MUCH) + b"\r\n",
    "2 MB of empty lines": lambda: FIELDS + b"\r\n" + b"\r\n" * (MUCH // 2),
    "2 MB of dots": lambda: FIELDS + b"\r\n" + b"..\r\n" * (MUCH // 4),
    "2 MB of hyphens": lambda: MIXED + b"--\r\n" * (MUCH // 4),
    "2 MB of From": lambda: PLAIN + b"\r\n" + b"From \xe9\r\n" * (MUCH // 8),
    "20,000 parts": lambda: MIXED + (b"--o\r\n\r\nx\r\n" * 20_000) + b"--o--\r\n",
    "1,000 parts": lambda: MIXED + _PART * 1000 + b"--o--\r\n",
    "800 small parts": lambda: MIXED + b"--o\r\n\r\n\xc3\xa9\r\n" * 800 + b"--o--\r\n",
    "parts without an end of their header": lambda: MIXED + (b"--o\r\n" + b"X: y\r\n" * 12) * 990 + b"--o--\r\n",
    "100 levels": lambda: nested(100, b"Content-Type: text/plain\r\n\r\nh\xc3\xa9las\r\n"),
    "90 levels of 60 kB each": lambda: nested(90, b"X: " + b"x" * 60_000 + b"\r\n\r\n\xc3\xa9\r\n"),
    "400 levels": lambda: nested(400, b"\r\nx\r\n"),
    "990 fields": lambda: FIELDS + b"X-A: \xc3\xa9\r\n" * 990 + b"\r\nx\r\n",
    "fields of 250 kB": lambda: FIELDS + (b"X-A: " + b"\xc3\xa9 " * 10_000 + b"\r\n") * 8 + b"\r\nx\r\n",
    "250 kB of Resent-To": lambda: FIELDS + (b"Resent-To: " + b"a@b.example, " * 4000 + b"\r\n") * 4 + b"\r\nx\r\n",
    "Subject of letters": lambda: field(b"Subject", _LETTERS),
    "Subject of encoded words": lambda: field(b"Subject", b"=?utf-8?q?=C3=A9?= " * 3300),
    "Subject of words that nobody knows": lambda: field(b"Subject", "\U0001f600 ".encode() + b"=?x?q?a?= " * 6000),
    "Subject of reply marks": lambda: field(b"Subject", b"Re: " * 15_000),
    "Subject of prefixes": lambda: field(b"Subject", b"[x-1] " * 10_000),
    "From of names": lambda: field(b"From", b"\xc3\xa9 <a@b.example>, " * 3300),
    "To of addresses": lambda: field(b"To", b"a@b.example, " * 4600),
    "To of names": lambda: field(b"To", b"\xc3\xa9 <\xc3\xa9@b.example>, " * 2900),
    "To of domains": lambda: field(b"To", b"".join(b"a@\xc3\xa9%d.example, " % n for n in range(3000))),
    "To of groups": lambda: field(b"To", b"\xc3\xa9: a@b.example; " * 3300),
    "To of comments": lambda: field(b"To", b"(\xc3\xa9) " * 10_000),
    "To of parameters": lambda: field(b"To", b";a " * 20_000),
    "References": lambda: field(b"References", b"<a@b.example> " * 4400),
    "References without hosts": lambda: field(b"References", b"<a@> " * 12_000),
    "Content-Type of parameters": lambda: field(b"Content-Type", b"text/plain" + b"; a=\xc3\xa9" * 990),
    "Content-Type of pieces": lambda: field(
        b"Content-Type", b"text/plain" + b"".join(b"; a*%d*=%%C3%%A9" % n for n in range(990))
    ),
    "Content-Type of quoted pairs": lambda: field(b"Content-Type", b'text/plain; b=\xc3\xa9; a="' + b'\\"' * 28_000),
    "Redmine's first line": lambda: field(b"X-Redmine-Host", b"t", b" #1 has been updated by x" * 2600 + b"\r\n"),
    "Trac's table": lambda: field(
        b"X-Trac-Version", b"1.6", b"-" * 20 + b"+" + b"-" * 20 + b"\r\n" + (b"|" * 200 + b"\r\n") * 300
    ),
    "RT's rows": lambda: field(b"RT-Ticket", b"t #12", b"Queue: x" + b" " * 60_000 + b"x\r\n"),
    "1,000 recipients": lambda: FIELDS + b"\r\nx\r\n",
    "1,000 bare names": lambda: FIELDS + b"\r\nx\r\n",
    "1,000 refused paths": lambda: FIELDS + b"\r\nx\r\n",
    "1,000 whom the next hop refuses": lambda: FIELDS + b"\r\nx\r\n",
    "1,000 whom the next hop defers": lambda: FIELDS + b"\r\nx\r\n",
    "900 parts in 8 bits": lambda: MIXED + b"--o\r\nContent-Type: x/y; n=\xc3\xa9\r\nA:\xc3\xa9\r\n\r\n\xe9\r\n" * 900,
    "Reply-To of names": lambda: field(b"Reply-To", b"\xc3\xa9 <\xc3\xa9@b.example>, " * 2900),
    "four Reply-To of names": lambda: (
        field(b"Reply-To", b"\xc3\xa9 <\xc3\xa9@b.example>, " * 2900).replace(b"\r\n\r\n", b"\r\n", 1)
        + (b"Reply-To: " + b"\xc3\xa9 <\xc3\xa9@b.example>, " * 2900 + b"\r\n") * 3
        + b"\r\nx\r\n"
    ),
}

RECIPIENTS = {
    "1,000 recipients": [b"r%d@example.org" % n for n in range(1000)],
    "1,000 bare names": [b"r%d" % n for n in range(1000)],
    "1,000 refused paths": [b"r@@%d" % n for n in range(999)] + [b"r@example.org"],
    "1,000 whom the next hop refuses": [b"refused%d@example.org" % n for n in range(1000)],
    "1,000 whom the next hop defers": [b"later%d@example.org" % n for n in range(1000)],
}
