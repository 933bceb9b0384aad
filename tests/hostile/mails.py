"""Attacks by a mail: by name, its octets between DATA and the final dot, and what must come of it.

`code` is the reply to the final dot. What is taken arrives once, and passes the checks of test_attacks.py;
with `same`, its body octet for octet.
"""

from dataclasses import dataclass

FIELDS = (
    b"From: Harbour <h@t.example.com>\r\nTo: eve@example.org\r\nSubject: crane\r\nMessage-ID: <1@t.example.com>\r\n"
)
MIME = FIELDS + b"MIME-Version: 1.0\r\n"


@dataclass(frozen=True)
class Mail:
    octets: bytes
    code: int
    same: bool
    held: bool
    """It does not leave: the sender is told why."""


MAILS: dict[str, Mail] = {}


def mail(name, octets, code=250, *, same=False, held=False):
    """Add one to the list."""
    assert name not in MAILS, name
    MAILS[name] = Mail(octets, code, same, held)


def header(name, fields, code=250, **more):
    """A mail that is of interest for its header."""
    mail(name, FIELDS + fields + b"\r\nThe crane jams.\r\n", code, **more)


def mixed(name, *parts, boundary=b"o", end=b"--o--\r\n", **more):
    """A multipart of these parts."""
    head = MIME + b"Content-Type: multipart/mixed; boundary=" + boundary + b"\r\n\r\n"
    mail(name, head + b"".join(b"--o\r\n" + part + b"\r\n" for part in parts) + end, **more)


# --- headers ---------------------------------------------------------------------------------------------

header("10,000 fields", b"X-A: b\r\n" * 10_000, 552)
header("1,001 fields", b"X-A: b\r\n" * 1001, 552)
header("900 fields", b"X-A: b\r\n" * 900)
header("a field of 1 MB", b"X-A: " + b"b" * (1 << 20) + b"\r\n", 552)
header("a field of 1 MB, folded", b"X-A: b\r\n" + b" b\r\n" * 260_000, 552)
header("a field of 60 kB", b"X-A: " + b"b " * 30_000 + b"\r\n")
header("a header of 300 kB", (b"X-A: " + b"b" * 50 + b"\r\n") * 5000, 552)
header("a header that never ends", b"X-A: " + b"b" * 70 + b"\r\n" + b"X: y\r\n" * 100_000, 552)
header("a field name of 70 kB", b"X" * 70_000 + b": y\r\n", 552)
header("a field name of 2 kB", b"X" * 2000 + b": y\r\n", held=True)
header("NUL in a field", b"X-A: \0\r\n", 550)
header("CR in a field", b"X-A: a\rX-Injected: 1\r\n", 550)
header("CR in a Subject", b"X-B: a\r\r\n", 550)
header("LF in a field is a line end", b"X-A: a\nX-B: b\r\n")
header("8-bit in a field", b"X-A: \xff\xfe\xe9\r\n")
header("UTF-8 cut in the middle", b"X-A: \xe2\x82\r\n")
header("UTF-8 of surrogates", b"X-A: \xed\xa0\x80\r\n")
header("overlong UTF-8", b"X-A: \xc0\xaf\xc0\x8d\xc0\x8a\r\n")
header("controls in a field", b"X-A: \x01\x07\x08\x0b\x0c\x1b[2J\x7f\r\n")
header("an encoded word with CRLF", b"X-A: =?utf-8?q?a=0D=0AX-Injected:_1?=\r\n")
header("an encoded word of base64 with CRLF", b"X-A: =?utf-8?b?YQ0KWC1JbmplY3RlZDogMQ0K?=\r\n")
header("20,000 encoded words", b"X-A: " + b"=?a?q?b?= " * 6000 + b"\r\n")
header("an encoded word without end", b"X-A: =?utf-8?q?" + b"a" * 5000 + b"\r\n")
header("folding with nothing", b"X-A:\r\n \r\n \r\n \r\n b\r\n")
header("folding with tabs", b"X-A: a\r\n\t\t\t\r\n\tb\r\n")
header("a field of blanks", b"X-A:    \r\n")
header("a blank before the colon", b"X-A : b\r\n")
header("a line without colon", b"no field\r\n")
header("a name outside ASCII", "X-Ä: b\r\n".encode())
header("a field without a name", b": b\r\n")
header("two From", b"From: evil@evil.example\r\n")
header("two Subjects", b"Subject: other\r\n")
header("two To", b"To: other@example.org\r\n")
header("three Message-IDs", b"Message-ID: <2@a>\r\nMessage-ID: <3@a>\r\n")
header("Subject in capitals", b"SUBJECT: other\r\nsUbJeCt: third\r\n")
header(
    "hidden recipients in every field",
    b"Bcc: hidden@example.org\r\nResent-Bcc: hidden@example.org\r\nApparently-To: hidden@example.org\r\nX-Envelope-To: hidden@example.org\r\nDelivered-To: hidden@example.org\r\n",
)
mail("no From", b"To: a@b.example\r\nSubject: x\r\n\r\nb\r\n")
mail("no header", b"\r\nbody only\r\n")
mail("text only", b"body only\r\n")
mail("a header only", b"Subject: x\r\n")
mail("an mbox line first", b"From spy@example.org Mon Jan  1\r\n" + FIELDS + b"\r\nb\r\n")
mail("blanks first", b"  \r\n" + FIELDS + b"\r\nb\r\n")
for _name, _value in {
    "a group": b"Group: a@b.example, c@d.example;",
    "a group without end": b"Group: a@b.example",
    "nested groups": b"a: b: c: d@e.example;;;",
    "alice@evil.test)bob@good.test": b"alice@evil.test)bob@good.test",
    "a route": b"<@a,@b:c@d.example>",
    "an address in a name": b'"admin@bank.example" <x@y.example>',
    "an encoded word in quotes": b'"=?utf-8?q?a=22=3E=0D=0A?=" <x@y.example>',
    "a name that closes its quotes": b'"a" <b@c.example>, "d" <e@f.example>',
    "10,000 addresses": b"a@b.example," * 5000,
    "10,000 comments": b"()" * 10_000 + b" a@b.example",
    "10,000 open comments": b"(" * 10_000 + b"a@b.example",
    "10,000 quotes": b'"' * 10_001,
    "10,000 brackets": b"<" * 10_000,
    "10,000 backslashes": b'"' + b"\\" * 10_000,
    "nothing": b"",
    "an empty path": b"<>",
    "NEL and LINE SEPARATOR": "a\x85b\u2028c <d@e.example>".encode(),
    "eight bits": b"M\xfcller <a@b.example>",
    "a name of 2,000 letters": b"n" * 2000 + b" <a@b.example>",
}.items():
    mail(f"From: {_name}", b"From: " + _value + b"\r\nSubject: x\r\n\r\nb\r\n")
    _unfolded = _name in ("10,000 comments", "a name of 2,000 letters")  # no line of it can be broken
    mail(f"Reply-To: {_name}", FIELDS + b"Reply-To: " + _value + b"\r\n\r\nb\r\n", held=_unfolded)
for _value in (
    b"[x] " * 5000,
    b"Re: " * 10_000,
    b"=?utf-8?q?" + b"=41" * 10_000 + b"?=",
    b"\xff" * 5000,
    "\u202eabc\u2066".encode(),
    b"<script>alert(1)</script>",
    b"%s%n{0}",
    b"a\r\n b\r\n c",
):
    mail(f"Subject: {_value[:20]!r} ({len(_value)})", b"From: a@b.example\r\nSubject: " + _value + b"\r\n\r\nb\r\n")
header("30 Received", b"Received: from a by b; x\r\n" * 30, 554)
header("29 Received", b"Received: from a by b; x\r\n" * 29)
header("its own trace", b"X-Tracker-Relay: relay.example.com id=1\r\n", 554)
header("its own trace in capitals", b"x-TRACKER-relay:  RELAY.example.com  id=1\r\n", 554)
header("another's trace", b"X-Tracker-Relay: other.example.com id=1\r\n")
header("an automatic reply", b"Auto-Submitted: auto-replied\r\nPrecedence: junk\r\n")

# --- bodies ----------------------------------------------------------------------------------------------

ATTACHED = bytes(range(1, 10)) + bytes(range(14, 256)) + b"\r\n" + b"x" * 300
_text = b"Content-Type: text/plain; charset=utf-8\r\n\r\nh\xc3\xa9las\r\n"
_deep = b"Content-Type: text/plain\r\n\r\nx\r\n"
_deep_mail = b"Subject: inner\r\n\r\nx\r\n"
for _level in range(400):
    _mark = b"b%d" % _level
    _deep = (
        b"Content-Type: multipart/mixed; boundary="
        + _mark
        + b"\r\n\r\n--"
        + _mark
        + b"\r\n"
        + _deep
        + b"\r\n--"
        + _mark
        + b"--\r\n"
    )
    _deep_mail = b"Content-Type: message/rfc822\r\n\r\n" + _deep_mail
mail("400 nested multiparts", MIME + _deep, same=True)
mail("400 nested messages", MIME + _deep_mail, same=True)
mixed("20,000 parts", *[b"\r\nx"] * 20_000, same=True)
mixed("20,000 empty parts", *[b""] * 20_000, same=True)
mixed("900 parts", *[_text] * 900)
mail("20,000 parameters", MIME + b"Content-Type: text/plain" + b"; a=b" * 10_000 + b"\r\n\r\nx\r\n")
mail(
    "10,000 pieces of a parameter",
    MIME + b"Content-Type: text/plain" + b"".join(b"; n*%d=x" % n for n in range(4000)) + b"\r\n\r\nx\r\n",
)
mail(
    "a boundary of 60,000 octets",
    MIME + b'Content-Type: multipart/mixed; boundary="' + b"b" * 60_000 + b'"\r\n\r\nx\r\n',
    held=True,
)
mixed("a boundary of blanks", boundary=b'"   "', same=True)
mixed("a boundary outside ASCII", _text, boundary='"ö"'.encode())
mixed("boundaries within boundaries", b"Content-Type: multipart/mixed; boundary=oo\r\n\r\n--oo\r\n\r\nx\r\n--oo--\r\n")
mixed(
    "the same boundary within", b"Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\n\r\nx\r\n--o--\r\n", same=True
)
mixed(
    "a boundary that another begins with",
    b"Content-Type: multipart/mixed; boundary=o--\r\n\r\n--o--\r\n\r\nx\r\n--o----\r\n",
    same=True,
)
mixed("no end", _text, end=b"")
mixed("an end twice", _text, end=b"--o--\r\n--o--\r\n")
mixed("a part behind the end", _text, end=b"--o--\r\n--o\r\n\r\nx\r\n")
mixed("a delimiter with blanks", _text, end=b"--o-- \t\r\n")
mixed("a part of a broken header", b"no field\r\n\r\nx")
mixed("a part of a header only", b"Content-Type: text/plain")
mail("hyphens only", MIME + b"Content-Type: multipart/mixed; boundary=o\r\n\r\n" + b"--\r\n" * 200_000, same=True)
for _charset in (
    "utf-7",
    "undefined",
    "idna",
    "punycode",
    "hex_codec",
    "rot13",
    "bz2",
    "zlib",
    "unicode_escape",
    "raw_unicode_escape",
    "mbcs",
    "../../x",
    "x" * 500,
    "",
    "utf-16",
    "utf-32",
    "cp037",
    "\\u0000",
    "%s",
    "latin-1\\0",
):
    mail(f"charset {_charset[:30]}", MIME + f'Content-Type: text/plain; charset="{_charset}"\r\n\r\nabc\r\n'.encode())
for _scheme in (
    "base64",
    "quoted-printable",
    "8bit",
    "binary",
    "7bit",
    "x-uuencode",
    "gzip",
    "base64, gzip",
    "",
    "\x01",
    "BASE64 (c)",
    "base 64",
):
    mail(
        f"text that says it is {_scheme!r}",
        MIME
        + b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: "
        + _scheme.encode()
        + b"\r\n\r\n*h\xc3\xa9las* =ZZ=\r\n",
    )
mail(
    "two encodings",
    MIME + b"Content-Transfer-Encoding: base64\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nYQ==\r\n",
    same=True,
)
mail(
    "two content types",
    MIME + b"Content-Type: text/plain\r\nContent-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\n\r\nx\r\n--o--\r\n",
    same=True,
)
mail(
    "an encoded multipart",
    MIME + b"Content-Type: multipart/mixed; boundary=o\r\nContent-Transfer-Encoding: base64\r\n\r\nLS1v\r\n",
    same=True,
)
for _length in (998, 999, 5000, 1 << 20):
    mail(f"a line of {_length} octets", MIME + b"Content-Type: text/plain\r\n\r\n" + b"x" * _length + b"\r\n")
mixed("a long line in an attachment", b"Content-Disposition: attachment; filename=x\r\n\r\n" + b"x" * 5000)
mixed("an attachment of every octet", b"Content-Disposition: attachment; filename=x\r\n\r\n" + ATTACHED, _text)
mixed("an attachment named like a path", b'Content-Disposition: attachment; filename="../../etc/passwd"\r\n\r\nx')
mixed(
    "a file name of an encoded word with CRLF",
    b'Content-Disposition: attachment; filename="=?utf-8?q?a=0D=0AX-Injected:_1?="\r\n\r\nx',
)
mixed(
    "a file name of RFC 2231 with CRLF",
    b"Content-Disposition: attachment; filename*=utf-8''a%0D%0AX-Injected:%201\r\n\r\nx",
)
mixed("a file name outside ASCII", 'Content-Disposition: attachment; filename="räk och.txt"\r\n\r\nx'.encode())
_signed = b'Content-Type: multipart/signed; protocol="application/%b"; micalg=x; boundary=o\r\n\r\n--o\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: %b\r\n\r\n%b\r\n--o\r\nContent-Type: application/%b\r\n\r\nc2ln\r\n--o--\r\n'
for _protocol in (b"pgp-signature", b"pkcs7-signature"):
    for _scheme, _signed_text in (
        (b"8bit", b"h\xc3\xa9las  "),
        (b"quoted-printable", b"h=C3=A9las =20"),
        (b"7bit", b"From me \t\r\n-- "),
        (b"base64", b"aA=="),
    ):
        mail(
            f"signed by {_protocol.decode()}, {_scheme.decode()}",
            MIME + _signed % (_protocol, _scheme, _signed_text, _protocol),
            same=True,
        )
mail("signed, with a long line", MIME + _signed % (b"pgp-signature", b"7bit", b"x" * 1200, b"pgp-signature"), held=True)
mail(
    "S/MIME",
    MIME
    + b"Content-Type: application/pkcs7-mime; smime-type=signed-data; name=smime.p7m\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    + b"TUlNRQ==\r\n" * 50,
    same=True,
)
mail(
    "encrypted",
    MIME
    + b'Content-Type: multipart/encrypted; protocol="application/pgp-encrypted"; boundary=o\r\n\r\n--o\r\nContent-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n--o\r\nContent-Type: application/octet-stream\r\n\r\n-----BEGIN PGP MESSAGE-----\r\n--o--\r\n',
    same=True,
)
mail(
    "PGP within text",
    MIME
    + b"\r\n-----BEGIN PGP SIGNED MESSAGE-----\r\nHash: SHA256\r\n\r\n- -- x  \r\n-----BEGIN PGP SIGNATURE-----\r\n",
    same=True,
)
mail(
    "signed by DKIM",
    FIELDS
    + b"DKIM-Signature: v=1; a=rsa-sha256; d=example.com; s=x;\r\n\tbh=YQ==; b=YQ==\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: 7bit\r\n\r\ntext  \r\n\r\n\r\n",
    same=True,
)
mail("a body of 5 MB", FIELDS + b"\r\n" + (b"y" * 70 + b"\r\n") * 70_000)
mail("a body over the limit", FIELDS + b"\r\n" + (b"y" * 70 + b"\r\n") * 120_000, 552)
mail("a million empty lines", FIELDS + b"\r\n" + b"\r\n" * 1_000_000)
mail(
    "base64 of 2 MB",
    MIME + b"Content-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\n" + (b"eHh4" * 19 + b"\r\n") * 30_000,
)
