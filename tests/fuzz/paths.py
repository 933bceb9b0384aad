"""A path is one address as it was written, or refused: never another one, never a part of one; what is accepted can be written, stored and read again.

The path parser of MAIL and RCPT (RFC 5321 4.1.2), on the octets behind the colon.
"""

from relay.address import MAX_PATH, Address, AddressError, parse, parse_path

NAME = "paths"
SHARE = 1
CASES = 6000
TOKENS = (
    b"<a@b.example>", b"<>", b"bob", b'"a b"', b'"\\""', b"[127.0.0.1]", b"[IPv6:::1]", b"@a,@b:c@d", b"a%b@c", b"a!b", b"=?utf-8?q?=0D=0ADATA?=@x", b"xn--mnchen-3ya",
    "münchen.example".encode(), "ｅxample".encode(), b" SIZE=1", b"(comment)", b"x" * 64, b"y." * 100, b"\xe2\x80\xae", b"\xc2\xad", b"..", b"@@", b"-", b"_",
)  # fmt: skip


def check(data):
    """One path."""
    try:
        path, rest = parse_path(data)
    except AddressError as fault:
        assert str(fault).isprintable() and len(str(fault)) < 100
        return 1
    written = data.strip(b" ")
    if path is None:
        assert written.startswith(b"<>")
        return 1
    text = str(path)
    assert written[written.startswith(b"<") :].startswith(text.encode()), "not as it was written"
    end = len(text.encode()) + 2 * written.startswith(b"<")
    assert written[end:].strip(b" ") == rest and written[end : end + 1] in (b"", b" "), "a part of what was written"
    assert len(text.encode()) <= MAX_PATH
    assert not any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 for c in text)
    assert parse(text) == path, "not the same when it is read again"
    assert path.is_ascii == text.isascii()
    wire = path.wire_form
    assert wire.isascii() or not path.local.isascii()
    again = parse(wire)
    assert again.key == path.key, "another mailbox in A-labels"
    assert Address(path.local, path.domain.swapcase()).key == path.key or not path.domain.isascii()
    if path.short:
        assert str(path.complete("example.org")) == f"{text}@example.org"
    else:
        assert path.complete("example.org") is path
    return 1
